"""MOTChallenge as it is published: a folder a sequence with `gt/gt.txt` and `det/det.txt`, and results as texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.formats.label import Label, LabelBox
from pipeline.formats.labels import read_labels

TRUTH = "1,1,912,484,97,109,0,7,1\n1,2,1338,418,167,379,1,1,1\n2,2,1342,417,168,380,1,1,1\n1,3,586,447,85,263,1,3,0.5\n"
DETECTIONS = "1,-1,794.2,47.5,71.2,174.8,0.9\n2,-1,164,19,66,163,0.5\n"
RESULTS = "1,4,794.2,47.5,71.2,174.8,1,-1,-1,-1\n"


def sequence(folder: Path) -> Path:
    for name, text in (("gt/gt.txt", TRUTH), ("det/det.txt", DETECTIONS)):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
    (folder / "seqinfo.ini").write_text("[Sequence]\nname=MOT17-02\nseqLength=2\n")
    return folder


def said(labels: list[Label]) -> list[tuple[str, int | None, object, str | None, float | None]]:
    return [(one.video, one.frame_index, one.object_key, one.category, one.score) for one in labels]


@pytest.mark.parametrize("format_name", ["boxes", "auto"])
@pytest.mark.parametrize("part", ["", "MOT17-02", "MOT17-02/gt", "MOT17-02/gt/gt.txt"])
def test_of_a_truth_the_rows_count_that_evaluators_count(tmp_path: Path, part: str, format_name: str) -> None:
    sequence(tmp_path / "MOT17-02")
    found = list(read_labels(str(tmp_path / part), format_name))
    video = "MOT17-02"
    assert said(found) == [(video, 0, 2, "1", None), (video, 1, 2, "1", None), (video, 0, 3, "3", None)]
    assert found[0].shape == LabelBox((1338.0, 418.0, 1505.0, 797.0))


def test_classes_have_the_names_of_the_text_beside_them(tmp_path: Path) -> None:
    sequence(tmp_path / "task")
    (tmp_path / "task/gt/labels.txt").write_text("person\nbus\ncar\n")
    assert [label.category for label in read_labels(str(tmp_path), "boxes")] == ["person", "person", "car"]


def test_detections_and_results_have_scores(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "MOT17-02")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/MOT17-04.txt").write_text(RESULTS)
    detections = list(read_labels(str(folder / "det/det.txt"), "boxes"))
    assert said(detections) == [("MOT17-02", 0, None, None, 0.9), ("MOT17-02", 1, None, None, 0.5)]
    assert said(list(read_labels(str(tmp_path / "data"), "auto"))) == [("MOT17-04", 0, 4, None, 1.0)]


@pytest.mark.slow
def test_trackeval_counts_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import trackeval

    for name, kind in (("float", float), ("int", int), ("bool", bool)):
        monkeypatch.setattr(np, name, kind, raising=False)  # trackeval 1.3 says np.float, which numpy 2 has not
    sequence(tmp_path / "gt/MOT17-train/MOT17-02")
    data = tmp_path / "trackers/MOT17-train/ours/data"
    data.mkdir(parents=True)
    (data / "MOT17-02.txt").write_text(RESULTS)
    config = {"GT_FOLDER": f"{tmp_path}/gt", "TRACKERS_FOLDER": f"{tmp_path}/trackers", "PRINT_CONFIG": False}
    config |= {"SEQ_INFO": {"MOT17-02": 2}, "BENCHMARK": "MOT17", "TRACKERS_TO_EVAL": ["ours"]}
    dataset = trackeval.datasets.MotChallenge2DBox(config)
    raw = dataset.get_raw_seq_data("ours", "MOT17-02")
    scored = dataset.get_preprocessed_seq_data(raw, "pedestrian")
    found = [label for label in read_labels(str(tmp_path / "gt"), "boxes") if label.category == "1"]
    assert sum(map(len, scored["gt_ids"])) == len(found) == 2


def test_a_flag_that_is_no_number_is_told(tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text(f"{TRUTH}2,1,912,484,97,109,x,7,1\n")
    with pytest.raises(InputError, match=r"gt\.txt, line 5: could not convert string to float: 'x'"):
        list(read_labels(str(tmp_path / "gt.txt"), "boxes"))

"""YouTube-VIS as TrackEval reads it: masks as truth, and as results that are scored against it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from pipeline.export import door
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.exports import IdMap, assert_same_masks

Export = Callable[..., Path]


def _by_key(tracks: list[dict], ids: IdMap, decode: Callable[[dict], np.ndarray]) -> dict:
    """The visible masks of tracks, which must say hidden the same way in every list."""
    found = {}
    for place, track in enumerate(tracks, 1):
        frames = ids.frames(track["video_id"])
        lists = track["segmentations"], track["bboxes"], track["areas"]
        assert {len(one) for one in lists} == {len(frames)}
        for frame_index, code, box, area in zip(frames, *lists, strict=True):
            assert (code is None) == (box is None) == (area is None)
            if code is not None:
                mask = decode(code)
                assert area == mask.sum()
                ys, xs = np.nonzero(mask)
                assert box == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
                found[(*ids.tracks[track.get("id", place)], frame_index)] = mask
    return found


@pytest.mark.slow
def test_truth_has_run_lengths_and_results_have_codes(export: Export, drawn: DrawnJob) -> None:
    truth = export("youtube_vis", to="truth")
    document = json.loads((truth / "annotations/instances_train.json").read_text())
    ids = IdMap.of(truth)

    def of_runs(code: dict) -> np.ndarray:
        assert all(isinstance(run, int) for run in code["counts"])
        return coco.decode(coco.frPyObjects(code, *code["size"])).astype(bool)

    assert_same_masks(_by_key(document["annotations"], ids, of_runs), drawn.truth)
    for video in document["videos"]:
        assert video["length"] == len(video["file_names"]) == len(ids.frames(video["id"]))
        assert video["file_names"][0].split("/")[0] == ids.videos[video["id"]]["name"]

    results = export("youtube_vis", "variant=results", to="results")
    tracks = json.loads((results / "results_train.json").read_text())
    assert_same_masks(_by_key(tracks, ids, lambda code: coco.decode(code).astype(bool)), drawn.truth)
    scores = {ids.tracks[number]: track["score"] for number, track in enumerate(tracks, 1)}
    assert scores["clip-1", 7] == pytest.approx(0.7)  # the mean of its predicted IoU


def _truth(folder: Path, length: int, *names: str) -> Path:
    """A truth of others: two categories, and videos whose ids begin with 40."""
    videos = [
        {"id": 40 + place, "file_names": [f"{name}/{frame:05d}.jpg" for frame in range(length)]}
        for place, name in enumerate(names)
    ]
    categories = [{"id": 17, "name": "dog"}, {"id": 18, "name": "cat"}]
    path = folder / "truth.json"
    path.write_text(json.dumps({"videos": videos, "annotations": [{"id": 1}], "categories": categories}))
    return path


def test_results_get_the_ids_and_the_frames_of_the_truth(export: Export, drawn: DrawnJob, tmp_path: Path) -> None:
    truth = _truth(tmp_path, 8, "other", "clip-1")
    folder = export("youtube_vis", "variant=results", f"truth={truth}", "videos=clip-1")
    tracks = json.loads((folder / "results_train.json").read_text())
    assert {(track["video_id"], track["category_id"]) for track in tracks} == {(41, 17), (41, 18)}
    for track in tracks:
        object_id = {17: 3, 18: 7}[track["category_id"]]
        assert len(track["segmentations"]) == 8, "frames behind the last one of ours are hidden"
        for frame_index, code in enumerate(track["segmentations"]):
            mask = drawn.truth.get(("clip-1", object_id, frame_index), np.zeros(1, bool))
            assert (code is not None) == mask.any()
            if code is not None:
                np.testing.assert_array_equal(coco.decode(code).astype(bool), mask)


@pytest.mark.slow
def test_an_export_is_the_truth_of_results_of_videos_with_odd_ids(export: Export, drawn: DrawnJob) -> None:
    truth = export("youtube_vis", to="truth") / "annotations/instances_train.json"
    folder = export("youtube_vis", "variant=results", f"truth={truth}", to="results")
    expected = {
        track["video_id"]: len(track["segmentations"]) for track in json.loads(truth.read_text())["annotations"]
    }
    found = json.loads((folder / "results_train.json").read_text())
    assert {track["video_id"]: len(track["segmentations"]) for track in found} == expected


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["videos=clip-1", "variant=gt"], "truth= is for results: give variant=results too"),
        (["videos=c", "categories=dog"], "has no video 'c'; leave it out with \"where=video_id != 'c'\""),
        (["videos=c"], "has no category 'object'; it has dog, cat"),
        (["videos=clip-1"], "video 'clip-1' has 3 frames there, and 6 labeled frames up to frame 5 here"),
    ],
)
def test_results_that_do_not_fit_the_truth_are_refused(
    words: list[str], told: str, drawn: DrawnJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"output={drawn.uri}", "format=youtube_vis", f"to={tmp_path / 'to'}", "variant=results"]
    assert door([*arguments, f"truth={_truth(tmp_path, 3, 'clip-1')}", *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_trackeval_scores_the_results_against_the_truth_as_equal(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trackeval

    monkeypatch.setattr(np, "float", float, raising=False)  # trackeval 1.3 says np.float, which numpy 2 has not
    monkeypatch.setattr(np, "int", int, raising=False)
    monkeypatch.setattr(np, "bool", bool, raising=False)
    truth = export("youtube_vis", to="truth") / "annotations/instances_train.json"
    results = export("youtube_vis", "variant=results", to="results") / "results_train.json"
    for source, place in ((truth, "gt/youtube_vis_mine"), (results, "trackers/youtube_vis_mine/ours/data")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "one.json").write_bytes(source.read_bytes())
    dataset = trackeval.datasets.YouTubeVIS(
        {
            "GT_FOLDER": f"{tmp_path}/gt/",
            "TRACKERS_FOLDER": f"{tmp_path}/trackers/",
            "SPLIT_TO_EVAL": "mine",
            "PRINT_CONFIG": False,
        }
    )
    quiet = {"PRINT_RESULTS": False, "PRINT_CONFIG": False, "TIME_PROGRESS": False, "DISPLAY_LESS_PROGRESS": True}
    evaluator = trackeval.Evaluator({**quiet, "OUTPUT_SUMMARY": False, "OUTPUT_DETAILED": False, "PLOT_CURVES": False})
    scores, _ = evaluator.evaluate([dataset], [trackeval.metrics.HOTA({"PRINT_CONFIG": False})])
    combined = scores["YouTubeVIS"]["ours"]["COMBINED_SEQ"]
    for category in ("cat", "dog", "object"):
        assert combined[category]["HOTA"]["HOTA"].min() == pytest.approx(1.0)
        assert combined[category]["HOTA"]["HOTA_TP"].min() > 0

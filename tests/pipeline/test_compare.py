"""`python -m pipeline.compare`: two outputs side by side, with a truth and without."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from pipeline.compare import _Alone, _lines, _notes, door
from pipeline.pages.comparison_page import ComparisonFigures, comparison_page
from pipeline.quality.comparing import Compared
from pipeline.quality.comparison import TRACKS, compare_video
from pipeline.quality.masks import ROWS, VideoMasks, by_video
from tests.support.masks import rle, write_output, write_table


def square(left: int, *, size: int = 12, num_frames: int = 6, hidden: tuple[int, ...] = ()) -> np.ndarray:
    masks = np.zeros((num_frames, 40, 50), bool)
    for frame in range(num_frames):
        if frame not in hidden:
            masks[frame, 10 : 10 + size, left + frame : left + frame + size] = True
    return masks


TRUE = {"one": {1: square(5), 2: square(30)}, "two": {1: square(10), 3: square(2)}}
A = {"one": {1: square(5), 2: square(29)}, "two": {1: square(16), 3: square(2)}, "first": {1: square(1)}}
B = {
    "one": {1: square(5), 2: square(29, hidden=(4,))},
    "two": {1: square(10), 3: square(2), 4: square(8, size=3)},
    "second": {1: square(1)},
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("compare")
    return write_output(folder / "a", A), write_output(folder / "b", B)


def compare(outputs: tuple[str, str], to: Path, *words: str) -> list[dict[str, Any]]:
    """Rows of tracks.parquet, in its order."""
    assert door([f"a={outputs[0]}", f"b={outputs[1]}", f"to={to}", "pictures=false", *words]) == 0
    rows: list[dict[str, Any]] = pq.read_table(to / "tracks.parquet").to_pylist()
    return rows


@pytest.mark.slow
def test_tracks_that_differ_come_first_with_the_frame_that_differs_most(
    outputs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = compare(outputs, tmp_path)
    found = {(row["video_id"], row["object_id"]): row for row in rows}
    assert [(row["video_id"], row["object_id"], row["difference"]) for row in rows] == [
        ("two", "4", "only_b"),
        ("two", "1", "masks"),
        ("one", "2", "masks"),
        ("one", "1", "same"),
        ("two", "3", "same"),
    ]
    codes = [rle(side["two"][1][0]) for side in (A, B)]
    iou = float(coco.iou([codes[0]], [codes[1]], [0])[0, 0])
    assert found["two", "1"]["iou_mean"] == pytest.approx(iou)
    hidden = found["one", "2"]
    assert (hidden["num_different"], hidden["iou_min"], hidden["worst_frame"]) == (1, 0.0, 4)
    assert (hidden["num_visible_a"], hidden["num_visible_b"]) == (6, 5)
    told = capsys.readouterr().out
    assert "5 tracks of 2 videos compared: 3 differ" in told
    assert "1 video with masks in a only: first" in told
    assert "1 video with masks in b only: second" in told
    assert "two object 4: in b only" in told


def test_with_a_truth_what_became_worse_comes_first(
    outputs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write_table(tmp_path / "truth.parquet", TRUE)
    rows = compare(outputs, tmp_path, f"truth={truth}")
    gains = {(row["video_id"], row["object_id"]): row["gain"] for row in rows}
    assert (rows[0]["video_id"], rows[0]["object_id"]) == ("one", "2")
    assert gains["one", "2"] < 0 < gains["two", "1"]
    assert gains["one", "1"] == gains["two", "3"] == 0
    assert gains["two", "4"] is None
    assert "1 better in b, 1 worse, 2 as good" in capsys.readouterr().out
    assert next(row for row in rows if row["object_id"] == "3")["j_and_f_a"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("match", ["id", "iou"])
def test_an_object_that_one_output_lost_is_worse_there_as_an_evaluation_counts_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], match: str
) -> None:
    """It was in no figure of the comparison: 0 better, 0 worse, and the same J&F on both sides."""
    late = square(30, hidden=(5,))
    a = write_output(tmp_path / "a", {"one": {1: square(5), 2: late, 9: square(20, size=2)}})
    b = write_output(tmp_path / "b", {"one": {1: square(5)}})
    truth = write_table(tmp_path / "truth.parquet", {"one": {1: square(5), 2: late}})
    for sides, key in (((a, b), "j_and_f_b"), ((b, a), "j_and_f_a")):
        rows = compare(sides, tmp_path / key, f"truth={truth}", f"match={match}")
        lost = next(row for row in rows if row["object_id"] == "2")
        assert lost[key] == pytest.approx(1 / 5), "frame 5 alone, on which it is hidden; frame 0 was prompted"
        assert lost["gain"] == pytest.approx(-0.8 if key == "j_and_f_b" else 0.8)
        assert next(row["gain"] for row in rows if row["object_id"] == "9") is None, "the truth has no such object"
    told = capsys.readouterr().out
    assert "0 better in b, 1 worse, 1 as good; J&F 100.0 in a, 60.0 in b" in told
    assert "one object 2: in a only, J&F 100.0 -> 20.0 (-80.0)" in told
    assert "1 better in b, 0 worse, 1 as good; J&F 60.0 in a, 100.0 in b" in told


@pytest.mark.slow
def test_both_sides_are_scored_on_the_frames_that_both_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A frame that b has not labeled, or that was given to it as a prompt, tells nothing of a against b."""
    broken = square(5)
    broken[1] = broken[2] = False
    a = write_output(tmp_path / "a", {"one": {1: broken}})
    b = write_output(tmp_path / "b", {"one": {1: square(5)}}, prompted=(0, 2), stride=2)
    truth = write_table(tmp_path / "truth.parquet", {"one": {1: square(5)}})
    (row,) = compare((a, b), tmp_path / "to", f"truth={truth}")
    assert (row["num_frames"], row["num_different"]) == (3, 1)
    told = capsys.readouterr().out
    assert "1 track of 1 video compared: 1 differs" in told
    assert "1 of 3 masks differs, mean IoU" in told
    assert (row["j_and_f_a"], row["j_and_f_b"], row["gain"]) == (1, 1, 0)


@pytest.mark.slow
def test_the_page_marks_the_prompts_of_both(tmp_path: Path) -> None:
    a = write_output(tmp_path / "a", {"one": {1: square(5)}}, prompted=(0,))
    b = write_output(tmp_path / "b", {"one": {1: square(6)}}, prompted=(2, 4))
    compare((a, b), tmp_path / "to")
    marks = re.findall(r'class="(prompt[ \w]*)" x1="([\d.]+)"', (tmp_path / "to/comparison.html").read_text())
    assert [(kind, float(x)) for kind, x in marks] == [("prompt", 0), ("prompt other", 240), ("prompt other", 480)]


def test_identical_outputs_say_so(outputs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = compare((outputs[0], outputs[0]), tmp_path)
    assert {row["difference"] for row in rows} == {"same"}
    assert "5 tracks of 3 videos compared: identical, every mask is the same" in capsys.readouterr().out


@pytest.mark.slow
def test_outputs_without_a_video_in_common_or_of_other_sizes_are_refused(
    outputs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_output(tmp_path / "other", {"elsewhere": {1: square(5)}})
    assert door([f"a={outputs[0]}", f"b={other}"]) == 2
    message = capsys.readouterr().err
    assert "no video has masks in both: a=" in message
    assert "has first, one, two, b=" in message
    small = write_output(tmp_path / "small", {"one": {1: square(5)[:, :30]}})
    assert door([f"a={outputs[0]}", f"b={small}", f"to={tmp_path / 'to'}"]) == 2
    assert "video 'one' has masks of 50 x 40 pixels in a=, and of 50 x 30 in b=" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()
    assert door([f"a={outputs[0]}"]) == 2
    assert "b= is missing: give the folder or URI of the second job" in capsys.readouterr().err


def test_frames_of_one_number_that_lie_at_other_times_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another part of the film was labeled, and `identical, every mask is the same` was all that was said."""
    masks = {"one": {1: square(5)}}
    a, late, near = (
        write_output(tmp_path / name, masks, first_seconds=at) for name, at in (("a", 0.0), ("late", 10.0), ("b", 0.03))
    )
    assert door([f"a={a}", f"b={late}", f"to={tmp_path / 'page'}", "pictures=false"]) == 0
    told = "6 frames at other times of the film in b than in a"
    assert told in capsys.readouterr().out
    assert told in (tmp_path / "page" / "comparison.html").read_text()
    assert door([f"a={a}", f"b={near}"]) == 0
    assert "other times" not in capsys.readouterr().out


def test_tracks_without_a_common_frame_are_not_called_the_same() -> None:
    def side(frames: list[int]) -> VideoMasks:
        rows = [
            {"video_id": "one", "object_id": "1", "frame_index": frame, "rle": rle(square(5)[0]), "is_prompt": False}
            for frame in frames
        ]
        (video,) = by_video(pa.Table.from_pylist(rows, ROWS), "a=")
        return video

    difference = compare_video(side([0, 1, 2]), side([3, 7]))
    found = Compared([pa.Table.from_pylist(difference.rows, TRACKS)], 1, difference.num_unpaired)
    tracks = found.tracks()
    notes = list(_notes(found, tracks))
    assert list(_lines(found, _Alone((), ()), tracks, notes)) == [
        "maskmill: 0 tracks of 1 video compared: there is nothing to compare",
        "left out 5 frames that one of the two has not labeled",
        "left out 1 track without a frame that both have labeled",
    ]
    page = comparison_page(ComparisonFigures("a", "b", None, tracks, [], [], notes))
    assert "1 track without a frame that both have labeled" in page

"""Recordings as Rerun's own reader reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.command import ExitCode
from pipeline.export import door
from tests.pipeline.formats.conftest import DrawnJob
from tests.support.drawn_job import FPS, HEIGHT, WIDTH
from tests.support.full_disk import FULL, full_disk

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(films: DrawnJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("rerun") / "x"
    assert door([f"output={films.uri}", "format=rerun", f"to={to}", "frames=jpg"]) == 0
    return to


def test_masks_of_a_recording_are_whole_and_merged(folder: Path, films: DrawnJob) -> None:
    seen = 0
    for line in (folder / "manifest_videos.jsonl").read_text().splitlines():
        video = json.loads(line)
        numbers = {one["number"]: one["object_id"] for one in video["objects"]}
        rows = _rows(folder / "train" / f"{video['name']}.rrd")
        merged = {row["frame_index"]: _labels(row) for row in rows["/video/masks"]}
        frames = {frame for video_id, _, frame in films.truth if video_id == video["video_id"]}
        assert merged.keys() == frames
        for number, object_id in numbers.items():
            own: dict[int, np.ndarray] = {}
            for row in rows.get(f"/video/objects/{number}", []):
                if row.get("SegmentationImage:buffer"):
                    own[row["frame_index"]] = _labels(row) == number
            for frame, labels in merged.items():
                mask = films.truth.get((video["video_id"], object_id, frame), np.zeros((HEIGHT, WIDTH), bool))
                np.testing.assert_array_equal(own.get(frame, labels == number), mask)
            seen += len(own)
    assert seen, "masks of the job overlap"


def test_boxes_times_names_and_pictures_are_there(folder: Path, films: DrawnJob) -> None:
    rows = _rows(folder / "train" / "clip-1.rrd")
    assert rows["/__properties"][0]["RecordingInfo:name"] == ["clip-1"]
    (context,) = rows["/video"]
    infos = [one["class_description"]["info"] for one in context["AnnotationContext:context"][0]]
    assert [(one["id"], one["label"]) for one in infos] == [(1, "dog 3"), (2, "cat 7")]
    assert [row["frame_index"] for row in rows["/video/frame"]] == list(range(6))
    assert bytes(rows["/video/frame"][0]["EncodedImage:blob"][0])[:2] == b"\xff\xd8"
    for row in rows["/video/boxes"]:
        frame = row["frame_index"]
        assert row["pts_seconds"].total_seconds() == pytest.approx(frame / FPS, abs=1e-6)
        found = {}
        places = zip(row["Boxes2D:class_ids"], row["Boxes2D:centers"], row["Boxes2D:half_sizes"], strict=True)
        for number, center, half in places:
            found[{1: 3, 2: 7}[number]] = [*np.subtract(center, half), *np.add(center, half)]
        for object_id in (3, 7):
            ys, xs = np.nonzero(films.truth.get(("clip-1", object_id, frame), np.zeros((1, 1))))
            assert (object_id in found) == bool(len(xs))
            if len(xs):
                assert found[object_id] == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_an_object_that_is_covered_no_more_is_cleared(folder: Path) -> None:
    """The viewer shows the last that was said, so that a mask would stay on later frames."""
    rows = _rows(folder / "train" / "clip-1.rrd")
    said = sorted(
        (row["frame_index"], bool(row.get("Clear:is_recursive")), number)
        for number in (1, 2)
        for row in rows.get(f"/video/objects/{number}", [])
    )
    state: dict[int, int] = {}
    for frame, is_clear, number in said:
        if is_clear:
            assert state.pop(number) < frame
        else:
            state[number] = frame
    assert all(frame == 5 for frame in state.values())


def test_a_full_disk_ends_the_export_with_one_line(
    films: DrawnJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rerun's own stream of a recording would wait forever."""
    with full_disk(room_bytes=2000):
        assert door([f"output={films.uri}", "format=rerun", f"to={tmp_path / 'x'}"]) == ExitCode.ENVIRONMENT
    said = capsys.readouterr().err
    assert FULL in said
    assert "Make room" in said
    assert not list(tmp_path.rglob("*.rrd"))


def test_what_the_writer_refuses_is_said_as_it_is(
    films: DrawnJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert door([f"output={films.uri}", "format=rerun", f"to={tmp_path / 'x'}", "overlap=refuse"]) == 2
    assert "video 'c': frame 1: the masks of objects 1 and 2 overlap on" in capsys.readouterr().err


def _rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    from rerun.chunk import RrdReader

    found: dict[str, list[dict[str, Any]]] = {}
    for chunk in RrdReader(path).stream():
        found.setdefault(chunk.entity_path, []).extend(chunk.to_record_batch().to_pylist())
    return {name: sorted(rows, key=lambda row: row.get("frame_index", 0)) for name, rows in found.items()}


def _labels(row: dict[str, Any]) -> np.ndarray:
    (image,) = row["SegmentationImage:format"]
    assert (image["width"], image["height"]) == (WIDTH, HEIGHT)
    data = bytes(row["SegmentationImage:buffer"][0])
    return np.frombuffer(data, {6: np.uint8, 8: np.uint16}[image["channel_datatype"]]).reshape(HEIGHT, WIDTH)

"""Programs that count frames from the start of a film find the masks of a labeled range on their own frames."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipeline.export import door
from pipeline.formats.labels import read_labels
from pipeline.video.frames import VideoFrames
from pipeline.video.media import open_media
from pipeline.video.selection import FrameSelection
from tests.support.drawn_job import DrawnVideo, write_job
from tests.support.media_files import encode, item, pictures

pytestmark = pytest.mark.slow

NUM_LABELED = 4
SLOWING = [*range(10), *range(10, 80, 5)]
FILMS = {
    "even.mp4": encode(pictures(24), rate=24),
    "late.ts": encode(pictures(24), rate=24, container="mpegts"),
    "slowing.mp4": encode(pictures(24), rate=24, times=SLOWING),
}


def times_of(film: Path, start_seconds: float | None) -> list[float]:
    """The times of the frames of a film from here on, as a job decodes it."""
    with (
        open_media(item(film), None) as media,
        VideoFrames(media, FrameSelection(start_seconds=start_seconds)) as frames,
    ):
        positions = [frames.position(label) for label in range(frames.length_up_to(30))]
    return [position.pts_seconds for position in positions if position.pts_seconds is not None]


def exported(folder: Path, film: Path, times: list[float], kept: float | None, format_name: str) -> list[int]:
    """The numbers of the frames of an export of a range of a film, from 0."""
    row = None if kept is None else {"start_seconds": kept}
    video = DrawnVideo("v", {2: "cat"}, NUM_LABELED, uri=str(film), times=tuple(times[:NUM_LABELED]), kept=row)
    uri, _ = write_job(folder, (video,), broken=())
    assert door([f"output={uri}", f"to={folder / 'to'}", f"format={format_name}"]) == 0
    if format_name == "fiftyone":
        return sorted(int(one) - 1 for one in json.loads((folder / "to/train/labels/v.json").read_text())["frames"])
    document = ElementTree.parse(folder / "to/train/v/annotations.xml")
    assert document.getroot().findtext("meta/task/start_frame") == str(min(_frames(document), default=0))
    back = [label.frame_index for label in read_labels(str(folder / "to"), "auto") if not label.is_hidden]
    assert back == list(range(NUM_LABELED))
    return _frames(document)


def _frames(document: ElementTree.ElementTree) -> list[int]:
    return [int(one.get("frame", "")) for one in document.iter("polygon")]


@pytest.mark.parametrize("format_name", ["cvat_video", "fiftyone"])
@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("name", FILMS)
def test_a_range_lies_where_its_frames_are_in_the_film(
    tmp_path: Path, name: str, is_kept: bool, format_name: str
) -> None:
    film = tmp_path / name
    film.write_bytes(FILMS[name])
    every = times_of(film, None)
    start = every[14]
    times = times_of(film, start)
    first = every.index(times[0])
    found = exported(tmp_path, film, times, start if is_kept else None, format_name)
    assert (first, found) == (14, list(range(14, 14 + NUM_LABELED)))


@pytest.mark.parametrize("format_name", ["cvat_video", "fiftyone"])
def test_a_whole_film_that_begins_late_has_no_frames_before(tmp_path: Path, format_name: str) -> None:
    film = tmp_path / "late.ts"
    film.write_bytes(FILMS["late.ts"])
    times = [2 + time for time in times_of(film, None)]
    assert exported(tmp_path, tmp_path / "gone.ts", times, None, format_name) == list(range(NUM_LABELED))
    lost = json.loads((tmp_path / "to/manifest.json").read_text())["lost"]
    assert lost["range"]["masks"] == 1, "nothing tells whether it is a range"
    (tmp_path / "whole").mkdir()
    assert exported(tmp_path / "whole", film, times_of(film, None), None, format_name) == list(range(NUM_LABELED))

"""Frames whose times Label Studio rounds to one number are one frame there, and nobody has changed the other one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.export import door as export_door
from pipeline.formats.handing_out import ForReview, Look, VideoReview
from pipeline.formats.plan import PlannedTrack, PlannedVideo
from pipeline.reviews.handouts import read_handout, write_handout
from pipeline.storage.job_storage import JobStorage
from tests.pipeline.elsewhere.conftest import Out
from tests.support.drawn_job import FPS, DrawnVideo, write_job
from tests.support.label_studio_task import Project

VARIABLE = (0.0, 1.0, 2.0, 2.3, 4.0, 4.3)
"""In frames: 2 and 3 have one number, and so have 4, where object 3 is hidden, and 5, where it shows."""

HALF = (0.5, 1.5, 2.5, 3.5, 4.5, 5.5)
"""Each frame has a number of its own, for the rate is constant."""


@pytest.mark.parametrize(
    ("times", "numbers"), [(VARIABLE, {0: 1, 1: 2, 2: 3, 4: 5}), (HALF, {0: 2, 1: 3, 2: 4, 3: 5, 4: 6, 5: 7})]
)
def test_a_task_that_nobody_changed_accepts_its_tracks(
    tmp_path: Path, times: tuple[float, ...], numbers: dict[int, int]
) -> None:
    video = DrawnVideo("clip", {3: "dog", 7: "cat"}, times=tuple(one / FPS for one in times))
    uri, truth = write_job(tmp_path, (video,), broken=())
    assert not truth["clip", 3, 4].any()
    assert truth["clip", 3, 5].any()
    folder = tmp_path / "out"
    assert export_door([f"output={uri}", "format=label_studio", f"to={folder}", "review=true"]) == 0
    project, out = Project.of(folder / "train.json"), Out(tmp_path, truth)
    one = project.annotate("clip")
    shown = [number for frame, number in numbers.items() if truth["clip", 3, frame].any()]
    assert [item["frame"] for item in one.region(3)["value"]["sequence"]] == shown
    assert out.take_in(project.export(tmp_path / "export.json"), "label_studio", "boxes=skip") == 0
    assert not out.corrections()
    assert out.said() == {("clip", 3): "accept", ("clip", 7): "accept"}


def test_of_frames_of_one_number_in_a_handout_of_an_earlier_commit_the_first_counts(tmp_path: Path) -> None:
    storage = JobStorage(str(tmp_path / "job"))
    common = {"video_id": "clip", "name": "clip", "height": 4, "width": 4}
    rows = [{**common, "frame_index": frame, "tool_frame": number} for frame, number in ((0, 1), (1, 2), (2, 2))]
    write_handout(storage, "h", {"format": "label_studio", "is_whole": True}, rows)
    assert read_handout(storage, "h").videos["clip"].frames == {1: 0, 2: 1}


def test_the_frame_to_look_at_is_told_by_the_number_that_the_program_shows() -> None:
    track = PlannedTrack(1, 1, 3, "dog", 1, {})
    video = PlannedVideo(1, "clip", "clip", "train", {"finished_at": None, "uri": None}, (track,), 1, 1)
    review = VideoReview("h", ForReview({("clip", 3): Look(0.9, (), 5)}), video, (4, 4))
    review.note_frames([0, 2, 4], [1, 3, 9])  # 5 has the number of 4
    assert dict(review.attributes(track))["look_at"] == "9"

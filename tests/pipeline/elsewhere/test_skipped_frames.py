"""A task of a frame that somebody skipped in Label Studio speaks of what is on that frame."""

from __future__ import annotations

from pathlib import Path

from pipeline.export import door as export_door
from tests.pipeline.elsewhere.conftest import Out
from tests.support.drawn_job import DrawnVideo, write_job
from tests.support.label_studio_task import Project


def test_a_skipped_frame_skips_the_tracks_that_it_shows_and_no_others(tmp_path: Path) -> None:
    """Object 3 is not shown on frame 1, and has no row there; object 7 is."""
    uri, truth = write_job(tmp_path, (DrawnVideo("clip", {3: "dog", 7: "cat"}, missing={3: (1,)}),), broken=())
    assert ("clip", 3, 1) not in truth
    assert truth["clip", 7, 1].any()
    folder = tmp_path / "out"
    said = [f"output={uri}", "format=label_studio", "variant=images", f"to={folder}", "review=true"]
    assert export_door(said) == 0
    project, out = Project.of(folder / "train.json"), Out(tmp_path, truth)
    project.annotate("clip", 1, was_cancelled=True)
    assert out.take_in(project.export(tmp_path / "export.json"), "label_studio") == 0
    assert out.said() == {("clip", 7): "skip"}
    assert not out.corrections()

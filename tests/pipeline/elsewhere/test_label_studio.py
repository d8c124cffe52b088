"""Boxes that people changed in Label Studio, as its export has them, become reviews of the job."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from pipeline.export import door as export_door
from tests.pipeline.elsewhere.conftest import Out
from tests.support.clips import moving_clip
from tests.support.label_studio_task import Project
from tests.support.mendable import write_mendable_job

pytestmark = pytest.mark.slow

CLIP, ODD = "clip-1", "b/odd name.mp4"


@pytest.fixture
def project(out: Out) -> Project:
    return Project.of(out.folder / "label_studio/train.json")


def take(out: Out, project: Project, *words: str, reviewer: str = "") -> int:
    return out.take_in(project.export(out.folder / "export.json"), "label_studio", *words, reviewer=reviewer)


def test_a_submitted_annotation_accepts_what_was_not_changed(out: Out, project: Project) -> None:
    project.annotate(CLIP, who={"id": 3, "email": "ann@example.com"})
    assert take(out, project) == 0
    assert not out.corrections()
    assert out.said() == {(CLIP, 3): "accept", (CLIP, 7): "accept"}, "the other task has no annotation"
    rows = out.verdicts()
    assert {row["reviewer"] for row in rows} == {"ann@example.com"}
    assert {row["reviewed_at"].isoformat() for row in rows} == {"2025-02-03T04:05:06.789000+00:00"}
    assert sum(row["seconds"] for row in rows) == pytest.approx(42.5)
    before = out.files()
    assert take(out, project) == 0
    assert out.files() == before


def test_a_box_that_does_not_show_any_more_is_hidden(out: Out, project: Project) -> None:
    one = project.annotate(CLIP)
    before = one.shown(3)
    one.item(3, 1)["enabled"] = False
    one.region(3)["value"]["sequence"].remove(one.item(3, 2))
    gone = before - one.shown(3)
    assert gone == {2}, "so says Label Studio's SDK"
    assert take(out, project) == 0
    rows = out.corrections()
    assert {(row["object_id"], row["frame_index"], row["kind"]) for row in rows} == {(3, 2, "hidden")}
    assert out.said() == {(CLIP, 3): "fix", (CLIP, 7): "accept"}


def test_a_key_frame_that_was_removed_says_nothing(out: Out, project: Project) -> None:
    one = project.annotate(CLIP)
    one.region(3)["value"]["sequence"].remove(one.item(3, 1))
    assert 1 in one.shown(3)
    assert take(out, project) == 0
    assert not out.corrections()


def test_fields_of_regions_labels_and_deleted_regions_are_verdicts(out: Out, project: Project) -> None:
    one = project.annotate(CLIP)
    one.choose(3, "skip", "who is this?")
    one.region(3)["value"]["labels"] = ["cat"]
    one.result.remove(one.region(7))
    assert take(out, project, reviewer="ann") == 0
    rows = {row["object_id"]: row for row in out.verdicts()}
    assert (rows[3]["verdict"], rows[3]["comment"], rows[3]["category"]) == ("skip", "who is this?", "cat")
    assert (rows[7]["verdict"], rows[7]["reviewer"]) == ("reject", "ann")


def test_several_people_review_one_task_and_a_skipped_one_skips(out: Out, project: Project) -> None:
    project.annotate(CLIP, who=1, at="2025-02-03T04:00:00Z").choose(3, "reject")
    project.annotate(CLIP, who=2, at="2025-02-03T05:00:00Z").choose(3, "accept")
    project.annotate(ODD, who=2, was_cancelled=True)
    assert take(out, project) == 0
    said = {(row["reviewer"], row["video_id"], row["object_id"]): row["verdict"] for row in out.verdicts()}
    assert said == {
        ("1", CLIP, 3): "reject",
        ("1", CLIP, 7): "accept",
        ("2", CLIP, 3): "accept",
        ("2", CLIP, 7): "accept",
        ("2", ODD, 0): "skip",
    }
    before = out.files()
    assert take(out, project) == 0
    assert out.files() == before


def test_boxes_are_left_out_where_asked_and_refused_where_no_network_makes_masks(
    out: Out, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    one = project.annotate(CLIP)
    one.item(3, 2)["width"] += 10
    assert take(out, project, "boxes=skip") == 0
    assert "1 boxes, as boxes=skip says" in capsys.readouterr().out
    assert not out.corrections()
    assert take(out, project) == 2  # the drawn job has no record of its weights
    told = " ".join(capsys.readouterr().err.split())
    assert re.search("the box of object 3 on frame 2 of video 'clip-1' cannot become a mask: .*boxes=skip", told)


def test_what_is_no_export_of_ours_is_refused(out: Out, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    one = project.annotate(CLIP)
    one.item(3, 2)["rotation"] = 12
    assert take(out, project) == 2
    assert "region object_3, frame 3: the box is turned" in capsys.readouterr().err
    one.item(3, 2)["rotation"] = 0
    one.region(3)["id"] = "object_4"
    assert take(out, project) == 2
    assert "object 4 of video 'clip-1' did not go out, but 3, 7" in capsys.readouterr().err
    for task in project.tasks:
        del task["data"]["handout"]
    assert take(out, project) == 2
    assert "its data do not say from which export it comes" in capsys.readouterr().err
    assert not out.verdicts()


def test_a_box_becomes_the_mask_that_the_jobs_network_makes_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = moving_clip("clip", num_frames=4)
    job = write_mendable_job(tmp_path, clip)
    folder = tmp_path / "ls"
    assert export_door([f"output={job.uri}", "format=label_studio", f"to={folder}", "review=true"]) == 0
    project, out = Project.of(folder / "train.json"), Out(tmp_path, {})
    one = project.annotate("clip")
    object_id, frame = clip.object_ids[0], 2
    truth = clip.mask(object_id, frame)
    height, width = truth.shape
    ys, xs = np.nonzero(truth)
    x, y, right, bottom = int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1
    # One pixel wider than the object: another box than that of the job's mask, if that is right.
    sides = {"x": x - 1, "y": y, "width": right - x + 2, "height": bottom - y}
    one.item(object_id, frame).update(
        {name: 100 * value / (width if name in ("x", "width") else height) for name, value in sides.items()}
    )
    assert take(out, project) == 0
    (row,) = out.corrections()
    assert (row["object_id"], row["frame_index"], row["kind"]) == (object_id, frame, "mask")
    np.testing.assert_allclose(row["box_xyxy"], [x - 1, y, right + 1, bottom], atol=0.01)
    mask = coco.decode(row["mask_rle"]).astype(bool)
    assert (mask & truth).sum() / (mask | truth).sum() > 0.8
    before = out.files()
    assert take(out, project) == 0
    assert out.files() == before, "the box stands for its mask"
    assert "nothing new" in capsys.readouterr().out

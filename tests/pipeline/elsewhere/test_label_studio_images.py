"""Masks that people painted in Label Studio on frames, as its export has them, become reviews of the job."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from pycocotools import mask as coco

from pipeline.export import door as export_door
from tests.pipeline.elsewhere.conftest import Out
from tests.support.drawn_job import HEIGHT, WIDTH
from tests.support.label_studio_task import Project

pytestmark = pytest.mark.slow

CLIP = "clip-1"


@pytest.fixture
def project(out: Out) -> Project:
    said = [f"output={out.uri}", "format=label_studio", "variant=images", f"to={out.folder / 'brush'}", "review=true"]
    assert export_door([*said, "image_prefix=/data/local-files/?d=x/", f"videos=[{CLIP}]"]) == 0
    return Project.of(out.folder / "brush/train.json")


def take(out: Out, project: Project, *words: str) -> int:
    return out.take_in(project.export(out.folder / "export.json"), "label_studio", *words)


def test_brush_masks_are_the_very_masks(out: Out, project: Project) -> None:
    """Label Studio's own SDK decodes them."""
    found = {}
    for task in project.tasks:
        frame = task["data"]["frame"]
        assert task["data"]["image"] == f"/data/local-files/?d=x/images/{CLIP}/{frame:05d}.jpg"
        for region in task["predictions"][0]["result"]:
            values = decode_rle(region["value"]["rle"]).reshape(HEIGHT, WIDTH, 4)
            found[CLIP, int(region["id"].removeprefix("object_")), frame] = values[:, :, 3] > 0
    expected = {key: mask for key, mask in out.truth.items() if key[0] == CLIP and mask.any()}
    assert found.keys() == expected.keys()
    for key, mask in expected.items():
        np.testing.assert_array_equal(found[key], mask)


def test_only_painted_and_deleted_masks_are_corrections(out: Out, project: Project) -> None:
    painted = out.truth[CLIP, 3, 2] | out.truth[CLIP, 7, 2]
    for frame in range(4):
        one = project.annotate(CLIP, frame)
        if frame == 2:
            one.paint(3, painted)
        if frame == 3:
            one.result.remove(one.mask(7))
    blurred = project.annotations[CLIP, 1][0].mask(3)
    blurred["value"]["rle"] = project.annotations[CLIP, 2][0].mask(3)["value"]["rle"]
    assert blurred["origin"] == "prediction", "nobody touched it, whatever Label Studio wrote"
    assert take(out, project) == 0
    rows = {(row["object_id"], row["frame_index"]): row for row in out.corrections()}
    assert {key: row["kind"] for key, row in rows.items()} == {(3, 2): "mask", (7, 3): "hidden"}
    np.testing.assert_array_equal(coco.decode(rows[3, 2]["mask_rle"]).astype(bool), painted)
    before = out.files()
    assert take(out, project) == 0
    assert out.files() == before


def test_tracks_are_accepted_when_all_their_frames_were_submitted(out: Out, project: Project) -> None:
    frames = [task["data"]["frame"] for task in project.tasks]
    for frame in frames[:-1]:
        project.annotate(CLIP, frame)
    assert take(out, project) == 0
    assert not out.verdicts()
    project.annotate(CLIP, frames[-1])
    assert take(out, project) == 0
    assert out.said() == {(CLIP, 3): "accept", (CLIP, 7): "accept"}
    before = out.files()
    project.tasks = project.tasks[:2]
    for task in project.tasks:
        project.annotate(CLIP, task["data"]["frame"])
    assert take(out, project) == 0
    assert out.files() == before, "a file of two frames takes nothing back"


def test_a_new_mask_is_an_object_and_a_code_that_is_none_is_refused(
    out: Out, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    one = project.annotate(CLIP, 1)
    new = {**one.mask(3), "id": "Dx_aB91ISN", "origin": "manual"}
    one.result.append(new)
    assert take(out, project) == 0
    (row,) = out.corrections()
    assert (row["object_id"], row["frame_index"], row["category"]) == (8, 1, "dog")
    new["value"] = {**new["value"], "rle": new["value"]["rle"][:9]}
    assert take(out, project) == 2
    assert "region Dx_aB91ISN" in capsys.readouterr().err
    new["original_width"] = 2 * WIDTH
    assert take(out, project) == 2
    assert f"its picture has [{HEIGHT}, {2 * WIDTH}] pixels" in " ".join(capsys.readouterr().err.split())


def test_frames_around_those_to_look_at_go_out(out: Out, tmp_path: Path) -> None:
    said = [f"output={out.uri}", "format=label_studio", f"to={tmp_path / 'x'}", "review=true", f"videos=[{CLIP}]"]
    assert export_door([*said, "variant=images", "around=0"]) == 0
    frames = {task["data"]["frame"] for task in Project.of(tmp_path / "x/train.json").tasks}
    assert len(frames) <= 2, "one frame a track"
    assert export_door([*said, "around=0", "overwrite=true"]) == 2, "a video is looked at as a whole"

"""Tracks that people split in CVAT: the later part is an object of its own, and the earlier one ends there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from pipeline.export import door as export_door
from pipeline.reviews.corrections import write_corrections
from tests.pipeline.elsewhere.conftest import Out
from tests.support.cvat_task import CvatTask
from tests.support.drawn_job import DrawnVideo, write_job

CLIP = "clip-1"


class Split:
    """A task of a video whose object 3 is split at frame 2."""

    def __init__(self, out: Out) -> None:
        folder = out.folder / "cvat_video"
        self.out = out
        self.task = CvatTask.of(folder / "labels.json", folder / f"train/{CLIP}/annotations.xml")
        self.first = self.task.of_object(3)
        self.later = self.task.split(self.first, 2)

    def take(self, *words: str) -> int:
        return self.out.take_in(self.task.export(self.out.folder / "back.xml"), "cvat_video", *words)

    def rows(self) -> list[tuple[int, int, str, int | None]]:
        rows = self.out.corrections()
        return [(row["object_id"], row["frame_index"], row["kind"], row["split_from"]) for row in rows]


@pytest.fixture
def split(out: Out) -> Split:
    return Split(out)


@pytest.mark.slow
def test_the_earlier_part_is_rejected_and_the_later_one_is_an_object_all_the_same(split: Split) -> None:
    split.first.attributes["verdict"] = "reject"
    assert split.take() == 0
    assert split.out.said() == {(CLIP, 3): "reject"}
    assert split.rows() == [(8, 2, "mask", 3)], "what is rejected needs no correction"


def test_a_track_of_which_both_parts_are_rejected_is_rejected(split: Split) -> None:
    for part in (split.first, split.later):
        part.attributes["verdict"] = "reject"
    assert split.take() == 0
    assert split.out.said() == {(CLIP, 3): "reject"}
    assert not split.rows()


def test_a_verdict_on_the_later_part_alone_is_told_as_left_out(
    split: Split, capsys: pytest.CaptureFixture[str]
) -> None:
    split.later.attributes["verdict"] = "reject"
    assert split.take() == 0
    assert split.rows() == [(3, 2, "hidden", None), (8, 2, "mask", 3)]
    assert "1 verdicts on the later part of a split track" in capsys.readouterr().out


def test_the_old_object_is_hidden_where_a_later_prompt_would_show_it_again(split: Split) -> None:
    """Bob's mask says on frame 3 where object 3 is, and the run would go on with it from there."""
    mask = coco.encode(np.asfortranarray(split.out.truth[CLIP, 3, 3], np.uint8))
    rle = {"size": list(mask["size"]), "counts": mask["counts"].decode()}
    bob = {"video_id": CLIP, "object_id": 3, "frame_index": 3, "kind": "mask", "mask_rle": rle, "reviewer": "bob"}
    write_corrections(split.out.storage, [bob | {"reviewed_at": datetime(2025, 1, 1, tzinfo=UTC)}])
    assert split.take() == 0
    now = [(3, 2, "hidden", None), (3, 3, "hidden", None), (8, 2, "mask", 3)]
    assert split.rows()[1:] == now, "frame 5 has no prompt"
    assert split.take() == 0
    assert split.rows()[1:] == now


@pytest.mark.slow
def test_where_only_the_later_part_has_a_prompt_the_earlier_one_gets_its_own_mask(tmp_path: Path) -> None:
    """The job has found object 3 from frame 3 backward: without a mask before the split no run could follow it."""
    uri, truth = write_job(tmp_path, (DrawnVideo(CLIP, {7: "cat", 3: "dog"}, prompt_frame=3),), broken=())
    said = [f"output={uri}", "format=cvat_video", f"to={tmp_path / 'cvat_video'}", "review=true"]
    assert export_door(said) == 0
    split = Split(Out(tmp_path, truth))
    assert split.take() == 0
    rows = [(3, 1, "mask", None), (3, 2, "hidden", None), (3, 3, "hidden", None), (8, 2, "mask", 3)]
    assert split.rows() == rows
    first = split.out.corrections()[0]
    np.testing.assert_array_equal(coco.decode(first["mask_rle"]).astype(bool), truth[CLIP, 3, 1])
    assert split.take() == 0
    assert split.rows() == rows, "taken in twice it says the same"


def test_an_object_that_was_split_off_ends_where_a_third_one_begins(split: Split) -> None:
    split.task.split(split.later, 3)
    assert split.take() == 0
    assert split.rows() == [
        (3, 2, "hidden", None),
        (3, 3, "hidden", None),
        (8, 2, "mask", 3),
        (8, 3, "hidden", 3),
        (9, 3, "mask", 3),
    ]

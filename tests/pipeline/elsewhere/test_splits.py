"""Tracks that people split in CVAT: the later part is an object of its own, and the earlier one ends there."""

from __future__ import annotations

import pytest

from tests.pipeline.elsewhere.conftest import Out
from tests.support.cvat_task import CvatTask

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

"""Corrections: the newest of an object on a frame counts, and nothing of two reviewers is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from pipeline.reviews.corrections import read_correction_files, read_corrections, write_corrections
from pipeline.reviews.verdicts import write_verdicts
from pipeline.storage.job_storage import JobStorage, Stored

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
AT_NOON = {"reviewed_at": NOON}


def drawn(width: int) -> dict[str, Any]:
    mask_HW = np.zeros((6, 8), np.uint8, order="F")
    mask_HW[:, :width] = 1
    rle = coco.encode(mask_HW)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def row(kind: str = "mask", minute: int = 0, frame_index: int = 3, object_id: int = 1, **more: Any) -> dict[str, Any]:
    at = NOON + timedelta(minutes=minute)
    given: dict[str, Any] = {"video_id": "a", "object_id": object_id, "frame_index": frame_index, "kind": kind}
    if kind == "mask":
        given["mask_rle"] = drawn(2)
    return given | {"reviewer": "ann", "reviewed_at": at} | more


def test_the_newest_correction_of_an_object_on_a_frame_counts(storage: JobStorage) -> None:
    write_corrections(storage, [row(minute=2, mask_rle=drawn(5), reviewer="bob"), row("hidden", frame_index=1)])
    write_corrections(storage, [row(minute=1), row(object_id=2, category="cat", split_from=1), row(video_id="b")])
    found = read_corrections(storage)
    assert set(found) == {"a", "b"}
    assert [(each.object_id, each.frame_index, each.reviewer) for each in found["a"]] == [
        (1, 1, "ann"),
        (1, 3, "bob"),
        (2, 3, "ann"),
    ]
    assert found["a"][0].rle is None
    assert found["a"][1].rle == drawn(5)
    assert (found["a"][2].category, found["a"][2].split_from) == ("cat", 1)


def test_a_correction_that_is_withdrawn_is_none_until_the_frame_is_corrected_again(storage: JobStorage) -> None:
    write_corrections(storage, [row(minute=1), row("hidden", minute=1, frame_index=9)])
    write_corrections(storage, [row("withdraw", minute=2)])
    assert [each.frame_index for each in read_corrections(storage)["a"]] == [9]
    write_corrections(storage, [row(minute=3)])
    assert [each.frame_index for each in read_corrections(storage)["a"]] == [3, 9]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("moved"), "kind='moved': there are "),
        (row(frame_index=-1), "frame_index=-1: frames are counted from 0"),
        (row(frame_index="one"), "corrections: frame_index is int32: "),
        (row(mask_rle=None), "needs a mask_rle"),
        (row("hidden", mask_rle=drawn(1)), "has no mask_rle"),
        (row(reviewer=None), "reviewer"),
    ],
)
def test_a_correction_that_says_nonsense_is_refused(bad: dict[str, Any], message: str, storage: JobStorage) -> None:
    with pytest.raises(ValueError, match=message):
        write_corrections(storage, [row(object_id=5), bad])
    assert read_corrections(storage) == {}


def test_who_looks_for_corrections_again_and_again_has_no_verdicts_listed(
    storage: JobStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that saves a mask asks for them each time, and beside 20 corrections may lie 100 000 verdicts."""
    path = write_corrections(storage, [row()])
    write_verdicts(storage, [{"video_id": "a", "object_id": 1, "verdict": "accept", "reviewer": "ann"} | AT_NOON])
    listed: list[str] = []
    listing = storage.listing

    def noted(folder: str, stem: str = "") -> list[Stored]:
        found = listing(folder, stem)
        listed.extend(one.path for one in found)
        return found

    monkeypatch.setattr(storage, "listing", noted)
    assert [one for one, _ in read_correction_files(storage)] == [path]
    assert listed == [path]

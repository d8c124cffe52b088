"""What was accepted becomes rows below `reviews/`: the mask that was seen, and how it came about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipeline.errors import CannotMend
from pipeline.mending.correction import Correction, rle_of
from pipeline.reviews.corrections import Kind, read_corrections, write_corrections
from pipeline.reviews.verdicts import Verdict, write_verdicts
from pipeline.storage.job_storage import JobStorage


@dataclass(frozen=True)
class SavedBy:
    """Who saves, what the labels were that they saw (`finished_at` of the video), and how long it took them.

    `category` is what the object is, where it is added or said anew. `comment` and `is_audit` are the verdict's: the
    second says that the queue had drawn the track by lot. `at` is when it is saved. By `said_id` a page sends it once
    more where it has heard no answer.
    """

    reviewer: str
    labeled_at: datetime | None = None
    seconds: float | None = None
    category: str | None = None
    comment: str | None = None
    is_audit: bool | None = None
    said_id: str | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


def save_correction(
    storage: JobStorage,
    correction: Correction,
    by: SavedBy,
    split_into: int | None = None,
    say: Callable[[Mapping[str, Any]], object] | None = None,
) -> str:
    """Write the mask of a correction, and the verdict `fix` on its track; returns the path of the correction's file.

    `say` writes the row of the verdict, in the place of `write_verdicts`. An object that was added has no track to
    speak of.

    With `split_into`, an id that nobody else has, the track ends before this frame: the old object is hidden here, and
    the new one goes on from the mask. Raises `CannotMend` if there is nothing to save, or nothing that the next run
    could follow, and `StorageError` if the store does not take it.
    """
    rle = _checked_rle(storage, correction, split_into)
    rows = _rows(correction, rle, by, split_into)
    path = write_corrections(storage, rows)
    verdict = note_saved(correction, by, split_into)
    if verdict is not None:
        if say is None:
            write_verdicts(storage, [verdict])
        else:
            say(verdict)
    return path


def note_saved(correction: Correction, by: SavedBy, split_into: int | None) -> dict[str, Any] | None:
    """Tell a correction that its mask is saved, and return the row of the verdict that goes with it.

    None for an object that was added, because it has no track to speak of.
    """
    correction.note_saved()
    if split_into is not None:
        correction.split_into = split_into, correction.seen
    if not correction.is_of_a_track:
        return None
    return _common(correction, by) | {
        "object_id": correction.object_id,
        "verdict": Verdict.FIX.value,
        "category": by.category if split_into is None else None,
        "comment": by.comment,
        "is_audit": by.is_audit,
    }


def _checked_rle(storage: JobStorage, correction: Correction, split_into: int | None) -> dict[str, Any] | None:
    """The mask to save, None for one that is hidden. Raises `CannotMend` for what must not be saved."""
    seen = correction.seen
    rle = rle_of(seen)
    if rle is None and not seen.is_hidden:
        raise CannotMend("this object has no mask yet: there is nothing to save")
    if rle is None and split_into is not None:
        raise CannotMend("a track is split at a frame on which the object is seen")
    if split_into is not None and not correction.is_of_a_track:
        raise CannotMend("a new object has no track to split")
    _check_is_new(correction)
    if (rle is None or split_into is not None) and not _is_elsewhere(storage, correction):
        raise CannotMend(_only_here(correction, is_split=split_into is not None))
    return rle


def _common(correction: Correction, by: SavedBy) -> dict[str, Any]:
    return {
        "video_id": correction.video_id,
        "frame_index": correction.frame_index,
        "reviewer": by.reviewer,
        "reviewed_at": by.at,
        "labeled_at": by.labeled_at,
        "seconds": by.seconds,
        "said_id": by.said_id,
    }


def _rows(
    correction: Correction, rle: Mapping[str, Any] | None, by: SavedBy, split_into: int | None
) -> list[dict[str, Any]]:
    said, common = correction.said, _common(correction, by)
    mask = common | {
        "object_id": correction.object_id if split_into is None else split_into,
        "kind": (Kind.HIDDEN if rle is None else Kind.MASK).value,
        "mask_rle": rle,
        "points_xy": [list(point) for point in said.points_xy] or None,
        "point_labels": list(said.labels) or None,
        "box_xyxy": None if said.box_xyxy is None else list(said.box_xyxy),
        "category": by.category,
    }
    if split_into is None:
        return [mask]
    hidden = common | {"object_id": correction.object_id, "kind": Kind.HIDDEN.value, "mask_rle": None}
    return [hidden, mask | {"split_from": correction.object_id}]


def _check_is_new(correction: Correction) -> None:
    """Two objects never have the same mask because a key was pressed once more after a split."""
    if correction.split_into is None:
        return
    object_id, seen = correction.split_into
    if seen == correction.seen:
        raise CannotMend(f"nothing to save: the track is split on this frame, and object {object_id} has this mask")


def _is_elsewhere(storage: JobStorage, correction: Correction) -> bool:
    """Whether another frame says where the object is: where it is hidden on all, a run refuses it."""
    object_id, here = correction.object_id, correction.frame_index
    rows = [one for one in read_corrections(storage).get(correction.video_id, ()) if one.object_id == object_id]
    prompted = set(correction.prompted_frames) - {one.frame_index for one in rows}
    prompted |= {one.frame_index for one in rows if one.rle is not None}
    if not prompted and not correction.is_of_a_track:
        raise CannotMend("a new object needs a mask on this frame")
    return bool(prompted - {here})


def _only_here(correction: Correction, *, is_split: bool) -> str:
    """Why an object may not be hidden on this frame, and what to do."""
    only = f"only this frame says where object {correction.object_id} is"
    if is_split:
        return (
            f"{only}, and a split gives its mask to another object, so that no run could follow object "
            f"{correction.object_id} any more: split on the first frame that shows the other object, or give object "
            f"{correction.object_id} a mask on another frame first"
        )
    return f"{only}, and no run could follow it without: give it a mask on another frame first" + (
        ", or reject the track" if correction.is_of_a_track else ", or take back what was saved of it (ctrl z)"
    )

"""What was accepted becomes rows below `reviews/`: the mask that was seen, and how it came about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.errors import CannotMend
from pipeline.mending.correction import Correction, rle_of
from pipeline.reviews.corrections import Kind, write_corrections
from pipeline.reviews.verdicts import Verdict, write_verdicts
from pipeline.storage.job_storage import JobStorage


@dataclass(frozen=True)
class SavedBy:
    """Who saves, what the labels were that they saw (`finished_at` of the video), and how long it took them.

    `category` is what the object is, where it is added or said anew.
    """

    reviewer: str
    labeled_at: datetime | None = None
    seconds: float | None = None
    category: str | None = None


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
    the new one goes on from the mask. Raises `CannotMend` if there is nothing to save, and `StorageError` if the store
    does not take it.
    """
    seen, said, now = correction.seen, correction.said, datetime.now(UTC)
    rle = rle_of(seen)
    if rle is None and not seen.is_hidden:
        raise CannotMend("this object has no mask yet: there is nothing to save")
    if rle is None and split_into is not None:
        raise CannotMend("a track is split at a frame on which the object is seen")
    common: dict[str, Any] = {
        "video_id": correction.video_id,
        "frame_index": correction.frame_index,
        "reviewer": by.reviewer,
        "reviewed_at": now,
        "labeled_at": by.labeled_at,
        "seconds": by.seconds,
    }
    mask = common | {
        "object_id": correction.object_id if split_into is None else split_into,
        "kind": (Kind.HIDDEN if rle is None else Kind.MASK).value,
        "mask_rle": rle,
        "points_xy": [list(point) for point in said.points_xy] or None,
        "point_labels": list(said.labels) or None,
        "box_xyxy": None if said.box_xyxy is None else list(said.box_xyxy),
        "category": by.category,
    }
    rows = [mask]
    if split_into is not None:
        mask["split_from"] = correction.object_id
        hidden = common | {"object_id": correction.object_id, "kind": Kind.HIDDEN.value, "mask_rle": None}
        rows = [hidden, mask]
    path = write_corrections(storage, rows)
    if correction.is_of_a_track:
        verdict = common | {
            "object_id": correction.object_id,
            "verdict": Verdict.FIX.value,
            "category": by.category if split_into is None else None,
        }
        if say is None:
            write_verdicts(storage, [verdict])
        else:
            say(verdict)
    return path

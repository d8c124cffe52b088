"""Objects that the job could not label, or that it has something to say of, and the way to take their corrections back.

An object without masks has no track in the list. What broke it is often a correction, so that whoever reviews must see
it here, and be able to withdraw what was corrected. The next run labels the object without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from starlette.requests import Request
from starlette.responses import Response

from pipeline.errors import InputError, StorageError
from pipeline.review_server.answers import ReviewError, answer
from pipeline.review_server.saying import Speaker, key_of
from pipeline.review_server.state import ReviewState
from pipeline.reviews.corrections import Correction, Kind, read_corrections, write_corrections
from pipeline.reviews.times import after

_MOST_ROWS = 500


class Broken:
    """Endpoints, which run in a thread of a pool."""

    def __init__(self, state: ReviewState, speaker: Speaker) -> None:
        self._state = state
        self._speaker = speaker

    def page(self, request: Request) -> Response:
        """The first 500 objects of `Snapshot.broken`, each with the frames on which it is corrected now.

        Those of `video` come first, if the query names one.
        """
        corrections = self._corrections()
        broken = self._state.snapshot.broken
        if (video_id := request.query_params.get("video")) is not None:
            is_of_it = pc.field("video_id") == video_id
            broken = pa.concat_tables([broken.filter(is_of_it), broken.filter(~is_of_it)])
        rows = [
            {**row, "corrected_frames": _frames(corrections.get(row["video_id"], ()), row["object_id"])}
            for row in broken.slice(0, _MOST_ROWS).to_pylist()
        ]
        return answer({"total": broken.num_rows, "rows": rows})

    def withdraw(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Take back all corrections of an object. Returns the frames. Raises `ReviewError`."""
        key, reviewer = key_of(body), self._speaker.reviewer(body)
        counting = _with_splits(self._corrections().get(key[0], ()), key[1])
        if not counting:
            raise ReviewError(f"nothing is taken back: object {key[1]} of {key[0]} has no corrections that count", 409)
        now = after(one.reviewed_at for one in counting)
        rows = [_withdraw_row(key[0], one, reviewer, now) for one in counting]
        try:
            path = write_corrections(self._state.storage, rows)
        except StorageError as error:
            raise ReviewError(f"nothing is taken back: {error}", 503) from error
        self._state.changed(key[0])
        return {"path": path, "frames": _frames(counting, key[1])}

    def _corrections(self) -> dict[str, tuple[Correction, ...]]:
        try:
            return read_corrections(self._state.storage)
        except (StorageError, InputError) as error:
            raise ReviewError(f"the corrections cannot be read: {error}", 503) from error


def _withdraw_row(video_id: str, one: Correction, reviewer: str, now: datetime) -> dict[str, Any]:
    return {
        "video_id": video_id,
        "object_id": one.object_id,
        "frame_index": one.frame_index,
        "kind": Kind.WITHDRAW.value,
        "mask_rle": None,
        "reviewer": reviewer,
        "reviewed_at": now,
    }


def _frames(corrections: Iterable[Correction], object_id: int) -> list[int]:
    return sorted(one.frame_index for one in corrections if one.object_id == object_id)


def _with_splits(corrections: Iterable[Correction], object_id: int) -> list[Correction]:
    """The corrections of an object, and the other half of each split that it has a half of.

    A split says that one object begins on a frame and that another one ends there: half of it would leave a hole.
    """
    by_place = {(one.object_id, one.frame_index): one for one in corrections}
    found = {place: one for place, one in by_place.items() if place[0] == object_id}
    for place, one in by_place.items():
        if one.split_from is None or object_id not in (one.object_id, one.split_from):
            continue
        old = by_place.get((one.split_from, one.frame_index))
        if old is None or old.rle is not None:  # the old object was corrected there again since
            continue
        found |= {place: one, (old.object_id, old.frame_index): old}
    return list(found.values())

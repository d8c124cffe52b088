"""The list of tracks of a review: columns in memory, filtered and sorted in milliseconds, handed out a page at a time.

A list is a snapshot and never changes, but for `verdicts`, an array beside the rows. A track is a place in the list:
rows are sorted by video and object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import BoolArray, Int64Array
from pipeline.data_engine.queue import COLUMNS as QUEUE_COLUMNS
from pipeline.data_engine.queue import DEFAULT_ORDER, values
from pipeline.quality.reasons import Reason
from pipeline.review_server.reasons_in_words import COLUMN_OF
from pipeline.reviews.verdicts import Key

Sort = Literal["value", "doubt", "queue", "video"]
OPEN = "open"
VERDICTS = (OPEN, "accept", "reject", "fix", "skip")
"""What is said of a track, by its code in `TrackList.verdicts`."""

COLUMNS = tuple(
    dict.fromkeys(
        (
            "video_id",
            "object_id",
            "category",
            "status",
            "message",
            "num_masks",
            "num_visible",
            "first_visible_frame",
            "last_visible_frame",
            "prompt_frames",
            "doubt",
            "doubt_reasons",
            "doubt_frame",
            "area_jump_frame",
            "shape_jump_frame",
            "labeled_at",
            *QUEUE_COLUMNS,
            *COLUMN_OF.values(),
        )
    )
)
"""What the list holds of `tracks`."""


@dataclass(frozen=True)
class Chosen:
    """Which tracks are shown, in which order. An empty text chooses all; `verdict` may also be `done`: any."""

    sort: Sort = DEFAULT_ORDER
    verdict: str = ""
    reason: str = ""
    category: str | None = None
    text: str = ""


class TrackList:
    """The tracks with masks of a job. `rows` have `COLUMNS` or more; `queue` are keys in order, with `is_audit`."""

    def __init__(self, rows: pa.Table, queue: Mapping[Key, bool] | None = None) -> None:
        rows = rows.filter(pc.field("num_masks") > 0)
        self.rows = rows.sort_by([("video_id", "ascending"), ("object_id", "ascending")]).combine_chunks()
        self.object_ids = np.asarray(self.rows["object_id"].to_numpy(), np.int64)
        self._places_of_videos = _runs(self.rows["video_id"])
        self._reasons = _bits(self.rows["doubt_reasons"])
        self.verdicts = np.zeros(len(self), np.int8)
        doubt = pc.fill_null(self.rows["doubt"], -1.0).to_numpy()
        self._orders = {
            "value": np.argsort(-values(self.rows), kind="stable"),
            "doubt": np.argsort(-doubt, kind="stable"),
            "video": np.arange(len(self)),
        }
        found = [(self.place_of(key), is_audit) for key, is_audit in (queue or {}).items()]
        self._orders["queue"] = np.array([place for place, _ in found if place is not None], np.int64)
        self._is_audit = {place: is_audit for place, is_audit in found if place is not None}

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @property
    def video_ids(self) -> list[str]:
        """Ids of the videos that have tracks here."""
        return list(self._places_of_videos)

    @property
    def num_queued(self) -> int:
        """Tracks of the queue that are in the list."""
        return len(self._orders["queue"])

    @property
    def num_queued_said(self) -> int:
        """Those of them of which something was said: how far whoever works off this queue is."""
        return int(np.count_nonzero(self.verdicts[self._orders["queue"]]))

    def place_of(self, key: Key) -> int | None:
        """The place of a track, None if it has none."""
        places = self._places_of_videos.get(key[0])
        if places is None:
            return None
        start, stop = places
        place = start + int(np.searchsorted(self.object_ids[start:stop], key[1]))
        return place if place < stop and self.object_ids[place] == key[1] else None

    def places_of_video(self, video_id: str) -> range:
        """The places of the tracks of a video."""
        return range(*self._places_of_videos.get(video_id, (0, 0)))

    def key(self, place: int) -> Key:
        """What names the track at a place."""
        return self.rows["video_id"][place].as_py(), int(self.object_ids[place])

    def row(self, place: int) -> dict[str, Any]:
        """The row of a place."""
        found: dict[str, Any] = self.rows.slice(place, 1).to_pylist()[0]
        return found

    def rows_at(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """The rows of some places."""
        found: list[dict[str, Any]] = self.rows.take(pa.array(np.asarray(places, np.int64))).to_pylist()
        return found

    def is_audit(self, key: Key) -> bool | None:
        """Whether the queue has drawn a track by lot; None for one that is in no queue, or not in the list."""
        place = self.place_of(key)
        return None if place is None else self._is_audit.get(place)

    def say(self, key: Key, verdict: str) -> None:
        """Note what is said of a track from now on; nothing for one that is not here."""
        place = self.place_of(key)
        if place is not None:
            self.verdicts[place] = VERDICTS.index(verdict)

    def places(self, chosen: Chosen) -> Int64Array:
        """The places of the tracks that are chosen, in their order. Raises `ValueError` for an unknown name."""
        order = self._orders.get(chosen.sort)
        if order is None:
            raise ValueError(f"sort={chosen.sort}: there are {', '.join(self._orders)}")
        is_chosen = self._is_chosen(chosen)
        found: Int64Array = order if is_chosen is None else order[is_chosen[order]]
        return found

    def next_open(self, chosen: Chosen, after: int | None, count: int) -> list[int]:
        """The next tracks of these that nobody has said anything of, behind `after` and then from the begin again.

        Behind the last one of them come those that were skipped, in the same order.
        """
        places = self.places(chosen)
        at: list[int] = [] if after is None else np.flatnonzero(places == after).tolist()
        if not at and after is not None:  # a track that a verdict has just taken out of what is chosen
            order = self._orders[chosen.sort]
            rank = np.empty(len(self), np.int64)
            rank.fill(len(self))
            rank[order] = np.arange(len(order))
            start = int(np.searchsorted(rank[places], rank[after]))
        else:
            start = at[0] + 1 if at else 0
        turned = np.concatenate([places[start:], places[:start]])
        others = turned[turned != (-1 if after is None else after)]
        open_ones, skipped = (others[self.verdicts[others] == VERDICTS.index(name)] for name in (OPEN, "skip"))
        found: list[int] = np.concatenate([open_ones[:count], skipped[:count]])[:count].tolist()
        return found

    def categories(self, most: int = 500) -> list[tuple[str | None, int]]:
        """Categories with their numbers of tracks, the largest first."""
        counts = pc.value_counts(self.rows["category"].combine_chunks()).to_pylist()
        ordered = sorted(counts, key=lambda one: (-one["counts"], one["values"] or ""))
        return [(one["values"], one["counts"]) for one in ordered[:most]]

    def reasons(self) -> dict[str, int]:
        """How many tracks have each reason."""
        return {
            reason.value: int(((self._reasons >> number) & 1).sum())
            for number, reason in enumerate(Reason)
            if ((self._reasons >> number) & 1).any()
        }

    def counts(self) -> dict[str, int]:
        """How many tracks have each verdict."""
        numbers = np.bincount(self.verdicts, minlength=len(VERDICTS)).tolist()
        return dict(zip(VERDICTS, numbers, strict=True))

    def _is_chosen(self, chosen: Chosen) -> BoolArray | None:
        parts: list[BoolArray] = []
        if chosen.verdict == "done":
            parts.append(self.verdicts > 0)
        elif chosen.verdict:
            if chosen.verdict not in VERDICTS:
                raise ValueError(f"verdict={chosen.verdict}: there are {', '.join(VERDICTS)}, done")
            parts.append(self.verdicts == VERDICTS.index(chosen.verdict))
        if chosen.reason:
            codes = [reason.value for reason in Reason]
            if chosen.reason not in codes:
                raise ValueError(f"reason={chosen.reason}: there are {', '.join(codes)}")
            parts.append(((self._reasons >> codes.index(chosen.reason)) & 1).astype(bool))
        if chosen.category is not None:
            is_equal = pc.equal(pc.fill_null(self.rows["category"], ""), chosen.category)
            parts.append(np.asarray(is_equal.to_numpy()))
        parts += [self._has(word) for word in chosen.text.split()]
        if not parts:
            return None
        found: BoolArray = np.logical_and.reduce(parts)
        return found

    def _has(self, word: str) -> BoolArray:
        """Whether the id of a video holds a word, in small or large letters."""
        return np.asarray(pc.match_substring(self.rows["video_id"], word, ignore_case=True).to_numpy())


def _runs(video_ids: pa.ChunkedArray) -> dict[str, tuple[int, int]]:
    """The first place of each video and the one behind its last, of sorted ids."""
    if not len(video_ids):
        return {}
    runs = pc.run_end_encode(video_ids.combine_chunks(), run_end_type=pa.int64())
    ends = runs.run_ends.to_pylist()
    starts = [0, *ends[:-1]]
    return dict(zip(runs.values.to_pylist(), zip(starts, ends, strict=True), strict=True))


def _bits(reasons: pa.ChunkedArray) -> Int64Array:
    """The reasons of each row as bits, in the order of `Reason`."""
    lists = reasons.combine_chunks()
    found: Int64Array = np.zeros(len(lists), np.int64)
    rows = np.asarray(pc.list_parent_indices(lists).to_numpy(), np.int64)
    codes = pc.index_in(pc.list_flatten(lists), pa.array([reason.value for reason in Reason]))
    numbers = np.asarray(pc.fill_null(codes, len(Reason)).to_numpy(), np.int64)
    np.bitwise_or.at(found, rows, np.int64(1) << numbers)
    return found


def broken_rows(rows: pa.Table) -> pa.Table:
    """Of rows of `tracks`: those of objects that failed, and of others with a message. Failed ones come first."""
    is_failed = pc.field("status") == "failed"
    found = rows.filter(is_failed | (pc.coalesce(pc.field("message"), pc.scalar("")) != ""))
    order = [("status", "ascending"), ("video_id", "ascending"), ("object_id", "ascending")]
    return found.select(["video_id", "object_id", "category", "status", "message"]).sort_by(order)


def queue_of(entries: Iterable[Mapping[str, Any]]) -> dict[Key, bool]:
    """Keys of a queue in its order, with `is_audit`, from rows of its table."""
    return {(row["video_id"], row["object_id"]): bool(row["is_audit"]) for row in entries}

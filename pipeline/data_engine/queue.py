"""A queue: the tracks at which people should look next, from a stream of rows of `tracks`.

Memory holds the queue and as many candidates for the audit, however many tracks the job has.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Float64Array, Int64Array
from pipeline.data_engine.audit import lots
from pipeline.data_engine.costs import SECONDS_TO_FIND_A_FRAME, seconds_to_check
from pipeline.ids import are_of

Order = Literal["doubt", "value"]
DEFAULT_ORDER: Order = "value"
"""That of queues, of the list of a review and of what goes out to be reviewed, where nothing else is asked for."""

COLUMNS = (
    "video_id",
    "object_id",
    "category",
    "num_masks",
    "num_visible",
    "doubt",
    "doubt_reasons",
    "doubt_frame",
    "correction",
)
"""What a queue needs of `tracks`."""

_AGAIN = 0.3
"""What is doubtful after a correction mostly stays so: on drawn clips a second one mends 0.3 times as much as the first
(`python -m tests.bench.loop`, 34 clips that its figures are not from)."""

QUEUE = pa.schema(
    [
        pa.field("place", pa.int32(), nullable=False),  # from 1
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("object_id", pa.int64(), nullable=False),
        pa.field("category", pa.string()),
        pa.field("doubt", pa.float32(), nullable=False),
        pa.field("reasons", pa.list_(pa.string()), nullable=False),  # codes, the heaviest first
        pa.field("frame_index", pa.int32()),  # where to look
        pa.field("num_masks", pa.int32(), nullable=False),
        pa.field("seconds", pa.float32(), nullable=False),  # to check it
        pa.field("is_audit", pa.bool_(), nullable=False),  # drawn by lot of the others
    ]
)


@dataclass(frozen=True)
class QueueRules:
    """How long a queue is, in which order, and which share of it is drawn by lot.

    `top` tracks at the most, and as many as take `minutes` with those drawn by lot; None is no bound. By `value` those
    come first that give the most for a second: masks that probably get better. Tracks that somebody has corrected
    before come late then.
    """

    top: int | None = 50
    minutes: float | None = None
    order: Order = DEFAULT_ORDER
    audit: float = 0.1
    seed: int = 0

    @property
    def most(self) -> int:
        """How many tracks the queue holds at the most."""
        shortest = SECONDS_TO_FIND_A_FRAME  # somebody looks at one frame of each track
        bounds = [] if self.top is None else [self.top]
        bounds += [] if self.minutes is None else [int(60 * self.minutes / shortest) + 1]
        return min(bounds)


@dataclass(frozen=True)
class Entry:
    """One track of a queue."""

    video_id: str
    object_id: int
    category: str | None
    num_masks: int
    doubt: float
    reasons: tuple[str, ...]
    frame_index: int | None
    seconds: float

    @property
    def key(self) -> tuple[str, int]:
        """What names the track."""
        return self.video_id, self.object_id


@dataclass(frozen=True)
class _Name:
    """What names a track, in the order in which a heap lets go: of two as good the one that is later by name."""

    key: tuple[str, int]

    def __lt__(self, other: _Name) -> bool:
        return self.key > other.key


_Heap = list[tuple[float, _Name, int, Entry]]


class Queue:
    """Takes rows of `tracks` with `COLUMNS` and keeps what is to be looked at.

    `done` are tracks that were seen. `skipped` ones come behind all others, because who looked at them could not say.
    """

    def __init__(
        self, rules: QueueRules, done: Collection[tuple[str, int]] = (), skipped: Collection[tuple[str, int]] = ()
    ) -> None:
        self._rules = rules
        self._done = done
        self._skipped = skipped
        self._num_audit = round(rules.audit * rules.most)
        self._best: _Heap = []
        self._drawn: _Heap = []
        self._num_seen = 0
        self.num_tracks = 0
        self.num_unknown = 0
        self.num_done = 0

    def add(self, rows: pa.Table) -> None:
        """Take rows of tracks. Those that never show have no doubt; those that were not measured are counted."""
        is_visible = rows["num_visible"].to_numpy() > 0
        is_known = rows["doubt"].is_valid().to_numpy()
        self.num_unknown += int((is_visible & ~is_known).sum())
        rows = rows.filter(pa.array(is_visible & is_known))
        if self._done:
            is_new = ~are_of(self._done, rows["video_id"].to_pylist(), rows["object_id"].to_pylist())
            self.num_done += int((~is_new).sum())
            rows = rows.filter(pa.array(is_new))
        self.num_tracks += rows.num_rows
        if not rows.num_rows:
            return
        doubt = rows["doubt"].to_numpy().astype(np.float64)
        num_masks = rows["num_masks"].to_numpy().astype(np.float64)
        seconds = seconds_to_check(num_masks, doubt)
        urgency = doubt if self._rules.order == "doubt" else _mended(rows, doubt, num_masks) / seconds
        if self._skipped:  # below all others, which are 0 or more, and in the same order among themselves
            is_skipped = are_of(self._skipped, rows["video_id"].to_pylist(), rows["object_id"].to_pylist())
            urgency = np.where(is_skipped, -1 / (1 + urgency), urgency)
        self._keep(self._best, self._rules.most, urgency, rows, seconds)
        if self._num_audit:
            drawn = lots(rows["video_id"].to_pylist(), rows["object_id"].to_pylist(), self._rules.seed)
            # As many more as the queue may hold itself: those leave the draw.
            self._keep(self._drawn, self._rules.most + self._num_audit, 1 - drawn, rows, seconds)

    def _keep(self, heap: _Heap, most: int, keys: Float64Array, rows: pa.Table, seconds: Float64Array) -> None:
        places = _best(keys, rows, most)
        if len(heap) == most:
            lowest, name = heap[0][:2]
            video_ids = rows["video_id"].take(pa.array(places)).to_numpy()
            is_as_good = (keys[places] == lowest) & (video_ids <= name.key[0])
            places = places[(keys[places] > lowest) | is_as_good]
        for place, row in zip(places.tolist(), rows.take(pa.array(places)).to_pylist(), strict=True):
            self._num_seen += 1
            entry = _entry(row, float(seconds[place]))
            push = heapq.heappush if len(heap) < most else heapq.heappushpop
            push(heap, (float(keys[place]), _Name(entry.key), -self._num_seen, entry))

    @property
    def num_kept(self) -> int:
        """Tracks that memory holds."""
        return len(self._best) + len(self._drawn)

    def entries(self) -> list[tuple[Entry, bool]]:
        """The queue, and whether a track was drawn by lot; those are spread evenly among the others.

        Skipped ones of those come last. They stay in the draw, because what nobody can judge is not like the others.
        """
        chosen, drawn = self._chosen_and_drawn(_in_order(self._best), _in_order(self._drawn))
        last = [(entry, True) for entry in drawn if entry.key in self._skipped]
        return [*_mixed(chosen, [entry for entry in drawn if entry.key not in self._skipped]), *last]

    def _chosen_and_drawn(self, best: list[Entry], by_lot: list[Entry]) -> tuple[list[Entry], list[Entry]]:
        """Of the best as many as fit into the time together with those that are drawn by lot of the others.

        Tracks that are drawn are less doubtful, so that most of them are looked through, which takes many times longer
        than an edit. What time they leave over, because one more of them would be too long, goes to the best.
        """
        if self._rules.minutes is None:
            return best, self._outside(best, by_lot)
        most = 60 * self._rules.minutes
        too_little, kept_back = 0.0, most
        while kept_back - too_little > 1.0:
            middle = (too_little + kept_back) / 2
            chosen = list(_fitting(best, most - middle))
            fits = _seconds(chosen) + _seconds(self._outside(chosen, by_lot)) <= most
            too_little, kept_back = (too_little, middle) if fits else (middle, kept_back)
        chosen = list(_fitting(best, most - kept_back))
        drawn = self._outside(chosen, by_lot)
        taken = {entry.key for entry in (*chosen, *drawn)}
        left = most - _seconds(chosen) - _seconds(drawn)
        more = _fitting((entry for entry in best if entry.key not in taken), left)
        inside = {entry.key for entry in (*chosen, *more)}
        return [entry for entry in best if entry.key in inside], drawn

    def _outside(self, chosen: list[Entry], by_lot: list[Entry]) -> list[Entry]:
        """The first ones by lot that are not chosen, as many as their share says."""
        inside = {entry.key for entry in chosen}
        others = (entry for entry in by_lot if entry.key not in inside)
        return list(islice(others, round(self._rules.audit * len(chosen))))


def _best(keys: Float64Array, rows: pa.Table, most: int) -> Int64Array:
    """Places of the rows with the highest keys, `most` of them. Of rows as high those count that are first by name.

    Many tracks are as high, because sound ones have a doubt of 0. Where a row lies must not decide, because a
    compaction moves it.
    """
    if len(keys) <= most:
        return np.arange(len(keys))
    lowest = -np.partition(-keys, most - 1)[most - 1]
    above, ties = np.flatnonzero(keys > lowest), np.flatnonzero(keys == lowest)
    names = rows.select(["video_id", "object_id"]).take(pa.array(ties))
    by_name = pc.sort_indices(names, [("video_id", "ascending"), ("object_id", "ascending")]).to_numpy()
    return np.concatenate([above, ties[by_name[: most - len(above)]]])


def _fitting(entries: Iterable[Entry], seconds: float) -> Iterator[Entry]:
    """Those that fit into the time one after the other; one that is too long for what is left is passed over."""
    for entry in entries:
        if entry.seconds <= seconds:
            seconds -= entry.seconds
            yield entry


def _seconds(entries: Iterable[Entry]) -> float:
    return sum(entry.seconds for entry in entries)


def values(rows: pa.Table) -> Float64Array:
    """By value: how many masks a second of a look at each track probably mends, `[T]`; -1 where nobody measured doubt.

    Where an object is lost, the masks that it lacks count as well.
    """
    doubt = rows["doubt"].fill_null(0).to_numpy().astype(np.float64)
    num_masks = rows["num_masks"].to_numpy().astype(np.float64)
    found: Float64Array = _mended(rows, doubt, num_masks) / seconds_to_check(num_masks, doubt)
    return np.where(rows["doubt"].is_valid().to_numpy(), found, -1.0)


def _mended(rows: pa.Table, doubt: Float64Array, num_masks: Float64Array) -> Float64Array:
    """How many masks a look at each track probably mends, `[T]`."""
    is_corrected = rows["correction"].is_valid().to_numpy()
    mended: Float64Array = doubt * num_masks * np.where(is_corrected, _AGAIN, 1.0)
    return mended


def _entry(row: dict[str, Any], seconds: float) -> Entry:
    return Entry(
        row["video_id"],
        row["object_id"],
        row["category"],
        row["num_masks"],
        row["doubt"],
        tuple(row["doubt_reasons"] or ()),
        row["doubt_frame"],
        seconds,
    )


def _in_order(heap: _Heap) -> list[Entry]:
    return [entry for _, _, _, entry in sorted(heap, key=lambda one: (-one[0], one[1].key))]


def _mixed(chosen: list[Entry], drawn: list[Entry]) -> Iterator[tuple[Entry, bool]]:
    """Those that are drawn at even distances among those that are chosen."""
    # Not `round`, which makes 2 of 1.5 and of 2.5.
    places = {int((number + 0.5) * len(chosen) / len(drawn) + 0.5): entry for number, entry in enumerate(drawn)}
    for place, entry in enumerate(chosen):
        if place in places:
            yield places.pop(place), True
        yield entry, False
    yield from ((entry, True) for entry in places.values())


def queue_table(entries: list[tuple[Entry, bool]]) -> pa.Table:
    """The queue as a table, see `QUEUE`."""
    rows = [
        {
            "place": place,
            "video_id": entry.video_id,
            "object_id": entry.object_id,
            "category": entry.category,
            "doubt": entry.doubt,
            "reasons": list(entry.reasons),
            "frame_index": entry.frame_index,
            "num_masks": entry.num_masks,
            "seconds": entry.seconds,
            "is_audit": is_audit,
        }
        for place, (entry, is_audit) in enumerate(entries, 1)
    ]
    return pa.Table.from_pylist(rows, QUEUE)

"""Tracks of drawn clips before and after each correction, as a table: what the queue sees of them, and the truth.

The annotator of the bench knows which frame of a track he corrects. A track is therefore known by how often it was
corrected, and its signals by how often it and the other tracks of its clip were.

He begins where the page opens a track: at the doubtful frame. If its mask is wrong, he steps back to where that begins,
mends the first frame there that shows the object well, and need not look at the rest. If it is right, or no box gives a
mask, he looks through the track, and mends the first clear frame of a bad one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data_engine.costs import SECONDS_PER_CLICK, SECONDS_PER_FRAME, SECONDS_TO_FIND_A_FRAME
from pipeline.data_engine.queue import COLUMNS
from pipeline.output.schema import TRACKS
from pipeline.quality.track_columns import MEASURED
from tests.bench.loop_clips import Frames, LoopClip

Key = tuple[str, int]
"""Video id and object id."""

MOST_CORRECTIONS = 3

_OF_TRACKS = tuple(dict.fromkeys((*COLUMNS, *MEASURED)))

_SCHEMA = pa.schema(
    [
        *(TRACKS.field(name) for name in _OF_TRACKS),
        pa.field("states", pa.list_(pa.int32())),  # corrections of each track of the clip, by object id
        pa.field("num_corrections", pa.int32()),  # of this track
        # Of this track after so many corrections, whatever the others have:
        pa.field("j_and_f", pa.float64()),
        pa.field("is_bad", pa.bool_()),
        # The next look at it:
        pa.field("num_found", pa.int32()),  # frames at which he looks by themselves
        pa.field("num_looked", pa.int32()),  # frames that he looks through
        pa.field("num_clicks", pa.int32()),
        pa.field("frame_index", pa.int32()),  # for which a mask is saved; null: none is
    ]
)


@dataclass(frozen=True)
class Look:
    """What a person does with a track: frames that he looks at by themselves, and those that he looks through.

    `frame_index` is the frame for which he saves a mask; None: he saves none.
    """

    num_found: int
    num_looked: int
    num_clicks: int
    frame_index: int | None

    @property
    def seconds(self) -> float:
        """What it takes, at the prices of SAM 2's authors."""
        looking = SECONDS_TO_FIND_A_FRAME * self.num_found + SECONDS_PER_FRAME * self.num_looked
        return looking + SECONDS_PER_CLICK * self.num_clicks


@dataclass(frozen=True)
class State:
    """A track after some corrections, and the next look at it."""

    j_and_f: float
    is_bad: bool
    look: Look


class Tracks:
    """The table with look-ups."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._states: dict[tuple[Key, int], State] = {}
        self._places: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        self._objects: dict[str, list[int]] = {}
        names = ("num_found", "num_looked", "num_clicks", "frame_index")
        for place, row in enumerate(table.to_pylist()):
            key = row["video_id"], row["object_id"]
            look = Look(*(row[name] for name in names))
            self._states[key, row["num_corrections"]] = State(row["j_and_f"], row["is_bad"], look)
            self._places.setdefault((row["video_id"], tuple(row["states"])), []).append(place)
            if not any(row["states"]):
                self._objects.setdefault(row["video_id"], []).append(row["object_id"])
        self.keys: list[Key] = [(video_id, one) for video_id, ids in self._objects.items() for one in ids]

    def state(self, key: Key, num_corrections: int) -> State:
        """A track after so many corrections."""
        return self._states[key, num_corrections]

    def diluted(self, bad_share: float) -> Tracks:
        """The same tracks, with the clips that have no bad one counted so often that this share of all is bad.

        A set of videos that a model labels well has few bad tracks; how many decides what an order can gain.
        """
        bad = {key for key in self.keys if self.state(key, 0).is_bad}
        clean = {video_id for video_id, _ in self.keys} - {video_id for video_id, _ in bad}
        num_clean = sum(video_id in clean for video_id, _ in self.keys)
        num_more = round((len(bad) / bad_share - len(self.keys)) / num_clean)
        is_clean = pc.is_in(self.table["video_id"], pa.array(sorted(clean)))
        rows, place = self.table.filter(is_clean), self.table.schema.get_field_index("video_id")
        copies = [
            rows.set_column(
                place, self.table.schema.field(place), pc.binary_join_element_wise(rows["video_id"], f"{n}", "+")
            )
            for n in range(1, num_more + 1)
        ]
        return Tracks(pa.concat_tables([self.table, *copies]))

    def rows(self, corrections: Mapping[Key, int]) -> pa.Table:
        """Rows of `tracks` when the tracks have these corrections."""
        places: list[int] = []
        for video_id, ids in self._objects.items():
            places += self._places[video_id, tuple(corrections.get((video_id, one), 0) for one in ids)]
        return self.table.select(list(COLUMNS)).take(pa.array(places))


def measure(clips: Iterable[LoopClip]) -> Tracks:
    """Label the clips, mend their tracks until nobody finds a fault, three times at most, and measure each state."""
    rows: list[dict[str, Any]] = []
    for clip in clips:
        chains = [_chain(clip, object_id) for object_id in clip.prompts]
        for states in itertools.product(*(range(len(chain)) for chain in chains)):
            corrected = {
                object_id: chain[number] for object_id, chain, number in zip(clip.prompts, chains, states, strict=True)
            }
            found = clip.tracks(corrected).select(list(_OF_TRACKS)).to_pylist()
            for row, number in zip(found, states, strict=True):
                row["correction"] = "fix" if number else None
                rows.append(
                    row | {"states": states, "num_corrections": number} | _truth(clip, row["object_id"], corrected)
                )
        clip.free()
    return Tracks(pa.Table.from_pylist(rows, _SCHEMA))


def _chain(clip: LoopClip, object_id: int) -> list[Frames]:
    """The corrected frames of a track before, and after each correction that is saved."""
    chain: list[Frames] = [()]
    while len(chain) <= MOST_CORRECTIONS and (saved := look(clip, object_id, chain[-1]).frame_index) is not None:
        chain.append((*chain[-1], saved))
    for corrected in chain:
        clip.labels(object_id, corrected)
    return chain


def look(clip: LoopClip, object_id: int, corrected: Frames) -> Look:
    """The next look at a track that has these corrections."""
    labels, opened = clip.labels(object_id, corrected), clip.doubtful_frame(object_id, corrected)
    num_found, num_looked, tried = 0, 0, list[int]()
    if opened is not None:
        num_found += 1
        if labels.is_wrong_on(opened):
            start, clear = labels.fault_around(opened)
            num_looked += opened - start
            tried += dict.fromkeys((clear, opened))
    found = _mended(clip, object_id, corrected, tried)
    if found.frame_index is None:
        num_looked += labels.rows.num_rows
        if labels.is_bad:
            num_found += 1
            more = _mended(clip, object_id, corrected, {labels.first_clear_frame} - set(tried))
            found = _Mended(found.num_clicks + more.num_clicks, more.frame_index)
    return Look(num_found, num_looked, found.num_clicks, found.frame_index)


class _Mended(NamedTuple):
    num_clicks: int
    frame_index: int | None


def _mended(clip: LoopClip, object_id: int, corrected: Frames, frames: Iterable[int]) -> _Mended:
    """The clicks on these frames, one after the other, until one of them has a mask that is saved."""
    num_clicks = 0
    for frame_index in frames:
        num_clicks += clip.correction(object_id, frame_index).num_clicks
        if clip.is_saved(object_id, corrected, frame_index):
            return _Mended(num_clicks, frame_index)
    return _Mended(num_clicks, None)


def _truth(clip: LoopClip, object_id: int, corrected: Mapping[int, Frames]) -> dict[str, Any]:
    state = corrected[object_id]
    labels = clip.labels(object_id, state)
    found = {"j_and_f": labels.j_and_f, "is_bad": labels.is_bad}
    # After the last round nobody looks.
    return found | asdict(look(clip, object_id, state) if len(state) < MOST_CORRECTIONS else Look(0, 0, 0, None))

"""Tracks of drawn clips before and after each correction, as a table: what the queue sees of them, and the truth.

The annotator of the bench always corrects the worst frame. A track is therefore known by how often it was corrected,
and its signals by how often it and the other tracks of its clip were.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data_engine.queue import COLUMNS
from pipeline.output.schema import TRACKS
from tests.bench.loop_clips import Frames, LoopClip

Key = tuple[str, int]
"""Video id and object id."""

MOST_CORRECTIONS = 3

_SCHEMA = pa.schema(
    [
        *(TRACKS.field(name) for name in COLUMNS),
        pa.field("states", pa.list_(pa.int32())),  # corrections of each track of the clip, by object id
        pa.field("num_corrections", pa.int32()),  # of this track
        # Of this track after so many corrections, whatever the others have:
        pa.field("j_and_f", pa.float64()),
        pa.field("is_bad", pa.bool_()),
        pa.field("worst_frame", pa.int32()),
        pa.field("num_clicks", pa.int32()),  # on the worst frame of a bad track
        pa.field("is_saved", pa.bool_()),  # the clicks gave a mask that is worth saving
    ]
)


@dataclass(frozen=True)
class State:
    """A track after some corrections. `num_clicks`, `is_saved`: of the next one, if the track is bad."""

    num_masks: int
    j_and_f: float
    is_bad: bool
    num_clicks: int
    is_saved: bool


class Tracks:
    """The table with look-ups."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._states: dict[tuple[Key, int], State] = {}
        self._places: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        self._objects: dict[str, list[int]] = {}
        names = ("num_masks", "j_and_f", "is_bad", "num_clicks", "is_saved")
        for place, row in enumerate(table.to_pylist()):
            key = row["video_id"], row["object_id"]
            self._states[key, row["num_corrections"]] = State(*(row[name] for name in names))
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
    """Label the clips, correct their bad tracks until they are good, three times at most, and measure each state."""
    rows: list[dict[str, Any]] = []
    for clip in clips:
        chains = [_chain(clip, object_id) for object_id in clip.prompts]
        for states in itertools.product(*(range(len(chain)) for chain in chains)):
            corrected = {
                object_id: chain[number] for object_id, chain, number in zip(clip.prompts, chains, states, strict=True)
            }
            found = clip.tracks(corrected).select(list(COLUMNS)).to_pylist()
            for row, number in zip(found, states, strict=True):
                rows.append(
                    row | {"states": states, "num_corrections": number} | _truth(clip, row["object_id"], corrected)
                )
        clip.free()
    return Tracks(pa.Table.from_pylist(rows, _SCHEMA))


def _chain(clip: LoopClip, object_id: int) -> list[Frames]:
    """The corrected frames of a track before, and after each correction that is saved."""
    chain: list[Frames] = [()]
    while len(chain) <= MOST_CORRECTIONS:
        labels = clip.labels(object_id, chain[-1])
        if not labels.is_bad or not clip.correction(object_id, chain[-1], labels.worst_frame).is_saved:
            break
        chain.append((*chain[-1], labels.worst_frame))
    for corrected in chain:
        clip.labels(object_id, corrected)
    return chain


def _truth(clip: LoopClip, object_id: int, corrected: Mapping[int, Frames]) -> dict[str, Any]:
    state = corrected[object_id]
    labels = clip.labels(object_id, state)
    found = {"j_and_f": labels.j_and_f, "is_bad": labels.is_bad, "worst_frame": labels.worst_frame}
    if not labels.is_bad or len(state) == MOST_CORRECTIONS:  # after the last round nobody looks
        return found | {"num_clicks": 0, "is_saved": False}
    clicks = clip.correction(object_id, state, labels.worst_frame)
    return found | {"num_clicks": clicks.num_clicks, "is_saved": clicks.is_saved}

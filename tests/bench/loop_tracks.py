"""Tracks of drawn clips before and after each correction, as a table: what the queue sees of them, and the truth.

The annotator of the bench knows which frame of a track he corrects. A track is therefore known by how often it was
corrected, and its signals by how often it and the other tracks of its clip were.

He begins where the page opens a track: at the doubtful frame. If its mask is wrong, he goes back to where that begins,
ten frames at a time, mends the first frame there that shows the object well, and need not look at the rest. If it is
right, he looks through the track, and mends the first clear frame of a bad one. Where a frame gives no mask worth
saving he tries the next one.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa

from pipeline.data_engine.costs import SECONDS_PER_CLICK, SECONDS_PER_FRAME, SECONDS_TO_FIND_A_FRAME
from pipeline.data_engine.queue import COLUMNS
from pipeline.output.schema import TRACKS
from pipeline.quality.track_columns import MEASURED
from tests.bench.loop_clips import Frames, LoopClip

Key = tuple[str, int]
"""Video id and object id."""

MOST_CORRECTIONS = 3

SECONDS_PER_JUMP = 0.5
"""To go ten frames back and see whether the mask is right there. A frame that is played takes a fifth of that, and a
frame that has to be found in a video twice as long."""

_OF_TRACKS = tuple(dict.fromkeys((*COLUMNS, *MEASURED)))

_LOOK = pa.struct(
    [
        pa.field("num_found", pa.int32()),  # frames at which he looks by themselves
        pa.field("num_jumps", pa.int32()),  # ten frames back
        pa.field("num_looked", pa.int32()),  # frames that he looks through
        pa.field("num_clicks", pa.int32()),
        pa.field("frame_index", pa.int32()),  # for which a mask is saved; null: none is
    ]
)

_SCHEMA = pa.schema(
    [
        *(TRACKS.field(name) for name in _OF_TRACKS),
        pa.field("states", pa.list_(pa.int32())),  # corrections of each track of the clip, by object id
        pa.field("num_corrections", pa.int32()),  # of this track
        # Of this track after so many corrections, whatever the others have:
        pa.field("j_and_f", pa.float64()),
        pa.field("is_bad", pa.bool_()),
        pa.field("looks", pa.list_(_LOOK)),  # one for each frame that he tries, up to the first that saves a mask
    ]
)


@dataclass(frozen=True)
class Look:
    """What a person does for one try: frames that he looks at by themselves, jumps back, frames that he looks through.

    `frame_index` is the frame for which he saves a mask; None: he saves none.
    """

    num_found: int
    num_jumps: int
    num_looked: int
    num_clicks: int
    frame_index: int | None

    @property
    def seconds(self) -> float:
        """What it takes, at the prices of SAM 2's authors, who have none for a jump."""
        looking = SECONDS_TO_FIND_A_FRAME * self.num_found + SECONDS_PER_FRAME * self.num_looked
        looking += SECONDS_PER_JUMP * self.num_jumps
        return looking + SECONDS_PER_CLICK * self.num_clicks


@dataclass(frozen=True)
class State:
    """A track after some corrections, and the next looks at it, of which the last alone may save a mask.

    `num_quick` of them come before he has to look through the whole track. None: the page cannot open it at a doubtful
    frame, so that he has to at once.
    """

    j_and_f: float
    is_bad: bool
    looks: tuple[Look, ...]
    num_quick: int | None


class Tracks:
    """The table with look-ups, of clips that count once each or more often."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._states: dict[tuple[Key, int], State] = {}
        self._places: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        self._objects: dict[str, list[int]] = {}
        for place, row in enumerate(table.to_pylist()):
            key = row["video_id"], row["object_id"]
            looks = tuple(Look(**one) for one in row["looks"])
            num_quick = len(looks) - (looks[-1].num_looked == row["num_masks"])
            opens = num_quick > 0 or looks[0].num_found > 0
            state = State(row["j_and_f"], row["is_bad"], looks, num_quick if opens else None)
            self._states[key, row["num_corrections"]] = state
            self._places.setdefault((row["video_id"], tuple(row["states"])), []).append(place)
            if not any(row["states"]):
                self._objects.setdefault(row["video_id"], []).append(row["object_id"])
        self._count(self._objects)

    def _count(self, clips: Iterable[str]) -> None:
        """Name the clips: a second copy of a clip is a video of its own."""
        times = Counter[str]()
        self._clips: dict[str, str] = {}
        for clip in clips:
            times[clip] += 1
            self._clips[clip if times[clip] == 1 else f"{clip}+{times[clip]}"] = clip
        self.keys: list[Key] = [(name, one) for name, clip in self._clips.items() for one in self._objects[clip]]

    @property
    def clips(self) -> list[str]:
        """The clips that count, each as often as it does."""
        return list(self._clips.values())

    def of_clips(self, clips: Sequence[str]) -> Tracks:
        """The tracks of these clips, each as often as it stands there."""
        found = copy(self)
        found._count(clips)
        return found

    def state(self, key: Key, num_corrections: int) -> State:
        """A track after so many corrections."""
        return self._states[(self._clips[key[0]], key[1]), num_corrections]

    def diluted(self, bad_share: float) -> Tracks:
        """The same tracks, with the clips that have no bad one counted so often that this share of all is bad.

        A set of videos that a model labels well has few bad tracks; how many decides what an order can gain.
        """
        bad = {key for key in self.keys if self.state(key, 0).is_bad}
        with_bad = {video_id for video_id, _ in bad}
        clean = [name for name in self.clips if name not in with_bad]
        num_clean = sum(len(self._objects[name]) for name in clean)
        num_more = round((len(bad) / bad_share - len(self.keys)) / num_clean)
        return self.of_clips([name for name in self.clips for _ in range(1 if name in with_bad else 1 + num_more)])

    def rows(self, corrections: Mapping[Key, int]) -> pa.Table:
        """Rows of `tracks` when the tracks have these corrections."""
        places: list[int] = []
        names: list[str] = []
        for name, clip in self._clips.items():
            states = tuple(corrections.get((name, one), 0) for one in self._objects[clip])
            places += self._places[clip, states]
            names += [name] * len(states)
        rows = self.table.select(list(COLUMNS)).take(pa.array(places))
        field = rows.schema.field("video_id")
        return rows.set_column(rows.schema.get_field_index("video_id"), field, pa.array(names, field.type))


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
    while len(chain) <= MOST_CORRECTIONS and (saved := looks(clip, object_id, chain[-1])[-1].frame_index) is not None:
        chain.append((*chain[-1], saved))
    for corrected in chain:
        clip.labels(object_id, corrected)
    return chain


def looks(clip: LoopClip, object_id: int, corrected: Frames) -> list[Look]:
    """The next looks at a track that has these corrections, up to the first that saves a mask.

    Each tries one frame. The last one of a track that cannot be mended has found no other frame to try. That the page
    opens the track is counted once.
    """
    labels, opened = clip.labels(object_id, corrected), clip.doubtful_frame(object_id, corrected)
    found: list[Look] = []
    tried: list[int] = []
    num_opened = 0 if opened is None else 1
    if opened is not None and labels.is_wrong_on(opened):
        way = labels.way_back(opened)
        before = Look(num_opened, way.num_jumps, way.num_steps, 0, None)
        for frame_index in dict.fromkeys((way.frame_index, opened)):
            found.append(_tried(clip, object_id, corrected, frame_index, before))
            if found[-1].frame_index is not None:
                return found
            tried.append(frame_index)
            before, num_opened = Look(0, 0, 0, 0, None), 0  # he is there, and has seen where the fault begins
    through = Look(num_opened, 0, labels.rows.num_rows, 0, None)
    if labels.is_bad:
        through = replace(through, num_found=num_opened + 1)
        if (frame_index := labels.first_clear_frame) not in tried:
            through = _tried(clip, object_id, corrected, frame_index, through)
    return [*found, through]


def _tried(clip: LoopClip, object_id: int, corrected: Frames, frame_index: int, look: Look) -> Look:
    """This look with the clicks on a frame, and the frame if its mask is saved."""
    is_saved = clip.is_saved(object_id, corrected, frame_index)
    num_clicks = clip.correction(object_id, frame_index).num_clicks
    return replace(look, num_clicks=num_clicks, frame_index=frame_index if is_saved else None)


def _truth(clip: LoopClip, object_id: int, corrected: Mapping[int, Frames]) -> dict[str, Any]:
    state = corrected[object_id]
    labels = clip.labels(object_id, state)
    # After the last round nobody looks.
    ahead = looks(clip, object_id, state) if len(state) < MOST_CORRECTIONS else [Look(0, 0, 0, 0, None)]
    return {"j_and_f": labels.j_and_f, "is_bad": labels.is_bad, "looks": [asdict(one) for one in ahead]}

"""Tracks that several people have judged, and of which one says that they are good and another that they are not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.reviews.verdicts import Key, Verdict

_NO_JUDGMENT = (Verdict.SKIP, Verdict.WITHDRAW)


@dataclass(frozen=True)
class Difference:
    """A track of which people say different things: the last verdict of each, by who gave it, in order of time."""

    video_id: str
    object_id: int
    verdicts: Mapping[str, str]


@dataclass(frozen=True)
class Compared:
    """So many tracks were judged by several people, and of these they say different things."""

    num_tracks: int = 0
    differences: tuple[Difference, ...] = ()


def compare_people(verdicts: Iterable[Mapping[str, Any]]) -> Compared:
    """Compare what people say of the same tracks, in rows of verdicts of one round.

    Of each person the last word on a track counts. `reject` and `fix` do not differ: both say that it is bad.
    """
    words: dict[Key, dict[str, str]] = defaultdict(dict)
    for row in sorted(verdicts, key=lambda row: row["reviewed_at"]):
        of_track = words[row["video_id"], row["object_id"]]
        of_track.pop(row["reviewer"], None)
        if row["verdict"] not in _NO_JUDGMENT:
            of_track[row["reviewer"]] = row["verdict"]
    shared = {key: said for key, said in words.items() if len(said) > 1}
    differ = (key for key, said in shared.items() if len({word == Verdict.ACCEPT for word in said.values()}) > 1)
    return Compared(len(shared), tuple(Difference(*key, shared[key]) for key in sorted(differ)))

"""What came back from another program, in its own words: frames and shapes as it counts and writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pipeline.formats.shape_text import SEPARATOR

SizeHW = tuple[int, int]


@dataclass(frozen=True)
class Words:
    """What a reviewer says of an object, each empty where nothing is said."""

    verdict: str = ""
    comment: str = ""


@dataclass(frozen=True)
class ReturnedTrack:
    """An object as it came back.

    `object_id` is None for one that was added. `labels` are those of its shapes. `shapes` are texts (see
    `formats/shape_text.py`) by frame, None where the object is said to be hidden. Where the program says in which
    frames an object shows between shapes, `spans` are these, first and last. `place` says in messages where it
    stands. CVAT names the task of a track as `group`, in documents of several.
    """

    object_id: int | None
    labels: tuple[str, ...]
    shapes: Mapping[int, str | None]
    place: str
    video: str | None = None
    group: str | None = None
    words: Words = field(default_factory=Words)
    spans: tuple[tuple[int, int], ...] | None = None

    def shows(self, frame: int) -> bool:
        """Whether the object shows on a frame, be it between shapes."""
        return any(first <= frame <= last for first, last in self.spans or ())


class State(StrEnum):
    """What a program says of a task: nothing, that its reviewer is done, or that the reviewer passed it over."""

    OPEN = "open"
    DONE = "done"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Author:
    """Who made a review, when, in how many seconds; None where the program does not say."""

    name: str | None = None
    at: datetime | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class ReturnedVideo:
    """One video of a handout as it came back.

    `frames` are those of which the document speaks, None for all. `is_of_images`: it lists shapes frame by frame, so
    that one may be gone from some of them. `state` is what the program says of the task. At `cuts` the program itself
    cuts tracks in two.
    """

    video: str
    tracks: tuple[ReturnedTrack, ...]
    place: str
    frames: frozenset[int] | None = None
    sizes_hw: frozenset[SizeHW] = frozenset()
    cuts: frozenset[int] = frozenset()
    is_of_images: bool = False
    state: State = State.OPEN


@dataclass(frozen=True)
class Returned:
    """What one author says of videos of one handout."""

    handout: str
    videos: tuple[ReturnedVideo, ...]
    author: Author = field(default_factory=Author)


def joined(texts: Iterable[str | None]) -> str | None:
    """All that is shown of an object on a frame."""
    return SEPARATOR.join(sorted(filter(None, texts))) or None

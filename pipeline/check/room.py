"""What the tables take on disk: the masks, a little for each file, and the few rows of `tracks` and `videos`.

A small job is mostly the beginnings and ends of its files, because these name each column of the tables. A large one is
mostly masks. So both are counted, and neither is taken for the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from pipeline.commits.snapshot import SegmentSize
from pipeline.text import bytes_in_words

BYTES_PER_MASK = (50, 1000)
"""Where no mask of the job is finished: what a row of `masks` takes on disk, for most objects. A row holds the outline,
so that the width of the object decides."""

_SEGMENT_BYTES = 40_000  # three files with few rows: columns, statistics and dictionaries
_ROW_BYTES = 300  # of `tracks` or of `videos`
_DOUBT = 0.15  # so much the bytes of a segment vary, by the texts in its rows


class Room(NamedTuple):
    """Bytes on disk: at least, most likely and at most."""

    least: float
    about: float
    most: float

    @property
    def is_measured(self) -> bool:
        """Whether the masks of a job said so; else the outlines decide, which nobody has seen yet."""
        return self.least == self.most

    @property
    def is_small(self) -> bool:
        """Whether it is less than a megabyte whatever the outlines are, so that nobody needs to know more."""
        return not self.is_measured and self.most < 1e6

    def in_words(self) -> str:
        """As people read it: `less than 1 MB`, `about 12.4 MB`, or `about 6.7 MB (1.5 MB to 30.0 MB)`."""
        if self.is_small:
            return "less than 1 MB"
        least, about, most = (bytes_in_words(round(size)) for size in self)
        return f"about {about}" if self.is_measured else f"about {about} ({least} to {most})"


class OnDisk(NamedTuple):
    """What is there already. `num_rows` are those of `tracks` and `videos`."""

    num_segments: int = 0
    num_masks: int = 0
    num_rows: int = 0
    num_bytes: int = 0

    @classmethod
    def of(cls, sizes: Iterable[SegmentSize]) -> OnDisk:
        """All these segments together."""
        every = list(sizes)
        return cls(
            len(every),
            sum(size.num_masks for size in every),
            sum(size.num_tracks + size.num_videos for size in every),
            sum(size.num_bytes for size in every),
        )

    @property
    def bytes_of_mask(self) -> float:
        """What a row of `masks` takes; 0 where there are so few that the rest of their files hides it."""
        files = self.num_segments * _SEGMENT_BYTES
        masks = self.num_bytes - files - self.num_rows * _ROW_BYTES
        return masks / self.num_masks if self.num_masks and masks > _DOUBT * files else 0.0


def room_of(num_masks: float, num_rows: int, num_segments: int, bytes_per_mask: tuple[float, float]) -> Room:
    """What so much takes, if a row of `masks` takes so many bytes, at least and at most.

    Between them the geometric mean is most likely: 224 bytes of the 50 to 1000, where masks of SA-V take 185.
    """
    others = num_segments * _SEGMENT_BYTES + num_rows * _ROW_BYTES
    least, most = bytes_per_mask
    return Room(*(others + num_masks * each for each in (least, math.sqrt(least * most), most)))

"""The frames of a labeled video as a session takes them, a few of them kept in memory.

Frames are counted as the job's session counted them: by their place among those with masks.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from model import Frame, resize_frame
from pipeline.arrays import BoolArray, UInt8Array
from pipeline.records import FramePosition
from pipeline.seeds.shots import Shots

if TYPE_CHECKING:
    from collections.abc import Generator

    from pipeline.notebook.clip import Clip

_MOST_BYTES = 128 << 20
_MOST_BYTES_OF_PICTURES = 64 << 20
_STRETCH = 16  # frames that a walk backward decodes at a time


class ClipFrames:
    """A `FrameSource` over the frames of a clip that have masks, of the size of the network's input.

    Raises what `Clip.pixels` raises where the video is gone or is another. One thread at a time may use it.
    """

    def __init__(self, clip: Clip, image_size: int, most_bytes: int = _MOST_BYTES) -> None:
        self.clip = clip
        self.indexes: list[int] = clip.frame_indexes.tolist()
        self._places: dict[int, int] = {index: place for place, index in enumerate(self.indexes)}
        self._shots = _shots(clip)
        self._image_size = image_size
        self._most = max(2 * _STRETCH, most_bytes // (3 * image_size**2))
        self._kept: OrderedDict[int, torch.Tensor] = OrderedDict()
        self._pictures: OrderedDict[int, UInt8Array] = OrderedDict()

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the video in pixels, as displayed."""
        return self.clip.size_hw

    def are_of(self, clip: Clip) -> bool:
        """Whether these are the frames of a clip as it is now: it may be labeled again, and have more frames shown."""
        is_same = self.clip.row["finished_at"] == clip.row["finished_at"]
        return is_same and len(self.indexes) == len(clip.frame_indexes)

    def forget(self) -> None:
        """Keep none of the frames: whoever asks for one has it decoded again."""
        self._kept.clear()
        self._pictures.clear()

    def place_of(self, frame_index: int) -> int:
        """The place of a frame among those with masks. Raises `NotInJob`, a `KeyError`, for a frame without masks."""
        self.clip.check_frames([frame_index])
        return self._places[frame_index]

    def has(self, frame_index: int) -> bool:
        """Whether a frame has masks."""
        return frame_index in self._places

    def shot(self, place: int) -> range:
        """The places of the frames around one up to the next cuts: the job follows an object no further."""
        number = self._shots[place]
        stop = next((at for at in range(place, len(self._shots)) if self._shots[at] != number), len(self._shots))
        start = next((at for at in range(place, -1, -1) if self._shots[at] != number), -1) + 1
        return range(start, stop)

    def picture(self, place: int) -> UInt8Array:
        """The frame at a place at the size of the video, uint8 `[H, W, 3]`; the last ones that were read are kept."""
        if place not in self._pictures:
            ((_, _, pixels_HW3),) = self.clip.pixels([self.indexes[place]], reading="apart")
            self._keep_picture(place, pixels_HW3)
        self._pictures.move_to_end(place)
        return self._pictures[place]

    def nothing(self) -> BoolArray:
        """The mask of an object that is not seen."""
        return np.zeros(self.size_hw, np.bool_)

    def length_up_to(self, limit: int) -> int:
        """`min(number of labeled frames, limit)`."""
        return min(max(len(self.indexes), int(self.clip.row["num_frames"])), limit)

    def forward(self, start: int) -> Iterator[Frame]:
        """Frames `start`, `start + 1`, … to the end; what is not in memory is decoded on the way."""
        for place in range(start, len(self.indexes)):
            if place not in self._kept:
                yield from self._walk(place, len(self.indexes))
                return
            yield self._frame(place)

    def backward(self, end: int) -> Iterator[Frame]:
        """Frames `end - 1`, `end - 2`, … 0."""
        for stop in range(end, 0, -_STRETCH):
            yield from reversed(list(self.at(range(max(0, stop - _STRETCH), stop))))

    def at(self, indexes: Sequence[int]) -> Iterator[Frame]:
        """The frames at these places, ascending and each once; those beyond the end are left out."""
        wanted = sorted({place for place in indexes if place < len(self.indexes)})
        missing = [place for place in wanted if place not in self._kept]
        found = {place: self._frame(place) for place in wanted if place in self._kept}
        if missing and missing[-1] - missing[0] + 1 > 2 * len(missing) + _STRETCH:
            numbers = {self.indexes[place]: place for place in missing}
            for index, _, pixels_HW3 in self.clip.pixels(list(numbers), reading="apart"):
                found[numbers[index]] = self._keep(numbers[index], pixels_HW3)
        elif missing:
            found |= {frame.index: frame for frame in self._walk(missing[0], missing[-1] + 1)}
        for place in wanted:
            yield found[place]

    def _walk(self, start: int, stop: int) -> Iterator[Frame]:
        """The frames of places `start` to before `stop`, decoded one after the other."""
        read = self.clip.pixels(self.indexes[start:], reading="walk")
        with closing(cast("Generator[tuple[int, float | None, UInt8Array]]", read)) as frames:
            for place, (_, _, pixels_HW3) in zip(range(start, stop), frames, strict=False):
                yield self._keep(place, pixels_HW3)

    def _frame(self, place: int) -> Frame:
        self._kept.move_to_end(place)
        return Frame(place, self._kept[place])

    def _keep(self, place: int, pixels_HW3: UInt8Array) -> Frame:
        self._kept[place] = resize_frame(torch.from_numpy(pixels_HW3), self._image_size)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        self._keep_picture(place, pixels_HW3)
        return Frame(place, self._kept[place])

    def _keep_picture(self, place: int, pixels_HW3: UInt8Array) -> None:
        self._pictures[place] = pixels_HW3
        while len(self._pictures) > 1 and len(self._pictures) * pixels_HW3.nbytes > _MOST_BYTES_OF_PICTURES:
            self._pictures.popitem(last=False)


def _shots(clip: Clip) -> list[int]:
    """The number of the shot of each frame, as the job has cut the video."""
    cuts, fps = clip.row.get("cuts_seconds"), clip.row["fps"]
    times = clip.frame_times.tolist()
    gaps = [math.inf, *(gap if gap > 0 else math.inf for gap in np.diff(times).tolist()), math.inf]
    shots = Shots(tuple(cuts or ()), 1 / fps if fps else 0.0, lambda place: (gaps[place], gaps[place + 1]))
    return [shots.shot_of(FramePosition(place, None if math.isnan(at) else at)) for place, at in enumerate(times)]

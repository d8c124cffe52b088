"""Frames of a labeled video with masks for files: chosen ones, of chosen objects, beside those of another job."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.arrays import BoolArray, Float64Array, Int64Array, UInt8Array
from pipeline.masks.overlay import draw_masks
from pipeline.masks.shrink import shrunk, shrunk_mask
from pipeline.notebook.clip import Clip, DrawnFrame, Labels

_INK, _PAPER, _GAP = (235, 235, 235), (24, 24, 24), 4
_SAME_SECONDS = 1e-6


@dataclass(frozen=True)
class Drawing:
    """What is drawn of a video: frames from index `start` to before `stop`, every n-th of those with rows, how large.

    `frames` are indexes of frames in the place of these. `strength`, `contours` and `labels` are those of `Clip.look`.
    """

    start: int = 0
    stop: int | None = None
    every: int = 1
    strength: float = 0.5
    contours: bool = True
    labels: Labels = "ids"
    most_pixels: int | None = None
    frames: tuple[int, ...] | None = None

    def frame_indexes(self, clip: Clip) -> list[int]:
        """The chosen ones of its frames with rows. Raises `NotInJob` if one of `frames` has none."""
        if self.frames is not None:
            clip.check_frames(self.frames)
            return sorted(set(self.frames))
        indexes = clip.frame_indexes
        chosen = indexes[(indexes >= self.start) & (indexes < (np.inf if self.stop is None else self.stop))]
        found: list[int] = chosen[:: self.every].tolist()
        return found


@dataclass(frozen=True)
class Beside:
    """The same video in another job, and the words above each of both."""

    clip: Clip
    words: str
    other_words: str


def overlay_frames(
    clip: Clip, frame_indexes: list[int], drawing: Drawing, object_ids: list[int] | None, beside: Beside | None = None
) -> Iterator[DrawnFrame]:
    """These frames with masks, and to their right the same frames with the masks of another job.

    A few frames are in memory at a time. Raises like `Clip.frame`, and `ValueError` if both differ in size.
    """
    chosen = None if object_ids is None else frozenset(object_ids)
    look = clip.look(strength=drawing.strength, contours=drawing.contours, labels=drawing.labels)
    others = None if beside is None else _masks_of_other(clip, frame_indexes, beside.clip)
    words = None if beside is None else _Words(beside)
    for (index, seconds, pixels_HW3), masks in zip(
        clip.pixels(frame_indexes), clip.masks_on(frame_indexes), strict=True
    ):
        small = shrunk(pixels_HW3, drawing.most_pixels)
        shown = _chosen(masks, chosen, small)
        drawn = draw_masks(small, shown, look=look)
        if others is not None and words is not None:
            right = draw_masks(small, _chosen(next(others), chosen, small), look=look)
            drawn = words.above(drawn, right)
        yield DrawnFrame(index, seconds, tuple(shown), drawn)


def _masks_of_other(clip: Clip, frame_indexes: list[int], other: Clip) -> Iterator[dict[int, BoolArray]]:
    """The masks of another job on the frames of this one: matched by time, or by index where there are no times."""
    if clip.size_hw != other.size_hw:
        raise ValueError(
            f"video {clip.video_id!r} has {clip.size_hw[1]} x {clip.size_hw[0]} pixels in one job and "
            f"{other.size_hw[1]} x {other.size_hw[0]} in the other: both must have labeled the same file"
        )
    places = _places_in(other, np.array(frame_indexes, np.int64), _times(clip, frame_indexes))
    wanted = sorted({place for place in places if place is not None})
    read, before = zip(wanted, other.masks_on(wanted), strict=True), -1
    masks: dict[int, BoolArray] = {}
    for place in places:
        if place is None:
            yield {}
            continue
        while before < place:
            before, masks = next(read)
        # Where times fall from one frame to the next, its masks have gone by.
        yield masks if before == place else next(other.masks_on([place]))


def _times(clip: Clip, frame_indexes: list[int]) -> Float64Array:
    """The times of these frames with rows, `[T]`; nan where the file has none."""
    return clip.frame_times[np.searchsorted(clip.frame_indexes, frame_indexes)]


def _places_in(other: Clip, frames_T: Int64Array, times_T: Float64Array) -> list[int | None]:
    """The frames of another job that are these: those of their numbers if the times fit, else the first at their times.

    None stands for a frame of which the other job has no masks.
    """
    numbers, times = other.frame_indexes, other.frame_times
    if not len(numbers):
        return [None] * len(frames_T)
    of_number = np.minimum(np.searchsorted(numbers, frames_T), len(numbers) - 1)
    is_same_time = np.isnan(times_T) | (np.abs(times[of_number] - times_T) <= _SAME_SECONDS)
    fits = (numbers[of_number] == frames_T) & is_same_time
    order = np.argsort(times, kind="stable")
    at_time = np.searchsorted(times[order], times_T - _SAME_SECONDS)
    of_time = order[np.minimum(at_time, len(order) - 1)]
    is_there = np.abs(times[of_time] - times_T) <= _SAME_SECONDS  # never of nan
    places = np.where(fits, numbers[of_number], numbers[of_time]).tolist()
    return [place if found else None for place, found in zip(places, (fits | is_there).tolist(), strict=True)]


def _chosen(
    masks: Mapping[int, BoolArray], object_ids: Collection[int] | None, small_HW3: UInt8Array
) -> dict[int, BoolArray]:
    """The masks of these objects in the size of the frame."""
    return {
        object_id: shrunk_mask(mask, small_HW3.shape[:2])
        for object_id, mask in masks.items()
        if object_ids is None or object_id in object_ids
    }


class _Words:
    """Two pictures side by side with words above each."""

    def __init__(self, beside: Beside) -> None:
        self._texts = (beside.words, beside.other_words)
        self._strip: UInt8Array | None = None

    def above(self, left_HW3: UInt8Array, right_HW3: UInt8Array) -> UInt8Array:
        """Both, with the strip of words, which is drawn once."""
        height, width = left_HW3.shape[:2]
        if self._strip is None:
            size = max(11, width // 32)
            image = Image.new("RGB", (2 * width + _GAP, size + 8), _PAPER)
            pen, font = ImageDraw.Draw(image), ImageFont.load_default(size)
            for place, text in zip((0, width + _GAP), self._texts, strict=True):
                while len(text) > 4 and pen.textlength(text, font) > width - 8:
                    text = f"…{text[2:]}"
                pen.text((place + 4, 3), text, fill=_INK, font=font)
            self._strip = np.asarray(image)
        gap = np.zeros((height, _GAP, 3), np.uint8)
        return np.concatenate([self._strip, np.concatenate([left_HW3, gap, right_HW3], axis=1)])

"""Signals: what rows of `masks` say against a track, measured without truth. No mask is decoded here.

A signal is a number by track, higher where a track is worse, nan where the rows do not tell: outputs of earlier
programs lack `stability`, `num_parts` and `pointer_similarity`, and what masks say of their neighbors is there only
after `pipeline.quality.shapes`.

Legend: N rows, T tracks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import BoolArray, Float64Array, Int64Array
from pipeline.quality.reasons import LOW_IOU_BOUND, Reason
from pipeline.quality.track_rows import TrackRows

COLUMNS = (
    "video_id",
    "object_id",
    "frame_index",
    "area",
    "bbox_x",
    "bbox_y",
    "bbox_w",
    "bbox_h",
    "object_score",
    "predicted_iou",
    "is_prompt",
    "stability",
    "num_parts",
    "pointer_similarity",
)
"""What the signals need of `masks`."""

_MUCH_OF_THE_FRAME = 0.5
_SMALLEST_AREA = 16

SizeOf = Callable[[str], tuple[int, int] | None]
"""Height and width of the frames of a video, if they are known."""


@dataclass(frozen=True)
class Signal:
    """One signal of T tracks: how bad each is, what a sentence tells of it, and the row to look at, each `[T]`."""

    badness: Float64Array
    value: Float64Array
    row: Int64Array


def measure(tracks: TrackRows, size_of: SizeOf) -> dict[Reason, Signal]:
    """All signals of whole tracks; rows may lack the last three of `COLUMNS`. Never visible is not bad: 0 or nan."""
    seen = _Seen.of(tracks, size_of)
    return {reason: measured(seen) for reason, measured in _MEASURES.items()}


@dataclass(frozen=True)
class _Seen:
    """Columns that several signals need. By row `[N]`; `frame_area`, `num_visible` by track `[T]`."""

    tracks: TrackRows
    area: Float64Array
    is_visible: BoolArray
    touches_border: BoolArray
    num_visible: Int64Array
    frame_area: Float64Array

    @classmethod
    def of(cls, tracks: TrackRows, size_of: SizeOf) -> _Seen:
        sizes = np.array([size_of(video_id) or (0, 0) for video_id in tracks.video_ids], np.float64).reshape(-1, 2)
        heights, widths = tracks.repeated(sizes[:, 0]), tracks.repeated(sizes[:, 1])
        area = tracks.column("area").astype(np.float64)
        x, y, w, h = (tracks.column(f"bbox_{side}") for side in "xywh")
        border = (x <= 1) | (y <= 1) | ((widths > 0) & ((x + w >= widths - 1) | (y + h >= heights - 1)))
        is_visible = area > 0
        return cls(tracks, area, is_visible, border, tracks.sums(is_visible), sizes[:, 0] * sizes[:, 1])

    def pairs(self) -> BoolArray:
        """Rows whose object is visible there and on the row before, of the same track."""
        before = np.roll(self.is_visible, 1) & ~self.tracks.is_start
        return self.is_visible & before

    def share_of_visible(self, is_there: BoolArray) -> Float64Array:
        """Of the visible rows of each track, the share with this, `[T]`."""
        share: Float64Array = self.tracks.sums(self.is_visible & is_there) / np.maximum(self.num_visible, 1)
        return share

    def mean_of_known(self, values: Float64Array) -> Float64Array:
        """The mean over the visible rows that have a value, `[T]`; nan where none has."""
        is_known = self.is_visible & ~np.isnan(values)
        count = self.tracks.sums(is_known)
        total = self.tracks.sums(np.where(is_known, values, 0.0))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def low_tail(self, name: str) -> Signal:
        """What a tenth of the visible rows are at most, and the row of the lowest."""
        values = self.tracks.floats(name)
        tenth, row = self.tracks.quantile(np.where(self.is_visible, values, np.nan), 0.1)
        return Signal(-tenth, tenth, row)


def _low_iou(seen: _Seen) -> Signal:
    iou = seen.tracks.floats("predicted_iou")
    mean: Float64Array = seen.tracks.sums(np.where(seen.is_visible, iou, 0.0)) / np.maximum(seen.num_visible, 1)
    _, row = seen.tracks.largest(np.where(seen.is_visible, -iou, -np.inf))
    return Signal(1 - mean, mean, row)


def _iou_dips(seen: _Seen) -> Signal:
    found = seen.low_tail("predicted_iou")
    return Signal(1 - found.value, found.value, found.row)


def _unstable(seen: _Seen) -> Signal:
    found = seen.low_tail("stability")
    return Signal(1 - found.value, found.value, found.row)


def _unlike_prompt(seen: _Seen) -> Signal:
    found = seen.low_tail("pointer_similarity")
    return Signal(1 - found.value, found.value, found.row)


def _weak_score(seen: _Seen) -> Signal:
    return seen.low_tail("object_score")


def _unsure_stretch(seen: _Seen) -> Signal:
    iou = seen.tracks.floats("predicted_iou")
    is_low = seen.is_visible & (iou < LOW_IOU_BOUND)
    place = np.arange(len(is_low))
    last_sound = np.maximum.accumulate(np.where(~is_low, place, np.where(seen.tracks.is_start, place - 1, -1)))
    length, end = seen.tracks.largest((place - last_sound).astype(np.float64))
    # The end of a stretch is where the track becomes good again: a person is shown the lowest frame of it.
    is_inside = (place > seen.tracks.repeated(end - length)) & (place <= seen.tracks.repeated(end))
    _, row = seen.tracks.largest(np.where(is_inside, -iou, -np.inf))
    share = length / np.maximum(seen.num_visible, 1)
    return Signal(np.where(length > 1, share, 0.0), length, row)


def _lost(seen: _Seen) -> Signal:
    place = np.arange(len(seen.area))
    last = np.maximum.reduceat(np.where(seen.is_visible, place, -1), seen.tracks.starts)
    tail = seen.tracks.starts + seen.tracks.counts - 1 - last
    share = tail / seen.tracks.counts
    # What left over the border is not lost.
    is_inside = ~seen.touches_border[np.maximum(last, 0)]
    lost = np.where(is_inside & (tail > 1), share, 0.0)
    return Signal(lost, lost, np.minimum(last + 1, len(place) - 1))


def _flickers(seen: _Seen) -> Signal:
    tracks = seen.tracks
    is_back = seen.is_visible & ~np.roll(seen.is_visible, 1) & ~tracks.is_start
    starts_hidden = ~seen.is_visible[tracks.starts]
    times = np.maximum(tracks.sums(is_back) - starts_hidden, 0).astype(np.float64)
    is_gone = ~seen.is_visible & np.roll(seen.is_visible, 1) & ~tracks.is_start
    _, row = tracks.largest(is_gone.astype(np.float64))
    return Signal(times, times, row)


def _area_jump(seen: _Seen) -> Signal:
    before = np.roll(seen.area, 1)
    usable = seen.pairs() & (np.maximum(seen.area, before) >= _SMALLEST_AREA)
    change = np.abs(np.log2(np.maximum(seen.area, 1) / np.maximum(before, 1)))
    # What enters or leaves the picture changes its area without fault.
    change = np.where(seen.touches_border | np.roll(seen.touches_border, 1), 0.5 * change, change)
    most, row = seen.tracks.largest(np.where(usable, change, 0.0))
    return Signal(most, 2.0**most, row)


def _shape_jump(seen: _Seen) -> Signal:
    iou = seen.tracks.floats("shape_iou")
    most, row = seen.tracks.largest(np.where(np.isnan(iou), -np.inf, 1 - iou))
    badness = np.where(np.isinf(most), np.nan, most)
    return Signal(badness, 1 - badness, row)


def _leap(seen: _Seen) -> Signal:
    x, y, w, h = (seen.tracks.column(f"bbox_{side}").astype(np.float64) for side in "xywh")
    center_x, center_y, size = x + w / 2, y + h / 2, np.sqrt(w * h)
    way = np.hypot(center_x - np.roll(center_x, 1), center_y - np.roll(center_y, 1))
    ratio = way / np.maximum(np.maximum(size, np.roll(size, 1)), 4.0)
    most, row = seen.tracks.largest(np.where(seen.pairs(), ratio, 0.0))
    return Signal(most, most, row)


def _fragments(seen: _Seen) -> Signal:
    parts = seen.tracks.floats("num_parts")
    is_known = seen.is_visible & ~np.isnan(parts)
    most, row = seen.tracks.largest(np.where(is_known, parts, -np.inf))
    # An object that was pointed at in two parts is meant to be so.
    is_prompt = seen.tracks.column("is_prompt").astype(bool)
    prompted, _ = seen.tracks.largest(np.where(is_known & is_prompt, parts, 1.0))
    badness = seen.share_of_visible(is_known & (parts > seen.tracks.repeated(prompted)))
    return Signal(np.where(np.isinf(most), np.nan, badness), np.where(np.isinf(most), np.nan, most), row)


def _whole_frame(seen: _Seen) -> Signal:
    frame_area = seen.tracks.repeated(seen.frame_area)
    share = np.where(frame_area > 0, seen.area / np.maximum(frame_area, 1), 0.0)
    # An object that was pointed at as large as this is meant to be so.
    is_prompt = seen.tracks.column("is_prompt").astype(bool)
    prompted, _ = seen.tracks.largest(np.where(is_prompt, share, 0.0))
    most, row = seen.tracks.largest(share)
    unasked = np.where(prompted < _MUCH_OF_THE_FRAME, most, 0.0)
    return Signal(unasked, unasked, row)


def _border(seen: _Seen) -> Signal:
    share = seen.share_of_visible(seen.touches_border)
    _, row = seen.tracks.largest((seen.is_visible & seen.touches_border).astype(np.float64))
    return Signal(share, share, row)


def _overlap(name: str) -> Callable[[_Seen], Signal]:
    def measured(seen: _Seen) -> Signal:
        values = seen.tracks.floats(name)
        mean = seen.mean_of_known(values)
        _, row = seen.tracks.largest(np.where(seen.is_visible & ~np.isnan(values), values, -np.inf))
        return Signal(mean, mean, row)

    return measured


_MEASURES: Mapping[Reason, Callable[[_Seen], Signal]] = {
    Reason.LOW_IOU: _low_iou,
    Reason.IOU_DIPS: _iou_dips,
    Reason.UNSURE_STRETCH: _unsure_stretch,
    Reason.UNSTABLE: _unstable,
    Reason.WEAK_SCORE: _weak_score,
    Reason.UNLIKE_PROMPT: _unlike_prompt,
    Reason.LOST: _lost,
    Reason.FLICKERS: _flickers,
    Reason.AREA_JUMP: _area_jump,
    Reason.SHAPE_JUMP: _shape_jump,
    Reason.LEAP: _leap,
    Reason.FRAGMENTS: _fragments,
    Reason.WHOLE_FRAME: _whole_frame,
    Reason.BORDER: _border,
    Reason.OVERLAPS: _overlap("overlap_iou"),
    Reason.INSIDE: _overlap("overlap_share"),
}

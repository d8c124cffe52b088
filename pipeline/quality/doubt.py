"""Doubt: which tracks a person should look at first, why, and on which frame.

A first ranking, from rows of `masks` alone; no mask is decoded. Each signal measures one way in which tracks go wrong,
by frame, and becomes a weight between 0 and 1. A track's doubt is 1 - (1 - w1)(1 - w2)…, as if signals were independent
witnesses. The frame to look at is that of the heaviest signal. The bounds are rules of thumb, not fitted.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray, Float64Array, Int64Array
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
)
"""What the signals need of `masks`."""

LOW_IOU = 0.7
_WEAK_SCORE = 1.0
_MOST_OF_THE_FRAME = 0.9
_SMALLEST_AREA = 16
_NEGLIGIBLE = 0.05


class Reason(StrEnum):
    """Why a track is doubtful. Codes stay; new ones may come."""

    LOW_IOU = "low_iou"
    UNSURE_STRETCH = "unsure_stretch"
    LOST = "lost"
    FLICKERS = "flickers"
    AREA_JUMP = "area_jump"
    LEAP = "leap"
    WHOLE_FRAME = "whole_frame"
    WEAK_SCORE = "weak_score"


SENTENCES: Mapping[Reason, str] = {
    Reason.LOW_IOU: "The model itself expects a mean IoU of only {value:.2f}; the lowest is on frame {frame}.",
    Reason.UNSURE_STRETCH: f"A predicted IoU below {LOW_IOU} on {{value:.0f}} frames in a row, up to frame {{frame}}.",
    Reason.LOST: "It vanishes inside the picture on frame {frame} and does not return, for {value:.0%} of its frames.",
    Reason.FLICKERS: "It vanishes and comes back {value:.0f} times, first on frame {frame}.",
    Reason.AREA_JUMP: "From one labeled frame to the next its area changes {value:.1f}-fold, on frame {frame}.",
    Reason.LEAP: "From one labeled frame to the next it moves by {value:.1f} times its own size, on frame {frame}.",
    Reason.WHOLE_FRAME: "Its mask covers {value:.0%} of the picture, on frame {frame}.",
    Reason.WEAK_SCORE: "On {value:.0%} of the frames that show it, the model hardly sees it, least on frame {frame}.",
}
"""What a code means, with the value and the frame of a track."""


@dataclass(frozen=True)
class Ground:
    """One reason of one track: how heavy it is (0 … 1), what was measured, and on which frame."""

    reason: Reason
    weight: float
    value: float
    frame_index: int

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return SENTENCES[self.reason].format(value=self.value, frame=self.frame_index)


@dataclass(frozen=True)
class Doubt:
    """A track, how doubtful it is (0 … 1), and why: the heaviest ground first. No ground: nothing speaks against it."""

    video_id: str
    object_id: int
    doubt: float
    grounds: tuple[Ground, ...]

    @property
    def frame_index(self) -> int | None:
        """The frame to look at."""
        return self.grounds[0].frame_index if self.grounds else None


@dataclass(frozen=True)
class Signals:
    """The grounds of `T` tracks by reason: weights, values and frame indexes, each `[T]`; and the doubt, `[T]`.

    `soundness` tells tracks without doubt apart: the mean predicted IoU of the visible rows, less half a row, because
    short tracks say less.
    """

    tracks: TrackRows
    weights: Mapping[Reason, Float64Array]
    values: Mapping[Reason, Float64Array]
    frames: Mapping[Reason, Int64Array]
    doubt: Float64Array
    soundness: Float64Array

    def of(self, track: int) -> Doubt:
        """The doubt of one of the tracks, by its place."""
        grounds = [
            Ground(reason, float(weight[track]), float(self.values[reason][track]), int(self.frames[reason][track]))
            for reason, weight in self.weights.items()
            if weight[track] > _NEGLIGIBLE
        ]
        grounds.sort(key=lambda ground: -ground.weight)
        tracks = self.tracks
        return Doubt(tracks.video_ids[track], int(tracks.object_ids[track]), float(self.doubt[track]), tuple(grounds))


SizeOf = Callable[[str], tuple[int, int] | None]
"""Height and width of the frames of a video, if they are known."""


def signals(tracks: TrackRows, size_of: SizeOf) -> Signals:
    """All signals of whole tracks; the rows need `COLUMNS`. A track that is never visible has no doubt but 0.

    Whether an object is wanted at all is another question: tracks that are never visible are listed by themselves.
    """
    seen = _Seen.of(tracks, size_of)
    found = {reason: measure(seen) for reason, measure in _MEASURES.items()}
    weights = {reason: np.where(seen.num_visible > 0, weight, 0.0) for reason, (weight, _, _) in found.items()}
    frame_index = tracks.column("frame_index")
    rows = {reason: np.minimum(row, tracks.table.num_rows - 1) for reason, (_, _, row) in found.items()}
    return Signals(
        tracks,
        weights,
        {reason: value for reason, (_, value, _) in found.items()},
        {reason: np.asarray(frame_index[row], np.int64) for reason, row in rows.items()},
        1.0 - np.prod([1.0 - weight for weight in weights.values()], axis=0),
        found[Reason.LOW_IOU][1] - 0.5 / np.maximum(seen.num_visible, 1),
    )


@dataclass
class Ranking:
    """The most doubtful and the soundest tracks of a stream; memory holds `most` of either."""

    most: int
    _worst: list[tuple[float, int, Doubt]] = field(default_factory=list)
    _best: list[tuple[float, int, Doubt]] = field(default_factory=list)
    _num_seen: int = 0

    def add(self, found: Signals) -> None:
        """Take tracks."""
        soundness = found.soundness
        doubt, visible = found.doubt, found.tracks.sums(found.tracks.column("area") > 0) > 0
        for track in _most(np.where(visible, doubt, -1.0), self.most):
            if doubt[track] > 0:
                self._keep(self._worst, float(doubt[track]), found.of(int(track)))
        for track in _most(np.where(visible, soundness - doubt, -np.inf), self.most):
            if visible[track]:
                self._keep(self._best, float(soundness[track] - doubt[track]), found.of(int(track)))

    def _keep(self, heap: list[tuple[float, int, Doubt]], value: float, doubt: Doubt) -> None:
        self._num_seen += 1
        push = heapq.heappush if len(heap) < self.most else heapq.heappushpop
        push(heap, (value, -self._num_seen, doubt))

    def worst(self) -> list[Doubt]:
        """The most doubtful tracks, those first."""
        return [doubt for _, _, doubt in sorted(self._worst, key=lambda one: (-one[0], -one[1]))]

    def best(self) -> list[Doubt]:
        """The soundest tracks, those first."""
        return [doubt for _, _, doubt in sorted(self._best, key=lambda one: (-one[0], -one[1]))]


def _most(values: Float64Array, count: int) -> Iterator[np.int64]:
    """Places of the `count` largest values, in the order of the tracks."""
    if len(values) <= count:
        return iter(np.arange(len(values)))
    return iter(np.sort(np.argpartition(-values, count - 1)[:count]))


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


_Measured = tuple[Float64Array, Float64Array, Int64Array]
"""Weight, value and row to look at of each track."""


def _low_iou(seen: _Seen) -> _Measured:
    iou = seen.tracks.column("predicted_iou").astype(np.float64)
    mean: Float64Array = seen.tracks.sums(np.where(seen.is_visible, iou, 0.0)) / np.maximum(seen.num_visible, 1)
    _, row = seen.tracks.largest(np.where(seen.is_visible, -iou, -np.inf))
    return 0.9 * _ramp(0.95 - mean, 0.05, 0.4), mean, row


def _unsure_stretch(seen: _Seen) -> _Measured:
    iou = seen.tracks.column("predicted_iou").astype(np.float64)
    is_low = seen.is_visible & (iou < LOW_IOU)
    place = np.arange(len(iou))
    last_sound = np.maximum.accumulate(np.where(~is_low, place, np.where(seen.tracks.is_start, place - 1, -1)))
    length, row = seen.tracks.largest((place - last_sound).astype(np.float64))
    share = length / np.maximum(seen.num_visible, 1)
    return 0.7 * np.maximum(_ramp(length, 2, 20), _ramp(share, 0.05, 0.5)) * (length > 1), length, row


def _lost(seen: _Seen) -> _Measured:
    place = np.arange(len(seen.area))
    last = np.maximum.reduceat(np.where(seen.is_visible, place, -1), seen.tracks.starts)
    tail = seen.tracks.starts + seen.tracks.counts - 1 - last
    share = tail / seen.tracks.counts
    is_inside = ~seen.touches_border[np.maximum(last, 0)]
    weight = np.where(is_inside & (tail > 1), 0.75 * _ramp(share, 0.03, 0.4), 0.0)
    return weight, share, np.minimum(last + 1, len(place) - 1)


def _flickers(seen: _Seen) -> _Measured:
    tracks = seen.tracks
    is_back = seen.is_visible & ~np.roll(seen.is_visible, 1) & ~tracks.is_start
    comes_back = tracks.sums(is_back)
    starts_hidden = ~seen.is_visible[tracks.starts]
    times = np.maximum(comes_back - starts_hidden, 0).astype(np.float64)
    is_gone = ~seen.is_visible & np.roll(seen.is_visible, 1) & ~tracks.is_start
    _, row = tracks.largest(is_gone.astype(np.float64))
    return 0.6 * _ramp(times, 1, 6), times, row


def _area_jump(seen: _Seen) -> _Measured:
    before = np.roll(seen.area, 1)
    usable = seen.pairs() & (np.maximum(seen.area, before) >= _SMALLEST_AREA)
    change = np.abs(np.log2(np.maximum(seen.area, 1) / np.maximum(before, 1)))
    # What enters or leaves the picture changes its area without fault.
    change = np.where(seen.touches_border | np.roll(seen.touches_border, 1), 0.5 * change, change)
    most, row = seen.tracks.largest(np.where(usable, change, 0.0))
    return 0.7 * _ramp(most, 0.6, 2.5), 2.0**most, row


def _leap(seen: _Seen) -> _Measured:
    x, y, w, h = (seen.tracks.column(f"bbox_{side}").astype(np.float64) for side in "xywh")
    center_x, center_y, size = x + w / 2, y + h / 2, np.sqrt(w * h)
    way = np.hypot(center_x - np.roll(center_x, 1), center_y - np.roll(center_y, 1))
    ratio = way / np.maximum(np.maximum(size, np.roll(size, 1)), 4.0)
    most, row = seen.tracks.largest(np.where(seen.pairs(), ratio, 0.0))
    return 0.5 * _ramp(most, 0.8, 3), most, row


def _whole_frame(seen: _Seen) -> _Measured:
    frame_area = seen.tracks.repeated(seen.frame_area)
    share = np.where(frame_area > 0, seen.area / np.maximum(frame_area, 1), 0.0)
    # An object that was pointed at as large as this is meant to be so.
    is_prompt = seen.tracks.column("is_prompt").astype(bool)
    prompted, _ = seen.tracks.largest(np.where(is_prompt, share, 0.0))
    most, row = seen.tracks.largest(share)
    return np.where((most >= _MOST_OF_THE_FRAME) & (prompted < 0.5), 0.8, 0.0), most, row


def _weak_score(seen: _Seen) -> _Measured:
    score = seen.tracks.column("object_score").astype(np.float64)
    is_weak = seen.is_visible & (score < _WEAK_SCORE)
    share = seen.tracks.sums(is_weak) / np.maximum(seen.num_visible, 1)
    _, row = seen.tracks.largest(np.where(is_weak, -score, -np.inf))
    return 0.5 * _ramp(share, 0.02, 0.3), share, row


_MEASURES: Mapping[Reason, Callable[[_Seen], _Measured]] = {
    Reason.LOW_IOU: _low_iou,
    Reason.UNSURE_STRETCH: _unsure_stretch,
    Reason.LOST: _lost,
    Reason.FLICKERS: _flickers,
    Reason.AREA_JUMP: _area_jump,
    Reason.LEAP: _leap,
    Reason.WHOLE_FRAME: _whole_frame,
    Reason.WEAK_SCORE: _weak_score,
}


def _ramp(values: npt.NDArray[np.float64], low: float, high: float) -> Float64Array:
    """0 up to `low`, 1 from `high` on, straight between them."""
    return np.clip((values - low) / (high - low), 0.0, 1.0)

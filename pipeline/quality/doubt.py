"""Doubt: which tracks a person should look at first, why, and on which frame.

Signals measure ways in which tracks go wrong, and a blend joins them. The frame to look at is that of the heaviest
signal.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from pipeline.arrays import Float64Array, Int64Array
from pipeline.ids import are_of
from pipeline.quality.blend import DEFAULT, Blend
from pipeline.quality.reasons import Doubt, Ground, Reason
from pipeline.quality.signals import Signal, SizeOf, measure
from pipeline.quality.track_rows import TrackRows

_NEGLIGIBLE = 0.1
_SOUND = 0.02


@dataclass(frozen=True)
class Signals:
    """The signals of `T` tracks by reason, which part of the doubt each makes, its frame, and the doubt, `[T]`.

    `soundness` tells tracks without doubt apart: the mean predicted IoU of the visible rows, less half a row, because
    short tracks say less.
    """

    tracks: TrackRows
    measured: Mapping[Reason, Signal]
    weights: Mapping[Reason, Float64Array]
    frames: Mapping[Reason, Int64Array]
    doubt: Float64Array
    soundness: Float64Array

    def of(self, track: int) -> Doubt:
        """The doubt of one of the tracks, by its place, with the grounds that make a tenth of it or more."""
        whole = float(self.doubt[track])
        grounds = [
            Ground(
                reason, float(weight[track]), float(self.measured[reason].value[track]), int(self.frames[reason][track])
            )
            for reason, weight in self.weights.items()
            if is_heavy(weight[track], whole, whole)
        ]
        grounds.sort(key=lambda ground: -ground.weight)
        tracks = self.tracks
        return Doubt(tracks.video_ids[track], int(tracks.object_ids[track]), whole, tuple(grounds))


def is_heavy(part: float, whole: float, doubt: float) -> bool:
    """Whether a signal is named as a reason: it makes a tenth of the whole or more, and there is a doubt at all."""
    return doubt >= _SOUND and part >= _NEGLIGIBLE * whole


def signals(tracks: TrackRows, size_of: SizeOf, blend: Blend = DEFAULT) -> Signals:
    """All signals of whole tracks, and their doubt. A track that is never visible has no doubt but 0.

    Whether an object is wanted at all is another question: tracks that are never visible are listed by themselves.
    """
    measured = measure(tracks, size_of)
    num_visible = tracks.sums(tracks.column("area") > 0)
    evidence = {
        reason: np.where(num_visible > 0, added, 0.0)
        for reason, added in blend.evidence({reason: one.badness for reason, one in measured.items()}).items()
    }
    doubt, total = blend.doubt(evidence), np.sum(list(evidence.values()), axis=0)
    frame_index = tracks.column("frame_index")
    last = tracks.table.num_rows - 1
    return Signals(
        tracks,
        measured,
        {reason: added * (doubt / np.maximum(total, 1e-9)) for reason, added in evidence.items()},
        {reason: np.asarray(frame_index[np.minimum(one.row, last)], np.int64) for reason, one in measured.items()},
        doubt,
        measured[Reason.LOW_IOU].value - 0.5 / np.maximum(num_visible, 1),
    )


@dataclass
class Ranking:
    """The most doubtful and the soundest tracks of a stream; memory holds `most` of either.

    Tracks of `seen`, by video and object, are not among the most doubtful.
    """

    most: int
    seen: Collection[tuple[str, int]] = ()
    _worst: list[tuple[float, int, Doubt]] = field(default_factory=list)
    _best: list[tuple[float, int, Doubt]] = field(default_factory=list)
    _num_seen: int = 0

    def add(self, found: Signals) -> None:
        """Take tracks."""
        soundness = found.soundness
        doubt, visible = found.doubt, found.tracks.sums(found.tracks.column("area") > 0) > 0
        is_new = visible & ~are_of(self.seen, found.tracks.video_ids, found.tracks.object_ids.tolist())
        for track in _most(np.where(is_new, doubt, -1.0), self.most):
            if doubt[track] > 0 and is_new[track]:
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

"""What a worker needs for a frame, for a mask and for the pixels of a frame: fitted to videos that were labeled.

The network's work for a frame is the same for each size of video, and grows with the objects. Decoding and run lengths
grow with the pixels. So the seconds of a video are a sum of three parts, none of which is negative.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

from pipeline.arrays import Float64Array


class Work(NamedTuple):
    """How much there is to do: labeled frames, rows of `masks`, millions of pixels of these frames.

    `video_seconds` is the length of the labeled video, `num_bytes` the size of its file, and `num_reads` the requests
    that fetch it from a store.
    """

    frames: float = 0.0
    masks: float = 0.0
    megapixels: float = 0.0
    video_seconds: float = 0.0
    num_bytes: float = 0.0
    num_reads: float = 0.0

    def plus(self, other: Work) -> Work:
        """Both together."""
        return Work(*(one + two for one, two in zip(self, other, strict=True)))

    def times(self, factor: float) -> Work:
        """So much of it."""
        return Work(*(value * factor for value in self))


NO_WORK = Work()


class Rates(NamedTuple):
    """Seconds of a worker for a frame, for a mask, and for a million pixels of a frame."""

    per_frame: float
    per_mask: float
    per_megapixel: float

    def seconds(self, work: Work) -> float:
        """What a worker needs for this."""
        return self.per_frame * work.frames + self.per_mask * work.masks + self.per_megapixel * work.megapixels

    def in_words(self) -> str:
        """Each part in milliseconds, but for those that explain nothing: `8.3 ms a frame, 0.045 ms a mask`."""
        named = zip(self, ("frame", "mask", "megapixel"), strict=True)
        return ", ".join(f"{_milliseconds(rate)} a {noun}" for rate, noun in named if rate) or "no time to speak of"


def _milliseconds(seconds: float) -> str:
    value = 1000 * seconds
    if value < 0.001:
        return "less than 0.001 ms"
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.2g} ms" if value < 1 else f"{value:.1f} ms"


def fit(amounts_N3: Float64Array, seconds_N: Float64Array) -> Rates | None:
    """The rates that explain `N` videos best: their frames, masks and megapixels, and the seconds that each took.

    Least squares without negative rates, by trying each set of the three. Videos that are all alike cannot tell the
    parts apart; then the smallest set that explains them counts. The sum over the videos is exact. None where nothing
    was measured.
    """
    total = float(seconds_N.sum())
    if not len(seconds_N) or total <= 0 or not amounts_N3.any():
        return None
    best, least = np.zeros(3), np.inf
    for size in (1, 2, 3):
        for chosen in combinations(range(3), size):
            columns_NK = amounts_N3[:, chosen]
            rates_K, _, rank, _ = np.linalg.lstsq(columns_NK, seconds_N, rcond=None)
            error = float(np.square(columns_NK @ rates_K - seconds_N).sum())
            if rank == size and (rates_K >= 0).all() and error < 0.99 * least:
                best, least = np.zeros(3), error
                best[list(chosen)] = rates_K
    explained = float((amounts_N3 @ best).sum())
    return Rates(*(best * total / explained).tolist()) if explained > 0 else None

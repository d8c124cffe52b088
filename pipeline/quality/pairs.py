"""J and F of pairs of masks: a predicted and a true one of the same object on the same frame."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Float64Array, Int64Array
from pipeline.quality.boundary import boundary_scores
from pipeline.quality.runs import intersections, read_runs

_CHARACTERS_AT_A_TIME = 1 << 18  # of the counts of one side: about 60 MB of numbers


@dataclass(frozen=True)
class PairScores:
    """Scores of N pairs: J (intersection over union), F (see `boundary.py`) and the pixels of both masks, each `[N]`.

    J and F are 1 where both masks are empty. F is nan where it was not asked for.
    """

    j: Float64Array
    f: Float64Array
    predicted_areas: Int64Array
    true_areas: Int64Array


def score_pairs(
    size_hw: tuple[int, int],
    predicted_N: pa.Array,
    true_N: pa.Array,
    *,
    with_boundary: bool = True,
    characters_at_a_time: int = _CHARACTERS_AT_A_TIME,
) -> PairScores:
    """Score mask i of `predicted_N` against mask i of `true_N`: COCO's counts, null for an empty mask.

    Raises `ValueError` for counts that are not of masks of this size, naming the place of the first of them.
    """
    if len(predicted_N) != len(true_N):
        raise ValueError(f"{len(predicted_N)} predicted masks cannot be paired with {len(true_N)} true ones")
    cuts = _parts(characters_at_a_time, predicted_N, true_N)
    parts = [_score(size_hw, predicted_N[part], true_N[part], with_boundary) for part in cuts]
    nothing = np.zeros(0)
    return PairScores(
        np.concatenate([nothing, *(part.j for part in parts)]),
        np.concatenate([nothing, *(part.f for part in parts)]),
        np.concatenate([nothing.astype(np.int64), *(part.predicted_areas for part in parts)]),
        np.concatenate([nothing.astype(np.int64), *(part.true_areas for part in parts)]),
    )


def _score(size_hw: tuple[int, int], predicted_N: pa.Array, true_N: pa.Array, with_boundary: bool) -> PairScores:
    predicted, true = read_runs(size_hw, predicted_N), read_runs(size_hw, true_N)
    predicted_areas, true_areas = predicted.areas(), true.areas()
    common = intersections(predicted, true)
    either = predicted_areas + true_areas - common
    j = np.where(either > 0, common / np.maximum(either, 1), 1.0)
    f = boundary_scores(predicted, true) if with_boundary else np.full(len(j), np.nan)
    return PairScores(j, f, predicted_areas, true_areas)


def _parts(most: int, *sides_N: pa.Array) -> Iterator[slice]:
    """Slices with a bounded number of characters, because memory must not grow with the length of a track."""
    sizes = np.max([np.asarray(pc.fill_null(pc.binary_length(side), 0)) for side in sides_N], axis=0)
    numbers = np.cumsum(sizes) // most
    cuts = np.flatnonzero(np.diff(numbers)) + 1
    bounds = [0, *cuts.tolist(), len(sizes)]
    for begin, end in itertools.pairwise(bounds):
        yield slice(begin, end)

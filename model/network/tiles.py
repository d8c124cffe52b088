"""Attention in bfloat16 on a CPU, by tiles of scores whose exponential is computed inside the product with the keys.

A pass over the scores of its own costs an exponential as much as a third of the products. oneDNN's product can end
with a logistic, σ(x) = eˣ / (1 + eˣ), and far below zero that is the exponential: the two differ by the share eˣ. So
scores are shifted down before. Softmax does not depend on a shift of a query's scores, and the sum of a query's weights
tells afterwards whether its shift was a good one.

Legend: L queries, T keys, D channels of queries and keys, V channels of values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# A tile of weights has 4 MiB. Larger ones leave the caches, smaller ones are not worth the calls.
_QUERIES = 512
_KEYS = 4096
# The largest score of a query over every so many keys is about its largest score over all. A prime number, so that
# these keys do not stand in one column of a map.
_STRIDE = 61
# How far below zero that score is shifted: the other scores of the query may be up to 51 above it.
_SHIFT = 58.0
# Bounds of the sum of a query's weights. No weight is above the sum: below e⁻⁷ a logistic is the exponential to 0.1 %,
# and bfloat16 rounds by up to 0.2 %. Weights below e⁻⁸⁷ are zero: above e⁻⁶⁰ all of them together are less than 0.1 %.
_LEAST_SUM = math.exp(-60)
_MOST_SUM = math.exp(-7)


def attend_by_tiles(
    queries_LD: Tensor, keys_TD: Tensor, values_TV: Tensor, is_key_T: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`softmax(q kᵀ) v`, `[L, V]` in float32, and for which queries that holds, `[L]`.

    It does not hold for queries that have a score more than 51 above all of those that were looked at before, which
    are one in 61, and where numbers are not finite. Of scores above 500 it holds for fewer queries, because their shift
    is rounded to bfloat16, by 2 and more. Values below 1e-10 may be lost, because weights are as small as e⁻⁵⁸.
    """
    queries, bias = _with_shift(queries_LD, keys_TD), _bias(keys_TD, is_key_T)
    # Sums over all keys, in float32. Those of a tile are rounded to bfloat16.
    mixed = queries.new_zeros(len(queries), values_TV.shape[1], dtype=torch.float32)
    total = queries.new_zeros(len(queries), 1, dtype=torch.float32)
    for start in range(0, len(keys_TD), _KEYS):
        some = slice(start, start + _KEYS)
        keys, values = _packed_with_ones(keys_TD[some]), values_TV[some]
        for first in range(0, len(queries), _QUERIES):
            rows = slice(first, first + _QUERIES)
            weights = torch.ops.mkldnn._linear_pointwise(queries[rows], keys, bias[some], "sigmoid", [], "")
            mixed[rows] += weights @ values
            total[rows] += weights.sum(-1, keepdim=True)
    holds = (total > _LEAST_SUM) & (total < _MOST_SUM)
    return mixed.div_(total), holds.squeeze(1)


def _with_shift(queries_LD: Tensor, keys_TD: Tensor) -> Tensor:
    """Queries with one channel more, which is one in the keys: what it takes from each of a query's scores."""
    shift = (queries_LD @ keys_TD[::_STRIDE].t()).amax(1, keepdim=True)
    return torch.cat((queries_LD, -shift), dim=1)


def _bias(keys_TD: Tensor, is_key_T: Tensor | None) -> Tensor:
    """What is added to the scores of each key, `[T]`."""
    bias = keys_TD.new_full((len(keys_TD),), -_SHIFT)
    return bias if is_key_T is None else bias.masked_fill_(~is_key_T, -torch.inf)


def _packed_with_ones(keys_TD: Tensor) -> Tensor:
    """A tile of keys with the channel of the shift, laid out once for all queries."""
    with_ones = torch.cat((keys_TD, keys_TD.new_ones(len(keys_TD), 1)), dim=1)
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(with_ones)
    return packed

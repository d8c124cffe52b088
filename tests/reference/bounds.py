"""How far two runs of one network may be apart: from the format and from how many products lie in a row.

In float64 both are the same function: no rounding comes near `EXACT`, while a wrong constant is far above it. In
narrower formats three rules of thumb bound what rounding makes of the same function, whatever the processor, the number
of threads and the order of sums:

* A product of matrices adds an error of `ROUNDINGS` unit roundoffs. A sum of n terms, one after the other, is off by
  about √n roundoffs, and the long sums of these networks have about 2,048 terms: 45. In bfloat16 the sums are made in
  float32, so that only both factors and the result are rounded: √3 roundoffs, and of many thousand elements the worst
  is off by about five times as much as the usual one: 8.
* Errors of products in a row are independent, so that k of them make √k times the error of one. Norms keep activations
  at about the same size, so that an error is passed on about as large as it came.
* A memory that is rounded to bfloat16 goes to the other neighbour, one distance s away, where two runs fall on
  different sides. Runs that differ by d do so in a share d / s of the elements: overall they then differ by √(d s).
  The next frame starts from that, so that after n tracked frames they differ by d^(1/2ⁿ) s^(1 - 1/2ⁿ). It nears s, the
  longer the walk, and never passes it.

The bounds are at least 3 times the most that was measured with kernels for AVX2 and for AMX and on an AMD Zen 3.
`tests/model/test_mutations.py` shows that they are narrow enough to notice what is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from model.network.config import Sam2Config

# The promise: in float64 no logit is off by more, in standard deviations of the reference.
EXACT = 1e-8
# By how many unit roundoffs a product is off.
ROUNDINGS = {torch.float32: 45, torch.bfloat16: 8}


@dataclass(frozen=True)
class Bounds:
    """The most that logits may be off, in standard deviations of the reference's logits on a frame."""

    seeds: float
    tracked: float


def bounds(
    config: Sam2Config,
    num_frames: int,
    dtype: torch.dtype = torch.float32,
    memory_dtype: torch.dtype = torch.bfloat16,
) -> Bounds:
    """Of a walk over so many frames, the first of them with a prompt; `dtype` is the narrower of two runs."""
    if dtype == torch.float64:
        return Bounds(EXACT, EXACT)
    tracked = rounding(_encoder(config) + _decoder() + (num_frames - 1) * _tracked_frame(config), dtype)
    if torch.finfo(memory_dtype).eps > torch.finfo(dtype).eps:
        distance, share = torch.finfo(memory_dtype).eps, 0.5 ** (num_frames - 1)
        tracked = tracked**share * distance ** (1 - share)
    return Bounds(rounding(_encoder(config) + _decoder(), dtype), tracked)


def feature_bound(config: Sam2Config, dtype: torch.dtype = torch.float32) -> float:
    """The most that image features may be off, in standard deviations of the reference's."""
    return EXACT if dtype == torch.float64 else rounding(_encoder(config), dtype)


def rounding(num_products: int, dtype: torch.dtype) -> float:
    """What so many products in a row make of roundings."""
    return ROUNDINGS[dtype] * math.sqrt(num_products) * torch.finfo(dtype).eps / 2


def _encoder(config: Sam2Config) -> int:
    """Patches, six products a block (queries, scores, values, output, two of the MLP), two of the pyramid."""
    return 1 + 6 * config.hiera.num_blocks + 2


def _decoder() -> int:
    """Two blocks of three attentions of four products and an MLP, a last attention, and upscaling beside the masks."""
    return 2 * (3 * 4 + 2) + 4 + 4


def _tracked_frame(config: Sam2Config) -> int:
    """Memory encoder (five convolutions, two blocks of three, one more), memory attention and mask decoder."""
    return 5 + 2 * 3 + 1 + config.memory.attention_layers * (4 + 4 + 2) + _decoder()

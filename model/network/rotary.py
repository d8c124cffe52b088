"""The axial rotary code of the memory attention (arXiv 2104.09864): pairs of channels turned by angles of x and of y.

Queries and keys may have their channels in any order that is the same in both, so each kind of device gets the order
in which it turns fastest. The projections before are made to give it.

Legend: L tokens of a square map, C channels.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from model.network.config import ROPE_THETA

Order = Literal["pairs", "halves", "halves twice"]
"""`pairs`: pairs are neighbors, as in the weights, and are turned as complex numbers: for a CPU. `halves`: all even
channels, then all odd ones: for compilers, which have no complex numbers. `halves twice`: a second time with the halves
exchanged, so that turning takes two launches: for a GPU."""


def rope_table(size: int, channels: int, order: Order, dtype: torch.dtype = torch.float32) -> Tensor:
    """The code of a square map: complex, `[size², C / 2]`, for `pairs`, else its cosines, negative sines and sines.

    The latter are `[3, size², C / 2]`. The angles are those of x in the first half of the pairs of channels, and of y
    in the second. `dtype` is that of their parts.
    """
    frequency = 1 / ROPE_THETA ** (torch.arange(0, channels, 4, dtype=dtype) / channels)
    cell = torch.arange(size * size)
    x = torch.outer((cell % size).to(dtype), frequency)
    y = torch.outer(torch.div(cell, size, rounding_mode="floor").to(dtype), frequency)
    angle = torch.cat((x, y), dim=-1)
    if order == "pairs":
        return torch.complex(angle.cos(), angle.sin())
    return torch.stack((angle.cos(), -angle.sin(), angle.sin()))


def turnable(layer: nn.Linear, order: Order) -> tuple[Tensor, Tensor]:
    """Weight and bias of a projection whose output has the channels in this order."""
    if order == "pairs":
        return layer.weight, layer.bias
    parts = []
    for whole in (layer.weight, layer.bias):
        even, odd = whole[0::2], whole[1::2]
        parts.append(torch.cat((even, odd, odd, even) if order == "halves twice" else (even, odd)))
    weight, bias = parts
    return weight, bias


def turn(projected: Tensor, rope: Tensor) -> Tensor:
    """Turned channels `[…, L, C]` of a `turnable` projection, in its dtype, by the table of the same order.

    Of `halves twice` the first C channels are turned in place where no compiler forbids it, and the result is these.
    """
    if rope.is_complex():
        return turn_pairs(projected, rope)
    pairs = projected.unflatten(-1, (-1, 2, rope.shape[-1]))
    if torch.compiler.is_compiling() or pairs.shape[-3] == 1:
        return _turn_halves(pairs, rope).flatten(-2).to(projected.dtype)
    return _turn_halves(pairs, rope, pairs[..., 0, :, :]).flatten(-2)


def turn_pairs(projected: Tensor, rope: Tensor, out: Tensor | None = None) -> Tensor:
    """Turns channels `[…, L, C]` in the order `pairs` by the complex table; the result has their dtype, or is `out`."""
    wide = projected.to(rope.dtype.to_real()).unflatten(-1, (-1, 2))
    turned = torch.view_as_real(torch.view_as_complex(wide) * rope).flatten(-2)
    return turned.to(projected.dtype) if out is None else out.copy_(turned)


def _turn_halves(projected: Tensor, rope: Tensor, out: Tensor | None = None) -> Tensor:
    """Turns pairs of channels by the angles of the real table: (even, odd) → (even cos - odd sin, odd cos + even sin).

    `projected`, `[…, L, 1 or 2, 2, C / 2]`, has the order `halves` or `halves twice`. The result, `[…, L, 2, C / 2]`,
    goes to `out`, which may be the part `[…, 0, :, :]` of the latter. Without `out` it is never of 16 bits, because
    angles are not.
    """
    cos, sin = rope[0].unsqueeze(1), rope[1:].transpose(0, 1)
    x = projected[..., 0, :, :]
    swapped = projected[..., 1, :, :] if projected.shape[-3] == 2 else x.flip(-2)
    if out is None:
        return x * cos + swapped * sin
    return torch.addcmul(x * cos, swapped, sin, out=out)  # two launches on a GPU

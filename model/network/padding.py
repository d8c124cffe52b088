"""The few shapes for which regions of the network are compiled or recorded, and how memories are filled up to them.

While a memory fills, every frame has another shape. Filled up, there are a few shapes only. What fills up is masked out
of the attention that could see it, so that it has no weight at all: an object's mask is the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from model.network.features import MemoryTokens

FRAMES = (1, 8)
"""Frames that the image encoder takes at a time."""
OBJECTS = (1, 2, 4, 8, 16, 32)
"""Objects in a batch."""

# Numbers of memories and of pointers. Full memories of an object with one or two prompted frames; the second of them
# may still lie ahead, and has no pointer then. They have no mask, which the fastest kernels do not take.
FULL = ((7, 16), (8, 16), (8, 17))
# What any other memory is filled up to.
FILLING = ((2, 4), (4, 4), (7, 8), (7, 16), (8, 17))


def size_of(count: int, sizes: Sequence[int]) -> int | None:
    """The smallest of ascending sizes that holds `count`; None if none does."""
    return next((size for size in sizes if count <= size), None)


def memory_shape(num_memories: int, num_pointers: int) -> tuple[int, int] | None:
    """The numbers of memories and pointers that a memory is filled up to; None if it is larger than any of them.

    Then it is computed as it is: an object with more than two prompted frames has too many shapes on its way.
    """
    if (num_memories, num_pointers) in FULL:
        return num_memories, num_pointers
    return next((shape for shape in FILLING if num_memories <= shape[0] and num_pointers <= shape[1]), None)


def filled_up(one: MemoryTokens, shape: tuple[int, int]) -> MemoryTokens:
    """A memory with zeros behind what is there, up to these numbers of memories and pointers."""
    missing, missing_pointers = (wanted - there for wanted, there in zip(shape, one.shape, strict=True))
    return replace(
        one,
        spatial=one.spatial + (torch.zeros_like(one.spatial[0]),) * missing,
        temporal_rows=one.temporal_rows + (0,) * missing,
        pointers=one.pointers + (torch.zeros_like(one.pointers[0]),) * missing_pointers,
        pointer_distances=one.pointer_distances + (0,) * missing_pointers,
    )


def rows_filled_up(x: Tensor, count: int, size: int) -> Tensor:
    """A batch of `count` rows with zeros behind them, up to `size`; a single row that serves all stays alone."""
    if len(x) != count or count == size:
        return x
    return torch.cat((x, x.new_zeros(size - count, *x.shape[1:])))

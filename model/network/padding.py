"""Padding of prompts and memories to a few sizes.

Code that is compiled for shapes, or recorded as a CUDA graph, would be made anew for every number of clicks and, while
the memory fills, for every frame. Padded, there are a few sizes only. What fills up a shape is masked out of every
attention that could see it, so that it has no weight at all: an object's mask is the same up to rounding.

Legend: B objects, P prompt tokens, C channels, L tokens of a map, M memory channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from model.network.features import MemoryTokens

Flags = list[list[bool]]


class Padding:
    """Fills prompts and memories up to a few sizes: the listed ones, and behind the last of them multiples of a step.

    A memory is full with one prompted and six tracked memories and 16 pointers. This shape is not padded, so that its
    attention needs no mask and takes the fastest kernel.
    """

    prompt_tokens: tuple[tuple[int, ...], int] = (2, 4, 8, 16), 16
    memories: tuple[tuple[int, ...], int] = (2, 4, 7), 4
    pointers: tuple[tuple[int, ...], int] = (4, 8, 16), 16

    def pad_prompt_tokens(self, tokens_BPC: Tensor) -> Tensor:
        """The tokens and zeros behind them, up to the next size."""
        num_tokens = tokens_BPC.shape[1]
        return F.pad(tokens_BPC, (0, 0, 0, size_of(num_tokens, *self.prompt_tokens) - num_tokens))

    def pad_memory_tokens(self, objects: Sequence[MemoryTokens]) -> tuple[list[MemoryTokens], Flags, Flags]:
        """The objects filled up to equal numbers of memories and of pointers, and flags of those that are real."""
        num_memories = size_of(max(one.shape[0] for one in objects), *self.memories)
        num_pointers = size_of(max(one.shape[1] for one in objects), *self.pointers)
        no_memory, no_pointer = (torch.zeros_like(tensors[0]) for tensors in (objects[0].spatial, objects[0].pointers))
        padded = []
        for one in objects:
            missing, missing_pointers = num_memories - one.shape[0], num_pointers - one.shape[1]
            padded.append(
                replace(
                    one,
                    spatial=one.spatial + (no_memory,) * missing,
                    temporal_rows=one.temporal_rows + (0,) * missing,
                    pointers=one.pointers + (no_pointer,) * missing_pointers,
                    pointer_distances=one.pointer_distances + (0,) * missing_pointers,
                )
            )
        is_memory = [[index < one.shape[0] for index in range(num_memories)] for one in objects]
        is_pointer = [[index < one.shape[1] for index in range(num_pointers)] for one in objects]
        return padded, is_memory, is_pointer


def size_of(count: int, sizes: Sequence[int], step: int) -> int:
    """The smallest size that holds `count`: one of `sizes`, or the last of them and a multiple of `step`."""
    for size in sizes:
        if count <= size:
            return size
    return sizes[-1] + -(-(count - sizes[-1]) // step) * step

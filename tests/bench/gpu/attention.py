"""Which attention kernel is right and fast for each shape that the network has: the source of the kernel table.

Legend: B sequences, N heads, L queries, T keys, D channels of a head.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.bench.gpu.subjects import Options
from tests.reference.flops import NUM_POINTERS

_BACKENDS = {
    "default": None,
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
_HEAD_WIDTH, _MEMORY_WIDTH = 256, 64
_COMPARED_QUERIES = 256


@dataclass(frozen=True)
class Shape:
    """One attention of the network. `is_expanded`: all sequences share the queries, by a stride of 0."""

    name: str
    BNLD: tuple[int, int, int, int]
    keys: int
    is_expanded: bool = False


def shapes(options: Options) -> Iterator[Shape]:
    """Memory attention with full and with young memory, the windows of the trunks, the decoder."""
    length = (options.image_size // 16) ** 2
    for num_objects, num_memories, num_pointers in (
        (1, 7, NUM_POINTERS),
        (1, 3, 3),
        (4, 7, NUM_POINTERS),
        (16, 7, NUM_POINTERS),
    ):
        keys = num_memories * length + 4 * num_pointers
        name = f"memory, {num_objects} objects, {num_memories} memories"
        yield Shape(name, (num_objects, 1, length, _HEAD_WIDTH), keys, is_expanded=True)
    windows = (
        ("tiny, windows of 8", (8192, 1, 64, 96), 64),
        ("tiny, windows of 4", (8192, 2, 16, 96), 16),
        ("tiny, windows of 14", (200, 4, 196, 96), 196),
        ("tiny, global", (8, 4, 4096, 96), 4096),
        ("large, windows of 16", (128, 8, 256, 72), 256),
        ("decoder, tokens to image", (16, 8, 8, 16), 4096),
    )
    for name, (sequences, heads, queries, width), keys in windows:
        count = max(1, sequences // 64) if options.quick else sequences
        yield Shape(name, (count, heads, queries, width), keys)


def attention(options: Options) -> Iterator[dict[str, Any]]:
    """For each shape and backend: milliseconds, those of its first call, and the error against float32."""
    return (_measured(options, shape) for shape in shapes(options))


def _measured(options: Options, shape: Shape) -> dict[str, Any]:
    queries, keys, values = _tensors(options, shape)
    row: dict[str, Any] = {"shape": shape.name, "chosen": _chosen(queries, keys, values)}
    truth = _in_float32(queries, keys, values)
    for name, backend in _BACKENDS.items():
        row[name] = _timed(options, backend, (queries, keys, values), truth)
    if shape.is_expanded:
        # Exact and with 37 % fewer products, because the memory is 64 wide, where a kernel takes such values.
        narrow = values[..., :_MEMORY_WIDTH].contiguous()
        row["values of 64"] = _timed(options, None, (queries.contiguous(), keys, narrow), truth[..., :_MEMORY_WIDTH])
    return row


def _tensors(options: Options, shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    sequences, heads, queries, width = shape.BNLD
    torch.manual_seed(0)

    def drawn(*size: int) -> Tensor:
        return torch.randn(*size, device=options.device, dtype=torch.bfloat16)

    asked = drawn(1 if shape.is_expanded else sequences, heads, queries, width)
    keys, values = drawn(sequences, heads, shape.keys, width), drawn(sequences, heads, shape.keys, width)
    return asked.expand(sequences, -1, -1, -1), keys, values


def _in_float32(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The truth for the last sequence and its first queries."""
    last = queries[-1:, :, :_COMPARED_QUERIES]
    return F.scaled_dot_product_attention(last.float(), keys[-1:].float(), values[-1:].float())


def _timed(
    options: Options, backend: SDPBackend | None, inputs: tuple[Tensor, Tensor, Tensor], truth: Tensor
) -> dict[str, float] | str:
    with contextlib.nullcontext() if backend is None else sdpa_kernel([backend]):
        try:
            options.synchronize()
            started = time.perf_counter()
            found = F.scaled_dot_product_attention(*inputs)
            options.synchronize()
            first = time.perf_counter() - started
            started = time.perf_counter()
            for _ in range(options.rounds):
                F.scaled_dot_product_attention(*inputs)
            options.synchronize()
        except RuntimeError as error:  # this kernel does not take this shape
            return str(error).splitlines()[0][:120]
        each = (time.perf_counter() - started) / options.rounds
    gap = found[-1:, :, :_COMPARED_QUERIES].float() - truth
    return {"ms": 1e3 * each, "first_ms": 1e3 * first, "error": float(gap.norm() / truth.norm())}


def _chosen(queries: Tensor, keys: Tensor, values: Tensor) -> str:
    """What torch takes by itself."""
    names = {int(value): name for name, value in SDPBackend.__members__.items()}
    return names.get(int(torch._fused_sdp_choice(queries, keys, values)), "?")

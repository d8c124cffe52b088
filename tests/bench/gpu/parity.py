"""Masks and logits of the device in each dtype against float32 on the CPU, at the real trunks and a small picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from model.network.precision import autocast_model
from model.network.sam2 import Sam2
from tests.bench.gpu.subjects import Options, frames, new_session

_NUM_OBJECTS = 2


@dataclass(frozen=True)
class Kind:
    """A way to compute. `least_iou` is what the masks must reach against float32 on the CPU."""

    name: str
    dtype: torch.dtype
    least_iou: float
    tf32: bool = False
    is_autocast: bool = False


KINDS = (
    Kind("float32", torch.float32, 0.999),
    Kind("float32, TF32 convolutions", torch.float32, 0.99, tf32=True),
    Kind("bfloat16", torch.bfloat16, 0.97),
    Kind("autocast", torch.float32, 0.97, is_autocast=True),
)


def parity(options: Options) -> Iterator[dict[str, Any]]:
    """A row for each size and kind: the largest gap in deviations of the truth, IoU, and whether two runs are equal."""
    return (row for size in options.sizes for row in _of_size(options, size))


def _of_size(options: Options, size: str) -> Iterator[dict[str, Any]]:
    side = 256  # of the real trunks too: a CPU has to compute the truth
    num_frames = options.frames(12)
    truth = _logits(replace(options, device="cpu").network(size, torch.float32, image_size=side), side, num_frames)
    for kind in KINDS[::2] if options.quick else KINDS:
        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = kind.tf32
        try:
            network = options.network(size, kind.dtype, image_size=side)
            network = autocast_model(network) if kind.is_autocast else network
            found, again = (_logits(network, side, num_frames) for _ in range(2))
        finally:
            torch.backends.cudnn.allow_tf32 = before
        row = {"size": size, "kind": kind.name, "least_iou": kind.least_iou, **compared(found, truth)}
        yield row | {"same_bits_twice": bool(torch.equal(found, again))}


def compared(found: Tensor, truth: Tensor) -> dict[str, float | bool]:
    """Logits against the truth. `gap` is the largest one in standard deviations of the truth."""
    masks, true_masks = found > 0, truth > 0
    return {
        "gap": float((found - truth).abs().max() / truth.std()),
        "iou": float(((masks & true_masks).sum() + 1) / ((masks | true_masks).sum() + 1)),
        "coverage": float(true_masks.float().mean()),
        "finite": bool(found.isfinite().all()),
    }


def _logits(network: Sam2, side: int, num_frames: int) -> Tensor:
    session = new_session(network, frames(num_frames, side, pinned=False), _NUM_OBJECTS, num_frames)
    return torch.cat([result.logits_BHW.float().cpu() for result in session.propagate("forward")])

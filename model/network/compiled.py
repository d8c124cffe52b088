"""`torch.compile` from outside: the network's code knows nothing of it, and without it nothing changes.

Compiled are the parts that take tensors of a few fixed shapes: the trunk's blocks, the layers of the memory attention,
the decoder's transformer and the memory encoder. Prompts and memories are padded to a few sizes
(`model.network.padding`), so that neither compiled code nor a CUDA graph is made anew for every number of clicks or of
memories. Masks stay the same up to rounding, not to the bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from model.network.memory_attention import MemoryAttentionLayer
from model.network.padding import Padding
from model.network.sam2 import Sam2


def compile_model(model: Sam2, mode: str | None = None, **options: object) -> Sam2:
    """Compiles the model's parts in place, each when it first runs; `mode` and `options` as for `torch.compile`.

    After the first change of the number of objects (or of frames of the image encoder) torch treats that number as
    varying. Returns the same model.
    """
    model.padding = Padding()
    for block in model.vision_encoder.backbone.blocks:
        block.compile(mode=mode, **options)
    for index, layer in enumerate(model.memory_attention.layers):
        if not isinstance(layer, MemoryAttentionLayer):
            raise TypeError(f"expected a layer of the memory attention, got {type(layer).__name__}")
        for name in ("look_at_frame", "look_at_memory"):
            compiled = torch.compile(getattr(layer, name), mode=mode, **options)  # type: ignore[call-overload]
            is_kept = index == 0 and name == "look_at_frame"
            setattr(layer, name, _copying(compiled) if is_kept else compiled)
    model.mask_decoder.transformer.compile(mode=mode, **options)
    model.memory_encoder.compile(mode=mode, **options)
    return model


def _copying(step: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A step that copies its result, because the next run of a CUDA graph writes over the last one's result.

    It is for the step whose result is kept while further frames pass.
    """

    @functools.wraps(step)
    def run(*args: Tensor) -> Tensor:
        return step(*args).clone()

    return run

"""`torch.compile` from outside: the network's code knows nothing of it, and without it nothing changes.

Compiled are the parts that take tensors of a few fixed shapes: the trunk's blocks, the layers of the memory attention,
the decoder's transformer and the memory encoder. Masks stay the same up to rounding, not to the bit.
"""

from __future__ import annotations

import torch

from model.memory_attention import MemoryAttentionLayer
from model.sam2 import Sam2


def compile_model(model: Sam2, mode: str | None = None) -> Sam2:
    """Compiles the model's parts in place, each when it first runs; `mode` as for `torch.compile`.

    Shapes that vary (objects, memories while they fill) are marked by torch after their first change, so that a video
    compiles each part at most twice. Returns the same model.
    """
    for block in model.vision_encoder.backbone.blocks:
        block.compile(mode=mode)
    for layer in model.memory_attention.layers:
        if not isinstance(layer, MemoryAttentionLayer):
            raise TypeError(f"expected a layer of the memory attention, got {type(layer).__name__}")
        for name in ("look_at_frame", "look_at_memory"):
            setattr(layer, name, torch.compile(getattr(layer, name), mode=mode))
    model.mask_decoder.transformer.compile(mode=mode)
    model.memory_encoder.compile(mode=mode)
    return model

"""Half precision as the original runs it, from outside: products in 16 bits, everything between them in float32.

`load_model(dtype=torch.bfloat16)` holds all weights in 16 bits, as `transformers` does: residual streams, norms and
position codes are rounded too. The original keeps float32 weights under `torch.autocast`. Both work here: a session
may be run inside `torch.autocast`, or a model be made to run so by `autocast_model`, which rounds the weights of the
products once instead of at every call.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from model.network.processor import warn_of_emulation
from model.network.sam2 import Sam2

_PRODUCTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
_STEPS = (
    "image_maps",
    "segment_still",
    "encode_image",
    "segment",
    "segment_given_masks",
    "remember",
    "memory_tokens",
)


def autocast_model(model: Sam2, dtype: torch.dtype = torch.bfloat16) -> Sam2:
    """Makes every step of a float32 model run under autocast; changes and returns the same model.

    Raises `ValueError` for a model whose weights are of 16 bits already.
    """
    if model.dtype != torch.float32:
        raise ValueError(f"autocast needs a model that was loaded in float32, this one is in {model.dtype}")
    warn_of_emulation(model.device, dtype)
    for module in model.modules():
        if isinstance(module, _PRODUCTS):
            module.to(dtype)
    for name in _STEPS:
        setattr(model, name, _under_autocast(getattr(model, name), model, dtype))
    return model


def _under_autocast(step: Callable[..., Any], model: Sam2, dtype: torch.dtype) -> Callable[..., Any]:
    @functools.wraps(step)
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(model.device.type, dtype):
            return step(*args, **kwargs)

    return run

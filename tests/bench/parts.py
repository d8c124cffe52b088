"""Parts of a frame of ours, and RLE against the usual route."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as coco

from model.config import named_config
from model.sam2 import Remembered, Sam2
from pipeline.rle import encode_logits
from tests.pipeline.test_rle_fast import blobs


def parts_of_a_frame(size: str, image_size: int, dtype: str) -> dict[str, float]:
    """Seconds of each part of a frame with a full memory, one object; random weights."""
    torch.manual_seed(0)
    model = Sam2(named_config(size, image_size=image_size)).to(getattr(torch, dtype))
    config, length = model.config, model.config.grid_size**2
    memories = tuple(torch.randn(length, config.memory_dim).to(torch.bfloat16) for _ in range(7))
    pointers = tuple(torch.randn(1, config.hidden_dim).to(model.dtype) for _ in range(16))
    remembered = Remembered(memories, (6, 5, 4, 3, 2, 1, 0), pointers, (40, *range(1, 16)), 15)
    pixels = torch.randn(1, 3, image_size, image_size).to(memory_format=torch.channels_last)
    features = model.encode_image(pixels)
    memory = model.memory_tokens([remembered])
    segmentation = model.segment(features, memory=memory)
    parts: dict[str, Callable[[], object]] = {
        "image encoder": lambda: model.encode_image(pixels),
        "memory attention": lambda: model._attend_memory(features, memory),
        "segment on its own": lambda: model.segment(features),
        "memory encoder": lambda: model.remember(features, segmentation, binarize=False),
    }
    return {name: round(_median_seconds(part, 3), 3) for name, part in parts.items()}


def rle_per_mask(size_hw: tuple[int, int] = (1080, 1920), num_objects: int = 16) -> dict[str, float]:
    """Milliseconds a mask: enlarge all, `np.asfortranarray`, pycocotools; and straight from the logits."""
    logits = blobs(num_objects, seed=0)

    def usual() -> None:
        masks = (F.interpolate(logits[:, None], size=size_hw, mode="bilinear", align_corners=False)[:, 0] > 0).numpy()
        for mask in masks:
            coco.encode(np.asfortranarray(mask.astype(np.uint8)))

    plain, fast = [], []
    for _ in range(7):
        plain.append(_median_seconds(usual, 1))
        fast.append(_median_seconds(lambda: encode_logits(logits, size_hw), 1))
    per_mask = 1000 / num_objects
    return {
        "usual ms": round(statistics.median(plain) * per_mask, 2),
        "ours ms": round(statistics.median(fast) * per_mask, 2),
        "ratio": round(statistics.median(plain) / statistics.median(fast), 2),
    }


def _median_seconds(run: Callable[[], object], times: int) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)

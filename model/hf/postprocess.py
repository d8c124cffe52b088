"""Logits to masks at the size of an image or video, tidied where asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.hf.prompt_inputs import size_hw_of
from model.pixels.cleanup import tidy, without_overlap


def post_process_masks(
    masks: Sequence[Tensor | np.ndarray[Any, Any]],
    original_sizes: Any,
    mask_threshold: float = 0.0,
    binarize: bool = True,
    *,
    max_hole_area: float = 0.0,
    max_sprinkle_area: float = 0.0,
    apply_non_overlapping_constraints: bool = False,
) -> list[Tensor]:
    """Logits `[B, 1, h, w]` of each image or video at its size, `[B, 1, H, W]`; bool above the threshold if `binarize`.

    Holes of the mask up to `max_hole_area` are filled, specks up to `max_sprinkle_area` removed: areas are in pixels of
    the logits as given, as in `sam2`. With `apply_non_overlapping_constraints` a pixel stays with the object that has
    the highest logit there. (`transformers` takes the areas and ignores them.) Raises `ValueError` or `TypeError` for
    arguments that make no sense.
    """
    for name, area in (("max_hole_area", max_hole_area), ("max_sprinkle_area", max_sprinkle_area)):
        if not area >= 0:  # NaN, too
            raise ValueError(f"{name}: expected a number of pixels from 0 on, got {area}")
    sizes = list(original_sizes)
    if len(sizes) != len(masks):
        raise ValueError(f"original_sizes: {len(masks)} entries of masks need as many sizes, got {len(sizes)}")
    results = []
    for logits, size in zip(masks, sizes, strict=True):
        if not isinstance(logits, (Tensor, np.ndarray)):
            raise TypeError(f"masks: expected tensors or arrays [B, 1, h, w], got {type(logits).__name__}")
        logits_B1hw = torch.as_tensor(logits)
        if logits_B1hw.ndim != 4 or not logits_B1hw.is_floating_point():
            raise ValueError(f"masks: expected logits [B, 1, h, w], got {logits_B1hw.dtype} {list(logits_B1hw.shape)}")
        tidied = tidy(
            logits_B1hw.flatten(0, 1),
            max_hole_area=max_hole_area,
            max_speck_area=max_sprinkle_area,
            threshold=mask_threshold,
        ).view_as(logits_B1hw)
        whole = F.interpolate(tidied, size=size_hw_of(size), mode="bilinear", align_corners=False)
        if apply_non_overlapping_constraints:
            whole = without_overlap(whole)
        results.append(whole > mask_threshold if binarize else whole)
    return results

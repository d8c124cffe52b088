"""Masks from prompts: seeds and still images without memory, corrections with what their frame had.

Legend: B prompts, P points of a prompt, F frames, S side of the model's square input, h w low-resolution logits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.kernels import objects_per_batch
from model.layers import wide
from model.prompts import MaskPrompt, Prompt, click_sequence
from model.sam2 import Clicks, ImageFeatures, Remembered, Sam2, Segmentation
from model.transfers import on_device
from model.transforms import resize_mask

# Logits of an earlier mask that go with a correction are clamped (sam2, `add_new_points_or_box`).
PRIOR_LIMIT = 32.0


@dataclass(frozen=True)
class Query:
    """A prompt on a frame of `size_hw` pixels, which is row `frame_row` of the features.

    A correction adds what the object remembered on that frame and the mask `[1, h, w]` that it had there.
    """

    prompt: Prompt
    size_hw: tuple[int, int]
    frame_row: int = 0
    remembered: Remembered | None = None
    prior_logits_BHW: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Queries of equal shape share a batch without padding: number of points (-1: a mask), memories, pointers."""
        if isinstance(self.prompt, MaskPrompt):
            return (-1,)
        return (len(click_sequence(self.prompt)[1]), *(self.remembered.shape if self.remembered else ()))


def equal_shapes(model: Sam2, queries: Sequence[Query]) -> list[list[int]]:
    """The positions of the queries, those of equal shape together, as many as share a batch of the network."""
    limit = objects_per_batch(model.device, model.config.grid_size**2)
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for position, query in enumerate(queries):
        groups[query.shape].append(position)
    return [group[start : start + limit] for group in groups.values() for start in range(0, len(group), limit)]


def segment_prompts(model: Sam2, features: ImageFeatures, queries: Sequence[Query]) -> Segmentation:
    """Masks of queries of equal shape; `features` has one row for each of them.

    A mask prompt is taken as it is, whether its frame was tracked before or not.
    """
    masks = [query.prompt.mask_HW for query in queries if isinstance(query.prompt, MaskPrompt)]
    if masks:
        size = model.config.image_size
        resized = torch.stack([resize_mask(torch.from_numpy(np.ascontiguousarray(mask)), size) for mask in masks])
        return model.segment_given_masks(features, on_device(resized, model.device))
    remembered = [query.remembered for query in queries if query.remembered is not None]
    priors = [query.prior_logits_BHW for query in queries if query.prior_logits_BHW is not None]
    return model.segment(
        features,
        memory=model.memory_tokens(remembered) if remembered else None,
        clicks=_clicks(model, queries),
        prior_logits_BHW=torch.cat(priors).to(model.device).clamp(-PRIOR_LIMIT, PRIOR_LIMIT) if priors else None,
    )


def _clicks(model: Sam2, queries: Sequence[Query]) -> Clicks:
    """Clicks in pixels of the video as the network takes them."""
    points, labels = [], []
    for query in queries:
        if isinstance(query.prompt, MaskPrompt):
            raise TypeError("a mask prompt has no clicks")
        height, width = query.size_hw
        points_xy, point_labels = click_sequence(query.prompt)
        scale = np.array([model.config.image_size / width, model.config.image_size / height])
        points.append(np.asarray(points_xy, dtype=np.float64) * scale)
        labels.append(point_labels)
    return Clicks(
        on_device(np.stack(points), model.device, wide(model.dtype)),
        on_device(labels, model.device),
    )

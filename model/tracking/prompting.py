"""Prompts to tensors and masks: without memory, or for a correction with what its object had on the frame.

Clicks that refine a mask get the logits of that mask.

Legend: B prompts, P points of a prompt, F frames, S side of the model's square input, h w low-resolution logits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.network.features import Clicks, ImageFeatures, MemoryTokens, Segmentation
from model.network.layers import wide
from model.network.sam2 import Sam2
from model.pixels.transfers import on_device
from model.pixels.transforms import resize_mask
from model.prompts import MaskPrompt, Prompt, click_sequence

# Logits of an earlier mask that go with a correction are clamped (sam2, `add_new_points_or_box`).
PRIOR_LIMIT = 32.0


@dataclass(frozen=True)
class Query:
    """A prompt on a frame of `size_hw` pixels, which is row `frame_row` of the features.

    A correction adds the memories that the object had on that frame (`tokens`) and its mask there, a refinement the
    mask that it refines, `[1, h, w]`.
    """

    prompt: Prompt
    size_hw: tuple[int, int]
    frame_row: int = 0
    tokens: MemoryTokens | None = None
    prior_logits_BHW: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Queries of equal shape share a batch without padding.

        It is the number of points (-1: a mask), whether there is an earlier mask, and the numbers of memories and
        pointers.
        """
        if isinstance(self.prompt, MaskPrompt):
            return (-1,)
        has_prior = int(self.prior_logits_BHW is not None)
        return (len(click_sequence(self.prompt)[1]), has_prior, *(self.tokens.shape if self.tokens else ()))


def equal_shapes(model: Sam2, queries: Sequence[Query]) -> list[list[int]]:
    """The positions of the queries in groups of equal shape, none larger than one batch of the network."""
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for position, query in enumerate(queries):
        groups[query.shape].append(position)
    batches = []
    for group in groups.values():
        tokens = queries[group[0]].tokens
        limit = model.objects_per_batch if tokens is None else model.objects_with_memories(*tokens.shape)
        batches += [group[start : start + limit] for start in range(0, len(group), limit)]
    return batches


def segment_prompts(model: Sam2, features: ImageFeatures, queries: Sequence[Query]) -> Segmentation:
    """Masks of queries of equal shape; `features` has one row for each of them.

    A mask prompt is taken as it is, whether its frame was tracked before or not.
    """
    masks = [query.prompt.mask_HW for query in queries if isinstance(query.prompt, MaskPrompt)]
    if masks:
        size = model.config.image_size
        resized = torch.stack([resize_mask(torch.from_numpy(np.ascontiguousarray(mask)), size) for mask in masks])
        return model.segment_given_masks(features, on_device(resized, model.device))
    tokens = [query.tokens for query in queries if query.tokens is not None]
    priors = [on_device(kept, model.device) for query in queries if (kept := query.prior_logits_BHW) is not None]
    return model.segment(
        features,
        memory=model.memory_tokens(tokens) if tokens else None,
        clicks=_clicks(model, queries),
        prior_logits_BHW=torch.cat(priors).clamp(-PRIOR_LIMIT, PRIOR_LIMIT) if priors else None,
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

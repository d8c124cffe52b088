"""What passes between the parts of the network: image features, memories, masks, clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.pixels.transfers import on_device


@dataclass(frozen=True)
class ImageFeatures:
    """Features of F frames at strides 16, 8 and 4, `[F, C, …]`; the finer two as the mask decoder wants them.

    `looked_FLC` is stride 16 as the memory attention sees it before it looks at any memory.
    """

    stride16: Tensor
    stride8: Tensor
    stride4: Tensor
    looked_FLC: Tensor

    def frame(self, index: int) -> ImageFeatures:
        """The features of one of the frames, F = 1 (views)."""
        here = slice(index, index + 1)
        return ImageFeatures(self.stride16[here], self.stride8[here], self.stride4[here], self.looked_FLC[here])

    @staticmethod
    def stack(features: Sequence[ImageFeatures]) -> ImageFeatures:
        """Features of several frames as one; a single one is passed on without a copy."""
        if len(features) == 1:
            return features[0]
        return ImageFeatures(
            torch.cat([f.stride16 for f in features]),
            torch.cat([f.stride8 for f in features]),
            torch.cat([f.stride4 for f in features]),
            torch.cat([f.looked_FLC for f in features]),
        )

    def for_objects(self, frame_of_object: Sequence[int]) -> ImageFeatures:
        """Features with one row for each object, or a single row that serves all where there is one frame."""
        if len(self.stride16) == 1:
            return self
        rows = on_device(frame_of_object, self.stride16.device)
        return ImageFeatures(self.stride16[rows], self.stride8[rows], self.stride4[rows], self.looked_FLC[rows])


@dataclass(frozen=True)
class MemoryTokens:
    """What one object may look at on a frame, before it is packed for the memory attention.

    These are spatial memories `[L, M]` with their rows of the time code, and pointers `[1, C]` with their signed
    distances in frames, counted in units of `distance_unit` frames.
    """

    spatial: tuple[Tensor, ...]
    temporal_rows: tuple[int, ...]
    pointers: tuple[Tensor, ...]
    pointer_distances: tuple[int, ...]
    distance_unit: int

    @property
    def shape(self) -> tuple[int, int]:
        """Number of memories and of pointers: objects of equal shape share a batch."""
        return len(self.spatial), len(self.pointers)


@dataclass(frozen=True)
class Segmentation:
    """One mask for each of B objects on a frame. Scores are logits (above 0 = visible); pointers `[B, C]`."""

    logits_BHW: Tensor
    object_scores_B: Tensor
    predicted_ious_B: Tensor
    pointers_BC: Tensor

    def row(self, index: int) -> Segmentation:
        """The part of one object, B = 1 (views)."""
        here = slice(index, index + 1)
        return Segmentation(
            self.logits_BHW[here], self.object_scores_B[here], self.predicted_ious_B[here], self.pointers_BC[here]
        )

    @staticmethod
    def stack(parts: Sequence[Segmentation]) -> Segmentation:
        """Several objects as one batch."""
        if len(parts) == 1:
            return parts[0]
        return Segmentation(
            torch.cat([p.logits_BHW for p in parts]),
            torch.cat([p.object_scores_B for p in parts]),
            torch.cat([p.predicted_ious_B for p in parts]),
            torch.cat([p.pointers_BC for p in parts]),
        )


@dataclass(frozen=True)
class Clicks:
    """Clicks on B objects, as many for each: points in pixels of the square input, labels 0 … 3."""

    points_BP2: Tensor
    labels_BP: Tensor

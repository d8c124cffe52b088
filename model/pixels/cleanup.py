"""Masks made tidy: small holes filled, specks removed, overlaps of objects resolved. Plain torch on any device.

Legend: B masks, H W their size. Logits above the threshold are mask.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The logits of a filled hole lie this much above the threshold, those of a removed speck this much below it (sam2,
# `SAM2Transforms.postprocess_masks`).
CHANGED_BY = 10.0
# Where another object is in front, the logits of an object are at most this (sam2,
# `_apply_non_overlapping_constraints`).
BEHIND_LOGIT = -10.0


def tidy(logits_BHW: Tensor, *, max_hole_area: float, max_speck_area: float, threshold: float = 0.0) -> Tensor:
    """Logits with holes of at most `max_hole_area` pixels filled and specks of at most `max_speck_area` removed.

    A hole is a connected part (diagonals count) of the background, at the border too; a speck one of the mask. Both
    are found in the logits as given, as in `sam2`. Areas of 0 change nothing.
    """
    tidied = logits_BHW
    if max_hole_area > 0:
        holes = _small(logits_BHW <= threshold, max_hole_area)
        tidied = torch.where(holes, threshold + CHANGED_BY, tidied)
    if max_speck_area > 0:
        specks = _small(logits_BHW > threshold, max_speck_area)
        tidied = torch.where(specks, threshold - CHANGED_BY, tidied)
    return tidied


def without_overlap(logits_BHW: Tensor) -> Tensor:
    """Logits of the B objects of one frame: each pixel stays with the one that has the highest."""
    if len(logits_BHW) < 2:
        return logits_BHW
    winner = logits_BHW.argmax(dim=0, keepdim=True)
    objects = torch.arange(len(logits_BHW), device=logits_BHW.device).view(-1, *[1] * (logits_BHW.ndim - 1))
    return torch.where(winner == objects, logits_BHW, logits_BHW.clamp(max=BEHIND_LOGIT))


def component_areas(mask_BHW: Tensor) -> Tensor:
    """For each pixel of a mask the number of pixels that it is connected with, itself included; 0 elsewhere.

    Connected by edges or corners. int64 `[B, H, W]`.
    """
    roots = _roots(mask_BHW)
    areas = torch.zeros(mask_BHW.numel() + 1, dtype=torch.int64, device=mask_BHW.device)
    areas.index_add_(0, roots.flatten(), mask_BHW.flatten().long())
    return areas[roots] * mask_BHW


def _small(mask_BHW: Tensor, max_area: float) -> Tensor:
    return mask_BHW & (component_areas(mask_BHW) <= max_area)


def _roots(mask_BHW: Tensor) -> Tensor:
    """One number for each connected part: the least index of its pixels. Outside of the mask, the number of pixels.

    In each round every part is joined to the least of its neighbors, then all pixels are led to the root of the tree
    of parts that this makes; the number of parts at least halves where any are left to join.
    """
    outside = mask_BHW.numel()
    own = torch.arange(outside, device=mask_BHW.device).view(mask_BHW.shape)
    roots = torch.where(mask_BHW, own, outside)
    parents = torch.arange(outside + 1, device=mask_BHW.device)
    while True:
        least = torch.where(mask_BHW, _least_neighbor(roots, outside), outside)
        parents.scatter_reduce_(0, roots.flatten(), least.flatten(), "amin")
        while not torch.equal(grandparents := parents[parents], parents):
            parents = grandparents
        joined = parents[roots]
        if torch.equal(joined, roots):
            return roots
        roots = joined


def _least_neighbor(values_BHW: Tensor, outside: int) -> Tensor:
    """The least value of each pixel's 3×3 neighborhood."""
    least = values_BHW
    for dim in (1, 2):
        border_shape = [1 if d == dim else n for d, n in enumerate(least.shape)]
        border = least.new_full(border_shape, outside)
        before = torch.cat((border, least.narrow(dim, 0, least.shape[dim] - 1)), dim)
        after = torch.cat((least.narrow(dim, 1, least.shape[dim] - 1), border), dim)
        least = torch.minimum(torch.minimum(least, before), after)
    return least

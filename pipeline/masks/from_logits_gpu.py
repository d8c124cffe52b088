"""Masks on a GPU to COCO's runs: the device finds where runs begin, and only these places are copied to the host.

Plain formula: `pycocotools.encode(upsample(logits) > 0)`; the bytes are the same. `pack_runs` runs on the device and
makes one buffer of int32, of a size that follows from shapes alone, so that nothing waits for how many runs there are:

    scores B | predicted IoUs B | boundaries of each object B | places of boundaries, for each chunk of objects

Scores are float32, bit for bit. A place is a pixel in column order at which a mask changes; it begins with zeros, so
that a mask with its first pixel set has a boundary at 0. Places of one chunk follow one another without gaps, and have
room for `PLACES_PER_COLUMN` boundaries in each column of each mask, taken together. Objects for which that was too
little come out as `None`, and take the plain way.

Legend: B objects, h w logits, H, W pixels of the video, N = H·W.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from model import upsample_logits
from pipeline.masks.rle import Runs

# Masks of so many pixels are enlarged at a time: 16 of 1080p, a few hundred MB of the device.
_PIXELS_PER_CHUNK = 1 << 25
# A ragged mask over the whole frame has less; an object that has more shares what others leave.
PLACES_PER_COLUMN = 4


@dataclass(frozen=True)
class FrameRuns:
    """What was packed of one frame: scores as lists, and the runs of each object, `None` for one that did not fit."""

    object_scores: list[float]
    predicted_ious: list[float]
    runs: list[Runs | None]


@torch.inference_mode()
def pack_runs(
    logits_Bhw: torch.Tensor, object_scores_B: torch.Tensor, predicted_ious_B: torch.Tensor, size_hw: tuple[int, int]
) -> torch.Tensor:
    """The buffer for one frame, on the device of the logits. Nothing in here makes the host wait."""
    counts, places = [], []
    for chunk_Bhw in logits_Bhw.split(_objects_per_chunk(size_hw)):
        masks_BHW = upsample_logits(chunk_Bhw, size_hw) > 0
        columns_BN = F.pad(masks_BHW.transpose(1, 2).flatten(1), (1, 0))
        changes_BN = columns_BN[:, 1:] != columns_BN[:, :-1]
        counts.append(changes_BN.sum(dim=1, dtype=torch.int32))
        # By object, then by pixel: what has no room is at the end.
        found = torch.nonzero_static(changes_BN, size=_capacity(len(chunk_Bhw), size_hw), fill_value=-1)
        places.append(found[:, 1].int())
    scores = [values_B.float().view(torch.int32) for values_B in (object_scores_B, predicted_ious_B)]
    return torch.cat((*scores, *counts, *places))


def unpack_runs(packed: torch.Tensor, num_objects: int, size_hw: tuple[int, int]) -> FrameRuns:
    """What `pack_runs` packed, once it is on the host."""
    buffer = packed.numpy()
    scores_B, ious_B, counts_B = buffer[: 3 * num_objects].reshape(3, num_objects)
    start = 3 * num_objects
    runs: list[Runs | None] = []
    step = _objects_per_chunk(size_hw)
    for first in range(0, num_objects, step):
        chunk_counts = counts_B[first : first + step]
        capacity = _capacity(len(chunk_counts), size_hw)
        runs += _chunk_runs(buffer[start : start + capacity], chunk_counts, size_hw)
        start += capacity
    return FrameRuns(scores_B.view(np.float32).tolist(), ious_B.view(np.float32).tolist(), runs)


def _chunk_runs(
    places: npt.NDArray[np.int32], counts_B: npt.NDArray[np.int32], size_hw: tuple[int, int]
) -> list[Runs | None]:
    num_pixels = size_hw[0] * size_hw[1]
    ends = np.cumsum(counts_B, dtype=np.int64)
    return [
        Runs(np.diff(places[end - count : end], prepend=0, append=num_pixels).astype(np.int64))
        if end <= len(places)
        else None
        for count, end in zip(counts_B.tolist(), ends.tolist(), strict=True)
    ]


def _objects_per_chunk(size_hw: tuple[int, int]) -> int:
    return max(1, _PIXELS_PER_CHUNK // (size_hw[0] * size_hw[1]))


def _capacity(num_objects: int, size_hw: tuple[int, int]) -> int:
    """Room for the boundaries of a chunk; small masks may all have as many as there are pixels."""
    return num_objects * min(size_hw[0] * size_hw[1], PLACES_PER_COLUMN * size_hw[1])

"""Masks on a GPU to COCO's runs: the device finds where runs begin, and only these places are copied to the host.

Plain formula: `pycocotools.encode(upsample(logits) > 0)`; the bytes are the same. `pack_runs` runs on the device and
makes one buffer of int32. Its size follows from shapes alone, so the host never waits to learn how many runs there are:

    scores B | predicted IoUs B | sums of logits B | logits above 1, B | logits above -1, B |
    numbers of boundaries B | places of boundaries, by chunk of objects | what travels along

The first three are float32, the scores bit for bit. The sum of an object's logits is inf or nan if any of them is,
which neither a mask nor a score need show. The two counts of logits make the stability of a mask. A boundary is a pixel
in column order at which a mask changes. Masks begin with zeros, so a mask with its first pixel set has a boundary at 0.
The places of one chunk follow one another without gaps. The chunk has room for `places_per_column` boundaries in each
column of each mask, which its objects share. An object that finds no room comes out as `None`, and its whole mask is
copied.

Legend: B objects, h w logits, H, W pixels of the video, N = H·W.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from model import upsample_logits
from pipeline.masks.rle import Runs


@dataclass(frozen=True)
class Packing:
    """How large the buffer of a frame is, and how much of the device making it takes.

    Masks of `pixels_per_chunk` are enlarged at a time: 16 masks of 1080p, which take a few hundred MB of the device. A
    ragged mask over a whole frame has fewer than 4 boundaries in a column.
    """

    pixels_per_chunk: int = 1 << 25
    places_per_column: int = 4

    def objects_per_chunk(self, size_hw: tuple[int, int]) -> int:
        """Number of objects that are enlarged at a time."""
        return max(1, self.pixels_per_chunk // (size_hw[0] * size_hw[1]))

    def capacity(self, num_objects: int, size_hw: tuple[int, int]) -> int:
        """Room for the boundaries of a chunk. A small mask may have as many boundaries as pixels."""
        return num_objects * min(size_hw[0] * size_hw[1], self.places_per_column * size_hw[1])


DEFAULT_PACKING = Packing()

MARGIN = 1.0
"""How far from 0 the two masks are cut whose IoU is the stability."""


@dataclass(frozen=True)
class FrameRuns:
    """The content of one buffer: scores, the sum of the logits, the stability and the runs of each object.

    The runs are `None` for an object that found no room.
    """

    object_scores: list[float]
    predicted_ious: list[float]
    logit_sums: list[float]
    stabilities: list[float | None]
    runs: list[Runs | None]


@torch.inference_mode()
def pack_runs(
    logits_Bhw: torch.Tensor,
    object_scores_B: torch.Tensor,
    predicted_ious_B: torch.Tensor,
    size_hw: tuple[int, int],
    packing: Packing = DEFAULT_PACKING,
    along: Sequence[torch.Tensor] = (),
) -> torch.Tensor:
    """The buffer for one frame, on the device of the logits. No step of it makes the host wait.

    `along` are tensors of 16, 32 or 64 bits that come after all else as they are: they cost no kernel of their own.
    """
    counts, places = [], []
    for chunk_Bhw in logits_Bhw.split(packing.objects_per_chunk(size_hw)):
        masks_BHW = upsample_logits(chunk_Bhw, size_hw) > 0
        columns_BN = F.pad(masks_BHW.transpose(1, 2).flatten(1), (1, 0))
        changes_BN = columns_BN[:, 1:] != columns_BN[:, :-1]
        counts.append(changes_BN.sum(dim=1, dtype=torch.int32))
        # By object, then by pixel, so that what finds no room is of the last objects.
        found = torch.nonzero_static(changes_BN, size=packing.capacity(len(chunk_Bhw), size_hw), fill_value=-1)
        places.append(found[:, 1].int())
    values = torch.stack((object_scores_B.float(), predicted_ious_B.float(), logit_sums(logits_Bhw)))
    return torch.cat(
        (values.flatten().view(torch.int32), margin_counts(logits_Bhw).flatten(), *counts, *places, *_words(along))
    )


def _words(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [tensor.flatten().view(torch.int32) for tensor in tensors]


def unpack_along(packed: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """The last values of a buffer of `pack_runs` that was copied to the host, where `along` has tensors of `dtype`."""
    num_words = math.prod(shape) * dtype.itemsize // torch.int32.itemsize
    # A copy of its own begins where any dtype may begin.
    return packed[len(packed) - num_words :].clone().view(dtype).view(shape)


def logit_sums(logits_Bhw: torch.Tensor) -> torch.Tensor:
    """The sum of each object's logits, float32 `[B]`: inf or nan if any of them is.

    It costs a CPU a tenth of what finding the largest one does.
    """
    return logits_Bhw.flatten(1).sum(dim=1, dtype=torch.float32)


def margin_counts(logits_Bhw: torch.Tensor) -> torch.Tensor:
    """How many logits of each object are above 1, and how many above -1: int32 `[2, B]`. It launches three kernels."""
    bounds_2 = torch.linspace(MARGIN, -MARGIN, 2, device=logits_Bhw.device)  # made there: the host waits for no copy
    is_above_2Bhw = logits_Bhw > bounds_2.view(2, 1, 1, 1)
    return is_above_2Bhw.flatten(2).sum(dim=2, dtype=torch.int32)


def margin_counts_on_host(logits_Bhw: torch.Tensor) -> list[list[int]]:
    """The same of logits on the host, where numpy compares eight times as fast as torch."""
    values_Bhw = logits_Bhw.numpy()
    return [[int(np.count_nonzero(one_hw > bound)) for one_hw in values_Bhw] for bound in (MARGIN, -MARGIN)]


def stability(num_above: int, num_below: int) -> float | None:
    """The IoU of the masks at logit 1 and at logit -1, of which one lies in the other; None where both are empty.

    It is SAM's "stability score" (`calculate_stability_score` of segment-anything, with an offset of 1), counted on
    low-resolution logits.
    """
    return num_above / num_below if num_below else None


def unpack_runs(
    packed: torch.Tensor, num_objects: int, size_hw: tuple[int, int], packing: Packing = DEFAULT_PACKING
) -> FrameRuns:
    """The content of a buffer of `pack_runs` that was copied to the host. `packing` is the one that made it."""
    buffer = packed.numpy()
    start = 6 * num_objects
    above_B, below_B, counts_B = buffer[3 * num_objects : start].reshape(3, num_objects)
    scores_B, ious_B, sums_B = buffer[: 3 * num_objects].view(np.float32).reshape(3, num_objects)
    runs: list[Runs | None] = []
    step = packing.objects_per_chunk(size_hw)
    for first in range(0, num_objects, step):
        chunk_counts = counts_B[first : first + step]
        capacity = packing.capacity(len(chunk_counts), size_hw)
        runs += _chunk_runs(buffer[start : start + capacity], chunk_counts, size_hw)
        start += capacity
    stabilities = [stability(*pair) for pair in zip(above_B.tolist(), below_B.tolist(), strict=True)]
    return FrameRuns(scores_B.tolist(), ious_B.tolist(), sums_B.tolist(), stabilities, runs)


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

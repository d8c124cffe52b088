"""Masks as COCO run-length code: logits to RLE for the tables, and the checked reader of RLE that users hand in.

COCO's compressed form: runs of 0 and 1 in column order (down each column, then the next), starting with zeros;
each run as a little-endian base-32 number in printable characters, from the fourth on as the difference to the run
two before. pycocotools writes it; it must not read what strangers wrote, because its C code trusts the string.

Legend: B objects, H, W pixels of the video as displayed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as coco

from model.transforms import upsample_logits
from pipeline.rle_fast import Runs, can_enlarge, runs_of_logits

MAX_PIXELS = 1 << 28  # a mask of more pixels is refused before any memory is taken for it


@dataclass(frozen=True)
class Rle:
    """One mask: COCO compressed counts, number of pixels, and its box as x, y, width, height (zeros when empty)."""

    counts: str
    area: int
    bbox_xywh: tuple[int, int, int, int]


def encode_logits(logits_BHW: torch.Tensor, size_hw: tuple[int, int]) -> list[Rle]:
    """Masks of `size_hw` from logits of any resolution: enlarged, cut at 0, encoded. One `Rle` per object."""
    if logits_BHW.ndim != 3:
        raise ValueError(f"logits: expected [B, H, W], got shape {list(logits_BHW.shape)}")
    if len(logits_BHW) == 0:
        return []
    if not can_enlarge((logits_BHW.shape[1], logits_BHW.shape[2]), size_hw):
        return encode_masks(upsample_logits(logits_BHW, size_hw) > 0)
    return [
        _plain(logits_BHW[index : index + 1], size_hw) if runs is None else rle_of_runs(runs, size_hw[0])
        for index, runs in enumerate(runs_of_logits(logits_BHW, size_hw))
    ]


def _plain(logits_1HW: torch.Tensor, size_hw: tuple[int, int]) -> Rle:
    return encode_masks(upsample_logits(logits_1HW, size_hw) > 0)[0]


def rle_of_runs(runs: Runs, height: int) -> Rle:
    """The code of a mask of that height whose runs are known."""
    return Rle(runs.counts().decode("ascii"), runs.area(), runs.bbox_xywh(height))


def encode_masks(masks_BHW: torch.Tensor) -> list[Rle]:
    """RLE of boolean masks, on whatever device they are. One `Rle` per mask."""
    # COCO counts down the columns. Transposing where the masks are gives pycocotools the layout that it wants,
    # (H, W, B) in Fortran order, without another copy.
    columns_BWH = masks_BHW.to(torch.uint8).transpose(1, 2).contiguous().cpu().numpy()
    encoded = coco.encode(columns_BWH.T)
    areas = coco.area(encoded)
    boxes = coco.toBbox(encoded)
    return [
        Rle(one["counts"].decode("ascii"), int(area), _box(box))
        for one, area, box in zip(encoded, areas, boxes, strict=True)
    ]


def decode_rle(size_hw: tuple[int, int], counts: str | bytes) -> npt.NDArray[np.bool_]:
    """The mask `[H, W]` of COCO compressed counts, checked first.

    Raises `ValueError` that says what is wrong with the code; never anything else, whatever the counts are.
    """
    height, width = size_hw
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"mask_rle: size [{height}, {width}] is not that of an image")
    runs = parse_counts(counts, height * width)
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def parse_counts(counts: str | bytes, num_pixels: int) -> npt.NDArray[np.int64]:
    """The run lengths of COCO compressed counts, which must add up to `num_pixels`.

    Raises `ValueError` for characters that are not of the code, a run that is cut off, negative or too long.
    """
    try:
        code = counts.encode("ascii") if isinstance(counts, str) else bytes(counts)
    except UnicodeEncodeError as error:
        raise ValueError("mask_rle: counts holds characters that are not ASCII") from error
    runs: list[int] = []
    total, value, shift = 0, 0, 0
    for position, character in enumerate(code):
        digit = character - 48
        if not 0 <= digit < 64:
            raise ValueError(f"mask_rle: byte {character} at {position} of counts is not of COCO's compressed code")
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            if shift > 60:
                raise ValueError(f"mask_rle: the run at {position} of counts is too long")
            continue
        if digit & 16:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if value < 0:
            raise ValueError(f"mask_rle: run {len(runs)} of counts is negative ({value})")
        runs.append(value)
        total += value
        if total > num_pixels:
            raise ValueError(f"mask_rle: counts covers more than the {num_pixels} pixels of its size")
        value, shift = 0, 0
    if shift:
        raise ValueError("mask_rle: counts is cut off in the middle of a run")
    if total != num_pixels:
        raise ValueError(f"mask_rle: counts covers {total} pixels, its size has {num_pixels}")
    return np.asarray(runs, dtype=np.int64)


def _box(box: npt.NDArray[np.float64]) -> tuple[int, int, int, int]:
    x, y, width, height = (int(value) for value in box)
    return x, y, width, height

"""Masks as COCO run-length code (RLE): written from run lengths, and read with checks.

COCO's compressed form is a list of run lengths of 0 and 1 in turn, starting with zeros. Pixels are in column order:
down the first column, then down the next. Each run is a little-endian base-32 number in printable characters; from the
fourth run on it is the difference to the run two before. What strangers wrote is read here and never by pycocotools,
because its C code trusts the string. It writes the code, twice to four times as fast as operations of numpy.

Legend: H, W pixels of the video as displayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from pipeline.arrays import Int64Array

MAX_PIXELS = 1 << 28  # a mask of more pixels is refused before memory is taken for it


@dataclass(frozen=True)
class Rle:
    """One mask: COCO's compressed counts, its number of pixels, and its box in pixels (zeros for an empty mask)."""

    counts: str
    area: int
    bbox_xywh: tuple[int, int, int, int]


def rle_of_runs(runs: Runs, height: int) -> Rle:
    """The code of a mask from its runs. `height` is the mask's, in pixels."""
    return rles_of_runs([runs], height)[0]


def rles_of_runs(masks: Sequence[Runs], height: int) -> list[Rle]:
    """The codes of several masks of one size from their runs. `height` is theirs, in pixels."""
    if not masks:
        return []
    width = int(masks[0].lengths.sum()) // height
    coded = coco.frPyObjects([_uncompressed(mask.lengths, (height, width)) for mask in masks], height, width)
    boxes = coco.toBbox(coded).astype(np.int64).tolist()
    return [
        Rle(one["counts"].decode("ascii"), area, (x, y, box_width, box_height))
        for one, area, (x, y, box_width, box_height) in zip(coded, coco.area(coded).tolist(), boxes, strict=True)
    ]


def decode_rle(size_hw: tuple[int, int], counts: str | bytes) -> npt.NDArray[np.bool_]:
    """The mask `[H, W]` of COCO's compressed counts, which are checked first.

    Raises `ValueError`, and nothing else whatever the counts are, that says what is wrong with the code.
    """
    height, width = size_hw
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"mask_rle: size [{height}, {width}] is not that of an image")
    runs = parse_counts(counts, height * width)
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def parse_counts(counts: str | bytes, num_pixels: int) -> npt.NDArray[np.int64]:
    """The run lengths of COCO's compressed counts, which must add up to `num_pixels`.

    Raises `ValueError` for a character that the code does not have, and for a run that is cut off, negative or too
    long.
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


@dataclass(frozen=True)
class Runs:
    """Run lengths of one mask in COCO's order: zeros first, then ones, in turn."""

    lengths: Int64Array

    def counts(self) -> bytes:
        """COCO's compressed form."""
        return compress(self.lengths)


def compress(lengths: Int64Array) -> bytes:
    """Run lengths to COCO's characters: base 32, lowest digit first, from the fourth run on as differences."""
    size_hw = (1, int(lengths.sum()))
    code: bytes = coco.frPyObjects(_uncompressed(lengths, size_hw), *size_hw)["counts"]
    return code


def _uncompressed(lengths: Int64Array, size_hw: tuple[int, int]) -> dict[str, list[int]]:
    return {"size": list(size_hw), "counts": lengths.tolist()}

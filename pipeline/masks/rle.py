"""Masks as COCO run-length code (RLE): written from run lengths, and read with checks.

COCO's compressed form is a list of run lengths of 0 and 1 in turn, starting with zeros. Pixels are in column order:
down the first column, then down the next. Each run is a little-endian base-32 number in printable characters; from the
fourth run on it is the difference to the run two before. What strangers wrote is read here and never by pycocotools,
because its C code trusts the string. This module needs numpy alone.

Legend: H, W pixels of the video as displayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
    """The codes of several masks of one size from their runs. `height` is theirs, in pixels.

    All masks go through each operation of numpy together. The operations of a mask by itself are short, and a thread
    that makes many short ones keeps other threads of Python from theirs.
    """
    if not masks:
        return []
    lengths, starts, places = _joined([mask.lengths for mask in masks])
    sizes = np.diff(starts, append=len(lengths))
    ends = np.cumsum(lengths) - np.repeat(np.arange(len(masks)) * masks[0].lengths.sum(), sizes)
    is_one = places % 2 == 1
    first, last = ends - lengths, ends - 1  # pixels of a run
    areas = np.add.reduceat(np.where(is_one, lengths, 0), starts)
    crosses = np.logical_or.reduceat(is_one & (first // height != last // height), starts)
    tops = np.where(crosses, 0, np.minimum.reduceat(np.where(is_one, first % height, height), starts))
    bottoms = np.where(crosses, height - 1, np.maximum.reduceat(np.where(is_one, last % height, -1), starts))
    has_ones = sizes > 1
    lefts = first[starts + has_ones] // height
    rights = last[starts + np.where(has_ones, sizes // 2 * 2 - 1, 0)] // height
    boxes_N4 = np.stack((lefts, tops, rights - lefts + 1, bottoms - tops + 1), axis=1)
    boxes_N4[~has_ones] = 0
    codes = _compressed(lengths, starts, places)
    return [
        Rle(code, area, (x, y, width, height))
        for code, area, (x, y, width, height) in zip(codes, areas.tolist(), boxes_N4.tolist(), strict=True)
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
    return _compressed(*_joined([lengths]))[0].encode("ascii")


def _joined(masks: Sequence[Int64Array]) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Runs of several masks one behind the other: lengths, starts of the masks, the place of each run in its mask."""
    sizes = np.array([len(lengths) for lengths in masks])
    starts = np.cumsum(sizes) - sizes
    return np.concatenate(masks), starts, np.arange(sizes.sum()) - np.repeat(starts, sizes)


def _compressed(lengths: Int64Array, starts: Int64Array, places: Int64Array) -> list[str]:
    """See `compress`; the arguments are those that `_joined` gives."""
    values = lengths.copy()
    later = np.flatnonzero(places > 2)
    values[later] -= lengths[later - 2]
    digits = np.empty((len(values), 7), dtype=np.uint8)
    used = np.zeros((len(values), 7), dtype=bool)
    open_ = np.ones(len(values), dtype=bool)
    for place in range(7):
        digit = values & 31
        values >>= 5
        more = np.where(digit & 16, values != -1, values != 0)
        digits[:, place] = (digit | np.where(more, 32, 0)) + 48
        used[:, place] = open_
        open_ &= more
        if not open_.any():
            break
    text = digits[used].tobytes().decode("ascii")
    ends = np.cumsum(np.add.reduceat(used.sum(axis=1), starts)).tolist()
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]

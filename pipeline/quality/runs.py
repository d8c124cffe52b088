"""Many masks at once as runs of ones, read from COCO's compressed counts with checks.

A track has hundreds of masks of a few hundred runs each. One numpy operation goes over the runs of all of them, because
an operation for each mask would cost more than its work. No mask is decoded into pixels.

Legend: N masks, R runs of ones of all masks, in order; H, W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.arrays import Int64Array, UInt8Array
from pipeline.masks.rle import MAX_PIXELS, parse_counts

_MOST_CHARACTERS = 6  # of one number: 30 bits hold as much as a mask may have pixels, with the sign


@dataclass(frozen=True)
class OneRuns:
    """Runs of ones of `num_masks` masks of one size.

    Run number i is of mask `masks_R[i]` and covers the pixels `starts_R[i]` up to before `ends_R[i]`, counted down the
    columns. Runs are sorted by mask, then by start.
    """

    size_hw: tuple[int, int]
    num_masks: int
    masks_R: Int64Array
    starts_R: Int64Array
    ends_R: Int64Array

    def areas(self) -> Int64Array:
        """Pixels of each mask, `[N]`."""
        return _summed(self.masks_R, self.ends_R - self.starts_R, self.num_masks)


def read_runs(size_hw: tuple[int, int], counts_N: pa.Array) -> OneRuns:
    """The runs of masks whose counts are strings; null stands for an empty mask.

    Raises `ValueError` that says which mask is wrong, by its place from 0, and why.
    """
    height, width = size_hw
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"mask_rle: size [{height}, {width}] is not that of an image")
    present = np.flatnonzero(np.asarray(counts_N.is_valid()))
    texts = counts_N.drop_null().cast(pa.large_string())
    if not len(texts):
        nothing = np.zeros(0, np.int64)
        return OneRuns(size_hw, len(counts_N), nothing, nothing, nothing)
    offsets, code = _characters(texts)
    lengths, sizes = _run_lengths(offsets, code)
    firsts = np.cumsum(sizes) - sizes
    if lengths is None or not sizes.all() or (lengths < 0).any() or _totals_differ(lengths, firsts, height * width):
        raise _what_is_wrong(texts, present, height * width)
    ones = np.flatnonzero((_places(firsts, sizes) & 1 == 1) & (lengths > 0))  # odd places, from 0
    masks = np.repeat(np.arange(len(sizes)), sizes)[ones]
    ends = np.cumsum(lengths)[ones] - masks * (height * width)
    return OneRuns(size_hw, len(counts_N), present[masks], ends - lengths[ones], ends)


def intersections(a: OneRuns, b: OneRuns) -> Int64Array:
    """Pixels that mask i of `a` and mask i of `b` share, `[N]`. Both have masks of one size, and as many."""
    pixels = a.size_hw[0] * a.size_hw[1]
    # How many pixels of b lie before a place: those of whole runs, and of the run that the place is in.
    starts = b.masks_R * pixels + b.starts_R
    lengths = b.ends_R - b.starts_R
    before = np.concatenate(([0], np.cumsum(lengths)))
    padded_starts, padded_lengths = np.append(-1, starts), np.append(0, lengths)

    def covered(places: Int64Array) -> Int64Array:
        found = np.searchsorted(starts, places, side="right")
        within = np.minimum(places - padded_starts[found], padded_lengths[found])
        covers: Int64Array = before[np.maximum(found - 1, 0)] + np.where(found > 0, within, 0)
        return covers

    base = a.masks_R * pixels
    return _summed(a.masks_R, covered(base + a.ends_R) - covered(base + a.starts_R), a.num_masks)


def _summed(masks_R: Int64Array, values_R: Int64Array, num_masks: int) -> Int64Array:
    """Sums by mask, exact for integers below 2⁵³."""
    return np.bincount(masks_R, values_R, num_masks).astype(np.int64)


def _characters(texts: pa.LargeStringArray) -> tuple[Int64Array, UInt8Array]:
    """Where each text begins and the last one ends, and the characters of all."""
    _, offsets_buffer, data = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    code = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return offsets - offsets[0], code[offsets[0] : offsets[-1]]


def _run_lengths(offsets: Int64Array, code: UInt8Array) -> tuple[Int64Array | None, Int64Array]:
    """Run lengths of all masks one behind the other, and how many runs each has; None where the code is wrong."""
    digits = code - np.uint8(48)  # wraps, so that characters below are above 63 as well
    is_last = (digits & 32) == 0
    sizes = np.diff(np.concatenate(([0], np.cumsum(is_last)))[offsets])
    if (digits > 63).any() or not is_last[offsets[1:][np.diff(offsets) > 0] - 1].all():
        return None, sizes
    last = np.flatnonzero(is_last)
    first = np.append(0, last[:-1] + 1)
    num_digits = last - first + 1
    if len(last) == 0 or num_digits.max() > _MOST_CHARACTERS:
        return None, sizes
    values = (digits[first] & 31).astype(np.int64)
    longer = np.arange(len(first))
    for place in range(1, int(num_digits.max())):
        longer = longer[num_digits[longer] > place]
        values[longer] |= (digits[first[longer] + place] & np.int64(31)) << (5 * place)
    values -= np.where(digits[last] & 16, np.int64(1) << (5 * num_digits), 0)
    return _undo_differences(values, sizes), sizes


def _undo_differences(values: Int64Array, sizes: Int64Array) -> Int64Array:
    """From the fourth run of a mask on, a number is the difference to the run two before."""
    places = _places(np.cumsum(sizes) - sizes, sizes)
    for begin in (1, 2):
        chain = np.flatnonzero((places >= begin) & (places & 1 == begin & 1))
        sums = np.cumsum(values[chain])
        begins = np.flatnonzero(places[chain] == begin)
        before = sums[begins] - values[chain[begins]]
        values[chain] = sums - np.repeat(before, np.diff(np.append(begins, len(chain))))
    return values


def _places(firsts: Int64Array, sizes: Int64Array) -> Int64Array:
    """The place of each run in its mask, from 0."""
    return np.arange(sizes.sum()) - np.repeat(firsts, sizes)


def _totals_differ(lengths: Int64Array, firsts: Int64Array, num_pixels: int) -> bool:
    return bool((np.add.reduceat(lengths, firsts) != num_pixels).any())


def _what_is_wrong(texts: pa.Array, present: Int64Array, num_pixels: int) -> ValueError:
    """The first mask that the reader of single masks refuses, with its words."""
    for place, text in zip(present.tolist(), texts.to_pylist(), strict=True):
        try:
            parse_counts(text, num_pixels)
        except ValueError as error:
            return ValueError(f"mask {place}: {error}")
    return ValueError("mask_rle: a number of counts has more characters than a mask can need")

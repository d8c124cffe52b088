"""Label Studio's code of brush masks: runs of RGBA values packed in bits, as `rle-pack` of thi.ng/umbrella has them.

32 bits say how many values there are, 5 how long a value is, four times 4 how long the lengths of runs may be. Then
each run begins with a bit (1: one value many times, 0: as many values of their own), and 2 bits choose the length of
its length. A pixel has four values, of which the last says whether it is painted. Source: `label_studio_sdk`
`converter/brush.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.arrays import BoolArray

_VALUE_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_CHANNELS = 4
_PAINTED = 255
_MOST_VALUES = 1 << 31


def encode_brush(pixels_HW: BoolArray) -> list[int]:
    """The bytes of a mask `[H, W]`."""
    flat = pixels_HW.ravel()
    borders = np.flatnonzero(np.diff(flat)) + 1
    starts = np.concatenate([[0], borders])
    lengths = np.diff(starts, append=flat.size) * _CHANNELS
    head = f"{flat.size * _CHANNELS:032b}{_VALUE_BITS - 1:05b}" + "".join(f"{bits - 1:04b}" for bits in _LENGTH_BITS)
    runs = zip(lengths.tolist(), flat[starts].tolist(), strict=True)
    bits = head + "".join(piece for length, is_painted in runs for piece in _run(length, is_painted * _PAINTED))
    padded = bits + "0" * (-len(bits) % 8)
    return [int(padded[first : first + 8], 2) for first in range(0, len(padded), 8)]


def _run(length: int, value: int) -> Iterator[str]:
    longest = 1 << _LENGTH_BITS[-1]
    while length > 0:
        now = min(length, longest)
        place = next(place for place, bits in enumerate(_LENGTH_BITS) if now <= 1 << bits)
        yield f"1{place:02b}{now - 1:0{_LENGTH_BITS[place]}b}{value:0{_VALUE_BITS}b}"
        length -= now


def decode_brush(code: Sequence[int], size_hw: tuple[int, int]) -> BoolArray:
    """The pixels `[H, W]` that are painted. Raises `ValueError` for what is no code of such a mask."""
    try:
        bits = "".join(map("{:08b}".format, bytes(code)))
        values = _values(bits)
    except (TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"its rle is no code of a brush ({error})") from error
    height, width = size_hw
    if values.size != height * width * _CHANNELS:
        raise ValueError(f"its rle has {values.size // _CHANNELS} pixels, its picture {height * width}")
    painted: BoolArray = values.reshape(height, width, _CHANNELS)[:, :, _CHANNELS - 1] > 0
    return painted


def _values(bits: str) -> np.ndarray:
    """All values of a code. A text of bits that ends too early raises `ValueError`, as `int` does."""
    count, value_bits = int(bits[:32], 2), int(bits[32:37], 2) + 1
    if count > _MOST_VALUES:
        raise ValueError(f"its rle has {count} values, which no picture has")
    sizes = [int(bits[first : first + 4], 2) + 1 for first in range(37, 53, 4)]
    values = np.zeros(count, np.uint32)
    place, done = 53, 0
    while done < count:
        is_run, size = bits[place] == "1", sizes[int(bits[place + 1 : place + 3], 2)]
        length = int(bits[place + 3 : place + 3 + size], 2) + 1
        place += 3 + size
        if is_run:
            values[done : done + length] = int(bits[place : place + value_bits], 2)
            place += value_bits
        else:
            for number in range(done, min(done + length, count)):
                values[number] = int(bits[place : place + value_bits], 2)
                place += value_bits
        done += length
    return values

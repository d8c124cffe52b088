"""What the headers of H.264 say of the order in which frames are shown (ITU-T H.264, 7.3 and 8.2.1).

Only streams are read whose order is certain: whole frames, one sequence header in front, and a number of frames that
may be held back which the stream states. `NotCertain` says that a stream is none of these, or is damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_SLICE, _IDR_SLICE, _SEQUENCE = 1, 5, 7
_HARMLESS = {_SLICE, _IDR_SLICE, 6, _SEQUENCE, 8, 9, 12}  # and messages, picture headers, delimiters, filling
_HIGH_PROFILES = {100, 110, 122, 244, 44}
_UNMEASURED = 255  # an aspect ratio that is written out
_HEADER_BYTES = 64
_I_SLICES = {2, 7}


class NotCertain(Exception):
    """The headers do not tell what a decoder will do."""


@dataclass(frozen=True)
class Sequence:
    """A sequence header. `num_held` is how many frames may wait for one that is coded later and shown earlier."""

    data: bytes
    length_bytes: int
    frame_num_bits: int
    order_bits: int  # 0: frames are shown as they are coded
    has_planes: bool
    num_held: int


@dataclass(frozen=True)
class Slice:
    """The beginning of a slice. `order` are the low bits of its frame's place in the order of presentation."""

    first_block: int
    is_intra: bool
    is_idr: bool
    is_reference: bool
    frame_num: int
    order: int


class Bits:
    """Reads bits; escapes are taken out."""

    def __init__(self, data: bytes) -> None:
        plain = data.replace(b"\0\0\3", b"\0\0")
        self._value = int.from_bytes(plain, "big")
        self._left = 8 * len(plain)

    def take(self, count: int) -> int:
        """The next `count` bits as a number."""
        self._left -= count
        if self._left < 0:
            raise NotCertain("a header ends early")
        return self._value >> self._left & ((1 << count) - 1)

    def number(self) -> int:
        """A number in Exp-Golomb code, `ue(v)`."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 31:
                raise NotCertain("a number is too long")
        return (1 << zeros) - 1 + self.take(zeros)


def sequence_of(configuration: bytes) -> Sequence:
    """The sequence header of an `avcC` box, which MP4 and Matroska have."""
    if len(configuration) < 8 or configuration[0] != 1 or configuration[5] & 31 != 1:
        raise NotCertain("not one sequence header in front")
    size = int.from_bytes(configuration[6:8], "big")
    data = configuration[8 : 8 + size]
    if len(data) != size or not data or data[0] & 31 != _SEQUENCE:
        raise NotCertain("a damaged sequence header")
    return _sequence(data, 1 + (configuration[4] & 3))


def _sequence(data: bytes, length_bytes: int) -> Sequence:
    bits = Bits(data[1:])
    profile = bits.take(8)
    bits.take(16)
    bits.number()
    has_planes = False
    if profile in _HIGH_PROFILES:
        has_planes = bits.number() == 3 and bool(bits.take(1))
        bits.number(), bits.number(), bits.take(1)
        if bits.take(1):
            raise NotCertain("scaling matrices")
    elif profile not in (66, 77, 88):
        raise NotCertain(f"profile {profile}")
    frame_num_bits = 4 + bits.number()
    kind = bits.number()
    if kind not in (0, 2):
        raise NotCertain("an order of kind 1")
    order_bits = 4 + bits.number() if kind == 0 else 0
    bits.number()
    if bits.take(1):
        raise NotCertain("frames may be missing")
    bits.number(), bits.number()
    if not bits.take(1):
        raise NotCertain("fields")
    bits.take(1)
    if bits.take(1):
        for _ in range(4):
            bits.number()
    num_held = _num_held(bits) if bits.take(1) else None
    if order_bits and num_held is None:
        raise NotCertain("no number of frames that may be held back")
    return Sequence(data, length_bytes, frame_num_bits, order_bits, has_planes, num_held or 0)


def _num_held(bits: Bits) -> int | None:
    """`max_num_reorder_frames` of the usability information, if it is there."""
    if bits.take(1) and bits.take(8) == _UNMEASURED:
        bits.take(32)
    if bits.take(1):
        bits.take(1)
    if bits.take(1):
        bits.take(4)
        if bits.take(1):
            bits.take(24)
    if bits.take(1):
        bits.number(), bits.number()
    if bits.take(1):
        bits.take(65)
    has_rates = [_skip_rate(bits) for _ in range(2)]
    if any(has_rates):
        bits.take(1)
    bits.take(1)
    if not bits.take(1):
        return None
    bits.take(1)
    for _ in range(4):
        bits.number()
    return bits.number()


def _skip_rate(bits: Bits) -> bool:
    if not bits.take(1):
        return False
    count = bits.number() + 1
    bits.take(8)
    for _ in range(count):
        bits.number(), bits.number(), bits.take(1)
    bits.take(20)
    return True


def slices_of(packet: bytes, sequence: Sequence) -> list[Slice]:
    """The slices of a packet, which must be those of one whole frame."""
    found = []
    for unit in _units(packet, sequence.length_bytes):
        kind = unit[0] & 31
        if unit[0] & 128 or kind not in _HARMLESS:
            raise NotCertain(f"a unit of kind {kind}")
        if kind == _SEQUENCE and unit != sequence.data:
            raise NotCertain("another sequence header")
        if kind in (_SLICE, _IDR_SLICE):
            found.append(_slice(unit, sequence))
    if not found or found[0].first_block:
        raise NotCertain("a frame without a beginning")
    for before, one in pairwise(found):
        same = (one.is_idr, one.frame_num, one.order) == (before.is_idr, before.frame_num, before.order)
        if not same or one.first_block <= before.first_block:
            raise NotCertain("slices of several frames")
    return found


def _units(packet: bytes, length_bytes: int) -> Iterator[bytes]:
    place = 0
    while place < len(packet):
        start = place + length_bytes
        stop = start + int.from_bytes(packet[place:start], "big")
        if stop > len(packet) or stop == start:
            raise NotCertain("units that do not fill their packet")
        yield (
            packet[start:stop] if packet[start] & 31 == _SEQUENCE else packet[start : min(stop, start + _HEADER_BYTES)]
        )
        place = stop


def _slice(unit: bytes, sequence: Sequence) -> Slice:
    bits = Bits(unit[1:])
    first_block, kind = bits.number(), bits.number()
    bits.number()
    if sequence.has_planes:
        bits.take(2)
    frame_num = bits.take(sequence.frame_num_bits)
    is_idr = unit[0] & 31 == _IDR_SLICE
    if is_idr:
        bits.number()
    order = bits.take(sequence.order_bits)
    return Slice(first_block, kind in _I_SLICES, is_idr, bool(unit[0] & 0x60), frame_num, order)


class PresentationOrder:
    """Puts the frames of a stream into the order in which a decoder shows them, and holds it against their times."""

    def __init__(self, sequence: Sequence) -> None:
        self._sequence = sequence
        self._reference_num = 0
        self._high = self._low = 0
        self._num_since_idr = 0
        self._waiting: list[tuple[int, int, bool]] = []  # order, time, whether it is a key
        self._shown: tuple[int, int] | None = None  # order and time of the last frame that was shown

    def add(self, frame: Slice, time: int, is_key: bool) -> list[tuple[int, bool]]:
        """Take the next frame as it is coded; the frames that a decoder shows then, each as its time and `is_key`.

        Raises `NotCertain` if a frame before it is missing, or comes too late to be shown.
        """
        shown = []
        if frame.is_idr:
            shown = self.rest()
            self._shown = None if self._shown is None else (-1 << 62, self._shown[1])
            self._reference_num = self._high = self._low = self._num_since_idr = 0
        elif self._shown is None and not self._waiting:
            raise NotCertain("no IDR frame at the start")
        follows = (self._reference_num, (self._reference_num + 1) % (1 << self._sequence.frame_num_bits))
        if frame.frame_num not in follows or (frame.is_idr and frame.frame_num):
            raise NotCertain("a missing frame")
        self._waiting.append((self._order(frame), time, is_key))
        self._num_since_idr += 1
        if frame.is_reference:
            self._reference_num = frame.frame_num
        if len(self._waiting) > self._sequence.num_held:
            shown.append(self._show())
        return shown

    def rest(self) -> list[tuple[int, bool]]:
        """The frames that still wait, when all are there."""
        return [self._show() for _ in range(len(self._waiting))]

    def _show(self) -> tuple[int, bool]:
        first = min(self._waiting)
        self._waiting.remove(first)
        order, time, is_key = first
        late = self._shown is not None and (order <= self._shown[0] or time <= self._shown[1])
        if late or any(other <= time for _, other, _ in self._waiting):
            raise NotCertain("frames that come too late, or times in another order")
        self._shown = order, time
        return time, is_key

    def _order(self, frame: Slice) -> int:
        if not self._sequence.order_bits:
            return self._num_since_idr
        period = 1 << self._sequence.order_bits
        high = self._high
        if frame.order < self._low and self._low - frame.order >= period // 2:
            high += period
        elif frame.order > self._low and frame.order - self._low > period // 2:
            high -= period
        if frame.is_reference:
            self._high, self._low = high, frame.order
        return high + frame.order

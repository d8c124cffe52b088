"""What the headers of H.264 say of the order in which frames are shown (ITU-T H.264, 7.3 and 8.2.1).

Only streams are read whose order is certain: whole frames, one sequence header in front, and a number of frames that
may be held back which the stream states. `NotCertain` says that a stream is none of these, or is damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_SLICE, _IDR_SLICE, _SEQUENCE, _PICTURE = 1, 5, 7, 8
_HARMLESS = {_SLICE, _IDR_SLICE, 6, _SEQUENCE, _PICTURE, 9, 12}  # and messages, delimiters, filling
_HIGH_PROFILES = {100, 110, 122, 244, 44}
_UNMEASURED = 255  # an aspect ratio that is written out
_HEADER_BYTES = 512  # weights of many references are long
_B, _I = 1, 2  # kinds of slices; 0 is P
_MAX_REFERENCES = 32
_END_OF_CHANGES = 3


class NotCertain(Exception):
    """The headers do not tell what a decoder will do."""


@dataclass(frozen=True)
class Sequence:
    """A sequence header. `num_held` is how many frames may wait for one that is coded later and shown earlier."""

    data: bytes
    frame_num_bits: int
    order_bits: int  # 0: frames are shown as they are coded
    has_planes: bool
    has_colors: bool
    bit_depth: int
    num_held: int


@dataclass(frozen=True)
class PictureHeader:
    """What a picture header (`pps`) says of the headers of slices."""

    has_cabac: bool
    has_bottom_order: bool
    num_references: tuple[int, int]
    weighs: tuple[bool, bool]  # slices P, slices B
    quantizer: int
    has_copies: bool


@dataclass(frozen=True)
class Configuration:
    """All that stands in front of a stream. `pictures` are the picture headers by their number."""

    length_bytes: int
    sequence: Sequence
    pictures: dict[int, PictureHeader]
    units: frozenset[bytes]


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

    def signed(self) -> int:
        """A signed number in Exp-Golomb code, `se(v)`."""
        number = self.number()
        return (number + 1) // 2 if number % 2 else -(number // 2)


def configuration_of(box: bytes) -> Configuration:
    """What an `avcC` box holds, which MP4 and Matroska have."""
    if len(box) < 8 or box[0] != 1 or box[5] & 31 != 1:
        raise NotCertain("not one sequence header in front")
    units, place = [], 6
    for count in (1, None):
        if count is None:
            count, place = box[place] if place < len(box) else 0, place + 1
        for _ in range(count):
            start = place + 2
            place = start + int.from_bytes(box[place:start], "big")
            units.append(box[start:place])
    if place > len(box) or not all(units) or units[0][0] & 31 != _SEQUENCE:
        raise NotCertain("damaged headers in front")
    sequence = _sequence(units[0])
    pictures = dict(_picture(unit) for unit in units[1:])
    return Configuration(1 + (box[4] & 3), sequence, pictures, frozenset(units))


def _picture(data: bytes) -> tuple[int, PictureHeader]:
    if data[0] & 31 != _PICTURE:
        raise NotCertain("a damaged picture header")
    bits = Bits(data[1:])
    number = bits.number()
    bits.number()
    has_cabac, has_bottom_order = bool(bits.take(1)), bool(bits.take(1))
    if bits.number():
        raise NotCertain("groups of slices")
    num_references = (1 + bits.number(), 1 + bits.number())
    weighs = (bool(bits.take(1)), bits.take(2) == 1)
    quantizer = 26 + bits.signed()
    bits.signed(), bits.signed(), bits.take(2)
    return number, PictureHeader(
        has_cabac, has_bottom_order, num_references, weighs, quantizer, has_copies=bool(bits.take(1))
    )


def _sequence(data: bytes) -> Sequence:
    bits = Bits(data[1:])
    profile = bits.take(8)
    bits.take(16)
    bits.number()
    colors, has_planes, bit_depth = 1, False, 8
    if profile in _HIGH_PROFILES:
        colors = bits.number()
        has_planes = colors == 3 and bool(bits.take(1))
        bit_depth += bits.number()
        bits.number(), bits.take(1)
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
    has_colors = colors > 0 and not has_planes
    return Sequence(data, frame_num_bits, order_bits, has_planes, has_colors, bit_depth, num_held or 0)


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


def slices_of(packet: bytes, configuration: Configuration) -> list[Slice]:
    """The slices of a packet, which must be those of one whole frame."""
    found = []
    for unit in _units(packet, configuration):
        kind = unit[0] & 31
        if unit[0] & 128 or kind not in _HARMLESS:
            raise NotCertain(f"a unit of kind {kind}")
        if kind in (_SEQUENCE, _PICTURE) and unit not in configuration.units:
            raise NotCertain("another header")
        if kind in (_SLICE, _IDR_SLICE):
            found.append(_slice(unit, configuration))
    if not found or found[0].first_block:
        raise NotCertain("a frame without a beginning")
    for before, one in pairwise(found):
        same = (one.is_idr, one.frame_num, one.order) == (before.is_idr, before.frame_num, before.order)
        if not same or one.first_block <= before.first_block:
            raise NotCertain("slices of several frames")
    return found


def _units(packet: bytes, configuration: Configuration) -> Iterator[bytes]:
    place = 0
    while place < len(packet):
        start = place + configuration.length_bytes
        stop = start + int.from_bytes(packet[place:start], "big")
        if stop > len(packet) or stop == start:
            raise NotCertain("units that do not fill their packet")
        is_header = packet[start] & 31 in (_SEQUENCE, _PICTURE)
        yield packet[start : stop if is_header else min(stop, start + _HEADER_BYTES)]
        place = stop


def _slice(unit: bytes, configuration: Configuration) -> Slice:
    """The header of a slice, to its quantizer: a decoder gives up a frame where one of these makes no sense."""
    sequence, bits = configuration.sequence, Bits(unit[1:])
    first_block, kind = bits.number(), bits.number() % 5
    picture = configuration.pictures.get(bits.number())
    if picture is None or kind > 2:
        raise NotCertain("a slice of an unknown kind")
    if sequence.has_planes:
        bits.take(2)
    frame_num = bits.take(sequence.frame_num_bits)
    is_idr, is_reference = unit[0] & 31 == _IDR_SLICE, bool(unit[0] & 0x60)
    if is_idr and (bits.number() > 65535 or kind != _I or not is_reference):
        raise NotCertain("an IDR frame that is none")
    order = bits.take(sequence.order_bits)
    if sequence.order_bits and picture.has_bottom_order:
        bits.signed()
    if picture.has_copies and bits.number():
        raise NotCertain("a copy of a slice")
    _skip_references(bits, kind, picture, sequence)
    if is_reference:
        _skip_marking(bits, is_idr)
    if picture.has_cabac and kind != _I and bits.number() > 2:
        raise NotCertain("an unknown table of CABAC")
    if not -6 * (sequence.bit_depth - 8) <= picture.quantizer + bits.signed() <= 51:
        raise NotCertain("a quantizer out of range")
    return Slice(first_block, kind == _I, is_idr, is_reference, frame_num, order)


def _skip_references(bits: Bits, kind: int, picture: PictureHeader, sequence: Sequence) -> None:
    if kind == _I:
        return
    if kind == _B:
        bits.take(1)
    num_lists, counts = 1 + (kind == _B), picture.num_references
    if bits.take(1):
        counts = (1 + bits.number(), 1 + bits.number() if kind == _B else 0)
    if max(counts[:num_lists]) > _MAX_REFERENCES:
        raise NotCertain("too many references")
    for _ in range(num_lists):
        if bits.take(1):
            while bits.number() < _END_OF_CHANGES:
                bits.number()
    if not picture.weighs[kind]:
        return
    denominators = [bits.number() for _ in range(1 + sequence.has_colors)]
    if max(denominators) > 7:
        raise NotCertain("weights out of range")
    for count in counts[:num_lists]:
        for _ in range(count):
            for num_values in (2, 4) if sequence.has_colors else (2,):
                if bits.take(1) and not all(-128 <= bits.signed() <= 127 for _ in range(num_values)):
                    raise NotCertain("weights out of range")


def _skip_marking(bits: Bits, is_idr: bool) -> None:
    if is_idr:
        bits.take(2)
    elif bits.take(1):
        while operation := bits.number():
            if operation > 4:  # 5 begins the order anew
                raise NotCertain("frames that are forgotten at once")
            for _ in range(1 + (operation == 3)):
                bits.number()


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

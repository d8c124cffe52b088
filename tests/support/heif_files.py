"""Photos as phones store them: cut into tiles that a grid puts together. Written by hand, because no library does."""

from __future__ import annotations

import struct
from collections.abc import Sequence


def box(name: bytes, *parts: bytes) -> bytes:
    """A box of ISO's base media format."""
    data = b"".join(parts)
    return struct.pack(">I", 8 + len(data)) + name + data


def full_box(name: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """A box with a version."""
    return box(name, struct.pack(">I", version << 24 | flags), *parts)


def found(data: bytes, name: bytes) -> bytes:
    """The first box of a name, its header included."""
    place = data.index(name) - 4
    return data[place : place + struct.unpack_from(">I", data, place)[0]]


def turn(quarters: int, mirror: int | None = None) -> list[bytes]:
    """Properties that turn a photo counterclockwise, and then mirror it along one of two axes."""
    return [box(b"irot", bytes([quarters])), *([] if mirror is None else [box(b"imir", bytes([mirror]))])]


def grid_photo(
    tiles: Sequence[bytes],
    columns: int,
    size_hw: tuple[int, int],
    tile_hw: tuple[int, int],
    turned: Sequence[bytes] = (),
) -> bytes:
    """A photo of tiles, row by row, which are HEIC or AVIF files of one picture each, all of one size."""
    is_avif = b"av1C" in tiles[0]
    brand, codec, config = (b"avif", b"av01", b"av1C") if is_avif else (b"heic", b"hvc1", b"hvcC")
    count = len(tiles)
    numbers = range(2, 2 + count)
    data = [found(tile, b"mdat")[8:] for tile in tiles]
    grid = struct.pack(">BBBBHH", 0, 0, count // columns - 1, columns - 1, size_hw[1], size_hw[0])
    entries = [full_box(b"infe", 2, 0, struct.pack(">HH", 1, 0), b"grid\0")]
    entries += [full_box(b"infe", 2, 1, struct.pack(">HH", number, 0), codec, b"\0") for number in numbers]
    properties = [
        full_box(b"ispe", 0, 0, struct.pack(">II", size_hw[1], size_hw[0])),
        full_box(b"ispe", 0, 0, struct.pack(">II", tile_hw[1], tile_hw[0])),
        full_box(b"pixi", 0, 0, b"\x03\x08\x08\x08"),
        *(found(tile, config) for tile in tiles),
        *turned,
    ]
    turning = [0x80 | 4 + count + place for place in range(len(turned))]
    uses = [struct.pack(">HBBB", 1, 2 + len(turned), 1, 3) + bytes(turning)]
    uses += [struct.pack(">HBBBB", number, 3, 2, 3, 0x80 | number + 2) for number in numbers]
    fixed = (
        full_box(b"hdlr", 0, 0, b"\0\0\0\0pict", b"\0" * 13),
        full_box(b"pitm", 0, 0, struct.pack(">H", 1)),
        full_box(b"iinf", 0, 0, struct.pack(">H", 1 + count), *entries),
        full_box(
            b"iref",
            0,
            0,
            box(b"dimg", struct.pack(">HH", 1, count), *(struct.pack(">H", number) for number in numbers)),
        ),
        box(
            b"iprp",
            box(b"ipco", *properties),
            full_box(b"ipma", 0, 0, struct.pack(">I", 1 + count), *uses),
        ),
        box(b"idat", grid),
    )
    head = box(b"ftyp", brand, b"\0\0\0\0", b"mif1", brand, b"miaf")

    def locations(first: int) -> bytes:
        places = [struct.pack(">HHHHII", 1, 1, 0, 1, 0, len(grid))]  # in `idat`
        for number, one in zip(numbers, data, strict=True):
            places.append(struct.pack(">HHHHII", number, 0, 0, 1, first, len(one)))
            first += len(one)
        return full_box(b"iloc", 1, 0, b"\x44\0", struct.pack(">H", 1 + count), *places)

    def meta(first: int) -> bytes:
        return full_box(b"meta", 0, 0, *fixed[:2], locations(first), *fixed[2:])

    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", *data)

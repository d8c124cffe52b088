"""Files of pictures with bytes changed, cut or put in: each is read, or refused with a reason."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest
import tifffile

from model import MediaError, open_reader
from tests.support.drawn_pictures import encoded, gray, heic, in_memory, scene

COLORS = np.stack([scene(place) for place in range(3)])
DEEP = np.stack([gray(place) for place in range(3)]).astype(np.uint16) * 16
FILES_A_KIND = 12


def tiff(values: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


SEEDS = {
    **{
        kind: encoded(scene(), kind)
        for kind in ("JPEG", "PNG", "WEBP", "AVIF", "JPEG2000", "PPM", "TGA", "BMP", "TIFF")
    },
    "animated WEBP": encoded(list(COLORS), "WEBP"),
    "animated AVIF": encoded(list(COLORS), "AVIF", speed=10),
    "deep PNG": encoded(DEEP[0], "PNG"),
    "HEIC": heic(scene()),
    "LZW": tiff(COLORS, photometric="rgb", compression="lzw"),
    "JPEG in TIFF": tiff(scene(), photometric="rgb", compression="jpeg", tile=(32, 32)),
    "OME": tiff(DEEP, ome=True, compression="zlib", metadata={"axes": "TYX"}),
    "ImageJ": tiff(DEEP, imagej=True, metadata={"axes": "TYX"}),
}


def damaged(data: bytes, random_: random.Random) -> bytes:
    """Some bytes changed, taken out or put in, half of them near the start; one file in ten is cut off."""
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 4, 10))):
        place = random_.randrange(len(changed) if random_.random() < 0.5 else min(len(changed), 600))
        way = random_.random()
        if way < 0.7:
            changed[place] = random_.choice((0, 1, 127, 128, 255, random_.randrange(256)))
        elif way < 0.85:
            del changed[place : place + 5]
        else:
            changed[place:place] = random_.randbytes(4)
    return bytes(changed[: random_.randrange(len(changed))] if random_.random() < 0.1 else changed)


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("kind", SEEDS)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_is_read_or_refused_with_a_reason(kind: str) -> None:
    refused = []
    for seed in range(FILES_A_KIND):
        data = damaged(SEEDS[kind], random.Random(f"{kind} {seed}"))
        try:
            reader = open_reader(in_memory(data))
            info = reader.info()
            for raw in reader.read():
                if not raw.fault:
                    assert raw.picture.pixels(info.size_hw).shape == (*info.size_hw, 3)
                else:
                    refused.append(f"photo: {raw.fault}")
        except MediaError as error:
            refused.append(str(error))
    assert refused
    assert all(message.startswith("photo: ") for message in refused)

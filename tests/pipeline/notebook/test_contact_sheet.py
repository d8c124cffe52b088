from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.masks.overlay import color_of
from pipeline.notebook.contact_sheet import Strip, Tile, contact_sheet


def strip(num_tiles: int, color: int = 90) -> Strip:
    tile = Tile(np.full((120, 160, 3), color, np.uint8), "frame 0")
    return Strip("a clip", "something moves", ((1, "box, IoU 0.9"), (2, "click, IoU 0.8")), (tile,) * num_tiles)


def pixels(sheet: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(sheet)).convert("RGB"))


def test_a_sheet_shows_every_tile_and_the_colors_of_the_objects() -> None:
    picture = pixels(contact_sheet("title", ["a note"], [strip(3), strip(2, color=30)]))
    assert (picture == 90).all(axis=2).sum() == 3 * 220 * 165
    assert (picture == 30).all(axis=2).sum() == pytest.approx(2 * 220 * 165, abs=4)
    for object_id in (1, 2):
        assert (picture == color_of(object_id)).all(axis=2).sum() > 100


def test_more_strips_make_a_taller_sheet_and_more_tiles_a_wider_one() -> None:
    one = pixels(contact_sheet("title", [], [strip(2)])).shape
    assert pixels(contact_sheet("title", [], [strip(2), strip(2)])).shape[0] > one[0]
    assert pixels(contact_sheet("title", [], [strip(4)])).shape[1] > one[1]


@pytest.mark.parametrize("strips", [[], [strip(0)]])
def test_a_sheet_of_nothing_is_refused(strips: list[Strip]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet("title", [], strips)

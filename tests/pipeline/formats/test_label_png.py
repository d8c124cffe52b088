"""Pictures of labels, read by Pillow and OpenCV."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.formats.label_png import mask_png, palette, palette_png, png_16_bits
from pipeline.masks.overlay import color_of


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_labels_come_back_as_they_are_in_every_size(height: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    small = random.integers(0, 255, (height, width), np.uint16)
    large = random.integers(0, 65536, (height, width), np.uint16)
    image = Image.open(io.BytesIO(palette_png(small, palette({1: 1}))))
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), small)
    for read in (
        np.asarray(Image.open(io.BytesIO(png_16_bits(large)))),
        cv2.imdecode(np.frombuffer(png_16_bits(large), np.uint8), cv2.IMREAD_UNCHANGED),
    ):
        np.testing.assert_array_equal(read, large)
    mask = small > 100
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(mask_png(mask)))), mask.astype(np.uint8))


def test_an_object_has_the_color_of_its_overlay_in_every_video() -> None:
    labels = np.array([[0, 1, 2]], np.uint16)
    data = palette_png(labels, palette({1: 7, 2: -12345678901}))
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert [tuple(pixel) for pixel in shown[0].tolist()] == [(0, 0, 0), color_of(7), color_of(-12345678901)]
    assert len({color_of(number) for number in range(1, 255)} - {(0, 0, 0)}) == 254


def test_label_255_is_refused_because_it_means_void() -> None:
    with pytest.raises(ValueError, match="label 255: a palette has labels up to 254"):
        palette_png(np.array([[255]], np.uint16), palette({}))

"""Logits to masks: sizes, thresholds, holes, specks, overlaps; on CPU and GPU alike."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.hf.processing import Sam2VideoProcessor
from model.pixels.cleanup import component_areas, tidy, without_overlap
from tests.reference.mini import mini_processor
from tests.support.gpus import Gpu

processor = Sam2VideoProcessor(target_size=256)


def flooded_areas(mask_HW: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Areas of connected parts by flood fill, pixel by pixel."""
    areas = np.zeros(mask_HW.shape, np.int64)
    for start in zip(*np.nonzero(mask_HW), strict=True):
        if areas[start]:
            continue
        part, waiting = {start}, deque([start])
        while waiting:
            y, x = waiting.popleft()
            for other in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                inside = all(0 <= value < size for value, size in zip(other, mask_HW.shape, strict=True))
                if inside and mask_HW[other] and other not in part:
                    part.add(other)
                    waiting.append(other)
        for pixel in part:
            areas[pixel] = len(part)
    return areas


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12))))
def test_areas_are_those_of_a_flood_fill(masks_BHW: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    expected = np.stack([flooded_areas(mask_HW) for mask_HW in masks_BHW])
    assert np.array_equal(component_areas(torch.from_numpy(masks_BHW)).numpy(), expected)


def spiral(size: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """One part that winds inwards, a pixel wide: the longest way for a label to travel."""
    mask = np.zeros((size, size), np.bool_)
    y, x, dy, dx = 0, 0, 0, 1
    mask[0, 0] = True
    for length in [size - 1, *(n for n in range(size - 1, 1, -2) for _ in (0, 1))]:
        for _ in range(length):
            y, x = y + dy, x + dx
            mask[y, x] = True
        dy, dx = dx, -dy
    return mask


def test_a_long_spiral_is_one_part() -> None:
    mask = spiral(61)
    areas = component_areas(torch.from_numpy(mask)[None])[0].numpy()
    assert set(areas[mask]) == {mask.sum()}
    assert flooded_areas(mask)[0, 0] == mask.sum()


def drawn_logits(device: str = "cpu") -> torch.Tensor:
    """A square with a hole of 4 and one of 9 pixels, and specks of 1 and of 6 pixels beside it."""
    logits = torch.full((2, 1, 64, 64), -5.0, device=device)
    logits[0, 0, 10:40, 10:40] = 5.0
    logits[0, 0, 20:22, 20:22] = -5.0
    logits[0, 0, 30:33, 30:33] = -5.0
    logits[0, 0, 50, 50] = 5.0
    logits[0, 0, 55:57, 50:53] = 5.0
    logits[1, 0, :2, :2] = 5.0
    return logits


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest, gpu: Gpu) -> str:
    """A device that computes; with `gpu` pretended, the second is that of every machine."""
    name: str = request.param
    return name


@pytest.mark.fast_core(8)
@pytest.mark.parametrize(
    ("hole", "sprinkle", "filled", "removed"),
    [(0, 0, 0, 0), (4, 0, 4, 0), (3.9, 0, 0, 0), (9, 0, 13, 0), (0, 1, 0, 1), (0, 6, 0, 11), (9, 6, 13, 11)],
)
def test_holes_and_specks_up_to_an_area_are_changed(
    device: str, hole: float, sprinkle: float, filled: int, removed: int
) -> None:
    logits = drawn_logits(device)
    (mask,) = processor.post_process_masks([logits], [[64, 64]], max_hole_area=hole, max_sprinkle_area=sprinkle)
    before = logits > 0
    assert int((mask & ~before).sum()) == filled
    assert int((before & ~mask).sum()) == removed
    assert torch.equal(logits, drawn_logits(device)), "the logits of the caller stay as they are"


def test_changed_logits_are_10_above_or_below_the_threshold() -> None:
    tidied = tidy(drawn_logits().flatten(0, 1), max_hole_area=4, max_speck_area=1, threshold=0.5)
    assert float(tidied[0, 20, 20]) == 10.5
    assert float(tidied[0, 50, 50]) == -9.5


def test_areas_count_pixels_of_the_logits_and_diagonals_connect() -> None:
    logits = torch.full((1, 1, 8, 8), -1.0)
    for index in range(4):
        logits[0, 0, index, index] = 1.0
    for area, is_kept in ((3, True), (4, False)):
        (mask,) = processor.post_process_masks([logits], [[80, 80]], max_sprinkle_area=area)
        assert bool(mask.any()) is is_kept


def test_each_pixel_stays_with_the_object_of_the_highest_logit() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 1, 16, 16, generator=generator) * 4
    (mask,) = processor.post_process_masks([logits], [[40, 50]], apply_non_overlapping_constraints=True)
    (overlapping,) = processor.post_process_masks([logits], [[40, 50]])
    assert int(overlapping.sum(0).max()) > 1
    assert int(mask.sum(0).max()) == 1
    assert torch.equal(mask.any(0), overlapping.any(0))
    assert torch.equal(without_overlap(logits[:1]), logits[:1])


@pytest.mark.slow
def test_thresholds_and_sizes_are_those_of_transformers() -> None:
    generator = torch.Generator().manual_seed(1)
    masks = [torch.randn(2, 1, 16, 16, generator=generator), torch.randn(1, 1, 16, 16, generator=generator).numpy()]
    for options in (
        {},
        {"binarize": False},
        {"mask_threshold": 0.3},
        {"apply_non_overlapping_constraints": True, "binarize": False},
    ):
        for sizes in ([[30, 40], [7, 9]], torch.tensor([[30, 40], [7, 9]]), np.array([[30, 40], [7, 9]])):
            ours = processor.post_process_masks(list(masks), sizes, **options)
            theirs = mini_processor().post_process_masks(list(masks), sizes, **options)
            assert [mask.dtype for mask in ours] == [mask.dtype for mask in theirs]
            assert all(torch.equal(*both) for both in zip(ours, theirs, strict=True))


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="2 entries of masks need as many sizes, got 1"):
        processor.post_process_masks([drawn_logits(), drawn_logits()], [[4, 4]])
    with pytest.raises(TypeError, match=r"expected tensors or arrays \[B, 1, h, w\], got list"):
        processor.post_process_masks([[1.0]], [[4, 4]])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="expected height and width above 0"):
        processor.post_process_masks([drawn_logits()], [[0, 4]])
    with pytest.raises(ValueError, match=r"expected logits \[B, 1, h, w\], got torch\.float32 \[1, 64, 64\]"):
        processor.post_process_masks([drawn_logits()[0]], [[4, 4]])
    with pytest.raises(ValueError, match=r"expected logits \[B, 1, h, w\], got torch\.bool \[2, 1, 64, 64\]"):
        processor.post_process_masks([drawn_logits() > 0], [[4, 4]])
    for name in ("max_hole_area", "max_sprinkle_area"):
        for area in (-1, float("nan")):
            with pytest.raises(ValueError, match=f"{name}: expected a number of pixels from 0 on, got"):
                processor.post_process_masks([drawn_logits()], [[4, 4]], **{name: area})

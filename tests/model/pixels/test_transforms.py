"""Frames resized to the model's input: the bits of torch on planes, in the layout that later copies need."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.pixels.transfers import upload
from model.pixels.transforms import normalize, resize_frame

SIZES_HW = (
    (1, 1),
    (1, 7),
    (7, 1),
    (2, 3),
    (48, 64),
    (63, 65),
    (128, 31),
    (127, 129),
    (128, 128),
    (360, 640),
    (4, 1000),
)


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(sum(shape)))


def on_planes(pixels_HW3: Tensor, size: int) -> Tensor:
    """What torch makes of the three planes of a frame, each contiguous."""
    planes = pixels_HW3.permute(2, 0, 1).contiguous().unsqueeze(0)
    return F.interpolate(planes, size=(size, size), mode="bilinear", antialias=True).squeeze(0).permute(1, 2, 0)


LAYOUTS: dict[str, Callable[[int, int], Tensor]] = {
    "contiguous": lambda h, w: noise(h, w, 3),
    "planar": lambda h, w: noise(3, h, w).permute(1, 2, 0),
    "rows and columns swapped": lambda h, w: noise(w, h, 3).permute(1, 0, 2),
    "part of wider rows": lambda h, w: noise(h + 2, w + 5, 3)[1 : h + 1, 2 : w + 2],
    "every second column": lambda h, w: noise(h, 2 * w, 3)[:, ::2],
    "three of four channels": lambda h, w: noise(h, w, 4)[..., :3],
    "one row repeated": lambda h, w: noise(1, w, 3).expand(h, w, 3),
}


@pytest.mark.parametrize("size_hw", SIZES_HW, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_resized_frame_has_the_bits_of_its_planes_and_is_contiguous(layout: str, size_hw: tuple[int, int]) -> None:
    pixels_HW3 = LAYOUTS[layout](*size_hw)
    for image_size in (2, 16, 128):
        resized = resize_frame(pixels_HW3, image_size)
        assert torch.equal(resized, on_planes(pixels_HW3, image_size))
        assert (resized.dtype, resized.stride()) == (torch.uint8, (3 * image_size, 3, 1))


def test_the_network_gets_resized_frames_channels_last() -> None:
    frames = [resize_frame(noise(48, 64, 3), 32), resize_frame(noise(100, 20, 3), 32)]
    pixels_F3SS = normalize(upload(frames, torch.device("cpu")), torch.device("cpu"), torch.float32)
    assert pixels_F3SS.is_contiguous(memory_format=torch.channels_last)

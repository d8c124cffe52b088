"""RLE straight from logits is, byte for byte, that of the enlarged masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pycocotools import mask as coco

from pipeline.masks.from_logits import encode_logits, runs_of_crop, runs_of_logits
from pipeline.masks.rle import Rle, compress

SIZES = [(1080, 1920), (720, 1280), (1920, 1080), (768, 768), (480, 640), (256, 256), (300, 257), (100, 900), (64, 64)]


def usual_route(logits_Bhw: torch.Tensor, size_hw: tuple[int, int]) -> list[Rle]:
    """Enlarge all, cut, `np.asfortranarray`, pycocotools."""
    masks = (F.interpolate(logits_Bhw[:, None], size=size_hw, mode="bilinear", align_corners=False)[:, 0] > 0).numpy()
    encoded = [coco.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    return [
        Rle(one["counts"].decode(), int(coco.area(one)), tuple(int(v) for v in coco.toBbox(one)))  # type: ignore[arg-type]
        for one in encoded
    ]


def blobs(num_objects: int, seed: int, side: int = 256) -> torch.Tensor:
    """Logits as a network gives them: discs with ragged edges, some cut by the frame."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")
    center = torch.rand(num_objects, 2, 1, 1, generator=generator) * side
    radius = side / 25 * (1 + 6 * torch.rand(num_objects, 1, 1, generator=generator))
    coarse = torch.randn(num_objects, 1, 24, 24, generator=generator)
    ragged = F.interpolate(coarse, size=(side, side), mode="bicubic")[:, 0]
    fine = 0.2 * torch.randn(num_objects, side, side, generator=generator)
    return (0.4 * (radius - torch.hypot(y - center[:, 0], x - center[:, 1])) + 4 * ragged + fine).clamp(-20, 20)


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("size_hw", SIZES)
def test_bytes_area_and_box_are_those_of_the_usual_route(size_hw: tuple[int, int]) -> None:
    logits = blobs(6, seed=size_hw[0])
    assert encode_logits(logits, size_hw) == usual_route(logits, size_hw)


@pytest.mark.parametrize("seed", range(3))
def test_noise_of_single_cells(seed: int) -> None:
    logits = torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(seed))
    for size_hw in ((200, 300), (64, 64), (65, 127), (192, 192)):
        assert encode_logits(logits, size_hw) == usual_route(logits, size_hw)


@pytest.mark.parametrize("size_hw", [(1080, 1920), (768, 768), (512, 512)])
def test_flat_logits_hidden_objects_and_mask_prompts(size_hw: tuple[int, int]) -> None:
    side = torch.zeros(64, 64)
    side[:, 32:] = 1
    square = torch.zeros(64, 64)
    square[10:30, 20:50] = 1
    frame = torch.ones(64, 64)
    frame[20:40, 20:40] = 0
    logits = torch.stack([
        torch.full((64, 64), -1024.0), torch.full((64, 64), 3.0), torch.zeros(64, 64),
        side * 20 - 10, square * 20 - 10, frame * 20 - 10, side - 0.25, side.T * 20 - 10,
    ])  # fmt: skip
    assert encode_logits(logits, size_hw) == usual_route(logits, size_hw)


def test_most_objects_need_no_enlarged_mask() -> None:
    runs = [r for seed in range(4) for r in runs_of_logits(blobs(8, seed), (1080, 1920))]
    assert sum(r is None for r in runs) <= len(runs) // 8


def test_a_batch_at_once_gives_the_runs_of_one_at_a_time() -> None:
    """A device takes all objects in few steps, a CPU the part of the map that holds the object."""
    logits = blobs(5, seed=1)
    whole = runs_of_crop(logits, (720, 1280), (0, 0))
    for one, other in zip(whole, runs_of_logits(logits, (720, 1280)), strict=True):
        assert one is None or other is None or np.array_equal(one.lengths, other.lengths)


def test_compressed_counts_of_long_and_short_runs() -> None:
    rng = np.random.default_rng(0)
    for scale in (3, 40, 5000, 3_000_000):
        lengths = rng.integers(1, scale, 31)
        encoded = coco.frPyObjects({"size": [1, int(lengths.sum())], "counts": lengths.tolist()}, 1, int(lengths.sum()))
        assert compress(lengths) == encoded["counts"]

"""Runs found on the device are, byte for byte, pycocotools' code of the same masks, and one buffer brings them all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from model.network.kernels import as_on
from model.pixels.transfers import download
from model.pixels.transforms import upsample_logits
from pipeline.masks.from_logits_gpu import DEFAULT_PACKING, Packing, pack_runs, unpack_runs
from pipeline.masks.rle import Rle, rle_of_runs
from tests.pipeline.masks.test_from_logits import blobs, usual_route
from tests.support.gpus import Gpu


def scores(num_objects: int) -> torch.Tensor:
    return torch.linspace(-3, 7, num_objects).sin()


def codes(logits: torch.Tensor, size_hw: tuple[int, int]) -> list[Rle | None]:
    packed = pack_runs(logits, scores(len(logits)), scores(len(logits)), size_hw)
    assert packed.dtype == torch.int32
    frame = unpack_runs(packed, len(logits), size_hw)
    return [None if runs is None else rle_of_runs(runs, size_hw[0]) for runs in frame.runs]


@st.composite
def pictures(draw: st.DrawFn) -> np.ndarray:
    """Masks of any size, drawn as runs in column order, so that long and short ones come."""
    count, height, width = draw(st.integers(1, 4)), draw(st.integers(1, 23)), draw(st.integers(1, 19))
    lengths = draw(st.lists(st.integers(0, 60), max_size=40))
    values = np.repeat(np.arange(len(lengths)) % 2, lengths)
    flat = np.resize(values if len(values) else np.array([draw(st.integers(0, 1))]), count * height * width)
    return flat.reshape(count, width, height).transpose(0, 2, 1).astype(bool)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(pictures())
def test_codes_are_those_of_pycocotools(masks_BHW: np.ndarray) -> None:
    logits = torch.from_numpy(masks_BHW).float() * 20 - 10
    columns = masks_BHW.transpose(0, 2, 1).reshape(len(masks_BHW), -1)
    num_boundaries = int(np.diff(columns, prepend=False, axis=1).sum())
    for mask, code in zip(masks_BHW, codes(logits, masks_BHW.shape[1:]), strict=True):
        expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        if code is None:
            assert num_boundaries > len(masks_BHW) * DEFAULT_PACKING.places_per_column * masks_BHW.shape[2]
            continue
        assert code.counts == expected["counts"].decode()
        assert (code.area, code.bbox_xywh) == (coco.area(expected), tuple(coco.toBbox(expected).astype(int)))


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (5, 1), (31, 17), (480, 641)])
@pytest.mark.parametrize("kind", ["empty", "full", "first pixel", "last pixel", "blobs"])
def test_odd_sizes_and_masks_at_the_edge(size_hw: tuple[int, int], kind: str) -> None:
    logits = (
        blobs(3, seed=1, side=64) if kind == "blobs" else torch.full((2, *size_hw), 1.0 if kind == "full" else -1.0)
    )
    if kind.endswith("pixel"):
        logits[1].view(-1)[0 if kind == "first pixel" else -1] = 1.0
    assert codes(logits, size_hw) == usual_route(logits, size_hw)


def test_objects_in_several_chunks_are_in_order() -> None:
    logits = blobs(5, seed=3, side=64)
    two_at_a_time = Packing(pixels_per_chunk=2 * 90 * 120)
    packed = pack_runs(logits, scores(5), scores(5) / 2, (90, 120), two_at_a_time)
    frame = unpack_runs(packed, 5, (90, 120), two_at_a_time)
    assert [rle_of_runs(runs, 90) for runs in frame.runs if runs is not None] == usual_route(logits, (90, 120))
    assert frame.object_scores == scores(5).tolist()
    assert frame.predicted_ious == (scores(5) / 2).tolist()
    assert frame.logit_sums == pytest.approx(logits.sum(dim=(1, 2)).tolist(), rel=1e-4)


def test_a_mask_with_too_many_runs_is_named_and_the_others_are_whole() -> None:
    checkered = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2.0 - 1
    logits = torch.stack([*blobs(2, seed=0, side=64), checkered, checkered])
    found = codes(logits, (64, 64))
    assert found[:2] == usual_route(logits[:2], (64, 64))
    assert found[2:] == [None, None]


@pytest.mark.slow
def test_the_copy_holds_far_less_than_the_masks() -> None:
    logits = blobs(16, seed=0)
    packed = pack_runs(logits, scores(16), scores(16), (1080, 1920))
    assert packed.numel() * 4 < 16 * 1080 * 1920 / 50


@pytest.mark.slow
def test_nothing_looks_at_a_value_on_the_device() -> None:
    """On the meta device there are no values to look at, and shapes must follow from shapes."""
    logits, values = torch.empty(20, 256, 256, device="meta"), torch.empty(20, device="meta")
    with as_on("cuda"):
        packed = pack_runs(logits, values, values, (1080, 1920))
    assert packed.shape == (6 * 20 + 20 * DEFAULT_PACKING.places_per_column * 1920,)


@pytest.mark.parametrize("size_hw", [pytest.param((1080, 1920), marks=pytest.mark.slow), (31, 17)])
def test_on_a_gpu_the_code_is_that_of_its_own_masks_and_the_host_never_waits(
    gpu: Gpu, size_hw: tuple[int, int]
) -> None:
    logits = blobs(20, seed=5).cuda()
    values = scores(20).cuda()
    with gpu.without_waits():
        copying = download(pack_runs(logits, values, values, size_hw))
    frame = unpack_runs(copying.result(), 20, size_hw)
    masks = (upsample_logits(logits, size_hw) > 0).cpu().numpy()
    for mask, runs in zip(masks, frame.runs, strict=True):
        assert runs is None or runs.counts() == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    assert sum(runs is None for runs in frame.runs) <= 2
    assert frame.object_scores == scores(20).tolist()

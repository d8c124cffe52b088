from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from pipeline.masks.from_logits import encode_logits, encode_masks
from pipeline.masks.rle import MAX_PIXELS, Rle, Runs, decode_rle, parse_counts, rles_of_runs

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))


@pytest.mark.slow
@given(MASKS)
@settings(max_examples=60, deadline=None)
def test_a_mask_survives_encoding_and_decoding(mask: np.ndarray) -> None:
    (rle,) = encode_masks(torch.from_numpy(mask[None]))
    assert np.array_equal(decode_rle(mask.shape, rle.counts), mask)
    assert np.array_equal(coco.decode({"size": list(mask.shape), "counts": rle.counts}), mask)
    assert rle.area == mask.sum()


@pytest.mark.slow
@given(MASKS)
@settings(max_examples=100, deadline=None)
def test_counts_are_those_of_pycocotools(mask: np.ndarray) -> None:
    (rle,) = encode_masks(torch.from_numpy(mask[None]))
    assert rle.counts.encode() == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    ys, xs = np.nonzero(mask)
    box = (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1) if len(xs) else (0, 0, 0, 0)
    assert rle.bbox_xywh == tuple(map(int, box))


@pytest.mark.slow
@given(arrays(np.bool_, array_shapes(min_dims=3, max_dims=3, max_side=12)))
@settings(max_examples=100, deadline=None)
def test_masks_that_are_coded_together_are_those_of_pycocotools(masks_BHW: np.ndarray) -> None:
    columns = [mask.T.ravel().astype(np.int8) for mask in masks_BHW]
    runs = [
        Runs(np.diff(np.flatnonzero(np.diff(column, prepend=0)), prepend=0, append=column.size).astype(np.int64))
        for column in columns
    ]
    encoded = coco.encode(np.asfortranarray(masks_BHW.transpose(1, 2, 0).astype(np.uint8)))
    expected = [
        Rle(one["counts"].decode(), int(area), tuple(map(int, box)))
        for one, area, box in zip(encoded, coco.area(encoded), coco.toBbox(encoded), strict=True)
    ]
    assert rles_of_runs(runs, masks_BHW.shape[1]) == expected
    assert rles_of_runs([], 5) == []


def test_logits_are_enlarged_and_cut_at_zero() -> None:
    logits = torch.full((2, 16, 16), -5.0)
    logits[1, :, 8:] = 5.0
    empty, half = encode_logits(logits, (60, 100))
    assert empty == Rle(empty.counts, 0, (0, 0, 0, 0))
    mask = decode_rle((60, 100), half.counts)
    assert mask[:, 53:].all()
    assert not mask[:, :47].any()
    assert encode_logits(torch.empty(0, 16, 16), (60, 100)) == []


def test_several_masks_of_one_frame_are_encoded_each_by_itself() -> None:
    masks = torch.rand(5, 31, 17, generator=torch.manual_seed(0)) > 0.5
    assert encode_masks(masks) == [encode_masks(mask[None])[0] for mask in masks]


def test_logits_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \[B, H, W\], got shape \[16, 16\]"):
        encode_logits(torch.zeros(16, 16), (60, 100))


def decoded_or_none(size_hw: tuple[int, ...], counts: str | bytes) -> np.ndarray | None:
    """The mask, or none if the code was refused; any other error than a `ValueError` comes out."""
    try:
        return decode_rle((size_hw[0], size_hw[1]), counts)
    except ValueError:
        return None


@pytest.mark.slow
@given(
    st.integers(-5, 60),
    st.integers(-5, 60),
    st.one_of(st.binary(max_size=60), st.text(max_size=60), st.text("0123456789:;<=>?@PQRSTUVWXYZ`abcdo", max_size=60)),
)
@settings(max_examples=200, deadline=None)
def test_garbage_is_refused_or_is_what_pycocotools_reads(height: int, width: int, counts: bytes | str) -> None:
    mask = decoded_or_none((height, width), counts)
    assert mask is None or np.array_equal(mask, coco.decode({"size": [height, width], "counts": counts}))


@pytest.mark.slow
@given(MASKS, st.data())
@settings(max_examples=100, deadline=None)
def test_a_damaged_code_never_gives_a_mask_of_another_size(mask: np.ndarray, data: st.DataObject) -> None:
    code = bytearray(encode_masks(torch.from_numpy(mask[None]))[0].counts.encode())
    code[data.draw(st.integers(0, len(code) - 1))] = data.draw(st.integers(0, 255))
    damaged = decoded_or_none(mask.shape, bytes(code))
    assert damaged is None or damaged.shape == mask.shape


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("", "covers 0 pixels, its size has 100"),
        ("l", "cut off in the middle of a run"),
        ("ééé", "not ASCII"),
        ("!!", "byte 33 at 0 of counts is not of COCO's compressed code"),
        ("@", "run 0 of counts is negative"),
        ("ooooooooooooooooooooo", "the run at 12 of counts is too long"),
        ("ooooo0", "covers more than the 100 pixels"),
    ],
)
def test_what_is_wrong_with_a_code_is_said(counts: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"mask_rle: .*{message}"):
        parse_counts(counts, 100)


@pytest.mark.parametrize("size", [(0, 5), (-3, 5), (10**9, 10**9), (MAX_PIXELS, 2)])
def test_an_absurd_size_takes_no_memory(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="is not that of an image"):
        decode_rle(size, "0")

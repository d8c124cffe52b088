"""Checkpoints go both ways between us and `transformers`, and each computes the same as before, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from model.hf.model import Sam2VideoModel
from model.hf.processing import Sam2VideoProcessor
from tests.reference.mini import click_on, mini_folder, square_clip

pytestmark = pytest.mark.slow

FRAMES = 3
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def propagated(model: Any, processor: Any) -> list[torch.Tensor]:
    drawn = square_clip("drifting", FRAMES)
    session = processor.init_video_session(video=list(drawn.frames_THW3), dtype=model.dtype)
    processor.add_inputs_to_inference_session(
        session, 0, 1, input_points=[[[list(click_on(drawn.mask(1, 0)))]]], input_labels=[[[1]]]
    )
    model(inference_session=session, frame_idx=0)
    return [result.pred_masks for result in model.propagate_in_video_iterator(session)]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(*both) for both in zip(first, second, strict=True)) and len(first) == FRAMES


@pytest.mark.parametrize("dtype", DTYPES)
def test_transformers_computes_the_same_from_what_we_save(dtype: torch.dtype, tmp_path: Path) -> None:
    original = transformers.Sam2VideoModel.from_pretrained(mini_folder(), dtype=dtype)
    Sam2VideoModel.from_pretrained("mini", dtype=dtype).save_pretrained(tmp_path)
    Sam2VideoProcessor.from_pretrained("mini").save_pretrained(tmp_path)
    reloaded = transformers.Sam2VideoModel.from_pretrained(tmp_path)
    processor = transformers.Sam2VideoProcessor.from_pretrained(tmp_path)
    assert reloaded.dtype == dtype
    assert all(torch.equal(tensor, reloaded.state_dict()[name]) for name, tensor in original.state_dict().items())
    assert same(propagated(reloaded.eval(), processor), propagated(original.eval(), processor))


def test_we_compute_the_same_from_what_transformers_saves(tmp_path: Path) -> None:
    transformers.Sam2VideoModel.from_pretrained(mini_folder()).save_pretrained(tmp_path)
    transformers.Sam2VideoProcessor.from_pretrained(mini_folder()).save_pretrained(tmp_path)
    original, reloaded = Sam2VideoModel.from_pretrained("mini"), Sam2VideoModel.from_pretrained(tmp_path)
    processor = Sam2VideoProcessor.from_pretrained(tmp_path)
    assert same(propagated(reloaded, processor), propagated(original, processor))


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_half_precision_files_of_transformers_have_our_bits_but_for_the_position_code(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    """It rounds the matrix of the position code too, which moves clicks; what it has saved so cannot be had back."""
    transformers.Sam2VideoModel.from_pretrained(mini_folder(), dtype=dtype).save_pretrained(tmp_path)
    original, reloaded = Sam2VideoModel.from_pretrained("mini", dtype=dtype), Sam2VideoModel.from_pretrained(tmp_path)
    assert reloaded.dtype == dtype
    matrix = "prompt_encoder.shared_embedding.positional_embedding"
    for name, tensor in original.state_dict().items():
        expected = tensor.to(dtype).float() if name == matrix else tensor
        assert torch.equal(expected, reloaded.state_dict()[name])


def test_both_agree_on_the_masks_of_the_same_file() -> None:
    theirs = transformers.Sam2VideoModel.from_pretrained(mini_folder()).eval()
    masks = propagated(theirs, transformers.Sam2VideoProcessor.from_pretrained(mini_folder()))
    ours = propagated(Sam2VideoModel.from_pretrained("mini"), Sam2VideoProcessor.from_pretrained("mini"))
    assert max(float((a - b).abs().max()) for a, b in zip(ours, masks, strict=True)) < 1e-2
    assert all(np.array_equal(a > 0, b > 0) for a, b in zip(ours, masks, strict=True))


def test_weights_are_named_as_in_transformers_but_for_the_matrix_that_it_has_twice() -> None:
    model = Sam2VideoModel.from_pretrained("mini")
    theirs = transformers.Sam2VideoModel.from_pretrained(mini_folder()).state_dict()
    assert set(theirs) - set(model.state_dict()) == {"shared_image_embedding.positional_embedding"}
    assert set(model.state_dict()) <= set(theirs)
    other = Sam2VideoModel(model.config)
    other.load_state_dict(model.state_dict())
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in model.state_dict().items())

"""The compiled network gives the same masks."""

from __future__ import annotations

import shutil

import pytest
import torch

from model.network.compiled import compile_model
from model.network.config import DecoderConfig, HieraConfig, MemoryConfig, Sam2Config
from model.network.sam2 import Sam2
from model.prompts import PointPrompt
from model.tracking.frames import ArrayFrames
from model.tracking.session import VideoSession
from model.weights.checkpoint import load_model

# The whole network, one block a stage: compiling takes long.
SMALL = Sam2Config(
    hiera=HieraConfig(embed_dims=(32, 64, 128, 256), blocks_per_stage=(1, 1, 1, 1), global_attention_blocks=(2,)),
    image_size=128,
    hidden_dim=64,
    mask_prompt_channels=16,
    decoder=DecoderConfig(mlp_dim=64, iou_head_dim=64),
    memory=MemoryConfig(attention_layers=1, attention_mlp_dim=64, fuser_dim=64),
)


def _model() -> Sam2:
    torch.manual_seed(0)
    model = Sam2(SMALL)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    model.mask_decoder.pred_obj_score_head.proj_out.bias.data += 10  # the object is seen, so that there are masks
    return model


def _logits(model: Sam2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 255, (2, 64, 96, 3), generator=generator, dtype=torch.uint8)
    session = VideoSession(model, ArrayFrames(frames))
    session.add_prompt(1, 0, PointPrompt(((40.0, 30.0), (50.0, 34.0)), (1, 1)))  # three tokens, padded to four
    return [result.logits_BHW for result in session.propagate("forward")]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs a C++ compiler")
@pytest.mark.timeout(900)
def test_compiled_masks_equal_eager_ones() -> None:
    eager = _logits(_model())
    compiled = _logits(compile_model(_model()))
    for one, other in zip(eager, compiled, strict=True):
        assert one.std() > 0
        assert (one - other).abs().max() <= 1e-3 * one.std()


@pytest.mark.slow
def test_compiling_keeps_the_names_of_the_weights() -> None:
    model = load_model("mini")
    names = list(model.state_dict())
    assert list(compile_model(model).state_dict()) == names

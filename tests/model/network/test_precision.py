"""Half precision as the original runs it: products in bfloat16, everything between them in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from model.network import kernels
from model.network.kernels import attention, linear
from model.network.precision import autocast_model
from model.network.sam2 import Sam2
from model.tracking.session import VideoSession
from model.weights.checkpoint import load_model
from tests.support.clips import iou, moving_clip
from tests.support.sessions import Logits, box, by_object, click, frames_of, mini

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def truth() -> Logits:
    return _track(mini())


def _track(model: Sam2) -> Logits:
    clip = moving_clip(num_frames=5, num_objects=2, size_hw=(192, 256))
    session = VideoSession(model, frames_of(clip))
    session.add_prompt(1, 0, box(clip, 1, 0))
    session.add_prompt(2, 0, click(clip, 2, 0))
    return by_object(session.propagate("forward"))


def _ious(logits: Logits, truth: Logits) -> list[float]:
    return [iou((logits[key] > 0).numpy(), (truth[key] > 0).numpy()) for key in truth]


def _gap(logits: Logits, truth: Logits) -> float:
    return float(np.mean([float((logits[key] - truth[key]).abs().mean() / truth[key].std()) for key in truth]))


def test_a_session_inside_autocast_keeps_the_masks(truth: Logits) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        logits = _track(mini())
    assert 0 < _gap(logits, truth) < 0.05
    assert np.mean(_ious(logits, truth)) > 0.97


def test_an_autocast_model_is_nearer_to_float32_than_weights_of_16_bits(truth: Logits) -> None:
    autocast, rounded = autocast_model(load_model("mini")), load_model("mini", dtype=torch.bfloat16)
    near, far = _track(autocast), _track(rounded)
    assert 0 < _gap(near, truth) < _gap(far, truth)
    assert np.mean(_ious(near, truth)) > max(0.98, np.mean(_ious(far, truth)) - 0.002)


def test_only_products_are_of_16_bits() -> None:
    model = autocast_model(load_model("mini"))
    products = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            assert parameter.dtype == (torch.bfloat16 if isinstance(module, products) else torch.float32), name
    features = model.encode_image(torch.zeros(1, 3, 256, 256))
    assert features.looked_FLC.dtype == torch.float32  # the residual stream


def test_a_model_that_is_rounded_already_is_refused() -> None:
    with pytest.raises(ValueError, match="loaded in float32"):
        autocast_model(load_model("mini", dtype=torch.bfloat16))


@pytest.mark.parametrize("has_bfloat16", [True, False], ids=["bfloat16 as here", "a CPU without bfloat16"])
def test_onednn_follows_autocast_as_torchs_own_products_do(has_bfloat16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_bfloat16:
        monkeypatch.setattr(kernels, "_HAS_BFLOAT16", False)
        monkeypatch.setattr(kernels, "_ONEDNN_DTYPES", frozenset({torch.float32}))
    x, weight = torch.randn(600, 32), torch.randn(48, 32)
    keys = torch.randn(1, 1, 600, 32)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        product, usual = linear(x, weight), torch.nn.functional.linear(x, weight)
        attended = attention(x[None, None], keys, keys)
        usually = torch.nn.functional.scaled_dot_product_attention(x[None, None], keys, keys)
    assert product.dtype == usual.dtype == attended.dtype == usually.dtype == torch.bfloat16
    assert (product - usual).abs().max() <= 2**-7 * usual.abs().max()
    assert (attended - usually).abs().max() <= 2**-6 * usually.abs().max()


def test_positions_of_clicks_are_not_rounded() -> None:
    position = mini().prompt_encoder.shared_embedding
    xy = torch.rand(50, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(position(xy), _outside(position, xy))


def _outside(position: nn.Module, xy: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        code: torch.Tensor = position(xy)
    return code


@pytest.mark.usefixtures("gpu")
@pytest.mark.slow
def test_on_a_gpu_autocast_keeps_the_masks(truth: Logits) -> None:
    model = autocast_model(load_model("mini", device="cuda"))
    logits = {key: one.cpu() for key, one in _track(model).items()}
    assert np.mean(_ious(logits, truth)) > 0.97

"""State dicts of `Sam2VideoModel` name its weights as `model.safetensors` does, alone and inside other modules."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from model.hf.model import Sam2VideoModel
from tests.support.sessions import small, small_model


def alone(model: nn.Module) -> nn.Module:
    return model


def in_a_dict(model: nn.Module) -> nn.Module:
    return nn.ModuleDict({"sam": model})


def beside_another_network(model: nn.Module) -> nn.Module:
    return nn.ModuleDict({"network": nn.Linear(2, 3), "sam": nn.Sequential(model), "head": nn.Linear(2, 3)})


def copied(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model)


def other_model() -> Sam2VideoModel:
    return Sam2VideoModel(small_model().config)


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("around", [alone, in_a_dict, beside_another_network, copied])
def test_weights_are_loaded_as_they_were_saved(around: Callable[[nn.Module], nn.Module]) -> None:
    saved, loaded = around(small_model()), around(other_model())
    loaded.load_state_dict(saved.state_dict())
    weights = loaded.state_dict()
    assert list(weights) == list(saved.state_dict())
    assert all(torch.equal(weights[name], weight) for name, weight in saved.state_dict().items())


def test_names_are_those_of_the_file_below_the_place_in_the_whole() -> None:
    names = list(small().state_dict())
    assert list(small_model().state_dict()) == names
    assert list(small_model().state_dict(prefix="ema.")) == [f"ema.{name}" for name in names]
    others = "network.weight", "network.bias", "head.weight", "head.bias"
    expected = [*others[:2], *(f"sam.0.{name}" for name in names), *others[2:]]
    assert list(beside_another_network(small_model()).state_dict()) == expected


@pytest.mark.parametrize("around", [alone, in_a_dict])
def test_a_weight_that_is_unknown_or_missing_is_refused(around: Callable[[nn.Module], nn.Module]) -> None:
    model = around(other_model())
    first, *rest = model.state_dict().items()
    with pytest.raises(RuntimeError, match=r"Missing key.*no_memory_embedding"):
        model.load_state_dict(dict(rest))
    with pytest.raises(RuntimeError, match=r"Unexpected key.*surplus"):
        model.load_state_dict(dict([first, *rest]) | {f"{first[0]}.surplus": first[1]})


def test_loading_leaves_the_callers_state_dict_as_it_is() -> None:
    weights = in_a_dict(small_model()).state_dict()
    names = list(weights)
    in_a_dict(other_model()).load_state_dict(weights)
    assert list(weights) == names

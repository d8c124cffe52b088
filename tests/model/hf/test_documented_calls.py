"""The documented calls have the arguments of `transformers`: the same names, order and defaults."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest
import transformers

import model

pytestmark = pytest.mark.slow

CALLS = [
    ("Sam2VideoProcessor", "__call__"),
    ("Sam2VideoProcessor", "post_process_masks"),
    ("Sam2VideoProcessor", "init_video_session"),
    ("Sam2VideoProcessor", "add_inputs_to_inference_session"),
    ("Sam2VideoVideoProcessor", "post_process_masks"),
    ("Sam2VideoInferenceSession", "__init__"),
    ("Sam2VideoInferenceSession", "add_mask_inputs"),
    ("Sam2VideoInferenceSession", "add_new_frame"),
    ("Sam2VideoInferenceSession", "add_point_inputs"),
    ("Sam2VideoInferenceSession", "get_frame"),
    ("Sam2VideoInferenceSession", "obj_id_to_idx"),
    ("Sam2VideoInferenceSession", "obj_idx_to_id"),
    ("Sam2VideoInferenceSession", "remove_mask_inputs"),
    ("Sam2VideoInferenceSession", "remove_point_inputs"),
    ("Sam2VideoModel", "forward"),
    ("Sam2VideoModel", "propagate_in_video_iterator"),
]
# Without it, `transformers` gives lists of arrays that no model takes. Padding comes from another way to resize.
OTHER_DEFAULTS = {("__call__", "return_tensors"), ("post_process_masks", "reshaped_input_sizes")}
UNUSED = {"pad_size"}
# What a session stores and looks up for its own model.
INNER = {"get_output", "store_output"}


def arguments(function: Any) -> dict[str, Any]:
    """Names and defaults, those of collecting arguments left out."""
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {one.name: one.default for one in parameters if one.kind not in kinds}


@pytest.mark.parametrize(("owner", "name"), CALLS)
def test_arguments_have_the_same_names_order_and_defaults(owner: str, name: str) -> None:
    ours = arguments(getattr(getattr(model, owner), name))
    theirs = {
        argument: default
        for argument, default in arguments(getattr(getattr(transformers, owner), name)).items()
        if argument not in UNUSED
    }
    assert list(ours)[: len(theirs)] == list(theirs)
    for argument, default in theirs.items():
        if (name, argument) not in OTHER_DEFAULTS:
            assert ours[argument] == default, argument


@pytest.mark.parametrize("name", ["from_pretrained", "save_pretrained"])
@pytest.mark.parametrize(
    "owner", ["Sam2VideoModel", "Sam2Model", "Sam2VideoProcessor", "Sam2Processor", "Sam2VideoConfig", "Sam2Config"]
)
def test_what_is_loaded_and_saved_is_named_as_there(owner: str, name: str) -> None:
    first, second = (
        next(one for one in arguments(getattr(getattr(kit, owner), name)) if one != "self")
        for kit in (model, transformers)
    )
    assert first == second


def test_a_session_has_the_names_that_users_call() -> None:
    names = {name for name in vars(transformers.Sam2VideoInferenceSession) if not name.startswith("_")}
    assert names - {name for name in dir(model.Sam2VideoInferenceSession) if not name.startswith("_")} == INNER
    theirs, ours = (kit.Sam2VideoInferenceSession() for kit in (transformers, model))
    documented = arguments(transformers.Sam2VideoInferenceSession.__init__).keys() - {"self", "video"} | {"obj_ids"}
    assert all(hasattr(ours, name) == hasattr(theirs, name) for name in documented)


@pytest.mark.parametrize(
    "name", ["Sam2VideoConfig", "Sam2VideoMaskDecoderConfig", "Sam2VideoPromptEncoderConfig", "Sam2VisionConfig"]
)
def test_configurations_have_the_same_keys_and_values(name: str) -> None:
    theirs, ours = getattr(transformers, name)().to_dict(), getattr(model, name)().to_dict()
    for entry in dataclasses.fields(getattr(model, name)):
        if entry.name in theirs and not isinstance(theirs[entry.name], dict):
            assert _listed(ours[entry.name]) == _listed(theirs[entry.name]), entry.name


def _listed(value: Any) -> Any:
    return [_listed(one) for one in value] if isinstance(value, (list, tuple)) else value

"""What a user does in the notebook of `sam2`, step by step, in the process of the original.

Its predictor is told to keep corrected frames as conditioning frames (`add_all_frames_to_correct_as_cond`): by default
the next propagation computes them away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch

from tests.reference.cases import Box, Click, DiscMask, FloatArray, FramesSpec, drawn_frames, normalized, points_of
from tests.reference.formats import in_formats
from tests.reference.sam2_runner import _features, _predictor
from tests.reference.trio import sam2_process
from tests.reference.variants import ModelSpec


@dataclass(frozen=True)
class Say:
    """A prompt on a frame; with `adds` its clicks are added to those that the object has there."""

    object_id: int
    frame_index: int
    prompt: Click | Box | DiscMask
    adds: bool = False


@dataclass(frozen=True)
class Clear:
    """Takes back what was said of an object on a frame."""

    object_id: int
    frame_index: int


@dataclass(frozen=True)
class Walk:
    """A propagation to the end of the clip, or to its beginning."""

    start: int
    is_reverse: bool = False


Action = Say | Clear | Walk
StepLogits = dict[tuple[int, int], FloatArray]
"""Logits of low resolution `[h, w]` by object and frame: of a frame that was told about, or of all that were walked."""


def told_to_sam2(model: ModelSpec, frames: FramesSpec, actions: Sequence[Action]) -> list[StepLogits]:
    """The masks after each action. Everything is float64, memories too, so that no rounding moves a pixel at 0."""
    return sam2_process()._pool.submit(_tell, model, frames, tuple(actions)).result()


def _tell(model: ModelSpec, frames: FramesSpec, actions: Sequence[Action]) -> list[StepLogits]:
    predictor, size = _predictor(model, torch.float64), frames.image_size
    pixels = normalized(drawn_frames(frames)).to(torch.float64)
    with (
        mock.patch("sam2.sam2_video_predictor.load_video_frames", return_value=(pixels, size, size)),
        mock.patch.object(predictor, "_get_image_feature"),  # it would encode frame 0 anew
    ):
        state = predictor.init_state(video_path="")
    state["cached_features"] = dict(enumerate(_features(model, frames, torch.float64)))
    kept = mock.patch.object(predictor, "add_all_frames_to_correct_as_cond", True)
    without_bar = mock.patch("sam2.sam2_video_predictor.tqdm", lambda frames, desc: frames)
    with kept, without_bar, in_formats(torch.float64, torch.float64):
        return [_step(predictor, state, action, size) for action in actions]


def _step(predictor: Any, state: dict[str, Any], action: Action, size: int) -> StepLogits:
    if isinstance(action, Walk):
        walk = predictor.propagate_in_video(state, start_frame_idx=action.start, reverse=action.is_reverse)
        return {key: logits for frame, _, _ in walk for key, logits in _logits(state, frame).items()}
    if isinstance(action, Clear):
        predictor.clear_all_prompts_in_frame(state, action.frame_index, action.object_id)
        return {}
    where = (state, action.frame_index, action.object_id)
    if isinstance(action.prompt, DiscMask):
        predictor.add_new_mask(*where, action.prompt.mask(size))
    else:
        points, labels = points_of(action.prompt)
        predictor.add_new_points_or_box(*where, points=points, labels=labels, clear_old_points=not action.adds)
    key = action.object_id, action.frame_index
    return {key: _logits(state, action.frame_index)[key]}


def _logits(state: dict[str, Any], frame_index: int) -> StepLogits:
    """What the predictor has of each object on a frame, the newest first."""
    found: StepLogits = {}
    for row, object_id in state["obj_idx_to_id"].items():
        for kept in ("temp_output_dict_per_obj", "output_dict_per_obj"):
            for kind in ("cond_frame_outputs", "non_cond_frame_outputs"):
                output = state[kept][row][kind].get(frame_index)
                if output is not None:
                    found.setdefault((object_id, frame_index), np.array(output["pred_masks"][0, 0]))
    return found

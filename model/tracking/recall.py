"""Objects of a video that was labeled before: their memories are made again of the masks that were kept of them.

A session that walks a video remembers as it goes. Later only the masks are left. `recall` puts the masks of a few
frames through the memory encoder, as a mask prompt goes through it, and gives the object what comes out as tracked
memories. What is lost are the logits near the outline, and the pointers of the walk: those of the masks stand for them.
`correct` says what a prompt gives on a frame with these memories, and remembers nothing.

Legend: H, W pixels of the video, B objects, L tokens of a map, M memory channels, h w low-resolution logits.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from model.network.features import ImageFeatures, Segmentation
from model.pixels.transfers import on_device, put_away
from model.pixels.transforms import resize_mask
from model.prompts import BoolArray, MaskPrompt, Prompt, errors_naming
from model.tracking.frames import Frame
from model.tracking.image_features import encode_frames
from model.tracking.memory_bank import Memory
from model.tracking.prompting import Query, segment_prompts
from model.tracking.state import FrameResult, SessionState
from model.tracking.steps import memory_tokens_of


def recall(state: SessionState, object_id: int, masks: Mapping[int, BoolArray], heading: int) -> None:
    """Gives an object the memories of frames of which only its masks, bool `[H, W]`, are known.

    What it had tracked before is forgotten. A walk in this direction goes on at the frame after the last of them. An
    empty mask is a frame on which the object was not seen. Frames with a prompt keep what the prompt says. Raises
    `ValueError` for an object without prompts, for a frame beyond the end of the video and for a mask of another size.
    """
    tracked = state.objects.get(object_id)
    if tracked is None:
        raise ValueError(f"object {object_id}: nothing was said of it, so it has no memories to go on from")
    order = sorted((index for index in masks if index not in tracked.prompts), key=lambda index: index * heading)
    tracked.bank.start_pass()
    if tracked.history is not None:
        tracked.history.start_walk(heading)
    features = keep_features(state, order)
    for index in order:
        given = _given(state, features[index], masks[index], f"object {object_id}, frame {index}")
        spatial_BLM = state.model.remember(features[index], given, binarize=False)
        spatial = put_away(spatial_BLM[0], state.state_device)
        tracked.bank.add_tracked(Memory(index, spatial, given.pointers_BC), heading)
    if masks:
        last = max(masks, key=lambda index: index * heading)
        tracked.upcoming = (heading, last + heading)


def correct(
    state: SessionState,
    object_id: int,
    frame_index: int,
    said: Prompt | None,
    prior: Tensor | None,
    heading: int | None,
) -> FrameResult:
    """The mask of an object on a frame, with the memories that it has there, the prompt and the logits of a mask.

    `prior` is `[1, h, w]`. Without a prompt and a prior it is what tracking gives. An object of which nothing was said
    has no memories, and without `heading` none are looked at. Nothing is remembered. Raises `ValueError` like
    `VideoSession.add_prompt`, and for a frame beyond the end.
    """
    with errors_naming(f"object {object_id}, frame {frame_index}"):
        fitted = None if said is None else said.fit(state.frames.size_hw)
        features = keep_features(state, [frame_index])[frame_index]
    tracked = state.objects.get(object_id)
    tokens = None
    if tracked is not None and heading is not None:
        tokens = memory_tokens_of(state, tracked.bank, frame_index, heading)
        tokens = tokens if tokens.spatial else None
    if fitted is None:
        memory = None if tokens is None else state.model.memory_tokens([tokens])
        segmentation = state.model.segment(features, memory=memory, prior_logits_BHW=prior)
    else:
        query = Query(fitted, state.frames.size_hw, 0, tokens, None if isinstance(fitted, MaskPrompt) else prior)
        segmentation = segment_prompts(state.model, features, [query])
    return FrameResult(
        frame_index=frame_index,
        object_ids=(object_id,),
        logits_BHW=segmentation.logits_BHW,
        object_scores_B=segmentation.object_scores_B,
        predicted_ious_B=segmentation.predicted_ious_B,
        is_prompt=(said is not None,),
        size_hw=state.frames.size_hw,
    )


def keep_features(state: SessionState, frame_indexes: list[int]) -> dict[int, ImageFeatures]:
    """The image features of these frames; those that are not at hand share one batch, and are kept.

    Raises `ValueError` for a frame beyond the end of the video.
    """
    found = {index: at_hand for index in frame_indexes if (at_hand := state.features.at_hand(index)) is not None}
    missing: list[Frame] = list(state.frames.at([index for index in frame_indexes if index not in found]))
    if missing:
        encoded = encode_frames(state.model, missing)
        for row, frame in enumerate(missing):
            found[frame.index] = encoded.frame(row)
            state.features.keep(frame.index, found[frame.index])
    beyond = [index for index in frame_indexes if index not in found]
    if beyond:
        raise ValueError(f"frame {min(beyond)}: the video ends before this frame")
    return found


def _given(state: SessionState, features: ImageFeatures, mask_HW: BoolArray, where: str) -> Segmentation:
    """A mask as the network takes a mask prompt. Unlike a prompt, it may be empty."""
    if mask_HW.shape != state.frames.size_hw:
        raise ValueError(
            f"{where}: the mask is {list(mask_HW.shape)} (height, width), the video {list(state.frames.size_hw)}"
        )
    resized = resize_mask(torch.from_numpy(np.ascontiguousarray(mask_HW)), state.model.config.image_size)
    return state.model.segment_given_masks(features, on_device(resized[None], state.model.device))

"""The flow of `sam2`'s own notebook, click by click: after each step the masks are those of `sam2`.

The trunk is tiny's, with random weights. Both compute and keep memories in float64, because a pixel whose logit is 0
but for rounding would be cut either way in the memory of a prompted frame. Logits are up to 20.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from model.hf.prompt_inputs import merged
from model.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt
from model.tracking.frames import ArrayFrames
from model.tracking.history import HistoryRule
from model.tracking.memory_bank import BACKWARD, FORWARD
from model.tracking.session import VideoSession
from model.tracking.state import FrameResult
from model.tracking.steps import advance
from tests.reference.bounds import EXACT
from tests.reference.cases import Box, Click, DiscMask, FramesSpec, drawn_frames
from tests.reference.sam2_notebook import Action, Clear, Say, StepLogits, Walk, told_to_sam2
from tests.reference.trio import ours_random
from tests.reference.variants import ModelSpec

FRAMES = FramesSpec(num_frames=6, image_size=128)
MODEL = ModelSpec("tiny", "2.1", 128, seed=2, object_score_bias=5.0)  # the objects are seen on every frame

FIRST, SECOND = Click(((40.0, 50.0),), (1,)), Click(((40.0, 50.0), (55.0, 45.0)), (1, 1))
FLOWS: dict[str, list[Action]] = {
    "one object": [
        Say(0, 0, FIRST),
        Say(0, 0, SECOND),  # the notebook gives both clicks again: the mask of the first goes with them
        Walk(0),
        Say(0, 3, Click(((75.0, 60.0),), (0,))),  # a correction
        Say(0, 3, Click(((50.0, 55.0),), (1,)), adds=True),  # of the corrected mask
        Walk(0),
        Say(0, 3, Click(((100.0, 30.0),), (0,))),  # once more, after a pass
        Say(0, 0, Click(((30.0, 60.0),), (0,)), adds=True),  # on the frame of the seed, after a pass
        Say(0, 0, Box((30.0, 25.0, 80.0, 85.0))),
        Walk(0),
    ],
    "two objects, backward": [
        Say(1, 5, Box((30.0, 25.0, 80.0, 85.0))),
        Say(1, 5, Click(((50.0, 55.0),), (1,)), adds=True),  # after a box
        Say(2, 5, DiscMask((90.0, 70.0), 20.0)),
        Say(2, 5, Click(((100.0, 75.0),), (0,))),  # on a mask that was given
        Walk(5, is_reverse=True),
        Say(2, 2, Box((70.0, 45.0, 110.0, 100.0))),
        Say(1, 5, Click(((60.0, 30.0),), (0,)), adds=True),
        Say(2, 2, DiscMask((85.0, 75.0), 15.0)),
        Say(2, 2, Click(((75.0, 75.0),), (1,))),
        Clear(1, 5),
        Say(1, 5, DiscMask((50.0, 55.0), 25.0)),
        Walk(5, is_reverse=True),
    ],
    "two seeds": [
        Say(0, 0, FIRST),
        Say(0, 4, FIRST),
        Walk(0),
        Say(0, 4, SECOND),  # walked over with the memories of frames 0 to 3
        Say(0, 2, Click(((75.0, 60.0), (30.0, 30.0)), (0, 1))),  # does not know of the click before it
        Walk(0),
    ],
}


def told_to_us(actions: Sequence[Action]) -> Iterator[StepLogits]:
    network = ours_random(MODEL, torch.float64)
    network.memory_dtype = torch.float64
    session = VideoSession(
        network, ArrayFrames(drawn_frames(FRAMES)), history=HistoryRule(3), num_cached_frames=FRAMES.num_frames
    )
    for action in actions:
        if isinstance(action, Walk):
            steps = session.walk_from(action.start, BACKWARD if action.is_reverse else FORWARD, fresh=True)
            yield {key: logits for step in steps for key, logits in logits_of(advance([step])[0]).items()}
        elif isinstance(action, Clear):
            session.clear_prompts(action.object_id, action.frame_index)
            yield {}
        else:
            key, prompt = (action.object_id, action.frame_index), prompt_of(action)
            if action.adds:
                prompt = merged(session.objects[action.object_id].prompts[action.frame_index].prompt, prompt)
            session.add_prompt(*key, prompt)
            yield {key: logits_of(session.segment_frame(action.frame_index))[key]}


def prompt_of(said: Say) -> Prompt:
    if isinstance(said.prompt, DiscMask):
        return MaskPrompt(said.prompt.mask(FRAMES.image_size))
    if isinstance(said.prompt, Box):
        return BoxPrompt(said.prompt.box_xyxy, said.prompt.points_xy, said.prompt.labels)
    return PointPrompt(said.prompt.points_xy, said.prompt.labels)


def logits_of(result: FrameResult) -> StepLogits:
    rows = zip(result.object_ids, result.logits_BHW, strict=True)
    return {(object_id, result.frame_index): logits.numpy() for object_id, logits in rows}


@pytest.mark.slow
@pytest.mark.parametrize("flow", FLOWS)
def test_every_step_gives_the_masks_of_sam2(flow: str) -> None:
    theirs = told_to_sam2(MODEL, FRAMES, FLOWS[flow])
    for action, ours, expected in zip(FLOWS[flow], told_to_us(FLOWS[flow]), theirs, strict=True):
        assert ours.keys() == expected.keys(), action
        for key, logits in expected.items():
            assert (logits > 0).any(), f"{action}: no mask to compare"
            assert np.abs(ours[key] - logits).max() < EXACT, f"{action}, object and frame {key}"

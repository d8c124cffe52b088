"""Where a person has corrected a track: what a walk remembers of another thing is forgotten there.

A walk that went over to another thing remembers the thing on six frames. The one memory of a corrected frame does not
outweigh these six, so that the object is soon lost again. `sam2` keeps them; `tests/bench/loop.py` measures both.

Legend: h w low-resolution logits.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from model.tracking.state import Step, TrackedObject
from model.tracking.steps import memory_tokens_of

SAME_THING = 0.5
"""From this IoU on, what a walk expects on a frame is the thing that the prompt shows there."""


def forget_wrong(step: Step, object_ids: Collection[int]) -> list[int]:
    """Makes these objects forget what they tracked, where it leads to another mask than their prompt on this frame.

    Call it with a step before `advance`. Only objects that are prompted on the frame and whose walk comes there are
    looked at. The memories of frames with prompts stay. Returns the ids of those that forgot.
    """
    found = [tracked for tracked in step.came_along if tracked.object_id in object_ids and tracked.bank.tracked]
    forgot = [tracked for tracked in found if _overlap(_expected(step, tracked), _prompted(step, tracked)) < SAME_THING]
    for tracked in forgot:
        tracked.bank.start_pass()
        if tracked.history is not None:
            tracked.history.start_walk(step.direction)  # so that nobody walks here again with the memories from before
    return [tracked.object_id for tracked in forgot]


def _expected(step: Step, tracked: TrackedObject) -> Tensor:
    """The logits `[1, h, w]` that tracking would give on the frame, if nothing had been said there."""
    state, index = step.state, step.frame.index
    bank = tracked.bank.copy()
    bank.remove_prompted(index)
    tokens = memory_tokens_of(state, bank, index, step.direction)
    features = state.features.at_hand(index) or state.features.of(step.frame)
    return state.model.segment(features, memory=state.model.memory_tokens([tokens])).logits_BHW


def _prompted(step: Step, tracked: TrackedObject) -> Tensor:
    segmentation = tracked.prompts[step.frame.index].segmentation
    if segmentation is None:
        raise RuntimeError(f"object {tracked.object_id}, frame {step.frame.index}: the prompt was not segmented")
    return segmentation.logits_BHW


def _overlap(first_BHW: Tensor, second_BHW: Tensor) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    first, second = first_BHW > 0, second_BHW.to(first_BHW.device) > 0
    either = int((first | second).sum())
    return int((first & second).sum()) / either if either else 1.0

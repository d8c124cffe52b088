"""Prompted frames become masks and memories (seeds, corrections and refinements: see `session`).

A seed is segmented without memory, a correction with the memory and the mask that its object had on the frame. Clicks
that refine a mask get that mask. A mask that is there is kept as it is, and only its memory is made anew where it is
needed again.

Legend: B objects, L tokens of a map, M memory channels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from model.network.features import Segmentation
from model.pixels.transfers import on_device, put_away
from model.prompts import MaskPrompt
from model.tracking.frames import Frame
from model.tracking.memory_bank import Memory
from model.tracking.prompting import Query, equal_shapes, segment_prompts
from model.tracking.replay import replay
from model.tracking.state import PromptedFrame, SessionState, TrackedObject
from model.tracking.steps import memory_tokens_of


def condition(state: SessionState) -> None:
    """Segments every prompted frame that is not segmented yet, and remembers it.

    Where prompted memories are bounded, seeds wait until the walk comes near them. Raises `ValueError` for a prompt
    beyond the end of the video.
    """
    is_bounded = state.rules.max_prompted_memories is not None
    pending: dict[int, list[TrackedObject]] = defaultdict(list)
    for tracked in state.objects.values():
        for index, said in tracked.prompts.items():
            if said.segmentation is None and (said.is_correction or not is_bounded):
                pending[index].append(tracked)
    if is_bounded:
        _check_end(state)
    _condition_frames(state, pending)


def condition_on(state: SessionState, frame: Frame) -> None:
    """Segments what is prompted on one frame, and remembers it."""
    prompted = [t for t in state.objects.values() if frame.index in t.prompts]
    pending = [t for t in prompted if t.prompts[frame.index].segmentation is None]
    if pending:
        _condition_frame(state, frame, pending)


def condition_near(state: SessionState, frame: Frame, heading: int, objects: Sequence[TrackedObject]) -> None:
    """Segments the prompted frames that these objects look at when they are tracked on a frame."""
    pending: dict[int, list[TrackedObject]] = defaultdict(list)
    for tracked in objects:
        for index in tracked.bank.wanted(tracked.prompts, frame.index, heading):
            if index not in tracked.bank.prompted or tracked.prompts[index].segmentation is None:
                pending[index].append(tracked)
    _condition_frames(state, pending)


def _condition_frames(state: SessionState, pending: dict[int, list[TrackedObject]]) -> None:
    for frame in state.frames.at(sorted(pending)) if pending else ():
        _condition_frame(state, frame, pending.pop(frame.index))
    if pending:  # the video has no more frames
        index, objects = min(pending.items())
        raise ValueError(_beyond_end(objects[0].object_id, index))


def _condition_frame(state: SessionState, frame: Frame, objects: Sequence[TrackedObject]) -> None:
    """Segments what these objects have as prompt on a frame; prompts of one shape share a batch."""
    _remember_again(state, frame, [t for t in objects if t.prompts[frame.index].segmentation is not None])
    objects = [t for t in objects if t.prompts[frame.index].segmentation is None]
    if not objects:
        return
    _look_back(state, frame, objects)
    model = state.model
    features = state.features.of(frame)
    queries = [_query(state, tracked.prompts[frame.index], frame.index) for tracked in objects]
    for positions in equal_shapes(model, queries):
        batch = features.for_objects([0] * len(positions))
        segmentation = segment_prompts(model, batch, [queries[position] for position in positions])
        spatial_BLM = model.remember(batch, segmentation, binarize=True)
        for row, position in enumerate(positions):
            part = segmentation.row(row)
            kept = replace(part, logits_BHW=put_away(part.logits_BHW, state.state_device))
            spatial = put_away(spatial_BLM[row], state.state_device)
            objects[position].prompts[frame.index].segmentation = kept
            objects[position].bank.add_prompted(Memory(frame.index, spatial, part.pointers_BC))


def _remember_again(state: SessionState, frame: Frame, objects: Sequence[TrackedObject]) -> None:
    """Makes the memories of masks that these objects have on a frame, which had been forgotten."""
    limit, model = state.model.objects_per_batch, state.model
    for start in range(0, len(objects), limit):
        group = objects[start : start + limit]
        masks = [m for t in group if (m := t.prompts[frame.index].segmentation) is not None]
        batch = state.features.of(frame).for_objects([0] * len(group))
        there = [replace(mask, logits_BHW=on_device(mask.logits_BHW, model.device)) for mask in masks]
        whole = Segmentation.stack(there)
        spatial_BLM = model.remember(batch, whole, binarize=True)
        for row, (tracked, mask) in enumerate(zip(group, masks, strict=True)):
            spatial = put_away(spatial_BLM[row], state.state_device)
            tracked.bank.add_prompted(Memory(frame.index, spatial, mask.pointers_BC))


def _look_back(state: SessionState, frame: Frame, objects: Sequence[TrackedObject]) -> None:
    """Finds what each corrected object had on the frame. A mask needs nothing of that: it is taken as it is."""
    missing = [
        tracked
        for tracked in objects
        if (said := tracked.prompts[frame.index]).is_correction
        and said.past is None
        and not isinstance(said.prompt, MaskPrompt)
    ]
    for object_id, past in replay(state, missing, frame.index).items():
        tracked = state.objects[object_id]
        tracked.prompts[frame.index].past = past
        if tracked.history is not None:
            tracked.history.passed.pop(frame.index, None)


def _query(state: SessionState, said: PromptedFrame, frame_index: int) -> Query:
    past = said.past
    tokens = None if past is None else memory_tokens_of(state, past.bank, frame_index, past.direction)
    return Query(said.prompt, state.frames.size_hw, 0, tokens, said.prior_logits())


def _check_end(state: SessionState) -> None:
    for tracked in state.objects.values():
        if state.frames.length_up_to(tracked.last_prompt + 1) <= tracked.last_prompt:
            raise ValueError(_beyond_end(tracked.object_id, tracked.last_prompt))


def _beyond_end(object_id: int, frame_index: int) -> str:
    return f"object {object_id}, frame {frame_index}: the video ends before this frame, remove the prompt"

"""Batched steps of tracking: objects of one or more sessions are the batch dimension of the network.

Legend: B objects, L tokens of a map, M memory channels, S side of the model's square input, h w low-resolution logits.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from model.network.features import ImageFeatures, MemoryTokens, Segmentation
from model.network.layers import wide
from model.network.sam2 import Sam2
from model.pixels.transfers import on_device, put_away
from model.prompts import HiddenPrompt
from model.tracking.image_features import encode_frames
from model.tracking.memory_bank import Memory, MemoryBank
from model.tracking.state import FrameResult, ObjectPointers, SessionState, Step, TrackedObject

_log = logging.getLogger(__name__)


def advance(steps: Sequence[Step]) -> list[FrameResult]:
    """Segments and remembers one frame of each of several sessions of one model, objects sharing batches.

    Objects are grouped by equal numbers of memories and pointers, so that no padding is needed and an object's masks
    do not depend on what else is in the batch.
    """
    for step in steps:
        for tracked in step.tracked:
            if tracked.history is not None:
                tracked.history.before_frame(step.frame.index, tracked.bank)
        for tracked in step.came_along:
            if tracked.history is not None:
                tracked.history.pass_prompted(step.frame.index, tracked.bank)
    rows = track(steps)
    for index, step in enumerate(steps):
        for tracked in step.tracked:
            if tracked.history is not None:
                kept = _to_keep(rows[index, tracked.object_id], step.state)
                tracked.history.after_frame(step.frame.index, tracked.revision, kept, remembered=step.remember)
        for walked in (*step.tracked, *step.came_along):
            walked.upcoming = (step.direction, step.frame.index + step.direction)
        if step.then is not None:
            step.state.position = step.then
    return [_result(step, index, rows) for index, step in enumerate(steps)]


def track(steps: Sequence[Step]) -> dict[tuple[int, int], Segmentation]:
    """The masks of the tracked objects by (index of the step, object id); the objects' banks remember the frame.

    The banks change at the end and all together, so that after an error the same steps can be taken again.
    """
    groups: dict[tuple[int, int], list[tuple[int, TrackedObject, MemoryTokens]]] = defaultdict(list)
    for index, step in enumerate(steps):
        for tracked in step.tracked:
            tokens = memory_tokens_of(step.state, tracked.bank, step.frame.index, step.direction)
            groups[tokens.shape].append((index, tracked, tokens))
    rows: dict[tuple[int, int], Segmentation] = {}
    memories: list[tuple[TrackedObject, Memory[Tensor], int]] = []
    if groups:
        features = _features_of([step if step.tracked else None for step in steps])
        for group in groups.values():
            memories += _track_in_batches(steps, features, group, rows)
    for tracked, memory, direction in memories:
        tracked.bank.add_tracked(memory, direction)
    return rows


def _track_in_batches(
    steps: Sequence[Step],
    features: Mapping[int, ImageFeatures],
    group: Sequence[tuple[int, TrackedObject, MemoryTokens]],
    rows: dict[tuple[int, int], Segmentation],
) -> list[tuple[TrackedObject, Memory[Tensor], int]]:
    """`_track_group` of all of a group; a batch for which the device has no memory is halved, and so are later ones."""
    model, shape = steps[group[0][0]].state.model, group[0][2].shape
    memories: list[tuple[TrackedObject, Memory[Tensor], int]] = []
    start = 0
    while start < len(group):
        batch = group[start : start + model.objects_with_memories(*shape)]
        try:
            memories += _track_group(steps, features, batch, rows)
            start += len(batch)
            continue
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
        # Outside of `except`, where the error no longer holds the tensors of the batch that did not fit.
        _log.warning(
            "%d objects with %d memories each do not fit the device: they are tracked half as many at a time",
            len(batch),
            shape[0],
        )
        model.halve_batches(len(batch), *shape)
    return memories


def _features_of(steps: Sequence[Step | None]) -> dict[int, ImageFeatures]:
    """Image features by index of the step; None needs none. Those that no session has at hand share one batch."""
    at_hand: dict[int, ImageFeatures] = {}
    missing: list[int] = []
    for index, step in enumerate(steps):
        if step is None:
            continue
        features = step.state.features.at_hand(step.frame.index)
        if features is None:
            missing.append(index)
        else:
            at_hand[index] = features
    needed = [(index, step) for index in missing if (step := steps[index]) is not None]
    if needed:
        encoded = encode_frames(needed[0][1].state.model, [step.frame for _, step in needed])
        for row, (index, step) in enumerate(needed):
            at_hand[index] = encoded.frame(row)
            step.state.features.keep(step.frame.index, at_hand[index])
    return at_hand


def _track_group(
    steps: Sequence[Step],
    features: Mapping[int, ImageFeatures],
    group: Sequence[tuple[int, TrackedObject, MemoryTokens]],
    rows: dict[tuple[int, int], Segmentation],
) -> list[tuple[TrackedObject, Memory[Tensor], int]]:
    """Tracks objects that have as many memories and pointers as each other, in one batch.

    Puts the mask of each under (index of the step, object id) into `rows`. Returns the memory that each is to keep,
    with the direction of its walk.
    """
    model = steps[group[0][0]].state.model
    used = sorted({index for index, _, _ in group})
    shared = ImageFeatures.stack([features[index] for index in used])
    batch = shared.for_objects([used.index(index) for index, _, _ in group])
    segmentation = model.segment(batch, memory=model.memory_tokens([tokens for _, _, tokens in group]))
    remember = any(steps[index].remember for index in used)
    spatial_BLM = model.remember(batch, segmentation, binarize=False) if remember else None
    memories = []
    for row, (index, tracked, _) in enumerate(group):
        part = segmentation.row(row)
        rows[index, tracked.object_id] = part
        if spatial_BLM is not None and steps[index].remember:
            spatial = put_away(spatial_BLM[row], steps[index].state.state_device)
            memory = Memory(steps[index].frame.index, spatial, part.pointers_BC)
            memories.append((tracked, memory, steps[index].direction))
    return memories


def memory_tokens_of(state: SessionState, bank: MemoryBank[Tensor], frame_index: int, direction: int) -> MemoryTokens:
    """What an object with this bank may look at on a frame, brought to the model's device."""
    selection = bank.select(frame_index, direction)
    device = state.model.device
    return MemoryTokens(
        tuple(on_device(spatial, device) for spatial in selection.spatial),
        selection.temporal_rows,
        selection.pointers,
        selection.pointer_distances,
        distance_unit=max(state.rules.max_pointers - 1, 1),
    )


def _result(step: Step, index: int, rows: Mapping[tuple[int, int], Segmentation]) -> FrameResult:
    parts: dict[int, tuple[Segmentation, bool]] = {}
    for tracked in step.prompted:
        segmentation = tracked.prompts[step.frame.index].segmentation
        if segmentation is None:
            raise RuntimeError(f"object {tracked.object_id}, frame {step.frame.index}: the prompt was not segmented")
        parts[tracked.object_id] = (_brought_back(segmentation, step.state.model), True)
    for tracked in step.tracked:
        parts[tracked.object_id] = (rows[index, tracked.object_id], False)
    for tracked, segmentation in step.recorded:
        parts[tracked.object_id] = (_brought_back(segmentation, step.state.model), False)
    object_ids = tuple(object_id for object_id in step.state.objects if object_id in parts)
    whole = _stack([parts[object_id][0] for object_id in object_ids], step.state.model)
    walked = {tracked.object_id: _pointer_at_prompt(tracked, step) for tracked in step.tracked}
    return FrameResult(
        frame_index=step.frame.index,
        object_ids=object_ids,
        logits_BHW=whole.logits_BHW,
        object_scores_B=whole.object_scores_B,
        predicted_ious_B=whole.predicted_ious_B,
        is_prompt=tuple(parts[object_id][1] for object_id in object_ids),
        size_hw=step.state.frames.size_hw,
        pointers=ObjectPointers(whole.pointers_BC, tuple(walked.get(object_id) for object_id in object_ids)),
    )


def _pointer_at_prompt(tracked: TrackedObject, step: Step) -> Tensor | None:
    """The pointer of the prompted frame that the walk of an object passed last; it takes no operation."""
    behind = [
        index
        for index, said in tracked.prompts.items()
        if (step.frame.index - index) * step.direction > 0 and not isinstance(said.prompt, HiddenPrompt)
    ]
    if not behind:
        return None
    memory = tracked.bank.prompted.get(max(behind, key=lambda index: index * step.direction))
    return None if memory is None else memory.pointer


def _stack(parts: Sequence[Segmentation], model: Sam2) -> Segmentation:
    if parts:
        return Segmentation.stack(parts)
    size = model.config.mask_size
    none = torch.zeros(0, device=model.device)
    return Segmentation(none.view(0, 1, 1).expand(0, size, size), none, none, none.view(0, 1))


def _to_keep(segmentation: Segmentation, state: SessionState) -> Segmentation:
    """A mask as history keeps it: logits on the device of the state, in half the bytes if the network has 16 bits."""
    dtype = torch.float16 if state.model.dtype.itemsize == 2 else state.model.dtype
    return replace(segmentation, logits_BHW=put_away(segmentation.logits_BHW, state.state_device, dtype))


def _brought_back(segmentation: Segmentation, model: Sam2) -> Segmentation:
    """A mask that was kept, on the device of the network."""
    return replace(segmentation, logits_BHW=on_device(segmentation.logits_BHW, model.device, wide(model.dtype)))

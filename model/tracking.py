"""Batched steps of tracking: objects of one or more sessions are the batch dimension of the network.

Legend: B objects, L tokens of a map, M memory channels, S side of the model's square input, h w low-resolution logits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.frames import Frame
from model.history import History
from model.kernels import objects_per_batch
from model.layers import wide
from model.memory_bank import Memory, MemoryBank
from model.prompted import Query, equal_shapes, segment_prompts
from model.prompts import Prompt
from model.sam2 import ImageFeatures, Remembered, Sam2, Segmentation
from model.transfers import upload
from model.transforms import normalize, resize_frame, upsample_logits

if TYPE_CHECKING:
    from model.video import VideoSession


@dataclass(frozen=True)
class FrameResult:
    """The masks of the objects that a pass covers on one frame, in the order of `object_ids`.

    `logits_BHW` are float32 of low resolution (a quarter of the model's input, square); `object_scores_B` are logits,
    above 0 = visible; `predicted_ious_B` are in 0 … 1; `is_prompt` says where the mask comes from a prompt.
    """

    frame_index: int
    object_ids: tuple[int, ...]
    logits_BHW: Tensor
    object_scores_B: Tensor
    predicted_ious_B: Tensor
    is_prompt: tuple[bool, ...]
    size_hw: tuple[int, int]

    def __post_init__(self) -> None:
        rows = {len(self.object_ids), len(self.is_prompt), len(self.logits_BHW)}
        if rows != {len(self.object_scores_B)} or len(self.predicted_ious_B) not in rows:
            raise ValueError(f"frame {self.frame_index}: every field needs one row for each object: {self}")

    def __repr__(self) -> str:
        return (
            f"FrameResult(frame_index={self.frame_index}, object_ids={self.object_ids}, "
            f"logits_BHW={list(self.logits_BHW.shape)}, size_hw={self.size_hw})"
        )

    def masks(self) -> Tensor:
        """The masks at the size of the video, bool `[B, height, width]`."""
        return upsample_logits(self.logits_BHW, self.size_hw) > 0


@dataclass(frozen=True)
class Recall:
    """What a frame had when it was tracked: the bank before it, its mask `[1, h, w]`, the direction."""

    bank: MemoryBank[Tensor]
    logits_BHW: Tensor
    direction: int


@dataclass
class PromptedFrame:
    """What was said of an object on a frame, and the mask that it gave.

    `is_correction`: the object had been tracked there before. Then `recall` is what the frame had, once it is needed.
    """

    prompt: Prompt
    is_correction: bool = False
    recall: Recall | None = None
    segmentation: Segmentation | None = None


@dataclass
class TrackedObject:
    """One object of a session: its prompts by frame, what is remembered of it and, if kept, its history.

    `revision` counts the changes of its prompts: a mask from before the last one is out of date. `upcoming` is the
    direction of its walk and the frame that comes next in it.
    """

    object_id: int
    bank: MemoryBank[Tensor]
    history: History | None = None
    prompts: dict[int, PromptedFrame] = field(default_factory=dict)
    revision: int = 0
    upcoming: tuple[int, int] | None = None

    @property
    def first_prompt(self) -> int:
        """Index of the first frame with a prompt: where the object starts."""
        return min(self.prompts)

    @property
    def last_prompt(self) -> int:
        """Index of the last frame with a prompt."""
        return max(self.prompts)


@dataclass(frozen=True)
class Position:
    """How far a session has come: `leg` of the walk `mode`, and the frame that comes next."""

    mode: str
    leg: str
    next_index: int


@dataclass(frozen=True)
class Step:
    """One frame of one session's walk: objects with a prompt there, and objects to track.

    `known` are masks that need no computing. With `remember` off the tracked objects leave no memory.
    """

    session: VideoSession
    frame: Frame
    direction: int
    prompted: tuple[TrackedObject, ...]
    tracked: tuple[TrackedObject, ...]
    known: tuple[tuple[TrackedObject, Segmentation], ...] = ()
    remember: bool = True
    then: Position | None = None


def advance(steps: Sequence[Step]) -> list[FrameResult]:
    """Segments and remembers one frame of each of several sessions of one model, objects sharing batches.

    Objects are grouped by equal numbers of memories and pointers, so that no padding is needed and an object's masks
    do not depend on what else is in the batch.
    """
    for step in steps:
        for tracked in step.tracked:
            if tracked.history is not None:
                tracked.history.before_frame(step.frame.index, tracked.bank)
    rows = track(steps)
    for index, step in enumerate(steps):
        for tracked in step.tracked:
            if tracked.history is not None:
                kept = _to_keep(rows[index, tracked.object_id], step.session)
                tracked.history.after_frame(step.frame.index, tracked.revision, kept)
        # A prompted object goes on if it came along; where it did not, the next frame that it is tracked on leads it.
        came_along = [t for t in step.prompted if t.upcoming == (step.direction, step.frame.index)]
        for walked in (*step.tracked, *came_along):
            walked.upcoming = (step.direction, step.frame.index + step.direction)
        if step.then is not None:
            step.session.position = step.then
    return [_result(step, index, rows) for index, step in enumerate(steps)]


def track(steps: Sequence[Step]) -> dict[tuple[int, int], Segmentation]:
    """The masks of the tracked objects by (index of the step, object id); their banks remember them.

    All or none do: after an error in the middle the same steps can be taken again.
    """
    groups: dict[tuple[int, int], list[tuple[int, TrackedObject, Remembered]]] = defaultdict(list)
    for index, step in enumerate(steps):
        for tracked in step.tracked:
            remembered = _remembered(step.session, tracked.bank, step.frame.index, step.direction)
            groups[remembered.shape].append((index, tracked, remembered))
    rows: dict[tuple[int, int], Segmentation] = {}
    memories: list[tuple[TrackedObject, Memory[Tensor], int]] = []
    if groups:
        features = _features_of([step if step.tracked else None for step in steps])
        model = steps[0].session.model
        limit = objects_per_batch(model.device, model.config.grid_size**2)
        for group in groups.values():
            for start in range(0, len(group), limit):
                memories += _track_group(steps, features, group[start : start + limit], rows)
    for tracked, memory, direction in memories:
        tracked.bank.add_tracked(memory, direction)
    return rows


def condition(session: VideoSession, frame: Frame, objects: Iterable[TrackedObject]) -> None:
    """Segments what is prompted on a frame and remembers it; prompts of one shape share a batch.

    A seed is segmented on its own, without memory; a correction with what its frame had (`PromptedFrame.recall`).
    """
    model = session.model
    prompted = list(objects)
    features = session.features_of(frame)
    queries = [_query(session, tracked.prompts[frame.index], frame.index) for tracked in prompted]
    for positions in equal_shapes(model, queries):
        batch = features.for_objects([0] * len(positions))
        segmentation = segment_prompts(model, batch, [queries[position] for position in positions])
        spatial_BLM = model.remember(batch, segmentation, binarize=True).to(session.state_device)
        for row, position in enumerate(positions):
            part = segmentation.row(row)
            kept = replace(part, logits_BHW=part.logits_BHW.to(session.state_device))
            prompted[position].prompts[frame.index].segmentation = kept
            prompted[position].bank.add_prompted(Memory(frame.index, spatial_BLM[row], part.pointers_BC))


def _query(session: VideoSession, said: PromptedFrame, frame_index: int) -> Query:
    if said.recall is None:
        return Query(said.prompt, session.frames.size_hw)
    recall = said.recall
    remembered = _remembered(session, recall.bank, frame_index, recall.direction)
    return Query(said.prompt, session.frames.size_hw, 0, remembered, recall.logits_BHW)


def encode_frames(model: Sam2, frames: Sequence[Frame]) -> ImageFeatures:
    """Image features of several frames in one batch."""
    if any(frame.pixels_HW3.is_floating_point() for frame in frames):
        return model.encode_image(torch.cat([_network_input(model, frame) for frame in frames]))
    resized = [resize_frame(frame.pixels_HW3, model.config.image_size) for frame in frames]
    return model.encode_image(normalize(upload(resized, model.device), model.device, model.dtype))


def _features_of(steps: Sequence[Step | None]) -> dict[int, ImageFeatures]:
    """Image features of the frames of the steps that need them, those that no session has at hand in one batch."""
    at_hand: dict[int, ImageFeatures] = {}
    missing: list[int] = []
    for index, step in enumerate(steps):
        if step is None:
            continue
        features = step.session.features_at_hand(step.frame.index)
        if features is None:
            missing.append(index)
        else:
            at_hand[index] = features
    needed = [(index, step) for index in missing if (step := steps[index]) is not None]
    if needed:
        encoded = encode_frames(needed[0][1].session.model, [step.frame for _, step in needed])
        for row, (index, step) in enumerate(needed):
            at_hand[index] = encoded.frame(row)
            step.session.cache_features(step.frame.index, at_hand[index])
    return at_hand


def _track_group(
    steps: Sequence[Step],
    features: Mapping[int, ImageFeatures],
    group: Sequence[tuple[int, TrackedObject, Remembered]],
    rows: dict[tuple[int, int], Segmentation],
) -> list[tuple[TrackedObject, Memory[Tensor], int]]:
    """Tracks objects of equal memory shape; puts each one's part under (index of the step, object id) into `rows`.

    Returns what they are to remember, with the direction.
    """
    model = steps[group[0][0]].session.model
    used = sorted({index for index, _, _ in group})
    shared = ImageFeatures.stack([features[index] for index in used])
    batch = shared.for_objects([used.index(index) for index, _, _ in group])
    segmentation = model.segment(batch, memory=model.memory_tokens([remembered for _, _, remembered in group]))
    remember = any(steps[index].remember for index in used)
    spatial_BLM = model.remember(batch, segmentation, binarize=False) if remember else None
    memories = []
    for row, (index, tracked, _) in enumerate(group):
        part = segmentation.row(row)
        rows[index, tracked.object_id] = part
        if spatial_BLM is not None and steps[index].remember:
            spatial = spatial_BLM[row].to(steps[index].session.state_device)
            memory = Memory(steps[index].frame.index, spatial, part.pointers_BC)
            memories.append((tracked, memory, steps[index].direction))
    return memories


def _remembered(session: VideoSession, bank: MemoryBank[Tensor], frame_index: int, direction: int) -> Remembered:
    selection = bank.select(frame_index, direction)
    device = session.model.device
    return Remembered(
        tuple(spatial.to(device, non_blocking=True) for spatial in selection.spatial),
        selection.temporal_rows,
        selection.pointers,
        selection.pointer_distances,
        distance_unit=max(session.max_pointers - 1, 1),
    )


def _result(step: Step, index: int, rows: Mapping[tuple[int, int], Segmentation]) -> FrameResult:
    parts: dict[int, tuple[Segmentation, bool]] = {}
    for tracked in step.prompted:
        segmentation = tracked.prompts[step.frame.index].segmentation
        if segmentation is None:
            raise RuntimeError(f"object {tracked.object_id}, frame {step.frame.index}: the prompt was not segmented")
        parts[tracked.object_id] = (_kept(segmentation, step.session.model), True)
    for tracked in step.tracked:
        parts[tracked.object_id] = (rows[index, tracked.object_id], False)
    for tracked, segmentation in step.known:
        parts[tracked.object_id] = (_kept(segmentation, step.session.model), False)
    object_ids = tuple(object_id for object_id in step.session.objects if object_id in parts)
    whole = _stack([parts[object_id][0] for object_id in object_ids], step.session.model)
    return FrameResult(
        frame_index=step.frame.index,
        object_ids=object_ids,
        logits_BHW=whole.logits_BHW,
        object_scores_B=whole.object_scores_B,
        predicted_ious_B=whole.predicted_ious_B,
        is_prompt=tuple(parts[object_id][1] for object_id in object_ids),
        size_hw=step.session.frames.size_hw,
    )


def _stack(parts: Sequence[Segmentation], model: Sam2) -> Segmentation:
    if parts:
        return Segmentation.stack(parts)
    size = model.config.mask_size
    none = torch.zeros(0, device=model.device)
    return Segmentation(none.view(0, 1, 1).expand(0, size, size), none, none, none.view(0, 1))


def _to_keep(segmentation: Segmentation, session: VideoSession) -> Segmentation:
    """A mask as history keeps it: logits on the device of the state, in half the bytes if the network has 16 bits."""
    dtype = torch.float16 if session.model.dtype.itemsize == 2 else session.model.dtype
    return replace(segmentation, logits_BHW=segmentation.logits_BHW.to(session.state_device, dtype))


def _kept(segmentation: Segmentation, model: Sam2) -> Segmentation:
    return replace(segmentation, logits_BHW=segmentation.logits_BHW.to(model.device, wide(model.dtype)))


def _network_input(model: Sam2, frame: Frame) -> Tensor:
    """A frame as the network takes it, `[1, 3, S, S]`."""
    size = model.config.image_size
    if not frame.pixels_HW3.is_floating_point():
        return normalize(resize_frame(frame.pixels_HW3, size).unsqueeze(0), model.device, model.dtype)
    return frame.pixels_HW3.permute(2, 0, 1).unsqueeze(0).to(model.device, model.dtype)

"""Sessions: the objects of a video, their prompts, and the walk that tracks them through its frames.

`condition` segments the prompted frames, each on its own; `propagate` walks the other frames with what is remembered.
Both stand on two batched steps over any number of sessions: objects are the batch dimension of the network.

Legend: B objects, L tokens of a map, M memory channels, S side of the model's square input, h w low-resolution logits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.frames import Frame, FrameSource
from model.memory_bank import BACKWARD, FORWARD, Memory, MemoryBank
from model.prompts import MaskPrompt, Prompt, click_sequence
from model.sam2 import Clicks, ImageFeatures, Remembered, Sam2, Segmentation
from model.transforms import normalize, resize_frame, resize_mask, upsample_logits

DIRECTIONS = ("forward", "backward", "both")


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


class TrackedObject:
    """One object of a session: its prompts by frame, what they gave, and what is remembered of it."""

    def __init__(self, object_id: int, bank: MemoryBank[Tensor]) -> None:
        self.object_id = object_id
        self.bank = bank
        self.prompts: dict[int, Prompt] = {}
        self.seeds: dict[int, Segmentation] = {}

    @property
    def first_prompt(self) -> int:
        """Index of the first frame with a prompt: where the object starts."""
        return min(self.prompts)

    @property
    def last_prompt(self) -> int:
        """Index of the last frame with a prompt."""
        return max(self.prompts)


@dataclass(frozen=True)
class Step:
    """One frame of one session's walk: objects with a seed there, and objects to track."""

    session: VideoSession
    frame: Frame
    direction: int
    prompted: tuple[TrackedObject, ...]
    tracked: tuple[TrackedObject, ...]


class VideoSession:
    """The objects of one video and what is remembered of them. Prompts are declarative: all count, in any order."""

    def __init__(self, model: Sam2, frames: FrameSource, max_prompted_memories: int | None = None) -> None:
        self.model = model
        self.frames = frames
        self.max_prompted_memories = max_prompted_memories or model.config.max_prompted_memories
        # How many pointers are read, and the unit of their time code, depend on the length of a short video.
        self.max_pointers = frames.length_up_to(model.config.max_pointers)
        self.objects: dict[int, TrackedObject] = {}

    def add_prompt(self, object_id: int, frame_index: int, prompt: Prompt) -> None:
        """Sets what is said of an object on a frame; it replaces an earlier prompt there.

        Raises `ValueError` naming object, frame and value where the prompt does not fit the video; nothing is changed.
        """
        try:
            if frame_index < 0:
                raise ValueError(f"frame_index must be at least 0, got {frame_index}")
            fitted = prompt.fit(self.frames.size_hw)
        except ValueError as error:
            raise ValueError(f"object {object_id}, frame {frame_index}: {error}") from error
        if object_id not in self.objects:
            bank: MemoryBank[Tensor] = MemoryBank(self.max_prompted_memories, self.max_pointers)
            self.objects[object_id] = TrackedObject(object_id, bank)
        tracked = self.objects[object_id]
        tracked.prompts[frame_index] = fitted
        tracked.seeds.pop(frame_index, None)

    def condition(self) -> None:
        """Segments each prompted frame on its own, without memory, and remembers it; what is done is not done again.

        Raises `ValueError` for prompts beyond the end of the video.
        """
        pending: dict[int, list[TrackedObject]] = defaultdict(list)
        for tracked in self.objects.values():
            for index in tracked.prompts.keys() - tracked.seeds.keys():
                pending[index].append(tracked)
        for frame in self.frames.at(sorted(pending)):
            _segment_seeds(self, frame, pending.pop(frame.index))
        for index, objects in sorted(pending.items()):
            raise ValueError(
                f"object {objects[0].object_id}, frame {index}: the video ends before this frame, remove the prompt"
            )

    def propagate(self, direction: str = "forward") -> Iterator[FrameResult]:
        """Tracks every object through the frames that it covers; one result for each frame of each pass.

        `forward` covers the frames from an object's first prompt to the end, `backward` those from the first frame to
        its last prompt, `both` all of them: a forward pass, then a backward pass over the frames before the first
        prompts. An object comes once for each frame that it covers. Memory is bounded whatever the length.
        """
        for step in self.walk(direction):
            yield advance([step])[0]

    def walk(self, direction: str) -> Iterator[Step]:
        """The steps of `propagate`. Each step must go through `advance` before the next one is taken."""
        if direction not in DIRECTIONS:
            raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}")
        if not self.objects:
            return
        self.condition()
        objects = list(self.objects.values())
        if direction in ("forward", "both"):
            self._start_pass()
            for frame in self.frames.forward(min(tracked.first_prompt for tracked in objects)):
                yield self._step(frame, FORWARD, [t for t in objects if t.first_prompt <= frame.index])
        if direction == "backward":
            self._start_pass()
            for frame in self.frames.backward(max(tracked.last_prompt for tracked in objects) + 1):
                yield self._step(frame, BACKWARD, [t for t in objects if frame.index <= t.last_prompt])
        if direction == "both":
            self._start_pass()
            for frame in self.frames.backward(max(tracked.first_prompt for tracked in objects)):
                yield self._step(frame, BACKWARD, [t for t in objects if frame.index < t.first_prompt])

    def _start_pass(self) -> None:
        for tracked in self.objects.values():
            tracked.bank.start_pass()

    def _step(self, frame: Frame, direction: int, covered: Sequence[TrackedObject]) -> Step:
        prompted = tuple(t for t in covered if frame.index in t.prompts)
        tracked = tuple(t for t in covered if frame.index not in t.prompts)
        return Step(self, frame, direction, prompted, tracked)


def advance(steps: Sequence[Step]) -> list[FrameResult]:
    """Segments and remembers one frame of each of several sessions of one model, objects sharing batches.

    Objects are grouped by equal numbers of memories and pointers, so that no padding is needed and an object's masks
    do not depend on what else is in the batch.
    """
    model = steps[0].session.model
    working = [index for index, step in enumerate(steps) if step.tracked]
    features: dict[int, ImageFeatures] = {}
    if working:
        encoded = encode_frames(model, [steps[index].frame for index in working])
        features = {index: encoded.frame(row) for row, index in enumerate(working)}
    groups: dict[tuple[int, int], list[tuple[int, TrackedObject, Remembered]]] = defaultdict(list)
    for index in working:
        step = steps[index]
        for tracked in step.tracked:
            remembered = _remembered(step.session, tracked, step.frame.index, step.direction)
            groups[remembered.shape].append((index, tracked, remembered))
    rows: dict[tuple[int, int], Segmentation] = {}
    for group in groups.values():
        _track_group(model, steps, features, group, rows)
    return [_result(step, index, rows) for index, step in enumerate(steps)]


def encode_frames(model: Sam2, frames: Sequence[Frame]) -> ImageFeatures:
    """Image features of several frames in one batch."""
    size = model.config.image_size
    pixels = torch.stack([resize_frame(frame.pixels_HW3, size) for frame in frames])
    return model.encode_image(normalize(pixels, model.device, model.dtype))


def _track_group(
    model: Sam2,
    steps: Sequence[Step],
    features: dict[int, ImageFeatures],
    group: Sequence[tuple[int, TrackedObject, Remembered]],
    rows: dict[tuple[int, int], Segmentation],
) -> None:
    """Tracks objects of equal memory shape; puts each one's part under (index of the step, object id) into `rows`."""
    used = sorted({index for index, _, _ in group})
    shared = ImageFeatures.stack([features[index] for index in used])
    batch = shared.for_objects([used.index(index) for index, _, _ in group])
    segmentation = model.segment(batch, memory=model.memory_tokens([remembered for _, _, remembered in group]))
    spatial_BLM = model.remember(batch, segmentation, binarize=False)
    for row, (index, tracked, _) in enumerate(group):
        part = segmentation.row(row)
        memory = Memory(steps[index].frame.index, spatial_BLM[row], part.pointers_BC)
        tracked.bank.add_tracked(memory, steps[index].direction)
        rows[index, tracked.object_id] = part


def _remembered(session: VideoSession, tracked: TrackedObject, frame_index: int, direction: int) -> Remembered:
    selection = tracked.bank.select(frame_index, direction)
    return Remembered(
        selection.spatial,
        selection.temporal_rows,
        selection.pointers,
        selection.pointer_distances,
        distance_unit=max(session.max_pointers - 1, 1),
    )


def _result(step: Step, index: int, rows: dict[tuple[int, int], Segmentation]) -> FrameResult:
    parts: dict[int, tuple[Segmentation, bool]] = {}
    for tracked in step.prompted:
        parts[tracked.object_id] = (tracked.seeds[step.frame.index], True)
    for tracked in step.tracked:
        parts[tracked.object_id] = (rows[index, tracked.object_id], False)
    object_ids = tuple(object_id for object_id in step.session.objects if object_id in parts)
    whole = Segmentation.stack([parts[object_id][0] for object_id in object_ids])
    return FrameResult(
        frame_index=step.frame.index,
        object_ids=object_ids,
        logits_BHW=whole.logits_BHW,
        object_scores_B=whole.object_scores_B,
        predicted_ious_B=whole.predicted_ious_B,
        is_prompt=tuple(parts[object_id][1] for object_id in object_ids),
        size_hw=step.session.frames.size_hw,
    )


def _segment_seeds(session: VideoSession, frame: Frame, objects: Sequence[TrackedObject]) -> None:
    """Segments the objects prompted on a frame; those with as many points share a batch."""
    model = session.model
    features = encode_frames(model, [frame])
    groups: dict[int, list[TrackedObject]] = defaultdict(list)
    for tracked in objects:
        prompt = tracked.prompts[frame.index]
        groups[-1 if isinstance(prompt, MaskPrompt) else len(click_sequence(prompt)[1])].append(tracked)
    for num_points, group in groups.items():
        batch = features.for_objects([0] * len(group))
        prompts = [tracked.prompts[frame.index] for tracked in group]
        if num_points < 0:
            segmentation = model.segment_given_masks(batch, _mask_batch(model, prompts))
        else:
            segmentation = model.segment(batch, clicks=click_batch(model, prompts, session.frames.size_hw))
        spatial_BLM = model.remember(batch, segmentation, binarize=True)
        for row, tracked in enumerate(group):
            part = segmentation.row(row)
            tracked.seeds[frame.index] = part
            tracked.bank.add_prompted(Memory(frame.index, spatial_BLM[row], part.pointers_BC))


def click_batch(model: Sam2, prompts: Sequence[Prompt], size_hw: tuple[int, int]) -> Clicks:
    """Clicks in pixels of the video as the network takes them; all prompts have as many points."""
    scale = np.array([model.config.image_size / size_hw[1], model.config.image_size / size_hw[0]])
    points, labels = [], []
    for prompt in prompts:
        if isinstance(prompt, MaskPrompt):
            raise TypeError("a mask prompt has no clicks")
        points_xy, point_labels = click_sequence(prompt)
        points.append(np.asarray(points_xy, dtype=np.float64) * scale)
        labels.append(point_labels)
    return Clicks(
        torch.as_tensor(np.stack(points), dtype=torch.float32, device=model.device),
        torch.tensor(labels, device=model.device),
    )


def _mask_batch(model: Sam2, prompts: Sequence[Prompt]) -> Tensor:
    masks = [prompt.mask_HW for prompt in prompts if isinstance(prompt, MaskPrompt)]
    size = model.config.image_size
    return torch.stack([resize_mask(torch.from_numpy(mask), size) for mask in masks]).to(model.device)

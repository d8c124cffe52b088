"""What a session holds and hands on: objects, prompted frames, positions, steps and results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from model.network.features import ImageFeatures, Segmentation
from model.network.sam2 import Sam2
from model.pixels.transfers import upload
from model.pixels.transforms import normalize, resize_frame, upsample_logits
from model.prompts import Prompt
from model.tracking.frames import Frame
from model.tracking.history import History
from model.tracking.memory_bank import MemoryBank

if TYPE_CHECKING:
    from model.tracking.session import VideoSession


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


def encode_frames(model: Sam2, frames: Sequence[Frame]) -> ImageFeatures:
    """Image features of several frames in one batch."""
    if any(frame.pixels_HW3.is_floating_point() for frame in frames):
        return model.encode_image(torch.cat([_network_input(model, frame) for frame in frames]))
    resized = [resize_frame(frame.pixels_HW3, model.config.image_size) for frame in frames]
    return model.encode_image(normalize(upload(resized, model.device), model.device, model.dtype))


def _network_input(model: Sam2, frame: Frame) -> Tensor:
    """A frame as the network takes it, `[1, 3, S, S]`."""
    size = model.config.image_size
    if not frame.pixels_HW3.is_floating_point():
        return normalize(resize_frame(frame.pixels_HW3, size).unsqueeze(0), model.device, model.dtype)
    return frame.pixels_HW3.permute(2, 0, 1).unsqueeze(0).to(model.device, model.dtype)

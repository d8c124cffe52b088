"""What a session needs of a video: frames forward, backward and at given indexes.

Legend: H, W pixels of the video as displayed; frames are uint8 RGB, `[H, W, 3]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from model.pixels.orientation import UInt8Array


@dataclass(frozen=True)
class Frame:
    """One frame: its index in the source and its pixels, uint8 RGB `[H, W, 3]`.

    The pixels have the size of the video, or already that of the model's square input (`Sam2Config.image_size`): a
    source that decodes in another thread may resize there with `model.resize_frame`. Floating-point pixels are
    of that size and normalized already (`model.pixels.transforms.normalize`).
    """

    index: int
    pixels_HW3: torch.Tensor


@runtime_checkable
class FrameSource(Protocol):
    """A video of which only a few frames are in memory at a time. Indexes are 0, 1, 2 … without gaps.

    `at` may be called while frames of `forward` or `backward` are still being taken.
    """

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the video in pixels, as displayed."""

    def length_up_to(self, limit: int) -> int:
        """`min(number of frames, limit)`, exact, whatever the container claims."""

    def forward(self, start: int) -> Iterator[Frame]:
        """Frames `start`, `start + 1`, … to the end."""

    def backward(self, end: int) -> Iterator[Frame]:
        """Frames `end - 1`, `end - 2`, … 0 (`end` is exclusive and not beyond the number of frames)."""

    def at(self, indexes: Sequence[int]) -> Iterator[Frame]:
        """The frames of these indexes, ascending and each once; those beyond the end of the video are left out."""


class ArrayFrames:
    """A `FrameSource` over frames in memory: a uint8 array or tensor `[T, H, W, 3]`, or a sequence of `[H, W, 3]`.

    `size_hw` is the size of the video where these frames have been resized to the model's input; then they may be
    normalized too (floating point).
    """

    def __init__(
        self,
        frames: Sequence[UInt8Array | torch.Tensor] | UInt8Array | torch.Tensor,
        size_hw: tuple[int, int] | None = None,
    ) -> None:
        if len(frames) == 0:
            raise ValueError("a video needs at least one frame, got none")
        self._frames = [
            torch.as_tensor(np.ascontiguousarray(frame) if isinstance(frame, np.ndarray) else frame) for frame in frames
        ]
        shape = tuple(self._frames[0].shape)
        for index, frame in enumerate(self._frames):
            is_pixels = frame.dtype == torch.uint8 or (size_hw is not None and frame.is_floating_point())
            if not is_pixels or frame.ndim != 3 or frame.shape[2] != 3 or tuple(frame.shape) != shape:
                raise ValueError(
                    f"frame {index}: expected uint8 RGB pixels of shape [H, W, 3] like frame 0 ({list(shape)}), "
                    f"got {frame.dtype} of shape {list(frame.shape)}"
                )
        self._size_hw = size_hw or (int(shape[0]), int(shape[1]))
        # The size of the model's input that the frames have been resized to, if they have been.
        self.prepared_size: int | None = None if size_hw is None else int(shape[0])

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def size_hw(self) -> tuple[int, int]:
        return self._size_hw

    def length_up_to(self, limit: int) -> int:
        return min(len(self._frames), limit)

    def forward(self, start: int) -> Iterator[Frame]:
        for index in range(start, len(self._frames)):
            yield Frame(index, self._frames[index])

    def backward(self, end: int) -> Iterator[Frame]:
        for index in range(end - 1, -1, -1):
            yield Frame(index, self._frames[index])

    def at(self, indexes: Sequence[int]) -> Iterator[Frame]:
        for index in sorted(set(indexes)):
            if index < len(self._frames):
                yield Frame(index, self._frames[index])

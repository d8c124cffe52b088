"""Frames that a user adds to a session one by one, and that are kept until the session is gone.

Legend: S side of the model's square input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from model.tracking.frames import Frame

# Normalized frames of 1024 x 1024 pixels are 12 MiB each in float32: 682 of them.
MAX_KEPT_BYTES = 8 * 2**30


class KeptFrames:
    """A `FrameSource` that grows: normalized frames `[3, S, S]`, kept as they are.

    `size_hw` is the size of the video that prompts refer to. Raises `ValueError` for a frame that is no such tensor, of
    another size than the first, or with which the frames would be more than `max_bytes`.
    """

    def __init__(self, size_hw: tuple[int, int] | None = None, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._frames: list[Tensor] = []
        self._size_hw = size_hw
        self._max_bytes = max_bytes

    def add(self, pixels_3SS: Tensor) -> int:
        """Keeps the next frame; returns its index."""
        index = len(self._frames)
        shape = tuple(self._frames[0].shape) if self._frames else (3, pixels_3SS.shape[-1], pixels_3SS.shape[-1])
        if tuple(pixels_3SS.shape) != shape or not pixels_3SS.is_floating_point():
            raise ValueError(
                f"frame {index}: expected normalized pixels {list(shape)}, got {pixels_3SS.dtype} "
                f"{list(pixels_3SS.shape)}: give processor(images=frame).pixel_values[0]"
            )
        if pixels_3SS.nbytes * (index + 1) > self._max_bytes:
            raise ValueError(
                f"frame {index}: a session keeps {self._max_bytes / 2**30:g} GiB of added frames. Give the whole video "
                "to init_video_session, which keeps a quarter of that, or the frames to the model one by one, which "
                "keeps none: model(inference_session=session, frame=frame)"
            )
        self._frames.append(pixels_3SS)
        return index

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the video. Raises `ValueError` where nobody has said them."""
        if self._size_hw is None:
            raise ValueError("original_size must be given with the first prompt of a session without a video")
        return self._size_hw

    @size_hw.setter
    def size_hw(self, size_hw: tuple[int, int]) -> None:
        self._size_hw = size_hw

    @property
    def prepared_size(self) -> int | None:
        """Side of the frames, None before the first one."""
        return self._frames[0].shape[-1] if self._frames else None

    def __len__(self) -> int:
        return len(self._frames)

    def length_up_to(self, limit: int) -> int:
        return min(len(self._frames), limit)

    def forward(self, start: int) -> Iterator[Frame]:
        index = start
        while index < len(self._frames):
            yield self._frame(index)
            index += 1

    def backward(self, end: int) -> Iterator[Frame]:
        for index in range(end - 1, -1, -1):
            yield self._frame(index)

    def at(self, indexes: Sequence[int]) -> Iterator[Frame]:
        for index in sorted(set(indexes)):
            if index < len(self._frames):
                yield self._frame(index)

    def _frame(self, index: int) -> Frame:
        return Frame(index, self._frames[index].permute(1, 2, 0))

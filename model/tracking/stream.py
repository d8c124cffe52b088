"""Streams: frames that come one by one and are gone when the next one is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from model.network.sam2 import Sam2
from model.prompts import Prompt, errors_naming
from model.tracking import session_files
from model.tracking.frames import Frame
from model.tracking.history import HistoryRule
from model.tracking.saved import SavedStream, restore, saved_session
from model.tracking.session import VideoSession
from model.tracking.state import FrameResult

# The pointers that a frame looks at depend on the length of a video that is shorter than 16 frames. A stream whose
# length is not given counts as 16 frames long.
ASSUMED_FRAMES = 16


class NewestFrame:
    """A `FrameSource` that has one frame, the newest one of a stream.

    `num_frames` is the length of the whole stream if it is known; it matters below 16.
    """

    def __init__(self, size_hw: tuple[int, int], num_frames: int | None = None) -> None:
        self.size_hw = size_hw
        self._num_frames = num_frames
        self.frame: Frame | None = None

    def length_up_to(self, limit: int) -> int:
        come = 0 if self.frame is None else self.frame.index + 1
        return min(max(self._num_frames or ASSUMED_FRAMES, come), limit)

    def forward(self, start: int) -> Iterator[Frame]:
        yield from self.at([start])

    def backward(self, end: int) -> Iterator[Frame]:
        yield from self.at([end - 1])

    def at(self, indexes: Sequence[int]) -> Iterator[Frame]:
        if self.frame is not None and self.frame.index in indexes:
            yield self.frame


class VideoStream:
    """The objects of a stream. Memory stays the same however many frames come.

    Prompts are for the newest frame (a correction, if the object was tracked there) or for a frame that is still to
    come. `size_hw` is the size of the frames in pixels, which prompts refer to. A stream gives the same masks as a file
    of the same frames if these are 16 or more, or if `num_frames` says how many there will be.
    """

    def __init__(
        self,
        model: Sam2,
        size_hw: tuple[int, int],
        max_prompted_memories: int | None = None,
        *,
        num_frames: int | None = None,
        state_device: torch.device | str | None = None,
    ) -> None:
        self._newest = NewestFrame(size_hw, num_frames)
        self.session = VideoSession(
            model,
            self._newest,
            max_prompted_memories,
            history=HistoryRule(snapshot_every=1, newest_only=True),
            state_device=state_device,
            num_cached_frames=1,
        )
        self._upcoming: dict[int, dict[int, Prompt]] = {}

    @property
    def model(self) -> Sam2:
        """The network that tracks."""
        return self.session.model

    @property
    def is_bound(self) -> bool:
        """Whether the stream has its network; pickles leave it out."""
        return self.session.is_bound

    def bind(self, model: Sam2) -> None:
        """Gives an unpickled stream its network. Raises `ValueError` for a network of another configuration."""
        self.session.bind(model)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Size of the frames in pixels; it may be set as long as no prompt refers to it."""
        return self._newest.size_hw

    @size_hw.setter
    def size_hw(self, size_hw: tuple[int, int]) -> None:
        self._newest.size_hw = size_hw

    @property
    def newest_index(self) -> int:
        """Index of the newest frame, -1 before the first one."""
        return -1 if self._newest.frame is None else self._newest.frame.index

    def add_prompt(self, object_id: int, frame_index: int, prompt: Prompt) -> None:
        """Sets what is said of an object on the newest frame or on one to come; it replaces an earlier prompt there.

        Raises `ValueError` naming object, frame and value where the prompt does not fit, or its frame is gone.
        """
        if 0 <= frame_index == self.newest_index:
            self.session.add_prompt(object_id, frame_index, prompt)
            return
        with errors_naming(f"object {object_id}, frame {frame_index}"):
            if frame_index < 0:
                raise ValueError(f"frame_index must be at least 0, got {frame_index}")
            if frame_index < self.newest_index:
                raise ValueError(f"the stream is at frame {self.newest_index}, prompts are for that or later ones")
            fitted = prompt.fit(self._newest.size_hw)
        self._upcoming.setdefault(frame_index, {})[object_id] = fitted

    def remove_object(self, object_id: int) -> None:
        """Forgets an object altogether. Raises `ValueError` for an object that is not there."""
        waiting = [prompts for prompts in self._upcoming.values() if prompts.pop(object_id, None) is not None]
        if object_id in self.session.objects or not waiting:
            self.session.remove_object(object_id)

    def clear_prompts(self, object_id: int, frame_index: int) -> None:
        """Takes back what was said of an object on the newest frame or on one to come."""
        if self._upcoming.get(frame_index, {}).pop(object_id, None) is None:
            self.session.clear_prompts(object_id, frame_index)

    def has_object(self, object_id: int) -> bool:
        """Whether anything has been said of an object."""
        waits = any(object_id in prompts for prompts in self._upcoming.values())
        return waits or self.session.has_object(object_id)

    def reset(self) -> None:
        """Forgets all objects; the stream goes on."""
        self._upcoming.clear()
        self.session.reset()

    def forget_features(self) -> None:
        """Forgets the image features of the newest frame; they are computed again when they are needed."""
        self.session.forget_features()

    def push(self, pixels_HW3: Tensor, *, remember: bool = True) -> FrameResult:
        """Takes the next frame (as `Frame.pixels_HW3`) and gives the masks of the objects that have started."""
        before = self._newest.frame
        if before is not None:
            self.session.condition_on(before)
        frame = Frame(self.newest_index + 1, pixels_HW3)
        prompts = self._upcoming.pop(frame.index, {})
        self._newest.frame = frame
        try:
            for object_id, prompt in prompts.items():
                self.session.add_prompt(object_id, frame.index, prompt)
            return self.session.segment_frame(frame.index, remember=remember)
        except BaseException:  # as if the frame had not come
            for object_id in prompts.keys() & self.session.objects.keys():
                if frame.index in self.session.objects[object_id].prompts:
                    self.session.clear_prompts(object_id, frame.index)
            self._newest.frame = before
            self.session.forget_features()
            if prompts:
                self._upcoming[frame.index] = prompts
            raise

    def to_bytes(self) -> bytes:
        """The stream between two frames as a safetensors file: everything but the model."""
        upcoming = {index: dict(prompts) for index, prompts in self._upcoming.items()}
        saved = SavedStream(self._newest.frame, self.size_hw, upcoming, saved_session(self.session.state))
        return session_files.to_bytes(saved)

    @classmethod
    def from_bytes(cls, data: bytes, model: Sam2, *, state_device: torch.device | str | None = None) -> Self:
        """A stream as `to_bytes` saw it, with the same weights: it goes on bit for bit. Raises as `VideoSession`."""
        device = model.device if state_device is None else torch.device(state_device)
        saved = session_files.from_bytes(data, model.device, device)
        if not isinstance(saved, SavedStream):
            raise ValueError("this is the session of a video, not of a stream")
        stream = cls(model, saved.size_hw, state_device=device)
        stream._newest.frame = saved.newest
        stream._upcoming = saved.upcoming
        restore(stream.session.state, saved.session)
        return stream

    def save(self, uri: str, storage_options: Mapping[str, Any] | None = None) -> None:
        """Writes `to_bytes` to a path or any fsspec URI, whole or not at all."""
        session_files.write_bytes(uri, self.to_bytes(), storage_options)

    @classmethod
    def load(cls, uri: str, model: Sam2, storage_options: Mapping[str, Any] | None = None) -> Self:
        """Reads what `save` wrote; see `from_bytes`."""
        return cls.from_bytes(session_files.read_bytes(uri, storage_options), model)

    def newest_result(self) -> FrameResult:
        """The masks on the newest frame, with all that was said of it since it came."""
        return self.session.segment_frame(self.newest_index)

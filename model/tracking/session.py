"""Sessions: the objects of a video, their prompts, and the passes that track them through its frames.

Seeds and corrections. A prompt is a *seed* unless the object has been tracked on its frame before: each seed is
segmented on its own, without memory. A prompt on a tracked frame is a *correction*, in sessions that keep a history:
it is decoded with the memory and the mask that the frame had (`sam2`, `add_new_points_or_box`), and remembered like a
seed from then on.

Refinement. Clicks that are given before the frame's mask is asked for are one prompt, and a further prompt replaces the
earlier one. A click or box that comes when the mask is there *refines* it: the logits of that mask go with the clicks,
and the memory too if a walk has come to the frame since (`sam2`). The refined mask is kept. `clear_prompts` takes all
of it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from model.network.sam2 import Sam2
from model.prompts import BoolArray, Prompt, errors_naming
from model.tracking import conditioning, recall, session_files, walk
from model.tracking.frames import Frame, FrameSource
from model.tracking.history import HistoryRule
from model.tracking.memory_bank import FORWARD
from model.tracking.saved import SavedSession, restore, saved_session
from model.tracking.state import FrameResult, Position, PromptedFrame, SessionRules, SessionState, Step, TrackedObject
from model.tracking.steps import advance


class VideoSession:
    """The objects of one video and what is remembered of them. Prompts are declarative: all count, in any order.

    Without `history` memory is bounded whatever the length of the video: each object has its prompted memories, six
    tracked ones and 15 pointers. With `history`, masks and some memories are kept for every frame, because corrections
    need them. `max_prompted_memories` bounds the prompted memories too: only those near the walk are in memory.
    `state_device` is where memories and history lie. The image features of `num_cached_frames` frames are kept.
    `encode_ahead` frames of a walk go through the image encoder together.
    """

    def __init__(
        self,
        model: Sam2,
        frames: FrameSource,
        max_prompted_memories: int | None = None,
        *,
        history: HistoryRule | None = None,
        state_device: torch.device | str | None = None,
        num_cached_frames: int = 0,
        encode_ahead: int = 1,
    ) -> None:
        if max_prompted_memories is None:
            max_prompted_memories = model.config.max_prompted_memories
        rules = SessionRules(
            max_prompted_memories,
            # How many pointers are read, and the unit of their time code, depend on the length of a short video.
            max_pointers=frames.length_up_to(model.config.max_pointers),
            history=history,
            num_cached_frames=num_cached_frames,
            encode_ahead=encode_ahead,
        )
        device = model.device if state_device is None else torch.device(state_device)
        self.state = SessionState.new(model, frames, rules, device)

    @property
    def model(self) -> Sam2:
        """The network that tracks."""
        return self.state.model

    @property
    def is_bound(self) -> bool:
        """Whether the session has its network; pickles leave it out."""
        return self.state.is_bound

    def bind(self, model: Sam2) -> None:
        """Gives an unpickled session its network. Raises `ValueError` for a network of another configuration."""
        self.state.bind(model)

    @property
    def frames(self) -> FrameSource:
        """The video."""
        return self.state.frames

    @property
    def objects(self) -> dict[int, TrackedObject]:
        """The objects by id, in the order in which they were added."""
        return self.state.objects

    @property
    def position(self) -> Position | None:
        """Where a walk that can be resumed stands."""
        return self.state.position

    @property
    def encode_ahead(self) -> int:
        """How many frames of a walk are encoded in one batch; other batches round otherwise, so bits depend on it."""
        return self.state.rules.encode_ahead

    @encode_ahead.setter
    def encode_ahead(self, num_frames: int) -> None:
        self.state.change_rules(replace(self.state.rules, encode_ahead=num_frames))

    def add_prompt(self, object_id: int, frame_index: int, prompt: Prompt) -> None:
        """Sets what is said of an object on a frame; it replaces an earlier prompt there, and refines its mask.

        Raises `ValueError` naming object, frame and value where the prompt does not fit the video; then nothing has
        changed.
        """
        with errors_naming(f"object {object_id}, frame {frame_index}"):
            if frame_index < 0:
                raise ValueError(f"frame_index must be at least 0, got {frame_index}")
            fitted = prompt.fit(self.frames.size_hw)
        tracked = self.state.object(object_id)
        said, history = tracked.prompts.get(frame_index), tracked.history
        if said is None:
            is_correction = history is not None and frame_index in history.records
            tracked.prompts[frame_index] = PromptedFrame(fitted, is_correction)
        else:
            said.say(fitted)
            if history is not None and frame_index in history.passed:
                said.is_correction, said.past = True, None  # what the walk had here is looked up when it is needed
        tracked.revision += 1

    def remove_object(self, object_id: int) -> None:
        """Forgets an object altogether. Raises `ValueError` for an object that is not there."""
        if object_id not in self.objects:
            raise ValueError(f"object {object_id}: is not in the session, which has {sorted(self.objects)}")
        del self.objects[object_id]

    def clear_prompts(self, object_id: int, frame_index: int) -> None:
        """Takes back what was said of an object on a frame. An object without any prompt is removed.

        Raises `ValueError` where nothing was said.
        """
        tracked = self.objects.get(object_id)
        if tracked is None or frame_index not in tracked.prompts:
            raise ValueError(f"object {object_id}, frame {frame_index}: there is no prompt to clear")
        del tracked.prompts[frame_index]
        tracked.bank.remove_prompted(frame_index)
        if tracked.history is not None:
            tracked.history.passed.pop(frame_index, None)
        tracked.revision += 1
        if not tracked.prompts:
            self.remove_object(object_id)

    def has_object(self, object_id: int) -> bool:
        """Whether anything has been said of an object."""
        return object_id in self.objects

    def reset(self) -> None:
        """Forgets all objects."""
        self.objects.clear()
        self.state.position = None

    def forget_features(self) -> None:
        """Drops the image features that are kept; they are computed again when they are needed."""
        self.state.features.forget()

    def condition(self) -> None:
        """Segments the prompted frames and remembers them; a frame that is segmented is not segmented again.

        Where prompted memories are bounded, seeds wait until the walk comes near. Raises `ValueError` for prompts
        beyond the end of the video.
        """
        conditioning.condition(self.state)

    def condition_on(self, frame: Frame) -> None:
        """Segments what is prompted on one frame, and remembers it."""
        conditioning.condition_on(self.state, frame)

    def propagate(self, direction: str = "forward", *, resume: bool = False) -> Iterator[FrameResult]:
        """Tracks every object through the frames that it covers; one result for each frame of each pass.

        `forward` covers the frames from an object's first prompt to the end, `backward` those from the first frame to
        its last prompt, `both` all of them: a forward pass, then a backward pass over the frames before the first
        prompts. An object comes once for each frame that it covers. Memory is bounded whatever the length.
        `resume` goes on where this walk was left, or where a saved session stood.
        """
        for step in self.walk(direction, resume=resume):
            yield advance([step])[0]

    def walk(self, direction: str = "forward", *, resume: bool = False) -> Iterator[Step]:
        """The steps of `propagate`. Each step must go through `advance` before the next one is taken."""
        return walk.walk(self.state, direction, resume=resume)

    def walk_from(self, start: int, heading: int, *, fresh: bool = False) -> Iterator[Step]:
        """The steps over all frames from `start` on, forward (1) or backward (-1), also those that no object covers.

        An object goes on from the frame before `start` if its last walk ended there. If not, it gets the memories that
        history has of the frames before `start`, or none if the walk is `fresh`. Looks at other frames and other walks
        may come between two steps.
        """
        return walk.walk_from(self.state, start, heading, fresh=fresh)

    def segment_frame(self, frame_index: int, heading: int = FORWARD, *, remember: bool = True) -> FrameResult:
        """The masks of all objects that cover a frame: prompted there, tracked before, or tracked now.

        A mask from an earlier pass is given as it was, unless the prompts of its object have changed since, or a walk
        has come to frames before. With `remember` off, objects that are tracked now leave no memory. Raises
        `ValueError` for a frame beyond the end.
        """
        return walk.segment_frame(self.state, frame_index, heading, remember=remember)

    def recall(self, object_id: int, masks: Mapping[int, BoolArray], heading: int = FORWARD) -> None:
        """Gives an object the memories of frames of which only its masks, bool `[H, W]`, are known.

        See `model.tracking.recall`; `walk_from` goes on at the frame after the last of them.
        """
        recall.recall(self.state, object_id, masks, heading)

    def correct(
        self,
        object_id: int,
        frame_index: int,
        prompt: Prompt | None = None,
        prior_logits_BHW: Tensor | None = None,
        heading: int | None = FORWARD,
    ) -> FrameResult:
        """What a prompt gives on a frame with an object's memories and the logits of a mask, `[1, h, w]`.

        Nothing is remembered. Without a prompt and a mask it is what tracking gives. Without `heading` it is decoded
        without memories, like the first prompt of an object.
        """
        return recall.correct(self.state, object_id, frame_index, prompt, prior_logits_BHW, heading)

    def encode(self, frame_indexes: Iterable[int]) -> None:
        """Has the image features of frames at hand, as far as `num_cached_frames` allows."""
        recall.keep_features(self.state, list(frame_indexes))

    def fork(self, *, object_ids: Iterable[int] = ()) -> Self:
        """A session over the same frames that shares the image features, and has these objects with their memories.

        From then on the objects of both go their own ways. Raises `ValueError` for a session with a history.
        """
        if self.state.rules.history is not None:
            raise ValueError("a session with a history has no fork, because its records lead to its own walks")
        forked: Self = copy(self)
        forked.state = self.state.fork(object_ids)
        return forked

    def to_bytes(self) -> bytes:
        """The session between two frames as a safetensors file: everything but the model and the frames."""
        return session_files.to_bytes(saved_session(self.state))

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        model: Sam2,
        frames: FrameSource,
        *,
        state_device: torch.device | str | None = None,
        encode_ahead: int = 1,
    ) -> Self:
        """A session as `to_bytes` saw it, over the same frames with the same weights: it goes on bit for bit.

        `encode_ahead` is for files of format 1, which do not say it; later files do, and are believed. Raises
        `ValueError` for bytes that are no saved session, or one of another model or of frames of another size.
        """
        session = cls(model, frames, state_device=state_device, encode_ahead=encode_ahead)
        saved = session_files.from_bytes(data, model.device, session.state.state_device)
        if not isinstance(saved, SavedSession):
            raise ValueError("this is the session of a stream, not of a video")
        restore(session.state, saved)
        return session

    def save(self, uri: str, storage_options: Mapping[str, Any] | None = None) -> None:
        """Writes `to_bytes` to a path or any fsspec URI, whole or not at all."""
        session_files.write_bytes(uri, self.to_bytes(), storage_options)

    @classmethod
    def load(
        cls,
        uri: str,
        model: Sam2,
        frames: FrameSource,
        storage_options: Mapping[str, Any] | None = None,
        *,
        state_device: torch.device | str | None = None,
    ) -> Self:
        """Reads what `save` wrote; see `from_bytes`. `propagate(direction, resume=True)` goes on with its walk."""
        data = session_files.read_bytes(uri, storage_options)
        return cls.from_bytes(data, model, frames, state_device=state_device)

"""Sessions: the objects of a video, their prompts, and the walk that tracks them through its frames.

`condition` segments the prompted frames; `propagate` walks the other frames with what is remembered. Both stand on the
batched steps of `model.tracking.steps`.

Seeds and corrections. A prompt is a *seed* unless the object has been tracked on its frame before: each seed is
segmented on its own, without memory. A prompt on a tracked frame is a *correction*, in sessions that keep a history:
decoded with the memory and the mask that the frame had (`sam2`, `add_new_points_or_box`), and remembered like a seed
from then on. Clicks on one frame are one prompt: a further prompt replaces the earlier one and is of the same kind.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor

from model.network.features import ImageFeatures, Segmentation
from model.network.sam2 import Sam2
from model.prompts import MaskPrompt, Prompt, errors_naming
from model.tracking import session_files
from model.tracking.frame_groups import FrameGroups
from model.tracking.frames import Frame, FrameSource
from model.tracking.history import History, HistoryRule, Record
from model.tracking.memory_bank import BACKWARD, FORWARD, MemoryBank
from model.tracking.replay import recall
from model.tracking.state import FrameResult, Position, PromptedFrame, Step, TrackedObject, encode_frames
from model.tracking.steps import advance, condition

__all__ = ["DIRECTIONS", "FrameResult", "Step", "VideoSession", "advance"]

# Each direction as legs: which frames an object covers depends on the leg (`_covers`).
_LEGS = {"forward": ("forward",), "backward": ("backward",), "both": ("forward", "before")}
_HEADINGS = {"forward": FORWARD, "backward": BACKWARD, "before": BACKWARD}
DIRECTIONS = tuple(_LEGS)


class VideoSession:
    """The objects of one video and what is remembered of them. Prompts are declarative: all count, in any order.

    Without `history` memory is bounded whatever the length of the video: the prompted memories, six tracked ones and 15
    pointers for each object. With it, masks and some memories are kept for every frame, which corrections need.
    `max_prompted_memories` bounds the prompted memories too: only those near the walk are in memory.
    `state_device` is where memories and history lie; `num_cached_frames` image features are kept; `encode_ahead` frames
    of a walk go through the image encoder together.
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
        self.model = model
        self.frames = frames
        if max_prompted_memories is None:
            max_prompted_memories = model.config.max_prompted_memories
        self.max_prompted_memories = max_prompted_memories
        self.history = history
        self.state_device = model.device if state_device is None else torch.device(state_device)
        self.num_cached_frames = num_cached_frames
        self.encode_ahead = encode_ahead
        # How many pointers are read, and the unit of their time code, depend on the length of a short video.
        self.max_pointers = frames.length_up_to(model.config.max_pointers)
        self._new_bank()  # raises for bounds that cannot be
        self.objects: dict[int, TrackedObject] = {}
        self.position: Position | None = None
        self._features: OrderedDict[int, ImageFeatures] = OrderedDict()
        self._groups: FrameGroups | None = None

    def add_prompt(self, object_id: int, frame_index: int, prompt: Prompt) -> None:
        """Sets what is said of an object on a frame; it replaces an earlier prompt there.

        Raises `ValueError` naming object, frame and value where the prompt does not fit the video; nothing is changed.
        """
        with errors_naming(f"object {object_id}, frame {frame_index}"):
            if frame_index < 0:
                raise ValueError(f"frame_index must be at least 0, got {frame_index}")
            fitted = prompt.fit(self.frames.size_hw)
        if object_id not in self.objects:
            history = None if self.history is None else History(self.history)
            self.objects[object_id] = TrackedObject(object_id, self._new_bank(), history)
        tracked = self.objects[object_id]
        said = tracked.prompts.get(frame_index)
        if said is None:
            is_correction = tracked.history is not None and frame_index in tracked.history.records
            tracked.prompts[frame_index] = PromptedFrame(fitted, is_correction)
        else:
            said.prompt, said.segmentation = fitted, None
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
        tracked.revision += 1
        if not tracked.prompts:
            self.remove_object(object_id)

    def has_object(self, object_id: int) -> bool:
        """Whether anything has been said of an object."""
        return object_id in self.objects

    def reset(self) -> None:
        """Forgets all objects."""
        self.objects.clear()
        self.position = None

    def forget_features(self) -> None:
        """Forgets the image features that are at hand."""
        self._features.clear()

    def condition(self) -> None:
        """Segments the prompted frames and remembers them; what is done is not done again.

        Where prompted memories are bounded, seeds wait until the walk comes near. Raises `ValueError` for prompts
        beyond the end of the video.
        """
        pending: dict[int, list[TrackedObject]] = defaultdict(list)
        for tracked in self.objects.values():
            for index, said in tracked.prompts.items():
                if said.segmentation is None and (said.is_correction or self.max_prompted_memories is None):
                    pending[index].append(tracked)
        if self.max_prompted_memories is not None:
            self._check_end()
        self._condition(pending)

    def condition_on(self, frame: Frame) -> None:
        """Segments what is prompted on one frame, and remembers it."""
        prompted = [t for t in self.objects.values() if frame.index in t.prompts]
        pending = [t for t in prompted if t.prompts[frame.index].segmentation is None]
        if pending:
            self._condition_frame(frame, pending)

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
        if direction not in _LEGS:
            raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}")
        legs = _LEGS[direction]
        start = None
        if resume:
            if self.position is None or self.position.mode != direction:
                raise ValueError(f"there is no walk in direction {direction!r} to resume: {self.position}")
            legs = legs[legs.index(self.position.leg) :]
            start = self.position.next_index
        if not self.objects:
            return
        self.condition()
        for leg in legs:
            if not self.objects:  # removed during the leg before
                return
            if start is None:
                for tracked in self.objects.values():
                    tracked.upcoming = None
            for frame in self._frames(leg, self._first(leg) if start is None else start):
                yield self._step(frame, leg, mode=direction)
                self._forget_behind(frame.index, _HEADINGS[leg])
            start = None

    def walk_from(self, start: int, heading: int, *, fresh: bool = False) -> Iterator[Step]:
        """The steps over all frames from `start` on, forward or backward, also those that no object covers.

        An object goes on from the frame before where its last walk ended there; else, unless `fresh`, with the
        memories that history has of the frames before `start`.
        """
        self.condition()
        leg = "forward" if heading == FORWARD else "backward"
        if fresh:
            for tracked in self.objects.values():
                tracked.upcoming = None
        for frame in self._frames(leg, start):
            yield self._step(frame, leg, recalled=not fresh)
            self._forget_behind(frame.index, heading)

    def segment_frame(self, frame_index: int, heading: int = FORWARD, *, remember: bool = True) -> FrameResult:
        """The masks of all objects that cover a frame: prompted there, tracked before, or tracked now.

        A mask from an earlier pass is given as it was, unless the prompts of its object have changed since.
        """
        self.condition()
        frame = next(self.frames.at([frame_index]), None)
        if frame is None:
            raise ValueError(f"frame {frame_index}: the video has no such frame")
        step = self._step(frame, "forward" if heading == FORWARD else "backward", recalled=True, known=True)
        (result,) = advance([replace(step, remember=remember)])
        self._forget_behind(frame_index, heading)
        return result

    def to_bytes(self) -> bytes:
        """The session between two frames as a safetensors file: everything but model and frames."""
        return session_files.to_bytes(self.state())

    @classmethod
    def from_bytes(
        cls, data: bytes, model: Sam2, frames: FrameSource, *, state_device: torch.device | str | None = None
    ) -> Self:
        """A session as `to_bytes` saw it, over the same frames with the same weights: it goes on bit for bit.

        Raises `ValueError` for bytes that are no saved session, or one of another model or of frames of another size.
        """
        session = cls(model, frames, state_device=state_device)
        session.restore(session_files.from_bytes(data, model.device, session.state_device))
        return session

    def state(self) -> dict[str, Any]:
        """What `to_bytes` writes: everything but model and frames."""
        return {
            "model": asdict(self.model.config),
            "size_hw": self.frames.size_hw,
            "max_prompted_memories": self.max_prompted_memories,
            "max_pointers": self.max_pointers,
            "history": self.history,
            "num_cached_frames": self.num_cached_frames,
            "position": self.position,
            "objects": tuple(self.objects.values()),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes the place of the session that `state` is of."""
        if "newest" in state:
            raise ValueError("this is the session of a stream, not of a video")
        if state.get("model") != asdict(self.model.config):
            raise ValueError(f"the session was saved with another model: {state.get('model')}, not {self.model.config}")
        if state["size_hw"] != self.frames.size_hw:
            raise ValueError(f"the session is of frames of {state['size_hw']} pixels, not {self.frames.size_hw}")
        self.max_prompted_memories = state["max_prompted_memories"]
        self.max_pointers = state["max_pointers"]
        self.history = state["history"]
        self.num_cached_frames = state["num_cached_frames"]
        self.position = state["position"]
        self.objects = {tracked.object_id: tracked for tracked in state["objects"]}

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

    def features_of(self, frame: Frame) -> ImageFeatures:
        """Image features of a frame, from the cache where they are there."""
        features = self._features.get(frame.index)
        if features is None:
            features = encode_frames(self.model, [frame])
            self.cache_features(frame.index, features)
        return features

    def features_at_hand(self, frame_index: int) -> ImageFeatures | None:
        """Image features of a frame that is to be tracked, if they are cached or the walk encodes several at a time."""
        features = self._features.get(frame_index)
        return features if features is not None or self._groups is None else self._groups.features(frame_index)

    def cache_features(self, frame_index: int, features: ImageFeatures) -> None:
        """Keeps image features, and forgets those kept longest where they are too many."""
        self._features[frame_index] = features
        while len(self._features) > self.num_cached_frames:
            self._features.popitem(last=False)

    def _new_bank(self) -> MemoryBank[Tensor]:
        return MemoryBank(self.max_prompted_memories, self.max_pointers)

    def _step(
        self, frame: Frame, leg: str, *, mode: str | None = None, recalled: bool = False, known: bool = False
    ) -> Step:
        """The step of one frame: what is prompted near it is segmented, objects that were elsewhere are led here.

        `mode` names a walk that can be resumed; `recalled` leads objects with what they had here, see `_lead`; `known`
        takes masks from history where they are up to date.
        """
        heading = _HEADINGS[leg]
        covered = [tracked for tracked in self.objects.values() if _covers(leg, tracked, frame.index)]
        at_hand: list[tuple[TrackedObject, Segmentation]] = []
        tracked_here: list[TrackedObject] = []
        for tracked in covered:
            segmentation = _known(tracked, frame.index, heading) if known else None
            if segmentation is not None:
                at_hand.append((tracked, segmentation))
            elif frame.index not in tracked.prompts:
                tracked_here.append(tracked)
        self.condition_on(frame)
        self._condition_near(frame, heading, tracked_here)
        strays = [tracked for tracked in tracked_here if tracked.upcoming != (heading, frame.index)]
        self._lead(strays, frame.index, heading, recalled)
        prompted = tuple(tracked for tracked in covered if frame.index in tracked.prompts)
        then = None if mode is None else Position(mode, leg, frame.index + heading)
        return Step(self, frame, heading, prompted, tuple(tracked_here), tuple(at_hand), then=then)

    def _lead(self, strays: Sequence[TrackedObject], frame_index: int, heading: int, recalled: bool) -> None:
        """Starts a walk of these objects at a frame; `recalled`: with what they had tracked when they were here."""
        recorded = [tracked for tracked in strays if recalled and _record(tracked, frame_index, heading)]
        found = recall(self, recorded, frame_index)
        for tracked in strays:
            tracked.bank.start_pass()
            if tracked.object_id in found:
                tracked.bank.take_tracked(found[tracked.object_id].bank)
            if tracked.history is not None:
                tracked.history.start_walk(heading)

    def _condition_near(self, frame: Frame, heading: int, tracked_here: Sequence[TrackedObject]) -> None:
        """Segments the prompted frames that the objects tracked on a frame look at."""
        pending: dict[int, list[TrackedObject]] = defaultdict(list)
        for tracked in tracked_here:
            for index in tracked.bank.wanted(tracked.prompts, frame.index, heading):
                if index not in tracked.bank.prompted or tracked.prompts[index].segmentation is None:
                    pending[index].append(tracked)
        self._condition(pending)

    def _condition(self, pending: dict[int, list[TrackedObject]]) -> None:
        for frame in self.frames.at(sorted(pending)) if pending else ():
            self._condition_frame(frame, pending.pop(frame.index))
        for index, objects in sorted(pending.items()):
            raise ValueError(_beyond_end(objects[0].object_id, index))

    def _condition_frame(self, frame: Frame, objects: Sequence[TrackedObject]) -> None:
        prompted = [(t, t.prompts[frame.index]) for t in objects]
        missing = [
            tracked
            for tracked, said in prompted
            if said.is_correction and said.recall is None and not isinstance(said.prompt, MaskPrompt)
        ]
        for object_id, recalled in recall(self, missing, frame.index).items():
            self.objects[object_id].prompts[frame.index].recall = recalled
        condition(self, frame, objects)

    def _forget_behind(self, frame_index: int, heading: int) -> None:
        """Where prompted memories are bounded: forgets those behind the walk that no later frame looks at."""
        if self.max_prompted_memories is None:
            return
        is_stream = self.history is not None and self.history.newest_only
        for tracked in self.objects.values():
            kept = tracked.bank.wanted(tracked.prompts, frame_index + heading, heading)
            kept |= {index for index in tracked.prompts if (index - frame_index) * heading > 0}
            tracked.bank.keep_prompted(kept)
            for index in tracked.prompts.keys() - kept:
                if is_stream:
                    del tracked.prompts[index]
                elif not tracked.prompts[index].is_correction:
                    tracked.prompts[index].segmentation = None

    def _check_end(self) -> None:
        for tracked in self.objects.values():
            if self.frames.length_up_to(tracked.last_prompt + 1) <= tracked.last_prompt:
                raise ValueError(_beyond_end(tracked.object_id, tracked.last_prompt))

    def _frames(self, leg: str, start: int) -> Iterator[Frame]:
        heading = _HEADINGS[leg]
        if self.encode_ahead > 1:
            encode = partial(encode_frames, self.model)
            self._groups = FrameGroups(
                self.frames, start, heading, self.encode_ahead, encode, partial(self._is_tracked, leg)
            )
            return iter(self._groups)
        return self.frames.forward(start) if heading == FORWARD else self.frames.backward(start + 1)

    def _is_tracked(self, leg: str, frame_index: int) -> bool:
        """Whether any object is tracked through a frame, and not prompted there."""
        return any(_covers(leg, t, frame_index) and frame_index not in t.prompts for t in self.objects.values())

    def _first(self, leg: str) -> int:
        """The first frame that any object covers."""
        if leg == "forward":
            return min(tracked.first_prompt for tracked in self.objects.values())
        if leg == "backward":
            return max(tracked.last_prompt for tracked in self.objects.values())
        return max(tracked.first_prompt for tracked in self.objects.values()) - 1


def _covers(leg: str, tracked: TrackedObject, frame_index: int) -> bool:
    if leg == "forward":
        return tracked.first_prompt <= frame_index
    return frame_index <= tracked.last_prompt if leg == "backward" else frame_index < tracked.first_prompt


def _record(tracked: TrackedObject, frame_index: int, heading: int) -> Record | None:
    """What history has of an object on a frame, if it was tracked there in this direction."""
    history = tracked.history
    if history is None or frame_index not in history.records or history.direction(frame_index) != heading:
        return None
    return history.records[frame_index]


def _known(tracked: TrackedObject, frame_index: int, heading: int) -> Segmentation | None:
    """The mask that an object had on a frame, if its prompts are the same and it does not come along just now."""
    record = _record(tracked, frame_index, heading)
    if record is None or record.revision != tracked.revision or tracked.upcoming == (heading, frame_index):
        return None
    return record.segmentation


def _beyond_end(object_id: int, frame_index: int) -> str:
    return f"object {object_id}, frame {frame_index}: the video ends before this frame, remove the prompt"

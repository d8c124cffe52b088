"""What a session is made of: its objects with their prompts, what it keeps, and what passes between its functions.

`VideoSession` is the user's face on a `SessionState`. The functions of `conditioning`, `walk`, `steps` and `replay`
take a `SessionState` and change it; nothing here imports any of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from model.network.config import Sam2Config
from model.network.features import Segmentation
from model.network.sam2 import Sam2
from model.pixels.transfers import settle
from model.pixels.transforms import upsample_logits
from model.prompts import Prompt
from model.tracking.frames import Frame, FrameSource
from model.tracking.history import History, HistoryRule
from model.tracking.image_features import FeatureCache
from model.tracking.memory_bank import MemoryBank


@dataclass(frozen=True)
class ObjectPointers:
    """What the network says an object looks like: the pointers of B objects on a frame, `[B, C]`, and at their prompts.

    `at_prompts` has for each object the pointer `[1, C]` of the prompted frame that its walk passed last, leaving out
    prompts that say that it is hidden. None: the object is prompted on this frame, or no walk has passed a prompt.
    """

    here_BC: Tensor
    at_prompts: tuple[Tensor | None, ...]


@dataclass(frozen=True)
class FrameResult:
    """The masks of the objects that a pass covers on one frame, in the order of `object_ids`.

    `logits_BHW` are float32 of low resolution (a quarter of the model's input, square); `object_scores_B` are logits,
    above 0 = visible; `predicted_ious_B` are in 0 … 1; `is_prompt` says where the mask comes from a prompt. `pointers`
    are there on frames of a walk.
    """

    frame_index: int
    object_ids: tuple[int, ...]
    logits_BHW: Tensor
    object_scores_B: Tensor
    predicted_ious_B: Tensor
    is_prompt: tuple[bool, ...]
    size_hw: tuple[int, int]
    pointers: ObjectPointers | None = None

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
class PastState:
    """What an object had on a frame when a walk came there: the bank before the frame, its mask, the direction.

    The mask is `logits_BHW`, `[1, h, w]`, and None where the object was prompted: then the prompt has its mask.
    """

    bank: MemoryBank[Tensor]
    logits_BHW: Tensor | None
    direction: int


@dataclass
class PromptedFrame:
    """What was said of an object on a frame, and the mask that it gave.

    `is_correction`: a walk had come to this frame with the object before. Then `past` is what the object had there; it
    is computed when the correction is first segmented. `refined_BHW` are the logits, `[1, h, w]`, of the mask that an
    earlier prompt on this frame gave, where the present one was said after that mask was there.
    """

    prompt: Prompt
    is_correction: bool = False
    past: PastState | None = None
    segmentation: Segmentation | None = None
    refined_BHW: Tensor | None = None

    def prior_logits(self) -> Tensor | None:
        """The mask `[1, h, w]` that goes with the clicks: the one that is refined, or else the one that was tracked."""
        if self.refined_BHW is not None:
            return self.refined_BHW
        return None if self.past is None else self.past.logits_BHW

    def say(self, prompt: Prompt) -> None:
        """Replaces the prompt. A mask that the earlier prompt gave is refined by this one."""
        if self.segmentation is not None:
            self.refined_BHW = self.segmentation.logits_BHW
        self.prompt, self.segmentation = prompt, None


@dataclass
class TrackedObject:
    """One object of a session: its prompts by frame, its memory bank and, in sessions that keep one, its history.

    `revision` counts the changes of its prompts: a mask from before the last change is out of date. `upcoming` is the
    direction of the object's walk and the frame that comes next in that walk.
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


@dataclass(eq=False)
class OpenWalk:
    """A walk that is under way: its direction and the frame that comes next.

    A look at another frame, or a second walk, leads objects away from there. `banks` are copies of what they remembered
    just before, so that the walk goes on with that.
    """

    direction: int
    upcoming: int | None = None
    banks: dict[int, tuple[TrackedObject, MemoryBank[Tensor]]] = field(default_factory=dict)

    def keep(self, objects: Iterable[TrackedObject]) -> None:
        """Copies what the objects remember that stand where the walk stands; called before they are led away."""
        for tracked in objects:
            if tracked.upcoming == (self.direction, self.upcoming) and self.bank_of(tracked) is None:
                self.banks[tracked.object_id] = tracked, tracked.bank.copy()

    def bank_of(self, tracked: TrackedObject) -> MemoryBank[Tensor] | None:
        """What an object remembered where the walk stands, if it was led away from there."""
        owner, bank = self.banks.get(tracked.object_id, (None, None))
        return bank if owner is tracked else None

    def moved(self, upcoming: int) -> None:
        """The walk leaves for its next frame; what was kept served the frame that it leaves."""
        self.upcoming = upcoming
        self.banks.clear()


@dataclass(frozen=True)
class Position:
    """How far a session has come: the walk's direction (`mode`), its present `leg`, and the frame that comes next."""

    mode: str
    leg: str
    next_index: int


@dataclass(frozen=True)
class SessionRules:
    """What a session keeps, and how many frames it encodes together. `num_cached_frames` alone changes no mask.

    `max_prompted_memories` bounds how many prompted frames an object looks at (None: all). `max_pointers` bounds the
    pointers; a video that is shorter has fewer. Without `history` later prompts are never corrections.
    `num_cached_frames` image features are kept. `encode_ahead` frames of a walk go through the image encoder together.
    """

    max_prompted_memories: int | None = None
    max_pointers: int = 16
    history: HistoryRule | None = None
    num_cached_frames: int = 0
    encode_ahead: int = 1

    @property
    def is_stream(self) -> bool:
        """Whether only the newest frame can be corrected, because earlier frames are gone."""
        return self.history is not None and self.history.newest_only

    def new_bank(self) -> MemoryBank[Tensor]:
        """An empty memory bank within these bounds. Raises `ValueError` for a bound that is too small."""
        return MemoryBank(self.max_prompted_memories, self.max_pointers)


@dataclass
class SessionState:
    """Everything that one session holds: the network, the frames, and what is known of its objects.

    Memories and history lie on `state_device`. `position` is where a walk that can be resumed stands. `open_walks` are
    the walks that are under way; copies have none.
    """

    model: Sam2
    frames: FrameSource
    rules: SessionRules
    state_device: torch.device
    features: FeatureCache
    objects: dict[int, TrackedObject] = field(default_factory=dict)
    position: Position | None = None
    open_walks: list[OpenWalk] = field(default_factory=list, init=False, repr=False)
    _config_of_pickle: Sam2Config | None = field(default=None, init=False, repr=False)

    @classmethod
    def new(cls, model: Sam2, frames: FrameSource, rules: SessionRules, state_device: torch.device) -> SessionState:
        """A session without objects. Raises `ValueError` for rules that cannot be kept."""
        rules.new_bank()
        return cls(model, frames, rules, state_device, FeatureCache(model, rules.num_cached_frames))

    def settle(self) -> None:
        """Waits until the host may read what is kept on it."""
        if self.is_bound:
            settle(self.model.device)

    def __getstate__(self) -> dict[str, Any]:
        """Without the network and what was made of it: copies and pickles leave both out."""
        self.settle()
        kept = {name: value for name, value in vars(self).items() if name not in ("model", "features")}
        return kept | {"_config_of_pickle": self.config, "open_walks": []}

    def __deepcopy__(self, memo: dict[int, Any]) -> SessionState:
        """A copy that is tracked by the same network."""
        memo[id(self)] = copied = object.__new__(SessionState)
        vars(copied).update(deepcopy(self.__getstate__(), memo))
        if self.is_bound:
            copied.bind(self.model)
        return copied

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in ("model", "features"):
                raise AttributeError("the session was unpickled, which leaves its network out: call bind(model) first")
            raise AttributeError(name)

    @property
    def is_bound(self) -> bool:
        """Whether there is a network; an unpickled session has none."""
        return "model" in vars(self)

    @property
    def config(self) -> Sam2Config | None:
        """The configuration of the network."""
        return self.model.config if self.is_bound else self._config_of_pickle

    def bind(self, model: Sam2) -> None:
        """Gives an unpickled session its network. Raises `ValueError` for a network of another configuration."""
        if self.config != model.config:
            raise ValueError(f"the session was tracked by another model: {self.config}, not {model.config}")
        self.model, self.features = model, FeatureCache(model, self.rules.num_cached_frames)

    def object(self, object_id: int) -> TrackedObject:
        """The object of this id, new if nothing was said of it before."""
        if object_id not in self.objects:
            history = None if self.rules.history is None else History(self.rules.history)
            self.objects[object_id] = TrackedObject(object_id, self.rules.new_bank(), history)
        return self.objects[object_id]

    def fork(self, object_ids: Iterable[int]) -> SessionState:
        """The same network, frames and features with copies of these objects; their memories are shared."""
        kept = set(object_ids)
        objects = {
            object_id: replace(
                tracked,
                bank=tracked.bank.copy(),
                prompts={index: replace(said) for index, said in tracked.prompts.items()},
            )
            for object_id, tracked in self.objects.items()
            if object_id in kept
        }
        return replace(self, objects=objects, position=None)

    def video_has_grown(self) -> None:
        """Adapts the number of pointers to a video that got more frames and is shorter than the model's limit."""
        self.rules = replace(self.rules, max_pointers=self.frames.length_up_to(self.model.config.max_pointers))
        for tracked in self.objects.values():
            tracked.bank.max_pointers = self.rules.max_pointers

    def change_rules(self, rules: SessionRules) -> None:
        """Replaces the rules; objects that are already there keep the bounds of their banks."""
        self.rules = rules
        self.features.limit = rules.num_cached_frames


@dataclass(frozen=True)
class Step:
    """One frame of one session's walk: objects with a prompt on this frame, and objects to track.

    `recorded` are masks that history already has, which need no computing. With `remember` off the tracked objects
    leave no memory. `then` is the session's position after this step, for walks that can be resumed.
    """

    state: SessionState
    frame: Frame
    direction: int
    prompted: tuple[TrackedObject, ...]
    tracked: tuple[TrackedObject, ...]
    recorded: tuple[tuple[TrackedObject, Segmentation], ...] = ()
    remember: bool = True
    then: Position | None = None

    @property
    def came_along(self) -> tuple[TrackedObject, ...]:
        """The prompted objects whose walk comes to this frame, and goes on from it."""
        return tuple(t for t in self.prompted if t.upcoming == (self.direction, self.frame.index))

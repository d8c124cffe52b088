"""What is saved of a session and of a stream between two frames, and how a session takes it back.

`session_files` turns these records into bytes and back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.network.config import Sam2Config
from model.prompts import Prompt
from model.tracking.frames import Frame
from model.tracking.history import HistoryRule
from model.tracking.state import Position, SessionRules, SessionState, TrackedObject


@dataclass(frozen=True)
class SavedRules:
    """The rules of a saved session, as `SessionRules`. Files of format 1 do not say `encode_ahead`: then it is None."""

    max_prompted_memories: int | None
    max_pointers: int
    history: HistoryRule | None
    num_cached_frames: int
    encode_ahead: int | None = None

    @classmethod
    def of(cls, rules: SessionRules) -> SavedRules:
        """The rules of a session that is there."""
        return cls(
            rules.max_prompted_memories,
            rules.max_pointers,
            rules.history,
            rules.num_cached_frames,
            rules.encode_ahead,
        )

    def apply_to(self, rules: SessionRules) -> SessionRules:
        """The rules of the saved session; what the file does not say stays as in `rules`."""
        return replace(
            rules,
            max_prompted_memories=self.max_prompted_memories,
            max_pointers=self.max_pointers,
            history=self.history,
            num_cached_frames=self.num_cached_frames,
            encode_ahead=rules.encode_ahead if self.encode_ahead is None else self.encode_ahead,
        )


@dataclass(frozen=True)
class SavedSession:
    """Everything of a session but its weights and its frames."""

    config: Sam2Config
    size_hw: tuple[int, int]
    rules: SavedRules
    position: Position | None
    objects: tuple[TrackedObject, ...]


@dataclass(frozen=True)
class SavedStream:
    """Everything of a stream but its weights: the newest frame, prompts for frames to come by frame and object."""

    newest: Frame | None
    size_hw: tuple[int, int]
    upcoming: dict[int, dict[int, Prompt]]
    session: SavedSession


def saved_session(state: SessionState) -> SavedSession:
    """What is to be saved of a session; tensors and objects are shared with it."""
    state.settle()
    return SavedSession(
        state.model.config,
        state.frames.size_hw,
        SavedRules.of(state.rules),
        state.position,
        tuple(state.objects.values()),
    )


def restore(state: SessionState, saved: SavedSession) -> None:
    """Makes a new session go on where the saved one stood.

    Raises `ValueError` where the saved session is of another model or of frames of another size.
    """
    if saved.config != state.model.config:
        raise ValueError(f"the session was saved with another model: {saved.config}, not {state.model.config}")
    if saved.size_hw != state.frames.size_hw:
        raise ValueError(f"the session is of frames of {saved.size_hw} pixels, not {state.frames.size_hw}")
    state.change_rules(saved.rules.apply_to(state.rules))
    state.position = saved.position
    state.objects = {tracked.object_id: tracked for tracked in saved.objects}

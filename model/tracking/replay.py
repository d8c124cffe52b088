"""What tracked objects had on an earlier frame: tracked again from the nearest snapshot of their history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from model.tracking.frames import Frame
from model.tracking.memory_bank import FORWARD
from model.tracking.state import Recall, Step, TrackedObject
from model.tracking.steps import track

if TYPE_CHECKING:
    from model.tracking.session import VideoSession


def recall(session: VideoSession, objects: Iterable[TrackedObject], frame_index: int) -> dict[int, Recall]:
    """By object id, what the objects that have a record of the frame had there."""
    groups: dict[tuple[int, int], list[TrackedObject]] = defaultdict(list)
    for tracked in objects:
        history = tracked.history
        if history is not None and frame_index in history.records:
            start, bank = history.snapshot(frame_index)
            groups[history.direction(frame_index), start].append(TrackedObject(tracked.object_id, bank))
    recalled: dict[int, Recall] = {}
    for (direction, start), ghosts in groups.items():
        recalled |= _track_again(session, ghosts, _frames(session, start, frame_index, direction), direction)
    return recalled


def _track_again(
    session: VideoSession, ghosts: Sequence[TrackedObject], frames: Iterator[Frame], direction: int
) -> dict[int, Recall]:
    """Tracks objects through the frames, and says what each had on the last of them."""
    recalled: dict[int, Recall] = {}
    for frame in frames:
        walked = tuple(ghost for ghost in ghosts if frame.index not in ghost.bank.prompted)
        before = [ghost.bank.copy() for ghost in walked]
        rows = track([Step(session, frame, direction, (), walked)])
        recalled = {
            ghost.object_id: Recall(bank, rows[0, ghost.object_id].logits_BHW, direction)
            for ghost, bank in zip(walked, before, strict=True)
        }
    return recalled


def _frames(session: VideoSession, start: int, last: int, direction: int) -> Iterator[Frame]:
    """The frames from `start` to `last`, both included; a walk may be open, beside which only `at` may be called."""
    frames = session.frames.at(range(min(start, last), max(start, last) + 1))
    return iter(frames) if direction == FORWARD else reversed(list(frames))

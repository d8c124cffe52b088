"""What objects had on an earlier frame: they are tracked again from the nearest snapshot of their history.

On a frame where an object was prompted that is the bank alone, because the prompt has the mask.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from model.tracking.frames import Frame
from model.tracking.memory_bank import FORWARD, MemoryBank
from model.tracking.state import PastState, SessionState, Step, TrackedObject
from model.tracking.steps import track


def replay(state: SessionState, objects: Iterable[TrackedObject], frame_index: int) -> dict[int, PastState]:
    """What the objects had on a frame, by object id; objects whose history lacks the frame are left out."""
    groups: dict[tuple[int, int], list[TrackedObject]] = defaultdict(list)
    for tracked in objects:
        history = tracked.history
        if history is not None and history.has(frame_index):
            start, bank = history.snapshot(frame_index)
            groups[history.direction(frame_index), start].append(TrackedObject(tracked.object_id, bank))
    past: dict[int, PastState] = {}
    for (direction, start), ghosts in groups.items():
        past |= _track_again(state, ghosts, _frames(state, start, frame_index, direction), direction)
    return past


def banks_before(
    state: SessionState, objects: Iterable[TrackedObject], frame_index: int, direction: int
) -> dict[int, MemoryBank[Tensor]]:
    """What the objects remember when they come to a frame in a direction, by object id.

    That is what the last walk to the frame had before it. Where none came there, it is what was left by the walk to the
    nearest frame before it. Objects are left out whose history has no frame near enough to be remembered.
    """
    groups: dict[tuple[int, int], list[TrackedObject]] = defaultdict(list)
    for tracked in objects:
        history = tracked.history
        nearest = None if history is None else history.nearest(frame_index, direction, tracked.bank.max_pointers - 1)
        if history is None or nearest is None:
            continue
        start, bank = history.snapshot(nearest)
        is_before = nearest != frame_index and history.is_remembered(nearest)
        last = nearest if is_before else nearest - direction
        groups[start, last].append(TrackedObject(tracked.object_id, bank))
    for (start, last), ghosts in groups.items():
        if (last - start) * direction >= 0:
            _track_again(state, ghosts, _frames(state, start, last, direction), direction)
    return {ghost.object_id: ghost.bank for ghosts in groups.values() for ghost in ghosts}


def _track_again(
    state: SessionState, ghosts: Sequence[TrackedObject], frames: Iterator[Frame], direction: int
) -> dict[int, PastState]:
    """Tracks copies of objects through the frames; returns what each had on the last of these frames."""
    past: dict[int, PastState] = {}
    for frame in frames:
        walked = tuple(ghost for ghost in ghosts if frame.index not in ghost.bank.prompted)
        before = [(ghost.object_id, ghost.bank.copy()) for ghost in ghosts]
        rows = track([Step(state, frame, direction, (), walked)])
        masks = {object_id: row.logits_BHW for (_, object_id), row in rows.items()}
        past = {object_id: PastState(bank, masks.get(object_id), direction) for object_id, bank in before}
    return past


def _frames(state: SessionState, start: int, last: int, direction: int) -> Iterator[Frame]:
    """The frames from `start` to `last`, both included.

    They are read by `at`, because a walk may have `forward` or `backward` open.
    """
    frames = state.frames.at(range(min(start, last), max(start, last) + 1))
    return iter(frames) if direction == FORWARD else reversed(list(frames))

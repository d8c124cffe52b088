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

    That is what the walk that came there had before it. Where none came, or others came later to frames before it, each
    of these frames is remembered as the last walk to it left it. Objects without such frames are left out.
    """
    groups: dict[tuple[int, int], list[TrackedObject]] = defaultdict(list)
    parts: dict[int, list[tuple[MemoryBank[Tensor], list[int] | None]]] = defaultdict(list)
    for tracked in objects:
        for nearest, frames in _sources(tracked, frame_index, direction):
            if tracked.history is None:
                continue
            start, bank = tracked.history.snapshot(nearest)
            is_before = nearest != frame_index and tracked.history.is_remembered(nearest)
            groups[start, nearest if is_before else nearest - direction].append(TrackedObject(tracked.object_id, bank))
            parts[tracked.object_id].append((bank, frames))
    for (start, last), ghosts in groups.items():
        if (last - start) * direction >= 0:
            _track_again(state, ghosts, _frames(state, start, last, direction), direction)
    return {object_id: _joined(banks) for object_id, banks in parts.items()}


def _sources(tracked: TrackedObject, frame_index: int, direction: int) -> list[tuple[int, list[int] | None]]:
    """The frames after which an object's memories are those that it has before a frame, and which of them (None: all).

    The frame itself stands for what the object had before it.
    """
    history, reach = tracked.history, tracked.bank.max_pointers - 1
    if history is None:
        return []
    if history.is_latest(frame_index, direction, reach):
        return [(frame_index, None)]
    return [(frames[0], frames) for frames in history.behind(frame_index, direction, reach).values()]


def _joined(parts: Sequence[tuple[MemoryBank[Tensor], list[int] | None]]) -> MemoryBank[Tensor]:
    """One bank with the tracked memories of these frames, each from its own bank."""
    whole, frames = parts[0]
    if frames is None:
        return whole
    joined = whole.copy()
    joined.start_pass()
    for bank, frames in parts:
        joined.tracked |= {index: bank.tracked[index] for index in frames or () if index in bank.tracked}
        joined.pointers |= {index: bank.pointers[index] for index in frames or () if index in bank.pointers}
    return joined


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

"""The way of a session through the frames: legs, the step of each frame, and what is forgotten behind the walk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from model.network.features import Segmentation
from model.tracking.conditioning import condition, condition_near, condition_on
from model.tracking.frame_groups import FrameGroups
from model.tracking.frames import Frame
from model.tracking.image_features import encode_frames
from model.tracking.memory_bank import BACKWARD, FORWARD
from model.tracking.replay import banks_before
from model.tracking.state import FrameResult, OpenWalk, Position, SessionState, Step, TrackedObject
from model.tracking.steps import advance

# Each direction as legs: which frames an object covers depends on the leg (`_covers`).
_LEGS = {"forward": ("forward",), "backward": ("backward",), "both": ("forward", "before")}
_HEADINGS = {"forward": FORWARD, "backward": BACKWARD, "before": BACKWARD}
DIRECTIONS = tuple(_LEGS)


def walk(state: SessionState, direction: str, *, resume: bool = False) -> Iterator[Step]:
    """The steps of one pass; each step must go through `advance` before the next one is taken.

    With `resume` the walk goes on at `state.position`. Raises `ValueError` for an unknown direction, and for a walk
    that cannot be resumed because the session stands in none of this direction.
    """
    if direction not in _LEGS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}")
    legs = _LEGS[direction]
    start = None
    if resume:
        position = state.position
        if position is None or position.mode != direction or position.leg not in legs:
            raise ValueError(f"there is no walk in direction {direction!r} to resume: {position}")
        legs = legs[legs.index(position.leg) :]
        start = position.next_index
    if not state.objects:
        return
    condition(state)
    for leg in legs:
        if not state.objects:  # removed during the leg before
            return
        heading, is_fresh = _HEADINGS[leg], start is None
        with _opened(state, heading) as own:
            if is_fresh:
                _start_afresh(state)
            for frame in _frames(state, leg, _first(state, leg) if start is None else start):
                step = _step(state, frame, leg, own, from_history=not is_fresh)
                own.moved(frame.index + heading)
                yield replace(step, then=Position(direction, leg, frame.index + heading))
                _forget_behind(state, frame.index, heading)
        start = None


def walk_from(state: SessionState, start: int, heading: int, *, fresh: bool = False) -> Iterator[Step]:
    """The steps over all frames from `start` on, forward or backward, also those that no object covers.

    An object goes on from the frame before `start` if its last walk ended there. If not, it gets the memories that
    history has of the frames before `start`, or none if the walk is `fresh`.
    """
    condition(state)
    leg = "forward" if heading == FORWARD else "backward"
    with _opened(state, heading) as own:
        if fresh:
            _start_afresh(state)
        for frame in _frames(state, leg, start):
            step = _step(state, frame, leg, own, from_history=not fresh)
            own.moved(frame.index + heading)
            yield step
            _forget_behind(state, frame.index, heading)


def segment_frame(state: SessionState, frame_index: int, heading: int, *, remember: bool) -> FrameResult:
    """The masks of all objects that cover a frame: prompted there, tracked before, or tracked now.

    A mask from an earlier pass is given as it was, unless the prompts of its object have changed since, or a walk has
    come to frames before.
    """
    condition(state)
    frame = next(state.frames.at([frame_index]), None)
    if frame is None:
        raise ValueError(f"frame {frame_index}: the video has no such frame")
    leg = "forward" if heading == FORWARD else "backward"
    step = _step(state, frame, leg, None, from_history=True, reuse_recorded=True)
    (result,) = advance([replace(step, remember=remember)])
    _forget_behind(state, frame_index, heading)
    return result


@contextmanager
def _opened(state: SessionState, heading: int) -> Iterator[OpenWalk]:
    """A walk that is under way until the end of the block."""
    own = OpenWalk(heading)
    _keep_for_walks(state, own)
    state.open_walks.append(own)
    try:
        yield own
    finally:
        state.open_walks.remove(own)


def _keep_for_walks(state: SessionState, own: OpenWalk | None) -> None:
    """Called where objects may be led away: the other walks keep what their objects remember."""
    for walk in state.open_walks:
        if walk is not own:
            walk.keep(state.objects.values())


def _step(
    state: SessionState,
    frame: Frame,
    leg: str,
    own: OpenWalk | None,
    *,
    from_history: bool = False,
    reuse_recorded: bool = False,
) -> Step:
    """The step of one frame: prompts near the frame are segmented, and objects that were elsewhere are led here.

    Objects that were led away from the walk `own` come back with what they remembered in it. `from_history` leads the
    others with the memories that they had here (`_lead`). `reuse_recorded` takes masks from history where they are up
    to date.
    """
    heading = _HEADINGS[leg]
    _keep_for_walks(state, own)
    covered = [tracked for tracked in state.objects.values() if _covers(leg, tracked, frame.index)]
    prompted = tuple(tracked for tracked in covered if frame.index in tracked.prompts)
    recorded: list[tuple[TrackedObject, Segmentation]] = []
    tracked_here: list[TrackedObject] = []
    for tracked in covered:
        if frame.index in tracked.prompts:
            continue
        segmentation = _recorded_mask(tracked, frame.index, heading) if reuse_recorded else None
        if segmentation is not None:
            recorded.append((tracked, segmentation))
        else:
            tracked_here.append(tracked)
    condition_on(state, frame)
    condition_near(state, frame, heading, tracked_here)
    strays = [tracked for tracked in tracked_here if tracked.upcoming != (heading, frame.index)]
    if not reuse_recorded:  # a walk; a look at a prompted frame disturbs none, and may have gone on from here
        came = ((heading, frame.index), (heading, frame.index + heading))
        strays += [tracked for tracked in prompted if tracked.upcoming not in came]
    _lead(state, strays, frame.index, heading, own, from_history=from_history)
    return Step(state, frame, heading, prompted, tuple(tracked_here), tuple(recorded))


def _lead(
    state: SessionState,
    strays: Sequence[TrackedObject],
    frame_index: int,
    heading: int,
    own: OpenWalk | None,
    *,
    from_history: bool,
) -> None:
    """Starts a walk of these objects at a frame: with what they remembered in the walk `own` if they were led away.

    `from_history` gives the others the memories with which they came to this frame, or to the nearest one before it.
    """
    kept = {t.object_id: bank for t in strays if own is not None and (bank := own.bank_of(t)) is not None}
    others = [tracked for tracked in strays if from_history and tracked.object_id not in kept]
    banks = banks_before(state, others, frame_index, heading) | kept
    for tracked in strays:
        tracked.bank.start_pass()
        if tracked.object_id in banks:
            tracked.bank.take_tracked(banks[tracked.object_id])
        if tracked.history is not None:
            tracked.history.start_walk(heading)
        tracked.upcoming = (heading, frame_index)


def _start_afresh(state: SessionState) -> None:
    """Makes every object start anew at the next frame, from its prompted memories alone."""
    for tracked in state.objects.values():
        tracked.upcoming = None


def _forget_behind(state: SessionState, frame_index: int, heading: int) -> None:
    """Where prompted memories are bounded: forgets those behind the walk that no later frame looks at."""
    if state.rules.max_prompted_memories is None:
        return
    for tracked in state.objects.values():
        kept = tracked.bank.wanted(tracked.prompts, frame_index + heading, heading)
        kept |= {index for index in tracked.prompts if (index - frame_index) * heading > 0}
        tracked.bank.keep_prompted(kept)
        for index in tracked.prompts.keys() - kept:
            said = tracked.prompts[index]
            if state.rules.is_stream:
                del tracked.prompts[index]
            elif tracked.history is None and said.refined_BHW is None:  # a seed, which gives this mask again
                said.segmentation = None
            if tracked.history is not None:
                tracked.history.passed.pop(index, None)


def _frames(state: SessionState, leg: str, start: int) -> Iterator[Frame]:
    """The frames of a leg from `start` on, read in groups where the session encodes several at a time."""
    heading, size = _HEADINGS[leg], state.rules.encode_ahead
    state.features.groups = None
    if size > 1:
        encode = partial(encode_frames, state.model)
        groups = FrameGroups(state.frames, start, heading, size, encode, partial(_is_tracked, state, leg))
        state.features.groups = groups
        try:
            yield from groups
        finally:
            # Groups and state hold each other, and the garbage collector knows nothing of a GPU's memory: what a
            # finished video remembers would lie there until it happens to run.
            if state.features.groups is groups:
                state.features.groups = None
        return
    yield from state.frames.forward(start) if heading == FORWARD else state.frames.backward(start + 1)


def _is_tracked(state: SessionState, leg: str, frame_index: int) -> bool:
    """Whether any object is tracked through a frame, and not prompted there."""
    return any(_covers(leg, t, frame_index) and frame_index not in t.prompts for t in state.objects.values())


def _first(state: SessionState, leg: str) -> int:
    """The first frame of a leg that any object covers."""
    if leg == "forward":
        return min(tracked.first_prompt for tracked in state.objects.values())
    if leg == "backward":
        return max(tracked.last_prompt for tracked in state.objects.values())
    return max(tracked.first_prompt for tracked in state.objects.values()) - 1


def _covers(leg: str, tracked: TrackedObject, frame_index: int) -> bool:
    if leg == "forward":
        return tracked.first_prompt <= frame_index
    return frame_index <= tracked.last_prompt if leg == "backward" else frame_index < tracked.first_prompt


def _recorded_mask(tracked: TrackedObject, frame_index: int, heading: int) -> Segmentation | None:
    """The mask that an object had on a frame, if tracking it now would give the same.

    Its prompts are the same, its walk does not come here just now, and no later walk has come to frames before.
    """
    history = tracked.history
    if history is None or tracked.upcoming == (heading, frame_index):
        return None
    record = history.records.get(frame_index)
    if record is None or record.revision != tracked.revision:
        return None
    is_latest = history.is_latest(frame_index, heading, tracked.bank.max_pointers - 1)
    return record.segmentation if is_latest else None

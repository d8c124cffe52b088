"""The walk of a discovery: a session follows what was found so far, and each key frame is looked at anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence

from model import FoundMask, Frame, FrameResult, MaskPrompt, Step, VideoSession
from pipeline.arrays import BoolArray
from pipeline.seeds.discovery import Discovered, Discovery, DiscoveryRules

_ROUNDING = 1e-3

IsKey = Callable[[int], bool]
"""Whether a frame, by its index among the labeled ones, is a key frame."""

ShotOf = Callable[[int], int]
"""The number of the shot in which a frame lies, by its index among the labeled ones."""

Find = Callable[[VideoSession, Frame], Sequence[FoundMask]]
"""What lies on a key frame, the best first: a grid of clicks, or the boxes of a detector."""


def one_shot(index: int) -> int:
    """A video that has no cuts."""
    return 0


def discover_steps(
    session: VideoSession,
    is_key: IsKey,
    rules: DiscoveryRules,
    find: Find,
    shot_of: ShotOf = one_shot,
    is_over: IsKey = lambda _: False,
) -> Generator[Step, FrameResult, Discovered]:
    """Walks a session without objects through its video once, forward; yields each step and wants its result sent back.

    The objects that it returns are those of `pipeline.seeds.discovery`. All objects end where a shot does. The walk
    ends before the first frame for which `is_over` is true. The session should keep the features of one frame
    (`num_cached_frames`).
    """
    discovery, shot, shots = Discovery(rules), 0, list[Discovered]()
    for step in session.walk_from(0, 1, fresh=True):
        if is_over(step.frame.index):
            break
        result = yield step
        index = step.frame.index
        object_ids = result.object_ids
        if shot_of(index) != shot:
            for object_id in object_ids:
                session.remove_object(object_id)
            shot, object_ids = shot_of(index), ()
            shots.append(discovery.end())
            discovery = discovery.next_shot()
        if is_key(index):
            masks = result.masks().cpu().numpy() if object_ids else ()
            _look(session, step.frame, dict(zip(object_ids, masks, strict=True)), discovery, find)
    return Discovered.of_shots([*shots, discovery.end()])


def _look(
    session: VideoSession, frame: Frame, tracks_HW: Mapping[int, BoolArray], discovery: Discovery, find: Find
) -> None:
    look = discovery.look(frame.index, find(session, frame), tracks_HW)
    for object_id in look.dropped:
        session.remove_object(object_id)
    for one in look.new:
        session.add_prompt(one.object_id, frame.index, MaskPrompt(one.mask.mask()))
    session.condition_on(frame)


def at_times(seconds_of: Callable[[int], float | None], every_seconds: float, shot_of: ShotOf = one_shot) -> IsKey:
    """Key frames about `every_seconds` apart by their times: the first frame of each such stretch of a shot.

    Stretches are counted from the first frame of the shot, which is one itself. Indexes must be asked in ascending
    order. Frames without times are all key frames, because nothing says how far apart they are.
    """
    first_of: dict[int, int] = {}

    def is_key(index: int) -> bool:
        first_index = first_of.setdefault(shot_of(index), index)
        if index == first_index or every_seconds <= 0:
            return True
        first, before, now = (seconds_of(one) for one in (first_index, index - 1, index))
        if first is None or before is None or now is None:
            return True
        return _stretch(now - first, every_seconds) > _stretch(before - first, every_seconds)

    return is_key


def _stretch(seconds: float, every_seconds: float) -> int:
    # Times of frames are rounded, and 0.4999999 s is meant to be 0.5 s.
    return math.floor(seconds / every_seconds + _ROUNDING)

"""The walk of a discovery: a session follows what was found so far, and each key frame is looked at anew."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence

from model import FoundMask, Frame, FrameResult, MaskPrompt, Step, VideoSession
from pipeline.arrays import BoolArray
from pipeline.seeds.discovery import Discovered, Discovery, DiscoveryRules

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
    session: VideoSession, is_key: IsKey, rules: DiscoveryRules, find: Find, shot_of: ShotOf = one_shot
) -> Generator[Step, FrameResult, Discovered]:
    """Walks a session without objects through its video once, forward; yields each step and wants its result sent back.

    The objects that it returns are those of `pipeline.seeds.discovery`. All objects end where a shot does. The session
    should keep the features of one frame (`num_cached_frames`).
    """
    discovery, shot, shots = Discovery(rules), 0, list[Discovered]()
    for step in session.walk_from(0, 1, fresh=True):
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
    """Key frames at least `every_seconds` apart by their times; indexes must be asked in ascending order.

    The first frame of each shot is one as well. A frame whose time is not known is one where the frame before had a
    time, so that none is missed.
    """
    last: list[float] = []
    shots: list[int] = []

    def is_key(index: int) -> bool:
        seconds = seconds_of(index)
        is_first = shots[-1:] != [shot_of(index)]
        if not is_first and seconds is not None and seconds < last[-1] + every_seconds:
            return False
        last.append(last[-1] + every_seconds if seconds is None and last else seconds or 0.0)
        shots.append(shot_of(index))
        return True

    return is_key

"""The walk of a discovery: a session follows what was found so far, and each key frame is looked at anew."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from model import FoundMask, Frame, FrameResult, MaskPrompt, Step, VideoSession
from pipeline.seeds.discovery import Discovered, Discovery, DiscoveryRules

IsKey = Callable[[int], bool]
"""Whether a frame, by its index among the labeled ones, is a key frame."""

Find = Callable[[VideoSession, Frame], Sequence[FoundMask]]
"""What lies on a key frame, the best first: a grid of clicks, or the boxes of a detector."""


def discover_steps(
    session: VideoSession, is_key: IsKey, rules: DiscoveryRules, find: Find
) -> Generator[Step, FrameResult, Discovered]:
    """Walks a session without objects through its video once, forward; yields each step and wants its result sent back.

    The objects that it returns are those of `pipeline.seeds.discovery`. The session should keep the features of one
    frame (`num_cached_frames`).
    """
    discovery = Discovery(rules)
    for step in session.walk_from(0, 1, fresh=True):
        result = yield step
        if is_key(step.frame.index):
            _look(session, step.frame, result, discovery, find)
    return discovery.end()


def _look(session: VideoSession, frame: Frame, result: FrameResult, discovery: Discovery, find: Find) -> None:
    masks = result.masks().cpu().numpy() if result.object_ids else ()
    tracks = dict(zip(result.object_ids, masks, strict=True))
    look = discovery.look(frame.index, find(session, frame), tracks)
    for object_id in look.dropped:
        session.remove_object(object_id)
    for one in look.new:
        session.add_prompt(one.object_id, frame.index, MaskPrompt(one.mask.mask()))
    session.condition_on(frame)


def at_times(seconds_of: Callable[[int], float | None], every_seconds: float) -> IsKey:
    """Key frames at least `every_seconds` apart by their times; indexes must be asked in ascending order.

    A frame whose time is not known is one where the frame before had a time, so that none is missed.
    """
    last: list[float] = []

    def is_key(index: int) -> bool:
        seconds = seconds_of(index)
        if last and seconds is not None and seconds < last[-1] + every_seconds:
            return False
        last.append(last[-1] + every_seconds if seconds is None and last else seconds or 0.0)
        return True

    return is_key

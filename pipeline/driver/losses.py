"""What a run would take away from the output: objects that have masks there and no prompts in the tables any more."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.commits.snapshot import JobState
from pipeline.errors import ConfigError
from pipeline.inputs.plan import Plan
from pipeline.inputs.prompted_objects import PromptedFrames
from pipeline.records import Status
from pipeline.reviews.keeping import Row, is_withdrawn
from pipeline.reviews.reviewed import NOT_REVIEWED, ReviewedVideo
from pipeline.reviews.verdicts import Verdict
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables
from pipeline.text import counted

_log = logging.getLogger(__name__)

_NUM_EXAMPLES = 5


@dataclass(frozen=True)
class Losses:
    """Objects that the output has, by video: those `without_prompts`, and those `with_fewer` prompts than before."""

    without_prompts: Mapping[str, Sequence[int]]
    with_fewer: Mapping[str, Sequence[int]]


def find_losses(plan: Plan, storage: JobStorage, state: JobState) -> Losses:
    """Compare the tracks of videos whose prompts changed with what the tables say now. Reads nothing of the others."""
    changed = [video_id for video_id in plan.changed if state.finished[video_id].status is Status.OK]
    without: dict[str, list[int]] = defaultdict(list)
    fewer: dict[str, list[int]] = defaultdict(list)
    if changed:
        objects = plan.prompted_objects(changed)
        tracks = storage.retry("read tracks", lambda: JobTables(storage, state).tracks(changed))
        for track in tracks.to_pylist():
            now = objects.get(track["video_id"], {})
            review, object_id = plan.reviews.get(track["video_id"], NOT_REVIEWED), track["object_id"]
            if not track["num_masks"]:
                continue  # it failed, and nothing of it is lost
            if object_id in now:
                # Where reviewers have spoken, its row counts frames that the table never had.
                if object_id not in review.newest and _has_fewer(track, now):
                    fewer[track["video_id"]].append(object_id)
            elif object_id not in review.shown and (not is_withdrawn(track, review) or _is_accepted(review, object_id)):
                without[track["video_id"]].append(object_id)
    return Losses(without, fewer)


def _is_accepted(review: ReviewedVideo, object_id: int) -> bool:
    """Whether somebody has accepted a track as it is, and said nothing else of it since."""
    return object_id in review.settled and review.opinions[object_id].verdict is Verdict.ACCEPT


def _has_fewer(track: Row, now: PromptedFrames) -> bool:
    frames = now[track["object_id"]]
    indexes = {frame.frame_index for frame in frames}
    moved = None not in indexes and not indexes.issuperset(track["prompt_frames"])
    return moved or len(frames) < track["num_prompts"]


def check_losses(plan: Plan, storage: JobStorage, state: JobState, *, are_meant: bool) -> None:
    """Say what a plan would take away. Losses that `are_meant` were asked for by `prune=true`.

    Raises `ConfigError` if the masks of whole objects would go, and that is not meant.
    """
    losses = find_losses(plan, storage, state)
    if losses.with_fewer:
        _log.warning("objects with fewer prompts than before are labeled again: %s", _named(losses.with_fewer))
    if not losses.without_prompts:
        return
    num_objects = sum(map(len, losses.without_prompts.values()))
    have, their = ("has", "its") if num_objects == 1 else ("have", "their")
    what = (
        f"{counted(num_objects, 'object')} of the output {have} no prompts any more: {_named(losses.without_prompts)}"
    )
    if not are_meant:
        raise ConfigError(
            f"{what}. Nothing was labeled. If the table holds corrections only, give it as corrections= beside the "
            f"prompts= of before, to which it adds; or let {their} masks go with prune=true."
        )
    _log.warning("prune=true: %s; %s masks go", what, their)


def _named(objects: Mapping[str, Sequence[int]]) -> str:
    """`'a' (objects 1, 2), 'b' (object 7), …`."""
    shown = []
    for video_id, ids in sorted(objects.items())[:_NUM_EXAMPLES]:
        more = ", …" if len(ids) > _NUM_EXAMPLES else ""
        noun = "object" if len(ids) == 1 else "objects"
        shown.append(f"{video_id!r} ({noun} {', '.join(map(str, ids[:_NUM_EXAMPLES]))}{more})")
    left = len(objects) - len(shown)
    return ", ".join(shown) + (f" and {counted(left, 'more video')}" if left else "")

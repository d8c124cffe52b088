"""The one page that `check=true` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.check.again import Again
from pipeline.check.estimate import Experience, Volume, first_of
from pipeline.check.forecast import forecast
from pipeline.check.look import Looked
from pipeline.check.room import BYTES_PER_MASK
from pipeline.config.job_config import JobConfig
from pipeline.driver.progress import duration
from pipeline.driver.prune import describe_pruned
from pipeline.inputs.oddities import OF_WRONG_ROWS
from pipeline.inputs.plan import Plan
from pipeline.redact import redact_uri
from pipeline.text import counted, describe_left, escaped

_NUM_EXAMPLES = 5
_ENOUGH_FRAMES = 24  # to say how fast videos are decoded


@dataclass
class Findings:
    """What was found of videos and objects, each in a line."""

    unreadable: list[str] = field(default_factory=list)
    failing: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)

    def add(self, one: Looked) -> None:
        """Keep what is wrong with a video."""
        name = repr(one.item.video_id)
        if one.error:
            self.unreadable.append(f"{name}: {one.error}")
        self.failing += [f"{name}, {_of_object(number, text)}" for number, text in one.problems.items()]
        self.odd += [f"{name}, {_of_object(number, text)}" for number, text in one.warnings.items()]

    @property
    def num_bad(self) -> int:
        """Videos and objects that will fail."""
        return len(self.unreadable) + len(self.failing)


def page(
    config: JobConfig,
    plan: Plan,
    volume: Volume,
    experience: Experience,
    findings: Findings,
    refused: Sequence[str],
    former: Sequence[str],
    again: Again,
) -> str:
    """The whole text. `refused` are messages of wrong rows, `former` the finished videos that no table has."""
    num_unreadable = len(findings.unreadable)
    readable = f", {num_unreadable} cannot be read" if num_unreadable else ", all can be read"
    more = (
        f"; check_videos={volume.num_videos} opens all"
        if volume.num_opened + num_unreadable < volume.num_videos
        else ""
    )
    lines = [
        f"maskmill: check of output={redact_uri(str(config.output))}: nothing is labeled "
        f"and nothing is written{' but log_file=' if config.log_file else ''}",
        f"videos   {plan.num_videos}: {plan.num_to_label} to label, {plan.num_done} finished before, "
        f"{plan.num_no_prompts} without prompts, {plan.num_refused} with wrong rows",
        *_former(former, is_pruned=config.prune),
        *describe_left(plan.num_left),
        *again.of_reviews(),
    ]
    if volume.num_videos:
        lines += [
            f"opened   {volume.num_opened + num_unreadable} of {volume.num_videos}{readable}{more}",
            f"prompts  {counted(volume.num_objects, 'object')} of {counted(volume.num_videos, 'video')}: all rows are "
            "read, those of the opened videos are held against them",
        ]
    if volume.num_counted:
        lines += [_amount(volume), *_time(config, volume, experience), _size(config, volume, experience)]
    for title, found in (("wrong", refused), ("unread", findings.unreadable), ("fails", findings.failing)):
        lines += _listed(title, found)
    lines += _listed("odd", findings.odd)
    warnings = [warning for warning in plan.warnings if OF_WRONG_ROWS not in warning]
    lines += [f"warning  {escaped(warning)}" for warning in warnings]
    if volume.num_videos:
        lines.append("unknown  whether the model loads, whether it sees the objects, and whether the files are whole")
    bad = findings.num_bad + len(refused)
    advice = "mend them, or run the job: it labels the rest"
    num_odd = len(findings.odd) + len(warnings)
    warned = f", {counted(num_odd, 'warning')}" if num_odd else ""
    lines.append(f"result   {counted(bad, 'fault')}{warned}: {advice}" if bad else f"result   no faults{warned}")
    return "\n".join(lines)


def _former(former: Sequence[str], *, is_pruned: bool) -> list[str]:
    """One line about the finished videos that no table has; none if there are none."""
    if not former:
        return []
    if is_pruned:
        return [f"prune    a run removes {describe_pruned(former)}"]
    are, their = ("is", "its") if len(former) == 1 else ("are", "their")
    more = f"{len(former)} more {are} finished and in no table any more"
    return [f"former   {more}; {their} rows stay until a run with prune=true"]


def _amount(volume: Volume) -> str:
    return (
        f"frames   about {volume.frames_in_all:,} to label, {volume.masks_in_all:,} masks, by what "
        f"{counted(volume.num_counted, 'opened video')} of {volume.num_videos} "
        f"{'says of itself' if volume.num_counted == 1 else 'say of themselves'}"
    )


def _time(config: JobConfig, volume: Volume, experience: Experience) -> list[str]:
    """How long it may take, and what that is based on: the same number as in a plan."""
    expected = forecast(config, volume, experience)
    num_workers = expected.machines.num_workers
    workers = counted(num_workers, "worker")
    if expected.seconds is not None:
        return [
            f"time     about {duration(expected.seconds)} with {workers}, at the "
            f"{experience.frames_per_second:.1f} frames/s that a worker reached in "
            f"{counted(experience.num_videos, 'finished video')} of this job; the start and the wait for the last "
            "video come on top"
        ]
    lines = ["time     not known: no video of this job is finished. Label a few, then this check estimates from them"]
    if volume.decoded.num_frames >= _ENOUGH_FRAMES:
        rate = volume.decoded.num_frames / max(volume.decoded.seconds, 1e-6)
        seconds = max(volume.frames_in_all / num_workers, volume.longest.frames) / rate
        lines.append(
            f"         to decode the frames alone takes {duration(seconds)} with {workers}, at the {rate:.0f} frames/s "
            f"of {volume.decoded.num_frames} frames that were decoded here"
        )
    return lines


def _size(config: JobConfig, volume: Volume, experience: Experience) -> str:
    """How large the tables may get, and what that is based on."""
    size = f"size     {(room := forecast(config, volume, experience).room).in_words()}"
    if room.is_measured:
        return f"{size}, at {experience.bytes_of_mask:.0f} bytes a mask as in this job so far"
    if room.is_small:
        return size
    low, high = BYTES_PER_MASK
    return f"{size}: most masks take {low} to {high} bytes, and too few of this job are finished to tell"


def _listed(title: str, found: Sequence[str]) -> list[str]:
    if not found:
        return []
    return [f"{title:<8} {len(found)}:", *(f"         {escaped(text)}" for text in first_of(found, _NUM_EXAMPLES))]


def _of_object(number: int, text: str) -> str:
    return text if text.startswith(f"object {number}") else f"object {number}, {text}"

"""`python -m pipeline.plan conf=… videos=… prompts=… output=…`: what a run would label, take and cost, before it runs.

It takes the keys of a run and a few of its own. Nothing is written, and no cluster is asked. The room `check` counts
and estimates; here are the command and what it prints.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import Field

from pipeline.check.again import Again
from pipeline.check.estimate import Experience, Volume
from pipeline.check.forecast import Forecast, Prices, forecast
from pipeline.check.look import Looked, look
from pipeline.check.probe import chosen, probe
from pipeline.command import (
    ExitCode,
    check_surroundings,
    describe_arguments,
    ended_by_signals,
    explain,
    parse,
    set_up_logging,
)
from pipeline.config.compose import job_config, split_job
from pipeline.config.fields import keys
from pipeline.config.job_config import JobConfig
from pipeline.config.kinds import OptionalPlace, Seconds
from pipeline.driver.job import Job, check_device, open_job, plan_job
from pipeline.driver.progress import duration
from pipeline.errors import ConfigError, InputError, NewerVersion, NoHistory, StorageError, UnusableStore
from pipeline.inputs.plan import Plan
from pipeline.packages import check_not_hidden, leave_current_folder
from pipeline.storage.schemes import is_of_this_machine
from pipeline.text import counted, reason_in_words, say


class PlanArguments(Prices):
    """The keys of a plan beside those of a run."""

    probe: int = Field(
        default=0,
        ge=0,
        description="Label so many videos in this process, into a folder that is deleted again, and estimate from "
        "them; 0 estimates from what earlier runs measured.",
    )
    probe_seconds: Seconds = Field(default=300.0, ge=1, description="A probe ends after this long.")
    measured: OptionalPlace = Field(
        default=None, description="The output of another job with the same weights, to estimate from its videos."
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        description="How many workers the cluster will have; null: what cluster.actors says, else 1.",
    )
    format: Literal["text", "json"] = Field(default="text", description="What is printed: lines, or one JSON document.")


HELP = f"""Tells before a run what it would label, how long it would take, and what it would cost. It labels nothing.

  python -m pipeline.plan conf=label videos=… prompts=… output=… probe=3
  python -m pipeline.plan conf=nightly videos=… prompts=… output=… workers=8 price_per_gpu_hour=2.5

It takes all keys of pipeline.run, and these:

{describe_arguments(PlanArguments)}

Prices of the store are those of Amazon S3 Standard, in dollars. check_videos=… says how many videos are opened.

Exit codes:
  {ExitCode.DONE}   The plan is printed.
  {ExitCode.ENVIRONMENT}   The store failed: run the same command again later.
  {ExitCode.REFUSED}   The command line, the config or a table is wrong; or a run would remove masks unasked.
  {ExitCode.STOPPED} A signal stopped it.
"""


@dataclass(frozen=True)
class _Planned:
    """All that is found out."""

    job: Job
    plan: Plan
    again: Again
    volume: Volume
    experience: Experience
    forecast: Forecast
    arguments: PlanArguments

    @property
    def objects_are_unknown(self) -> bool:
        """Whether the run finds the objects by itself, and nothing was measured that says how many there may be."""
        return self.job.config.discover is not None and self.experience.rates is None

    @property
    def is_remote(self) -> bool:
        """Whether the output lies in a store."""
        return not is_of_this_machine(str(self.job.storage.uri))

    def dollars(self) -> dict[str, float | None]:
        """What it costs, by kind."""
        if self.objects_are_unknown:
            return dict.fromkeys(("workers", "requests", "storage_per_month"))
        return self.forecast.dollars(self.arguments, self.job.config.price_per_hour, is_remote=self.is_remote)


def make_plan(config: JobConfig, arguments: PlanArguments) -> _Planned:
    """Count, estimate and forecast; raises what a run would raise before it labels."""
    if config.demo is not None:
        raise ConfigError("the demo draws its own videos: give the tables of a job, as in videos=… prompts=… output=…")
    if config.verify is not None:
        raise ConfigError("conf=verify walks back tracks of a finished job, of which no plan is made: leave conf= out")
    # As for check=true, no cluster is asked whether it has GPUs.
    job = open_job(config.model_copy(update={"check": True}), may_differ=True)
    plan = plan_job(job)
    looked: list[Looked] = []
    volume, again = Volume(), Again.of(job, plan)
    for one in look(plan.items_in_order(), job.config, config.check_videos, num_items=plan.num_to_label):
        volume.add(one, config.propagate.direction, again.objects.by_video.get(one.item.video_id))
        if one.opened is not None:
            looked.append(one)
    experience = _experience(job, looked, arguments)
    if config.discover is not None and experience.rates is not None:
        volume.expect_objects(experience.objects)
    expected = forecast(job.config, volume, experience, arguments.workers)
    return _Planned(job, plan, again, volume, experience, expected, arguments)


def _experience(job: Job, looked: Sequence[Looked], arguments: PlanArguments) -> Experience:
    if arguments.probe and arguments.measured:
        raise ConfigError("probe= and measured= both say what to estimate from: give one of them")
    if arguments.measured:
        return Experience.of_other(arguments.measured, job)
    items = chosen(looked, arguments.probe) if arguments.probe else []
    if not items:
        return Experience.of(job)
    check_device(job.config)
    return probe(job, items, arguments.probe_seconds)


def as_text(found: _Planned) -> str:
    """The plan in a few lines."""
    plan, volume = found.plan, found.volume
    lines = [
        f"maskmill: plan of output={found.job.storage}: nothing is labeled and nothing is written",
        f"videos   {plan.num_videos:,}: {plan.num_to_label:,} to label, {plan.num_done:,} finished before, "
        f"{plan.num_no_prompts:,} without prompts, {plan.num_refused:,} with wrong rows",
        *_again(found.again),
        *([] if plan.listing_choice is None else [f"listing  {plan.listing_choice.in_words()}"]),
    ]
    if volume.num_counted:
        lines += [_work(found), *([_UNKNOWN] if found.objects_are_unknown else _forecast(found))]
    elif volume.num_videos:
        lines.append("work     not known: no video was opened that says how long it is; check_videos= opens more")
    if volume.num_failing:
        lines.append(f"faults   {counted(volume.num_failing, 'video')} will fail: check=true names them")
    return "\n".join(lines)


_UNKNOWN = (
    "objects  not known: the run finds them (conf=discover), and with them masks, time, room and cost are not known. "
    "probe=3 finds those of three videos here, measured= names a job"
)


def _work(found: _Planned) -> str:
    volume = found.volume
    hours = f"{volume.in_all.video_seconds / 3600:,.2f} hours of video"
    frames, masks = f"{volume.frames_in_all:,} frames", f"{volume.masks_in_all:,} masks"
    amount = f"{hours}, {counted(volume.num_to_label, 'object')}, about {frames} and {masks}"
    if found.objects_are_unknown:
        amount = f"{hours}, about {frames}"
    return (
        f"work     {amount}, by what {volume.num_counted:,} opened of {counted(volume.num_videos, 'video')} say of "
        "themselves"
    )


def _forecast(found: _Planned) -> list[str]:
    return [*_time(found), *_storage(found), *_cost(found)]


def _again(again: Again) -> list[str]:
    if not again.num_by_reason:
        return []
    total = sum(again.num_by_reason.values())
    reasons = ", ".join(f"{number:,} {reason_in_words(reason)}" for reason, number in again.num_by_reason.items())
    lines = [f"again    {counted(total, 'finished video')} would be labeled again: {reasons}"]
    if again.difference:
        lines += again.difference.splitlines()
    lines += again.of_reviews()
    if again.is_refused:
        lines.append("         a run refuses that without relabel=true; the plan is for a run with it")
    return lines


def _time(found: _Planned) -> list[str]:
    expected, experience = found.forecast, found.experience
    if expected.seconds is None or expected.worker_seconds is None or (rates := experience.rates) is None:
        return ["time     not known: nothing was measured. probe=3 labels three videos here, measured= names a job"]
    workers = counted(expected.machines.num_workers, "worker")
    lines = [
        f"time     about {duration(expected.seconds)} with {workers}, {duration(expected.worker_seconds)} of one; "
        "their start comes on top",
        f"measured in {experience.source}, on {experience.device or 'an unknown device'}: {rates.in_words()}",
    ]
    if expected.gpu_hours:
        lines.append(f"GPUs     {expected.gpu_hours:,.2f} hours")
    return lines


def _storage(found: _Planned) -> list[str]:
    room = found.forecast.room
    is_range = not (room.is_measured or room.is_small)
    size = f"{room.in_words()}, because too few masks are finished to tell" if is_range else room.in_words()
    requests = found.forecast.requests
    lines = [f"storage  {size}"]
    if requests is not None:
        lines.append(f"requests about {requests.num_writes:,} writes and {requests.num_reads:,} reads of stores")
    return lines


def _cost(found: _Planned) -> list[str]:
    cost = found.dollars()
    if cost["workers"] is None:
        key = "price_per_gpu_hour" if found.forecast.machines.gpus else "price_per_hour"
        unknown = "the time is not known" if found.forecast.seconds is None else f"give {key}="
        words = [f"workers not known ({unknown})"]
    else:
        words = [f"workers ${cost['workers']:,.2f}"]
    if cost["requests"]:
        words.append(f"requests ${cost['requests']:,.2f}")
    if cost["storage_per_month"]:
        words.append(f"storage ${cost['storage_per_month']:,.2f} a month")
    return [f"cost     {', '.join(words)}", *_budget(found, cost["workers"])]


def _budget(found: _Planned, cost: float | None) -> list[str]:
    """How far the budget of one run goes, if it does not go to the end."""
    lines = []
    for key, (most, share) in _shares(found, cost).items():
        if share is not None and share < 1:
            shown = duration(most) if key == "stop_after" else f"{most:g}"
            lines.append(
                f"budget   {key}={shown} is enough for about {100 * share:.0f} %; the rest waits for later runs"
            )
    return lines


def _shares(found: _Planned, cost: float | None) -> dict[str, tuple[float, float | None]]:
    """By key of the budget: how much it allows, and the share of the work that it is enough for, None if not known."""
    config = found.job.config
    budget = ("stop_after", config.stop_after, found.forecast.seconds), ("max_cost", config.max_cost, cost)
    return {
        key: (most, None if needed is None else min(1.0, most / needed) if needed else 1.0)
        for key, most, needed in budget
        if most is not None
    }


def as_document(found: _Planned) -> dict[str, Any]:
    """The plan as one JSON object. Names and meanings of its fields stay; new ones may come."""
    plan, volume, expected, experience = found.plan, found.volume, found.forecast, found.experience
    work, requests = volume.in_all, expected.requests
    return {
        "output": str(found.job.storage),
        "num_videos": plan.num_videos,
        "num_to_label": plan.num_to_label,
        "num_done": plan.num_done,
        "num_no_prompts": plan.num_no_prompts,
        "num_refused": plan.num_refused,
        "listing": plan.kind_of_listing,
        "num_failing": volume.num_failing,
        "num_opened": volume.num_opened,
        "again": found.again.num_by_reason,
        "num_objects_reviewed": found.again.objects.num,
        "num_objects_leaving": found.again.objects.num_leaving,
        "difference": [line.strip() for line in found.again.difference.splitlines()],
        "needs_relabel": found.again.is_refused,
        "num_objects": None if found.objects_are_unknown else volume.num_to_label,
        "video_hours": work.video_seconds / 3600,
        "num_frames": volume.frames_in_all,
        "num_masks": None if found.objects_are_unknown else volume.masks_in_all,
        "num_workers": expected.machines.num_workers,
        "seconds": expected.seconds,
        "worker_seconds": expected.worker_seconds,
        "gpu_hours": expected.gpu_hours,
        "num_bytes": None if found.objects_are_unknown else [round(expected.room.least), round(expected.room.most)],
        "num_writes": None if requests is None else requests.num_writes,
        "num_reads": None if requests is None else requests.num_reads,
        "num_segments": None if requests is None else requests.num_segments,
        "dollars": found.dollars(),
        "budget": {
            key: {"most": most, "share": share}
            for key, (most, share) in _shares(found, found.dollars()["workers"]).items()
        },
        "measured": {"source": experience.source, "device": experience.device, "num_videos": experience.num_videos},
    }


def door(words: Sequence[str] | None = None) -> int:
    """The command: its exit code for these arguments, or for those of the command line."""
    set_up_logging()
    words = list(sys.argv[1:] if words is None else words)
    if any(word in ("--help", "-h") for word in words):
        say(HELP.rstrip())
        return ExitCode.DONE
    try:
        with ended_by_signals():
            check_not_hidden()
            found = _planned(words)
            say(json.dumps(as_document(found), indent=2) if found.arguments.format == "json" else as_text(found))
    except (ConfigError, InputError, NewerVersion, NoHistory, UnusableStore, StorageError, FileNotFoundError) as error:
        return explain(error)
    except KeyboardInterrupt:
        return ExitCode.STOPPED
    return ExitCode.DONE


def _planned(words: Sequence[str]) -> _Planned:
    check_surroundings(words)
    own_keys = {key.path for key in keys(PlanArguments)}
    own = [word for word in words if word.partition("=")[0] in own_keys]
    run_keys = {key.path for key in keys(JobConfig)}
    for key in (word.partition("=")[0] for word in words if word not in own):
        if key not in run_keys and (meant := get_close_matches(key, own_keys, n=1, cutoff=0.85)):
            raise ConfigError(f"unknown key {key}=: did you mean {meant[0]}=?")
    arguments = parse(PlanArguments, own)
    return make_plan(job_config(*split_job([word for word in words if word not in own])), arguments)


if __name__ == "__main__":
    leave_current_folder()
    sys.exit(door())

"""The steps after a run: compaction, report, exports, hooks. One that fails loses nothing of the run, and is told.

What a step has seen of the log is kept in the end document. A step is left out when the log has not grown since it
succeeded, so that a run with nothing to do costs nothing, and one that failed or was killed comes again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from pipeline.commits.compaction import Sizes
from pipeline.commits.run_document import RunDocument, StepDone
from pipeline.commits.snapshot import JobState
from pipeline.config.dates import check_placeholders, meant_date
from pipeline.config.fields import Group
from pipeline.config.fields import keys as keys_of
from pipeline.config.job_config import JobConfig
from pipeline.config.schedule_config import AfterConfig
from pipeline.errors import ConfigError
from pipeline.formats.handing_out import ReviewKeys
from pipeline.formats.registry import load
from pipeline.formats.selection import Content, Selection
from pipeline.output.targets import check_file, check_folder
from pipeline.pages.page import check_installed
from pipeline.redact import redact, redact_uri
from pipeline.schedule.processes import PLACES, Command, Ended, run
from pipeline.storage.uris import absolute_place, is_local
from pipeline.text import counted, one_line

_log = logging.getLogger(__name__)

KEYS_OF_EXPORTS = ("format", "to", "to_storage_options", "part_masks", "overwrite", "spool_dir", "cluster")
"""The keys of all exports, besides those that say what is selected and written."""

_SKIPPED_AFTER_FAILURE = "left out, because a step before it failed"
_NOTHING_NEW = "nothing new"


@dataclass(frozen=True)
class Step:
    """One step by a name that stays the same from night to night. A hook gets the end document, and needs success.

    `place` is where a report or an export is written tonight, without secrets. A step that `is_of_failures` is also
    taken after a night on which too many videos failed: the report, which says why they did.
    """

    name: str
    command: Command
    is_hook: bool = False
    place: str = ""
    is_of_failures: bool = False


def steps(config: JobConfig, state: JobState, now: datetime) -> list[Step]:
    """The steps that are configured, of a run that began `now`.

    `{date}` in `report` and in `to` of an export is the date of the run, as in its output. Compaction is among them
    only while more small segments lie there than `after.compact_above`.
    """
    after, output = config.after, str(config.output)
    date = meant_date(config.date, config.time_zone, now).isoformat()
    options = {} if is_local(output) else config.storage_options
    found = []
    if after.compact_above is not None and num_small(state) > after.compact_above:
        found.append(Step("compact", Command.of_maskmill("compact", {"output": output}, options)))
    if after.report is not None:
        keys: dict[str, Any] = {"output": output, "to": after.report.replace("{date}", date)}
        if config.price_per_hour is not None:
            keys["price_per_hour"] = config.price_per_hour
        command = Command.of_maskmill("report", keys, config.storage_options)
        name = f"report {redact_uri(after.report)}"
        found.append(Step(name, command, place=_told_place(keys["to"]), is_of_failures=True))
    for export in after.export:
        place = str(export["to"])
        keys = {"output": output, "overwrite": True, **export, "to": place.replace("{date}", date)}
        name = f"export {export['format']} {redact_uri(place)}"
        as_typed = _as_typed(str(export["format"]))
        command = Command.of_maskmill("export", keys, config.storage_options, as_typed)
        found.append(Step(name, command, place=_told_place(keys["to"])))
    return found + [Step(f"hook {n}", Command.of_a_user(line), True) for n, line in enumerate(after.hooks, 1)]


def _told_place(place: str) -> str:
    return redact_uri(absolute_place(place))


def check_steps(config: JobConfig) -> None:
    """Raises `ConfigError` for a step that is sure to fail, before a night's work: a package, a key, a place."""
    after, options = config.after, config.storage_options
    if after.report is not None:
        check_installed()
        check_placeholders("after.report", after.report)
        check_file(after.report, "report.html", options)
    for export in after.export:
        known = {*KEYS_OF_EXPORTS, *(name for part in _parts(str(export["format"])) for name in part.model_fields)}
        for key in map(str, export):
            if key.partition(".")[0] not in known:
                near = get_close_matches(key.partition(".")[0], known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
                raise ConfigError(f"after.export: unknown key {key} of format={export['format']}: {hint}")
        check_placeholders("to", str(export["to"]))
        own = export.get("to_storage_options")
        check_folder(str(export["to"]), options if own is None else own)
    _check_apart(after, str(config.output))


def _check_apart(after: AfterConfig, output: str) -> None:
    """Raises `ConfigError` where an export would delete an earlier one, or be refused for what lies in its folder."""
    folders = [str(export["to"]) for export in after.export]
    for number, folder in enumerate(folders):
        if _is_within(output, folder):
            raise ConfigError(
                f"after.export: to={redact_uri(folder)} holds output={redact_uri(output)}, and an export is alone in "
                "its folder: name another one"
            )
        for other in folders[:number]:
            if _is_within(folder, other) or _is_within(other, folder):
                raise ConfigError(
                    f"after.export: to={redact_uri(folder)} and to={redact_uri(other)} are one folder, or one lies in "
                    "the other: an export deletes what lies in its folder, so give each a folder of its own"
                )
        if after.report is not None and _is_within(after.report, folder):
            raise ConfigError(
                f"after.report={redact_uri(after.report)} lies in the folder of the export to={redact_uri(folder)}, "
                "which may hold nothing else: name another place"
            )


def _is_within(place: str, folder: str) -> bool:
    """Whether a place is this folder or lies in it."""
    inner, outer = (absolute_place(one) if is_local(one) else one.partition("?")[0] for one in (place, folder))
    return f"{inner.rstrip('/')}/".startswith(f"{outer.rstrip('/')}/")


def _parts(name: str) -> tuple[type[Group], ...]:
    """The groups of keys of an export. Raises `ConfigError` if there is no such format, or a package is missing."""
    return Selection, Content, ReviewKeys, load(name).options


def _as_typed(name: str) -> set[str]:
    """The keys of an export that its command takes letter by letter."""
    own = {key.path for part in _parts(name) for key in keys_of(part) if key.is_as_typed}
    return {*PLACES, "spool_dir", *own}


def num_small(state: JobState) -> int:
    """How many segments a compaction would take."""
    most = Sizes().small_bytes
    return sum(size.num_bytes < most for size in state.segments.values())


def are_due(found: Sequence[Step], config: JobConfig, last: RunDocument | None, next_entry: int) -> bool:
    """Whether any step has something to do. `last` is how the run before ended, `next_entry` the length of the log."""
    seen = _seen(last)
    return config.after.always or any(seen.get(step.name) != next_entry for step in found)


def take(found: Sequence[Step], document: RunDocument, most_seconds: float) -> list[StepDone]:
    """Take the steps in their order and say how each ended. Nothing is raised but `KeyboardInterrupt`."""
    done: list[StepDone] = []
    for step in found:
        if step.is_hook and any(one.exit_code for one in done):
            done.append(StepDone(step=step.name, message=_SKIPPED_AFTER_FAILURE))
            continue
        given = document.model_copy(update={"after": done}).to_json(indent=2) if step.is_hook else b""
        done.append(_taken(step, given, most_seconds))
    return done


def left_out(found: Sequence[Step], next_entry: int) -> list[StepDone]:
    """The steps of a run that has nothing new for any of them."""
    return [StepDone(step=step.name, message=_NOTHING_NEW, log_entry=next_entry) for step in found]


def seen_up_to(done: Sequence[StepDone], next_entry: int) -> list[StepDone]:
    """The same, with the length of the log that the steps have seen which succeeded."""
    return [one.model_copy(update={"log_entry": next_entry}) if one.exit_code == 0 else one for one in done]


def failed(done: Sequence[StepDone]) -> str:
    """Which steps failed, in a line; empty if none did."""
    bad = [f"{one.step} ({one.exit_code})" for one in done if one.exit_code]
    return f"{counted(len(bad), 'step')} after the run failed: {', '.join(bad)}" if bad else ""


def _seen(last: RunDocument | None) -> Mapping[str, int | None]:
    return {} if last is None else {one.step: one.log_entry for one in last.after}


def _taken(step: Step, given: bytes, most_seconds: float) -> StepDone:
    started = time.monotonic()
    _log.info("after the run: %s", step.name)
    try:
        ended = run(step.command, given, most_seconds)
    except OSError as error:
        ended = Ended(1, f"it cannot be started: {error.strerror}")
    seconds = round(time.monotonic() - started, 3)
    told = one_line(redact(ended.last_word.removeprefix("maskmill: ")), 300) if ended.code else ""
    if ended.code:
        _log.error("after the run: %s failed with %d: %s", step.name, ended.code, told)
    return StepDone(step=step.name, place=step.place, exit_code=ended.code, seconds=seconds, message=told)

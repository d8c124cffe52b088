"""The report of a job as one HTML page: gathers what it says, in bounded numbers, and renders it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.command import ExitCode
from pipeline.commits.job_record import JobRecord, read_record
from pipeline.config.command_line import as_words
from pipeline.errors import ConfigError
from pipeline.pages import job_figures, mask_charts
from pipeline.pages.charts import Part, parts
from pipeline.pages.mask_figures import WORTH_A_LOOK, MaskFigures, measure, rejected, without
from pipeline.pages.page import render
from pipeline.pages.thumbnails import StripMaker
from pipeline.pages.track_cards import Dealer
from pipeline.quality.reasons import Doubt
from pipeline.records import BAD, NO_RETRIES, Retries, Status
from pipeline.redact import redact
from pipeline.standing import JobStatus, read_status
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables
from pipeline.text import OBJECT, WARNING, Cause, counted

MOST_CAUSES = 20
MOST_CATEGORIES = 20
MOST_NEVER_VISIBLE = 50
MOST_MADE = 10
NUM_BEST = 8


@dataclass(frozen=True)
class PageOptions:
    """What the user asks of a report: how many doubtful tracks, the price of an hour of a worker, where videos lie."""

    top: int = 24
    price_per_hour: float | None = None
    videos_root: str | None = None
    pictures: bool = True


@dataclass(frozen=True)
class Failures:
    """Causes of one kind, and the command that labels what they hit again; it is empty where none would help.

    `given_up` says of how many videos the last run would not have done so; it is empty if those are none.
    """

    title: str
    causes: tuple[Cause, ...]
    num_left_out: int
    command: str
    given_up: str = ""


def job_page(storage: JobStorage, options: PageOptions, now: datetime | None = None) -> str:
    """The page.

    Raises:
        FileNotFoundError: there is no job, or nothing was committed.
        NewerVersion: a newer version of this program has written there.
        StorageError: the store does not answer.
        ConfigError: jinja2 is not installed.
    """
    status = read_status(storage)
    job = JobTables(storage, status.state)
    videos, tracks = job.videos().select(job_figures.VIDEO_COLUMNS), job.tracks().select(job_figures.TRACK_COLUMNS)
    sizes = _sizes(videos)
    reviewed = JobTables(storage, status.state, reviews=True)
    opinions = reviewed.opinions()
    kept = without(tracks, rejected(opinions))
    figures = measure(reviewed, tracks, sizes.get, max(options.top, NUM_BEST), opinions=opinions)
    record = _record(storage)
    maker = StripMaker(job, options.videos_root) if options.pictures else None
    num_never, never = job_figures.never_visible(kept, MOST_NEVER_VISIBLE)
    made = job_figures.made_by(videos)
    kinds = job_figures.categories(kept)
    return render(
        "report.html",
        output=str(storage),
        written_at=(now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
        status=status,
        tone=_tone(status),
        state=status.standing.sentence.partition(": "),
        sentence=_sentence(status, _num_labeled(tracks)),
        figures=figures,
        num_judged=len(opinions),
        num_rejected=tracks.num_rows - kept.num_rows,
        counts=_counts(status, tracks),
        times=(spent := job_figures.times(videos)),
        stages=_stages(spent),
        price=options.price_per_hour,
        failures=_failures(status, record),
        charts=mask_charts.charts(figures, kept),
        categories=kinds[:MOST_CATEGORIES],
        num_categories=len(kinds),
        worth_a_look=WORTH_A_LOOK,
        top=options.top,
        most_best=NUM_BEST,
        doubtful=Dealer(tracks, maker).cards(figures.worst[: options.top]),
        best=Dealer(tracks, maker, num_pictures=3, has_marks=False).cards(_sound(figures, options.top)),
        never=never,
        num_never=num_never,
        made=made[:MOST_MADE],
        num_made=len(made),
        record=record,
        settings=_settings(record),
    )


def _sizes(videos: pa.Table) -> dict[str, tuple[int, int]]:
    columns = (videos[name].to_pylist() for name in ("video_id", "height", "width"))
    return {one: (height, width) for one, height, width in zip(*columns, strict=True) if height and width}


def _record(storage: JobStorage) -> JobRecord | None:
    try:
        return read_record(storage)
    except ConfigError:
        return None  # the tables are what counts


def _tone(status: JobStatus) -> str:
    """The color of the state: `good`, `warn` or `bad`."""
    code = status.standing.exit_code
    if code is ExitCode.DONE:
        return "good"
    return "warn" if code in (ExitCode.OWNED, ExitCode.STOPPED) else "bad"


def _num_labeled(tracks: pa.Table) -> int:
    """How many objects have masks: an object that failed has a row and none."""
    return pc.sum(pc.equal(tracks["status"], Status.OK.value)).as_py() or 0


def _sentence(status: JobStatus, num_labeled: int) -> str:
    """The whole job in a sentence or two."""
    by_status = status.state.finished.num_by_status
    num_ok, num_bad = by_status[Status.OK], sum(by_status[kind] for kind in BAD)
    failed = f", {num_bad} failed" if num_bad else ""
    objects = counted(num_labeled, "object")
    masks = counted(sum(size.num_masks for size in status.state.segments.values()), "mask")
    reviews = status.reviews.in_words()
    reviewed = f" Reviews: {reviews}." if reviews else ""
    return f"{counted(num_ok, 'video')} labeled{failed}: {objects} with {masks}.{reviewed}"


def _counts(status: JobStatus, tracks: pa.Table) -> dict[str, Any]:
    state = status.state
    return {
        "videos": {kind.value: state.finished.num_by_status[kind] for kind in Status},
        "num_videos": len(state.finished),
        "num_planned": None if status.run is None else status.run.num_planned,
        "num_labeled": _num_labeled(tracks),
        "num_tracks_failed": tracks.num_rows - _num_labeled(tracks),
        "num_masks": sum(size.num_masks for size in state.segments.values()),
        "num_bytes": sum(size.num_bytes for size in state.segments.values()),
        "num_segments": len(state.segments),
    }


def _stages(spent: job_figures.Times) -> tuple[Part, ...]:
    return parts([(words, spent.stage_seconds[stage]) for stage, words in job_figures.STAGES])


def _failures(status: JobStatus, record: JobRecord | None) -> list[Failures]:
    """What failed, by what can be done about it: each kind has a command of its own."""
    kinds = (
        ("Videos that failed", Status.FAILED.value, "failed"),
        ("Videos in quarantine, because their workers died", Status.QUARANTINED.value, "quarantined"),
        ("Objects that failed in videos that did not", OBJECT, "failed"),
        ("Warnings", WARNING, ""),
    )
    found = []
    for title, kind, retry in kinds:
        causes = [_plainly(cause) for cause in status.causes.most_frequent(kind)]
        if causes:
            left_out = sum(cause.count for cause in causes[MOST_CAUSES:])
            retries = status.retries(kind)
            command = _again(record, retry, retries) if retry else ""
            found.append(Failures(title, tuple(causes[:MOST_CAUSES]), left_out, command, _given_up(retries)))
    return found


def _given_up(retries: Retries) -> str:
    if not retries.num_given_up:
        return ""
    have, them = ("has", "it") if retries.num_given_up == 1 else ("have", "them")
    return (
        f"{counted(retries.num_given_up, 'video')} of these {have} ended badly as often as "
        f"max_attempts={retries.max_attempts} allows. The command allows one more attempt; another file or other "
        f"prompts let {them} be tried again as well."
    )


def _plainly(cause: Cause) -> Cause:
    return replace(cause, message=redact(cause.message))


def _again(record: JobRecord | None, retry: str, retries: Retries) -> str:
    """The command of the job's last run, with `retry=`, and one attempt more where videos have used all of them up."""
    allowed = retries.most_failures + 1 if retries.num_given_up else retries.max_attempts
    more = [f"max_attempts={allowed}"] if retries.num_given_up or allowed != NO_RETRIES.max_attempts else []
    if record is None:
        return " ".join(["python -m pipeline.run …", *more, f"retry={retry}"])
    words = [word for word in as_words(record.config) if not word.startswith("max_attempts=")]
    return shlex.join(["python", "-m", "pipeline.run", *words, *more, f"retry={retry}"])


def _sound(figures: MaskFigures, top: int) -> list[Doubt]:
    """The best tracks that are not shown as doubtful, one of each video."""
    shown = {(doubt.video_id, doubt.object_id) for doubt in figures.worst[:top]}
    found: dict[str, Doubt] = {}
    for doubt in figures.best:
        if (doubt.video_id, doubt.object_id) not in shown:
            found.setdefault(doubt.video_id, doubt)
    return list(found.values())[:NUM_BEST]


def _settings(record: JobRecord | None) -> list[tuple[str, str]]:
    """What changes masks and is the same for all videos, by key."""
    fingerprint: Mapping[str, Any] = {} if record is None else record.fingerprint
    return [
        (key, "–" if value is None else str(value)) for key, value in fingerprint.items() if key != "schema_version"
    ]

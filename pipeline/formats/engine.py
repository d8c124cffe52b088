"""Runs an export: plans it, has its parts written here or by several processes, joins them, writes the manifest.

A part that is written is not written again, so that a killed export goes on where it was. Nothing of a part counts
before its mark is there, and nothing of the export before its manifest is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pipeline import tables
from pipeline.errors import ConfigError, StorageError, UnusableStore
from pipeline.formats.folder import VIDEOS, ExportFolder, PartFolder, Written
from pipeline.formats.handing_out import ForReview
from pipeline.formats.losses import Losses, NotHashed
from pipeline.formats.manifest import manifest, video_record
from pipeline.formats.plan import Plan, Task
from pipeline.formats.planning import make_plan
from pipeline.formats.registry import MadeFormat
from pipeline.formats.selection import Content, Selection
from pipeline.formats.source import ExportVideo, MaskSource
from pipeline.formats.table_spool import Spools
from pipeline.reviews.handouts import write_handout
from pipeline.storage.atomic_files import spool_errors
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.scratch import WorkerFolder
from pipeline.tables import JobTables
from pipeline.text import ProgressLine, counted

_log = logging.getLogger(__name__)
_RECORDS = "manifest_videos"
_HANDED_OUT = "handed_out"
_MOST_VIDEOS = 2_000
_LETTERS_OF_ID = 16


@dataclass(frozen=True)
class ExportJob:
    """What is exported, how and to where. It travels to the processes that write."""

    output: str
    storage_options: dict[str, Any]
    format: MadeFormat
    selection: Selection
    content: Content
    folder: ExportFolder
    spool_dir: str | None = None
    review: ForReview | None = None

    def open(self) -> JobTables:
        """The tables that are exported: those of now, or as they were at the end of a round. Raises `NoRound`."""
        return tables.open(self.output, self.storage_options, round=self.selection.round)

    def keys(self) -> dict[str, Any]:
        """The options that make an export what it is."""
        return {
            **self.format.options.model_dump(mode="json"),
            # An export of an earlier program has no such key, and is the same one.
            **self.selection.model_dump(mode="json", exclude=None if self.selection.round else {"round"}),
            **self.content.model_dump(mode="json", exclude={"videos_root", "missing"}),
            **({} if self.review is None else self.review.keys()),
        }


class PartDone(NamedTuple):
    """A part that is written."""

    number: int
    num_videos: int
    num_masks: int


class PartWriter:
    """Writes one part after the other in one process, with a folder of its own in `spool_dir` on local disk.

    Folders that killed writers and workers left are deleted first.
    """

    def __init__(self, job: ExportJob, opened: JobTables | None = None) -> None:
        self._job = job
        opened = opened or job.open()
        with spool_errors(Path(job.spool_dir or tempfile.gettempdir())):
            self._folder = WorkerFolder(job.spool_dir)
        selection, place = job.selection, self._folder.path
        self._source = MaskSource(
            opened, job.content, selection.min_area, place, job.storage_options, review=job.review
        )

    def work(self, task: Task) -> PartDone:
        """Write a part and mark it as written. Raises what the writer raises."""
        losses, counts = Losses(), {"videos": 0, "masks": 0, "frames": 0}
        not_hashed = NotHashed()
        with PartFolder(self._job.folder, task.number) as out:

            def each() -> Iterator[ExportVideo]:
                for video in self._source.videos(task.videos, task.handout):
                    yield video
                    for row in [] if video.review is None else video.review.rows:
                        out.append(_HANDED_OUT, row)
                    if self._job.content.hash_frames and (why := video.hash_frames()):
                        not_hashed.add(video.video_id, why)
                    out.append(_RECORDS, video_record(video))
                    losses.merge(video.losses.as_document())
                    counts["videos"] += 1
                    counts["masks"] += video.num_masks
                    counts["frames"] += len(video.frame_indexes)

            self._job.format.writer.write_part(each(), out)
            if counts["videos"] != len(task.videos):
                raise AssertionError(f"{self._job.format.name} has written {counts['videos']} videos of a part")
            counts["tracks"] = sum(len(video.tracks) for video in task.videos)
            said = {"lost": losses.as_document(), "not_hashed": not_hashed.as_document()}
            out.finish({**said, "counts": counts, "split": task.videos[0].split})
        return PartDone(task.number, counts["videos"], counts["masks"])

    def close(self) -> None:
        """Delete the folder."""
        self._folder.close()


class PartWriters(Protocol):
    """Where parts are written: in this process, or in several that `pipeline.cluster` runs."""

    def run(self, tasks: Iterable[Task]) -> Iterator[PartDone]:
        """Do the tasks, in any order; each is asked for when there is room for it, and answered when it is done."""


class OnePartWriter:
    """Writes in this process, one part after the other."""

    def __init__(self, job: ExportJob, opened: JobTables) -> None:
        self._job = job
        self._opened = opened

    def run(self, tasks: Iterable[Task]) -> Iterator[PartDone]:
        """See `PartWriters`."""
        with contextlib.closing(PartWriter(self._job, self._opened)) as writer:
            yield from map(writer.work, tasks)


class Exported(NamedTuple):
    """What an export did; lines for people say what it left out and lost. `was_there`: it was whole before.

    `splits` are lines too, where there are several; `not_hashed` tells which videos have no hashes of their frames.
    """

    num_videos: int
    num_tracks: int
    num_masks: int
    splits: list[str]
    left_out: list[str]
    lost: list[str]
    not_hashed: str
    was_there: bool


def export(
    job: ExportJob,
    part_masks: int,
    overwrite: bool,
    writers: Callable[[ExportJob, JobTables], PartWriters] = OnePartWriter,
) -> Exported:
    """Write an export, or what is left of one that was killed. `part_masks` bounds a part, and a shard with it.

    Raises:
        ConfigError: something of the keys does not fit the job, the folder or the format.
        StorageError: the store does not answer or is full; the same call goes on.
    """
    opened = job.open()
    with make_plan(opened, job.selection, job.content, job.storage_options, Spools(job.spool_dir), job.review) as plan:
        return _export(job, plan, part_masks, overwrite, lambda: writers(job, opened))


def _export(
    job: ExportJob, plan: Plan, part_masks: int, overwrite: bool, writers: Callable[[], PartWriters]
) -> Exported:
    writer = job.format.writer
    if job.content.frames not in writer.frames:
        raise ConfigError(
            f"frames={job.content.frames}: programs that read {job.format.name} look for other files; give frames="
            f"{' or '.join(writer.frames)}"
        )
    writer.check(plan)
    _check_review(job)
    parts = {"part_masks": part_masks, "part_videos": _MOST_VIDEOS}
    keys = {"format": job.format.name, **parts, **job.keys(), **writer.reads()}
    identity = json.loads(json.dumps({**keys, "plan": plan.digest}))
    if job.review is not None:
        plan.handout = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:_LETTERS_OF_ID]
    with contextlib.ExitStack() as stack:
        try:
            taken = stack.enter_context(job.folder.taken(identity, overwrite))
        except UnusableStore as error:
            raise ConfigError(str(error).replace("output=", "to=", 1)) from error
        written = None if taken.is_whole else _write(job, plan, identity, part_masks, writers(), taken.check)
        num_masks = job.folder.num_masks
    lost: list[str] = []
    splits: list[str] = []
    not_hashed = ""
    if written is not None:
        lost, not_hashed = written.losses.lines(), written.not_hashed.line()
        splits = [_split_line(split, written.splits.get(split, Counter())) for split in plan.splits]
    left_out = plan.left_out.lines()
    sizes = plan.num_videos, plan.num_tracks, num_masks
    return Exported(*sizes, splits if len(splits) > 1 else [], left_out, lost, not_hashed, written is None)


def _check_review(job: ExportJob) -> None:
    """Raises `ConfigError` where nobody can review what the format says."""
    if job.review is None:
        return
    able = job.format.writer
    if not able.can_review:
        raise ConfigError(
            f"format={job.format.name} does not come back from reviews: give format=cvat_images, cvat_video or "
            "label_studio, or leave out review= and queue="
        )
    if job.review.around is not None and not able.can_cut:
        raise ConfigError(f"around=: in format={job.format.name} videos are looked at as a whole; leave it out")


def _note_handout(job: ExportJob, handout: str) -> None:
    """Keep what goes out below the output, against which what comes back is held."""
    assert job.review is not None
    storage = JobStorage(job.output, job.storage_options)
    # The name follows from what goes out, so that a store without create-only writes takes it as well.
    storage.single_driver = not storage.supports_create
    rows = (json.loads(line) for line in job.folder.stream(_HANDED_OUT))
    write_handout(
        storage,
        handout,
        {"format": job.format.name, "is_whole": job.review.around is None},
        ({**row, "labeled_at": row["labeled_at"] and datetime.fromisoformat(row["labeled_at"])} for row in rows),
    )


def _split_line(split: str, counts: Counter[str]) -> str:
    sizes = ", ".join(counted(counts[f"{word}s"], word) for word in ("video", "track", "mask"))
    return f"{split}: {sizes}"


class _PartsGone(ConfigError):
    """What parts have kept for the files of all videos is gone."""


def _write(
    job: ExportJob,
    plan: Plan,
    identity: Mapping[str, Any],
    part_masks: int,
    writers: PartWriters,
    check: Callable[[], None],
) -> Written | None:
    """Write what is left of the export. Returns what its parts said; None if another process has done it.

    One that runs the same command and is done before deletes what parts keep. Raises `ConfigError` where that is gone
    otherwise: files of all videos would lack what the parts said. `check` raises where other exports may have begun.
    """
    try:
        written = _join_parts(job, plan, _write_parts(plan, part_masks, job.folder, writers, check))
    except (_PartsGone, FileNotFoundError, StorageError) as error:
        is_gone = not isinstance(error, StorageError) or isinstance(error.__cause__, FileNotFoundError)
        if is_gone and job.folder.is_whole(identity):
            job.folder.clear()
            return None
        raise
    check()
    job.folder.finish(identity, manifest(job.format.name, job.keys(), plan, written, job.output))
    return written


def _join_parts(job: ExportJob, plan: Plan, num_parts: int) -> Written:
    """Write what holds something of all parts."""
    written = job.folder.all_written()
    try:
        if len(written.streams) != num_parts:
            raise FileNotFoundError(f"{counted(len(written.streams), 'part')} of {num_parts}")
        job.format.writer.finish(plan, job.folder)
        if plan.handout is not None:
            _note_handout(job, plan.handout)
        job.folder.write(VIDEOS, job.folder.chunks(_RECORDS))
    except FileNotFoundError as error:
        raise _PartsGone(
            f"to={job.folder.storage}: parts of this export are gone ({error}), because another process writes or "
            "deletes there: end that one, and run the same command again"
        ) from error
    return written


def _write_parts(
    plan: Plan, part_masks: int, folder: ExportFolder, writers: PartWriters, check: Callable[[], None]
) -> int:
    """Write the parts that are left. Returns how many parts there are in all."""
    done = folder.parts_done()
    if done.streams:
        _log.info("%s written already: going on with the others", counted(len(done.streams), "part"))
    line = ProgressLine(plan.num_videos, "video", done.counts["videos"])
    num_parts = 0

    def left() -> Iterator[Task]:
        nonlocal num_parts
        for task in plan.tasks(part_masks, _MOST_VIDEOS):
            num_parts += 1
            if task.number not in done.streams:
                yield task

    try:
        for part in writers.run(left()):
            check()
            line.advance(part.num_videos)
    finally:
        line.close()
    return num_parts


def folder_of(
    uri: str, storage_options: dict[str, Any] | None, spool_dir: str | None, *, has_helpers: bool
) -> ExportFolder:
    """The folder `to=`. `has_helpers`: parts are written by other processes."""
    return ExportFolder(JobStorage(uri, storage_options), spool_dir, has_helpers=has_helpers)

"""Labels a few videos of a plan in this process, to find out how long they take. Nothing is written to the output."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pyarrow as pa

from pipeline.check.estimate import Experience
from pipeline.check.look import Looked
from pipeline.check.room import OnDisk
from pipeline.cluster.executor import make_worker
from pipeline.commits.snapshot import SegmentSize
from pipeline.driver.executors import worker_settings
from pipeline.driver.job import Job
from pipeline.errors import ConfigError, StorageError, describe
from pipeline.output.schema import TABLES
from pipeline.output.segments import read_whole
from pipeline.records import Report, Segment, WorkItem
from pipeline.storage.job_storage import JobStorage


def chosen(looked: Sequence[Looked], number: int) -> list[WorkItem]:
    """The shorter ones of the opened videos of which nothing says that they will fail, evenly spaced among them."""
    good = [one for one in looked if one.opened is not None and not one.fails and one.opened.num_labeled]
    good.sort(key=lambda one: one.opened.num_labeled or 0 if one.opened else 0)
    short = good[: max(number, len(good) // 2)]
    step = max(1, len(short) // max(1, number))
    return [one.item for one in islice(short[::step], number)]


def probe(job: Job, items: Sequence[WorkItem], most_seconds: float) -> Experience:
    """Label these videos with the job's model on this machine, into a folder that is deleted again.

    Videos that are not finished after `most_seconds` are left out.

    Raises:
        ConfigError: the model does not load here, or no video was finished.
        StorageError: the store of the videos does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="maskmill-probe-", dir=job.config.worker.spool_dir) as folder:
        storage = JobStorage(str(Path(folder) / "probe"))
        here = replace(job, storage=storage, config=job.config.model_copy(update={"output": storage.uri}))
        segments = _label(here, items, most_seconds)
        videos = pa.concat_tables(
            [TABLES["videos"].empty_table(), *(read_whole(storage, "videos", segment.name) for segment in segments)]
        )
    found = Experience.measured(videos, OnDisk.of(map(_size, segments)), "{videos} labeled here as a probe")
    if found.rates is None:
        messages = [text for text in videos["message"].to_pylist() if text]
        why = f": {messages[0]}" if messages else f" within {most_seconds:g} s (probe_seconds)"
        raise ConfigError(f"probe={len(items)}: no video was labeled{why}. Without probe= nothing is labeled")
    return found


def _size(segment: Segment) -> SegmentSize:
    rows = segment.num_rows
    return SegmentSize(rows["masks"], rows["tracks"], rows["videos"], segment.num_bytes)


def _label(job: Job, items: Sequence[WorkItem], most_seconds: float) -> list[Segment]:
    worker = make_worker(worker_settings(job), "probe")
    with contextlib.closing(worker):
        try:
            worker.setup()
        except StorageError:
            raise
        except Exception as error:
            raise ConfigError(f"probe={len(items)}: the model does not load here: {describe(error)}") from error
        segments: list[Segment] = []
        deadline, offers = time.monotonic() + most_seconds, tuple(items)
        while True:
            report: Report = worker.work(offers)
            segments += report.segments
            if report.storage_errors:
                raise StorageError(report.storage_errors[0])
            if report.end is not None:
                raise ConfigError(f"probe={len(items)}: {report.end.reason}")
            if not report.in_flight or time.monotonic() > deadline:
                return [*segments, *worker.drain().segments]
            offers = ()

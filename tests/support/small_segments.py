"""A job of many small segments, to be merged, and what a reader finds in it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from pipeline import tables
from pipeline.commits.log import CommitLog
from pipeline.output.schema import SORT_KEYS
from pipeline.records import Status
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import driver, labeled, publish


def rows(storage: JobStorage) -> dict[str, list[dict[str, object]]]:
    """All rows of all tables through the log; without the name of the segment, which is what changes."""
    job = tables.open(storage.uri, storage.storage_options)
    keys = [(key, "ascending") for key in SORT_KEYS["masks"]]
    found = {"masks": job.masks().to_table().sort_by(keys), "tracks": job.tracks(), "videos": job.videos()}
    found["videos"] = found["videos"].drop_columns(["segment"])
    return {name: table.to_pylist() for name, table in found.items()}


def commit_segments(storage: JobStorage, spool: Path, num_segments: int) -> CommitLog:
    """A job of as many segments, of one or two videos each, their ids in no order; every seventh video failed."""
    log, keeper = driver(storage, spool)
    published = []
    for number in range(num_segments):
        names = [f"video-{number * 37 % num_segments:05d}{suffix}" for suffix in ("", "b")[: 1 + number % 2]]
        status = Status.FAILED if number % 7 == 3 else Status.OK
        published.append(publish(storage, spool, *(labeled(name, 2, (1,), status) for name in names)))
        if len(published) == 25 or number == num_segments - 1:
            keeper.commit(published)
            published = []
    return log


def glob_rows(storage: JobStorage, table: str) -> int:
    """Rows that a plain glob finds, without the log."""
    return sum(pq.read_metadata(path).num_rows for path in Path(storage.uri, table).glob("*.parquet"))

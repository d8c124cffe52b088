"""`prune=true`: what reviewers said of videos that leave a job goes with them."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.output.layout import REVIEWS
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.parquet import parquet_bytes


def drop_others(storage: JobStorage, is_kept: Callable[[str], bool]) -> int:
    """Drop the rows of all videos but those for which `is_kept` says yes; return how many rows that were.

    A file keeps its name, by which the items of this run know it. One without rows is deleted. Raises `InputError` for
    a file that is no table of reviews, `StorageError` if the store does not answer; call again.
    """
    num_dropped = 0
    for path in sorted(stored.path for stored in storage.listing(REVIEWS)):
        (data,) = storage.read_existing([path])
        if data is None:
            continue
        try:
            rows = pq.read_table(pa.BufferReader(data))
            ids = rows["video_id"].to_pylist()
        except (pa.ArrowException, KeyError) as error:
            raise InputError(f"{storage}/{path} is no table of reviews: {error}") from error
        kept = pa.array([is_kept(video_id) for video_id in ids], pa.bool_())
        if kept.true_count == len(ids):
            continue
        num_dropped += len(ids) - kept.true_count
        if kept.true_count:
            storage.replace(path, parquet_bytes(rows.filter(kept)))
        else:
            storage.delete([path])
    return num_dropped

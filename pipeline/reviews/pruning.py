"""`prune=true`: what reviewers said of videos that leave a job goes with them."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.output.layout import REVIEWS, is_claim, is_table
from pipeline.reviews.digests import delete_digests
from pipeline.reviews.object_ids import claimed_video
from pipeline.reviews.verdicts import VERDICT_FILES
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.parquet import parquet_bytes


def drop_others(storage: JobStorage, is_kept: Callable[[str], bool]) -> int:
    """Drop the rows of all videos but those for which `is_kept` says yes; return how many rows that were.

    A file keeps its name, by which the items of this run know it. One without rows is deleted, and so are notes that a
    reviewer has taken an object id. Other files are left alone. Raises `InputError` for a table that is none of
    reviews, `StorageError` if the store does not answer; call again.
    """
    left: dict[str, pa.Table] = {}
    gone: list[str] = []
    num_dropped = 0
    paths = [stored.path for stored in storage.listing(REVIEWS)]
    for path, data in zip(paths, storage.read_existing(paths), strict=True):
        if data is None:
            continue
        try:
            if is_claim(path) and not is_kept(claimed_video(data)):
                gone.append(path)
            if not is_table(path):
                continue
            with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
                rows = file.read(use_threads=False)
            kept = pa.array([is_kept(video_id) for video_id in rows["video_id"].to_pylist()], pa.bool_())
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise InputError(f"{storage}/{path} is no table of reviews: {error}") from error
        if kept.true_count < len(kept):
            num_dropped += len(kept) - kept.true_count
            left[path] = rows.filter(kept)
    if left:
        delete_digests(storage, VERDICT_FILES)
    for path, rows in left.items():
        if rows.num_rows:
            storage.replace(path, parquet_bytes(rows))
    storage.delete([*gone, *(path for path, rows in left.items() if not rows.num_rows)])
    return num_dropped

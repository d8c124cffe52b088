"""`_waiting.parquet`: videos that runs with a budget have left, and since when each waits.

The next run with a budget takes those first that have waited longest. The list holds unfinished videos only, so that it
grows with what waits and not with what the job knows. Where it is lost, nothing but this order is lost with it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.arrays import Int64Array
from pipeline.ids import IdIndex
from pipeline.output.layout import WAITING
from pipeline.storage.job_storage import JobStorage


@dataclass(frozen=True)
class WaitingList:
    """`N` videos by id, `[N]`, and since when each waits, in seconds of Unix time, `[N]`."""

    ids: pa.Array
    since: Int64Array

    def since_of(self, ids: pa.Array, now: datetime) -> Int64Array:
        """Since when each of `M` videos waits, `[M]`; those that are not on the list wait from now on."""
        found = np.full(len(ids), int(now.timestamp()), np.int64)
        if len(self.ids):
            places = IdIndex(self.ids).find(ids)
            found[places >= 0] = self.since[places[places >= 0]]
        return found


NOBODY = WaitingList(pa.nulls(0, pa.large_string()), np.zeros(0, np.int64))


def read_waiting(storage: JobStorage) -> WaitingList:
    """The list; empty if there is none, or none that can be read. Raises `StorageError` if the store is away."""
    try:
        rows = pq.read_table(io.BytesIO(storage.read(WAITING)), columns=["video_id", "since"])
        seconds = rows["since"].cast(pa.timestamp("s", "UTC")).cast(pa.int64()).to_numpy()
        return WaitingList(rows["video_id"].combine_chunks().cast(pa.large_string()), np.asarray(seconds, np.int64))
    except (OSError, pa.ArrowException, KeyError):  # Arrow says of damaged bytes one or the other
        return NOBODY


def write_waiting(storage: JobStorage, waiting: WaitingList) -> None:
    """Replace the list; delete it when nobody waits. Raises `StorageError` if the store does not answer."""
    if not len(waiting.ids):
        storage.delete([WAITING])
        return
    since = pa.array(waiting.since, pa.int64()).cast(pa.timestamp("s", "UTC"))
    data = io.BytesIO()
    # Ids of one folder begin alike: without what they share, a million of them take a few megabytes.
    pq.write_table(
        pa.table({"video_id": waiting.ids, "since": since}),
        data,
        compression="zstd",
        use_dictionary=["since"],
        column_encoding={"video_id": "DELTA_BYTE_ARRAY"},
    )
    storage.replace(WAITING, data.getvalue())


def longest_waiting_first(since: Int64Array) -> Sequence[Int64Array]:
    """Places of `N` videos in groups that wait equally long, the longest first, each in its order."""
    order = np.argsort(since, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(since[order])) + 1) if len(order) else []


def as_time(seconds: int) -> datetime:
    """A second of Unix time as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)

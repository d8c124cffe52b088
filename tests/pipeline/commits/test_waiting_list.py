"""Videos that wait, and since when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from pipeline.commits.waiting_list import WaitingList, longest_waiting_first, read_waiting, write_waiting
from pipeline.storage.job_storage import JobStorage

NOW = datetime(2026, 11, 2, 2, 0, tzinfo=UTC)


def since(storage: JobStorage, *video_ids: str) -> list[int]:
    """How many days each of these waits."""
    found = read_waiting(storage).since_of(pa.array(video_ids, pa.large_string()), NOW)
    return [int((NOW - datetime.fromtimestamp(second, UTC)) / timedelta(days=1)) for second in found.tolist()]


def keep(storage: JobStorage, **days: int) -> None:
    seconds = [int((NOW - timedelta(days=number)).timestamp()) for number in days.values()]
    write_waiting(storage, WaitingList(pa.array(days.keys(), pa.large_string()), np.array(seconds)))


def test_a_video_keeps_its_place_and_a_new_one_waits_from_now_on(disk_storage: JobStorage) -> None:
    assert since(disk_storage, "a", "b") == [0, 0]
    keep(disk_storage, b=3, a=1, gone=9)
    assert since(disk_storage, "new", "a", "b") == [0, 1, 3]


def test_when_nobody_waits_nothing_is_kept(disk_storage: JobStorage) -> None:
    keep(disk_storage, a=1)
    keep(disk_storage)
    assert disk_storage.read_existing(["_waiting.parquet"]) == [None]


def test_a_list_that_cannot_be_read_costs_the_order_only(disk_storage: JobStorage) -> None:
    keep(disk_storage, a=3)
    data = disk_storage.read("_waiting.parquet")
    disk_storage.replace("_waiting.parquet", data[:4] + b"\xff" * 8 + data[12:])
    assert since(disk_storage, "a") == [0]
    disk_storage.replace("_waiting.parquet", b"PAR1 and then nothing")
    assert since(disk_storage, "a") == [0]


def test_those_that_wait_equally_long_stay_in_their_order() -> None:
    groups = longest_waiting_first(np.array([5, 2, 5, 9, 2]))
    assert [group.tolist() for group in groups] == [[1, 4], [0, 2], [3]]
    assert list(longest_waiting_first(np.array([], np.int64))) == []

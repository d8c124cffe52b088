"""The order of videos from night to night, when a night can label a part of them only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.driver.turns import keep_waiting, turns_of
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.plan import Plan, make_plan
from pipeline.output.layout import WAITING
from pipeline.records import Status, WorkItem
from pipeline.storage.job_storage import JobStorage

FIRST = datetime(2026, 11, 2, 2, 0, tzinfo=UTC)
A_NIGHT = 4
"""As many come, and as many can be labeled."""


class Nights:
    """New videos each night, whose ids sort before all earlier ones and which are longer than these."""

    def __init__(self, folder: Path, storage: JobStorage) -> None:
        self.storage = storage
        self._folder = folder
        self._seconds: dict[str, float] = {}
        self._done: dict[str, Finished] = {}
        self._came: dict[str, int] = {}

    def night(self, number: int, order: Callable[[Plan, datetime], Iterator[WorkItem]]) -> list[str]:
        """Label some of the videos; those that were labeled."""
        for n in range(A_NIGHT if number else 2 * A_NIGHT):
            name = f"{1000 - 10 * number - n:04}"
            self._seconds[name], self._came[name] = 10.0 * number + n, number
        now = FIRST + timedelta(days=number)
        plan = self._plan()
        labeled = list(islice(order(plan, now), A_NIGHT))
        self._done |= {item.video_id: Finished(item.prompt_hash) for item in labeled}
        keep_waiting(plan.again(self._done), self.storage, now)
        return [item.video_id for item in labeled]

    def longest_wait(self, now: int) -> int:
        """For how many nights a video waits that is not labeled."""
        return max(now - came for name, came in self._came.items() if name not in self._done)

    def _plan(self) -> Plan:
        names = sorted(self._seconds)
        videos = {"video_id": names, "uri": names, "duration_seconds": [self._seconds[name] for name in names]}
        prompts = {"video_id": names, "object_id": [1] * len(names), "frame_index": [0] * len(names)}
        boxes = pa.array([[0.0, 0.0, 5.0, 5.0]] * len(names), pa.list_(pa.float64()))
        pq.write_table(pa.table(videos), self._folder / "videos.parquet")
        pq.write_table(pa.table(prompts | {"box_xyxy": boxes}), self._folder / "prompts.parquet")
        return make_plan(
            InputTables(str(self._folder / "videos.parquet"), str(self._folder / "prompts.parquet")), self._done
        )


class Finished:
    """A video as the log knows it."""

    status, source_hash = Status.OK, ""

    def __init__(self, prompt_hash: str) -> None:
        self.prompt_hash = prompt_hash


@pytest.fixture
def nights(tmp_path: Path, disk_storage: JobStorage) -> Nights:
    return Nights(tmp_path, disk_storage)


def fair(nights: Nights) -> Callable[[Plan, datetime], Iterator[WorkItem]]:
    return lambda plan, now: plan.items(turns=turns_of(plan, nights.storage, now))


def test_without_turns_the_first_videos_would_wait_for_ever(nights: Nights) -> None:
    for number in range(6):
        nights.night(number, lambda plan, now: plan.items())
    assert nights.longest_wait(5) == 5


@pytest.mark.slow
def test_nobody_waits_longer_than_the_work_before_it_takes(nights: Nights) -> None:
    for number in range(6):
        nights.night(number, fair(nights))
        assert nights.longest_wait(number) <= 1


def test_within_a_night_long_videos_still_come_first(nights: Nights) -> None:
    assert nights.night(0, fair(nights)) == ["0993", "0994", "0995", "0996"]
    assert nights.night(1, fair(nights)) == ["0997", "0998", "0999", "1000"]
    assert nights.night(2, fair(nights)) == ["0987", "0988", "0989", "0990"]


def test_a_store_that_does_not_take_the_list_costs_the_order_only(
    nights: Nights, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "job" / WAITING / "in the way").mkdir(parents=True)
    nights.storage = JobStorage(str(tmp_path / "job"))
    nights.night(0, lambda plan, now: plan.items())
    assert "what waits is not written down, so that the next run takes its usual order" in caplog.text

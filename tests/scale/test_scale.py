"""The scheduler's cost grows with the number of videos and not faster: a small edition of `python -m tests.scale`."""

from __future__ import annotations

import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.commits.log import CommitLog, RollUpPolicy
from pipeline.storage.job_storage import JobStorage
from tests.pipeline.commits.test_snapshot import segment
from tests.scale import known, outputs, steps, watched
from tests.scale.inputs import write_tables
from tests.support.calls import num_calls

pytestmark = pytest.mark.slow

FEW, MORE, MANY = 500, 1_000, 2_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def of(folder: Path, step: Callable[[Path, int], dict[str, Any]], num_videos: int) -> dict[str, Any]:
    """The figures of a step of a job with so many videos, and how many functions were called."""
    where = folder / str(num_videos)
    if not where.exists():
        write_tables(where / "in", num_videos)
    figures: dict[str, Any] = {}
    calls = num_calls(lambda: figures.update(step(where, num_videos)))
    return {**figures, "calls": calls}


def check_growth(calls: dict[int, int], most: float) -> None:
    """A further video costs at most so many calls, and among many videos no more than among few."""
    few, many = ((calls[more] - calls[less]) / (more - less) for less, more in ((FEW, MORE), (MORE, MANY)))
    assert 0 < many <= most
    assert many <= 1.5 * few


def test_a_job_of_more_videos_costs_as_much_more(folder: Path) -> None:
    """320 calls for a further video take 0.2 ms: a thousand videos a second are five times as long."""
    of(folder, steps.label, 100)  # what is imported once
    found = {num_videos: of(folder, steps.label, num_videos) for num_videos in (FEW, MORE, MANY)}
    check_growth({num_videos: one["calls"] for num_videos, one in found.items()}, 1000)
    assert found[MANY]["written_megabytes"] / MANY <= 2 * found[FEW]["written_megabytes"] / FEW


def test_resuming_costs_in_proportion_and_adopts_what_was_published(folder: Path) -> None:
    calls = {}
    for num_videos in (100, FEW, MORE, MANY):  # the first time imports
        write_tables(folder / str(num_videos) / "in", num_videos)
        for step in (steps.label, steps.stage, steps.more):
            step(folder / str(num_videos), num_videos)
        calls[num_videos] = of(folder, steps.resume, num_videos)["calls"]
        state = CommitLog(JobStorage(str(folder / str(num_videos) / "out")), "reader").load()
        assert len(state.finished) == num_videos + steps.ADOPTED * 20
    check_growth(calls, 200)


def test_a_driver_needs_little_memory_for_a_further_video(folder: Path) -> None:
    """Plan, log and dispatch together; a million videos have to fit into a gigabyte.

    About 400 bytes, and more on a busy machine, because reports wait while the thread of the commits gets no time.
    """
    write_tables(folder / "200" / "in", 200)
    steps.label(folder / "200", 200)  # what is imported and compiled once
    peaks = {}
    for num_videos in (9_000, 12_000):  # more than fit into one batch of rows, which takes memory once
        where = folder / str(num_videos)
        write_tables(where / "in", num_videos)
        tracemalloc.start()
        steps.label(where, num_videos)
        peaks[num_videos] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (peaks[12_000] - peaks[9_000]) / 3_000 <= 1000


def test_a_run_that_finds_nothing_to_do_costs_little_for_each_known_video(folder: Path) -> None:
    """Ten million of them are to cost a minute, 6 µs each: a dozen calls."""
    calls = {}
    for num_videos in (2_000, 2_000, 12_000):  # the first run imports and compiles
        where = folder / f"known-{num_videos}"
        if not where.exists():
            known.finish_all(where, num_videos)
        calls[num_videos] = num_calls(lambda where=where, num=num_videos: steps.again(where, num))  # type: ignore[misc]
    assert (calls[12_000] - calls[2_000]) / 10_000 <= 20


@pytest.fixture
def memory_job() -> Iterator[JobStorage]:
    """A store whose writes cost nothing."""
    storage = JobStorage(f"memory://scale-{uuid.uuid4().hex}", single_driver=True)
    yield storage
    storage.delete(storage.tree("_log"))


def test_what_a_log_writes_stays_in_proportion_to_its_entries(memory_job: JobStorage) -> None:
    """A roll-up is the whole state: at fixed distances they would be quadratic."""
    written = [0]

    class Counted(JobStorage):
        def create(self, path: str, data: bytes) -> None:
            written[0] += len(data)
            super().create(path, data)

        def replace(self, path: str, data: bytes) -> None:
            written[0] += len(data)
            super().replace(path, data)

    log = CommitLog(Counted(memory_job.uri, single_driver=True), "w", RollUpPolicy(entries=5))
    log.load()
    log.claim()
    bytes_after: dict[int, int] = {}
    for number in range(800):
        names = [f"v{number}-{uuid.uuid4().hex}" for _ in range(4)]
        log.append(add=[segment(f"s{number}", *names)])
        bytes_after[number + 1] = written[0]
    assert bytes_after[800] <= 2.4 * bytes_after[400]
    tail = log.state.next_entry - int(memory_job.listing("_log", "roll-")[-1].path[-28:-8])
    assert tail <= 0.12 * 800, "and whoever loads it has a short tail to read"


def test_the_tail_of_a_log_is_bounded_however_large_it_is(memory_job: JobStorage) -> None:
    log = CommitLog(memory_job, "w", RollUpPolicy(entries=5, most_entries=20))
    log.load()
    log.claim()
    log.append(add=[segment("large", *(f"v{number}" for number in range(5_000)))])
    for number in range(100):
        log.append(add=[segment(f"s{number}", f"one-{number}")])
    rolled = [int(stored.path[-28:-8]) for stored in memory_job.listing("_log", "roll-")]
    assert log.state.next_entry - rolled[-1] < 20
    assert rolled[-1] - rolled[-2] == 20


def test_a_night_lists_the_week_before_it_and_no_more(folder: Path) -> None:
    """30,000 known videos are 30 pages; the nine before the week are never asked for, and nothing is left to label."""
    watched.finish_all(folder, 30_000)
    assert watched.quiet_night(folder, 30_000)["requests"] == {"HEAD": 1, "LIST": 22}


def test_the_bench_of_compaction_merges_rows_of_todays_columns(folder: Path) -> None:
    outputs.write_job(folder / "job", 2)
    assert outputs.merge_job(str(folder / "job"))["rows"] == 20_000
    assert len(CommitLog(JobStorage(str(folder / "job")), "reader").load().segments) == 1

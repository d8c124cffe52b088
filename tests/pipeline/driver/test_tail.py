"""The end of a job: how long it takes beyond the ideal schedule, by a clock that only the videos move."""

from __future__ import annotations

import heapq
import io
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cluster.executor import Event, Ready, Reported
from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.limits import Limits
from pipeline.driver.loop import Interrupts, Loop, Timing
from pipeline.driver.progress import Progress
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.plan import make_plan
from pipeline.records import Ending, Outcome, Report, Status, VideoProgress, WorkItem
from pipeline.storage.job_storage import JobStorage
from tests.support.fake_workers import Clock, FakeLedger, at_once, published

BEAT_SECONDS = 10.0
BYTES_PER_SECOND = 10_000


@dataclass
class SimulatedWorkers:
    """Workers that need `seconds[video_id]` for a video and report as real ones do: after each, or after a beat."""

    gpus_per_worker: ClassVar[float] = 0.0
    capacity: int
    seconds: Mapping[str, float]
    clock: Clock = field(default_factory=Clock)
    left: dict[str, list[tuple[WorkItem, float]]] = field(default_factory=dict)
    calls: list[tuple[float, str, bool]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)

    def start(self) -> str:
        worker_id = f"w{len(self.left)}"
        self.left[worker_id] = []
        heapq.heappush(self.calls, (self.clock.now, worker_id, True))
        return worker_id

    def work(self, worker_id: str, offers: Sequence[WorkItem]) -> None:
        self.order += [item.video_id for item in offers]
        self.left[worker_id] += [(item, self.seconds[item.video_id]) for item in offers]
        wanted = min(BEAT_SECONDS, self.left[worker_id][0][1] if self.left[worker_id] else BEAT_SECONDS)
        heapq.heappush(self.calls, (self.clock.now + wanted, worker_id, False))

    def drain(self, worker_id: str) -> None:
        raise AssertionError("every video is published when it is done")

    def kill(self, worker_id: str) -> None:
        self.calls = [call for call in self.calls if call[1] != worker_id]
        heapq.heapify(self.calls)

    def avoid(self, node: str) -> bool:
        raise AssertionError("no node is bad here")

    def wait(self, timeout_seconds: float) -> list[Event]:
        until, worker_id, is_setup = self.calls[0]
        if until > self.clock.now + timeout_seconds:
            self.clock.sleep(timeout_seconds)
            return []
        heapq.heappop(self.calls)
        passed, self.clock.now = BEAT_SECONDS, max(self.clock.now, until)
        if is_setup:
            return [Ready(worker_id, "a clock")]
        videos = self.left[worker_id]
        item, seconds = videos[0]
        if seconds > passed:
            videos[0] = item, seconds - passed
            return [Reported(worker_id, Report(worker_id, in_flight=(VideoProgress(item.video_id, 1, "labeling"),)))]
        videos.pop(0)
        done = published(item.video_id, [Outcome(item.video_id, Status.OK, item.prompt_hash, 1, 1)])
        return [Reported(worker_id, Report(worker_id, (done,)))]

    def show(self, status: Mapping[str, Any]) -> None:
        return None

    def close(self) -> None:
        self.left.clear()


def job_seconds(items: Iterator[WorkItem], seconds: Mapping[str, float], num_workers: int, folder: Path) -> float:
    """When the last video is in the log."""
    workers = SimulatedWorkers(num_workers, seconds)
    progress = Progress(len(seconds), 0, JobStorage(str(folder)), stream=io.StringIO(), clock=lambda: 0.0)
    ledger, started = FakeLedger(), workers.clock.now
    loop = Loop(
        workers,
        Dispatcher(items),
        ledger,
        progress,
        Limits(3, 100.0),
        Interrupts(),
        Timing(workers.clock, submit=at_once),
    )
    assert loop.run() is Ending.DONE
    assert set(ledger.outcomes) == set(seconds)
    return workers.clock.now - started


def ideal_seconds(seconds: Mapping[str, float], num_workers: int) -> float:
    """No schedule is shorter than the longest video, or than its share for each worker."""
    return max(max(seconds.values()), sum(seconds.values()) / num_workers)


def planned(folder: Path, seconds: Mapping[str, float], known_by: str) -> Iterator[WorkItem]:
    """The plan of a job whose table has these videos in this order, with durations, or with files of such sizes."""
    columns = {"video_id": list(seconds), "uri": [f"{name}.mp4" for name in seconds]}
    if known_by == "duration":
        columns["duration_seconds"] = [4 * value for value in seconds.values()]  # type: ignore[misc]
    if known_by == "size":
        for name, value in seconds.items():
            (folder / f"{name}.mp4").write_bytes(bytes(int(value * BYTES_PER_SECOND)))
    pq.write_table(pa.table(columns), folder / "videos.parquet")
    boxes = {"video_id": list(seconds), "object_id": [1] * len(seconds), "frame_index": [0] * len(seconds)}
    boxes["box_xyxy"] = [[0.0, 0.0, 5.0, 5.0]] * len(seconds)  # type: ignore[list-item]
    pq.write_table(pa.table(boxes), folder / "prompts.parquet")
    return make_plan(InputTables(str(folder / "videos.parquet"), str(folder / "prompts.parquet")), {}).items()


@pytest.mark.parametrize("known_by", ["duration", "size"])
@pytest.mark.parametrize("place", [0, 20, 40])
def test_one_clip_ten_times_as_long_as_forty_others_does_not_end_the_job_late(
    known_by: str, place: int, tmp_path: Path
) -> None:
    names = [f"clip-{number}" for number in range(41)]
    seconds = {name: 10.0 * (10 if number == place else 1) for number, name in enumerate(names)}
    took = job_seconds(planned(tmp_path, seconds, known_by), seconds, 2, tmp_path)
    assert took <= 1.1 * ideal_seconds(seconds, 2)


def test_unknown_lengths_cost_the_tail(tmp_path: Path) -> None:
    """What the other tests would see if the order did nothing: the bound is not met by luck."""
    seconds = {f"clip-{number}": 100.0 if number == 40 else 10.0 for number in range(41)}
    took = job_seconds(planned(tmp_path, seconds, "nothing"), seconds, 2, tmp_path)
    assert took > 1.1 * ideal_seconds(seconds, 2)


@pytest.mark.parametrize("num_short", [5, 10, 15])
def test_no_short_clip_waits_behind_a_long_one_while_another_worker_gets_free(num_short: int, tmp_path: Path) -> None:
    seconds = {"long": 100.0} | {f"clip-{number}": 10.0 for number in range(num_short)}
    took = job_seconds(planned(tmp_path, seconds, "duration"), seconds, 2, tmp_path)
    assert took <= 1.04 * ideal_seconds(seconds, 2)


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("num_workers", [2, 3, 8])
@pytest.mark.parametrize("seed", range(4))
def test_mixed_lengths_end_within_a_tenth_of_the_ideal(num_workers: int, seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    seconds = {f"clip-{number}": rng.uniform(1, 20) for number in range(30 * num_workers)}
    took = job_seconds(planned(tmp_path, seconds, "duration"), seconds, num_workers, tmp_path)
    assert took <= 1.1 * ideal_seconds(seconds, num_workers)

"""`python -m tests.scale.fleet`: how much of a large fleet's time goes into labeling, by a clock of its own.

The driver is the real one: loop, dispatcher, ledger, commit log. Workers are simulated, and the clock moves by what
they and the store need, and by the processor time that the driver has used meanwhile. Added to that is what Ray's own
calls cost the driver, because no Ray is here. The three shares of the workers' time add up to 1: labeling, their own
publishing, and waiting for the driver, the end of the job included.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import io
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pipeline.cluster.executor import Event, Ready, Reported
from pipeline.commits.committer import SegmentKeeper
from pipeline.commits.log import CommitLog
from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.limits import Limits
from pipeline.driver.loop import Interrupts, Loop, Timing
from pipeline.driver.progress import Progress
from pipeline.driver.receipts import Submit
from pipeline.driver.results import JobLedger
from pipeline.output.rows import Provenance
from pipeline.output.segment_files import SegmentOrigin
from pipeline.output.segment_writer import SegmentWriter
from pipeline.records import Ending, Outcome, Report, Segment, Status, VideoProgress, VideoSource, WorkDone, WorkItem
from pipeline.storage.job_storage import JobStorage
from tests.scale.executor import segment_of


@dataclass(frozen=True)
class Fleet:
    """What is simulated. `ray_seconds` of the driver go into the call of one report, as was seen with 2 and 16 actors.

    `reports_each_video`, `publishes_beside=False` are what workers did before: a call ended with each video, and the
    model waited while they published.
    """

    num_workers: int = 1000
    videos_per_worker: int = 120
    video_seconds: float = 1.2
    flush_seconds: float = 0.45
    put_seconds: float = 0.08
    beat_seconds: float = 10.0
    ahead_seconds: float = 15.0
    ray_seconds: float = 1e-3
    driver_speed: float = 2.0
    reports_each_video: bool = False
    publishes_beside: bool = True
    commits_beside: bool = True


class FleetClock:
    """Simulated seconds. The driver's own processor time counts while the clock is not held."""

    def __init__(self, speed: float) -> None:
        self.driver_seconds = 0.0
        self._now = 0.0
        self._speed = speed
        self._used = time.thread_time()

    def __call__(self) -> float:
        self._take()
        return self._now

    def sleep(self, seconds: float) -> None:
        self._take()
        self._now += seconds

    def busy(self, seconds: float) -> None:
        """The driver needs this long for something that nobody does here."""
        self.driver_seconds += seconds
        self.sleep(seconds)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """What runs inside is the simulation's own."""
        self._take()
        try:
            yield
        finally:
            self._used = time.thread_time()

    def move_to(self, now: float) -> None:
        """Nothing happens until then."""
        self._now = max(self._now, now)

    def _take(self) -> None:
        used = time.thread_time()
        passed = (used - self._used) / self._speed
        self._used = used
        self._now += passed
        self.driver_seconds += passed


class SlowStore(JobStorage):
    """A store in memory that counts its writes, for each of which the simulation lets some time pass."""

    num_puts = 0

    def create(self, path: str, data: bytes) -> None:
        self.num_puts += 1
        super().create(path, data)

    def replace(self, path: str, data: bytes) -> None:
        self.num_puts += 1
        super().replace(path, data)


@dataclass
class _Done:
    """What is known at some time and looked at later, as `concurrent.futures.Future` is."""

    clock: FleetClock
    at: float
    outcomes: list[Outcome]

    def done(self) -> bool:
        return self.clock() >= self.at

    def result(self, timeout: float | None = None) -> list[Outcome]:
        self.clock.move_to(self.at)
        return self.outcomes


@dataclass
class _Worker:
    """One simulated worker. `left_seconds` are those of the first video of its inbox."""

    started: float
    inbox: deque[WorkItem] = field(default_factory=deque)
    left_seconds: float = 0.0
    finished: list[Outcome] = field(default_factory=list)
    published: list[tuple[float, Segment]] = field(default_factory=list)
    busy_until: float = 0.0
    first_unflushed: float = 0.0
    has_published: bool = False
    free_at: float = 0.0


@dataclass
class FleetExecutor:
    """Workers that need `video_seconds` a video, and publish when `FlushPolicy` would."""

    fleet: Fleet
    clock: FleetClock
    gpus_per_worker: ClassVar[float] = 0.0
    label_seconds: float = 0.0
    publish_seconds: float = 0.0
    num_reports: int = 0
    workers: dict[str, _Worker] = field(default_factory=dict)
    events: list[tuple[float, str, str]] = field(default_factory=list)

    @property
    def capacity(self) -> int:
        return self.fleet.num_workers

    def start(self) -> str:
        worker_id = f"w{len(self.workers):04d}"
        ready_at = 5.0 * len(self.workers) / self.fleet.num_workers
        self.workers[worker_id] = _Worker(ready_at)
        heapq.heappush(self.events, (ready_at, worker_id, "setup"))
        return worker_id

    def work(self, worker_id: str, offers: Sequence[WorkItem]) -> None:
        self.clock.busy(self.fleet.ray_seconds / 2)
        with self.clock.held():
            worker = self.workers[worker_id]
            worker.inbox.extend(offers)
            heapq.heappush(self.events, (self._labeled(worker_id, worker), worker_id, "work"))

    def drain(self, worker_id: str) -> None:
        with self.clock.held():
            worker = self.workers[worker_id]
            until = self._flushed(worker_id, worker, self.clock(), waits=True)
            heapq.heappush(self.events, (until, worker_id, "drain"))

    def kill(self, worker_id: str) -> None:
        raise AssertionError("nobody is lost in this simulation")

    def avoid(self, node: str) -> bool:
        raise AssertionError("no node is bad here")

    def wait(self, timeout_seconds: float) -> list[Event]:
        with self.clock.held():
            until = self.clock() + timeout_seconds
            self.clock.move_to(min(until, self.events[0][0] if self.events else until))
            ended = []
            while self.events and self.events[0][0] <= self.clock():
                ended.append(heapq.heappop(self.events))
            events = [self._event(*event) for event in ended]
        self.clock.busy(self.fleet.ray_seconds / 2 * len(events))
        return events

    def show(self, status: Mapping[str, Any]) -> None:
        return None

    def close(self) -> None:
        return None

    def _labeled(self, worker_id: str, worker: _Worker) -> float:
        """Label until the beat, or until nothing is left; returns when."""
        now = self.clock()
        deadline = now + self.fleet.beat_seconds
        now = max(now, worker.busy_until)
        while worker.inbox and now < deadline:
            worker.left_seconds = worker.left_seconds or self.fleet.video_seconds
            seconds = min(worker.left_seconds, deadline - now)
            worker.left_seconds -= seconds
            self.label_seconds += seconds
            now += seconds
            if worker.left_seconds > 1e-9:
                break
            worker.left_seconds = 0.0
            item = worker.inbox.popleft()
            worker.first_unflushed = worker.first_unflushed if worker.finished else now
            worker.finished.append(Outcome(item.video_id, Status.OK, item.prompt_hash, 240, 120))
            waited = now - worker.first_unflushed
            if not worker.has_published or waited >= min(300.0, 0.05 * (now - worker.started)):
                now = self._flushed(worker_id, worker, now, waits=not self.fleet.publishes_beside)
            if self.fleet.reports_each_video:
                break
        return now

    def _flushed(self, worker_id: str, worker: _Worker, now: float, waits: bool) -> float:
        """Publish what is finished. Returns when the worker goes on."""
        last = max([now, *(at for at, _ in worker.published)])
        if worker.finished:
            last += self.fleet.flush_seconds
            worker.published.append((last, segment_of(worker_id, worker.finished)))
            worker.finished, worker.has_published = [], True
        if waits:
            self.publish_seconds += last - now
        return last if waits else now

    def _event(self, at: float, worker_id: str, method: str) -> Event:
        worker = self.workers[worker_id]
        worker.free_at = at
        if method == "setup":
            return Ready(worker_id, "a clock")
        self.num_reports += 1
        ready = tuple(segment for done, segment in worker.published if done <= at)
        worker.published = [(done, segment) for done, segment in worker.published if done > at]
        unflushed = [one.video_id for _, segment in worker.published for one in segment.outcomes]
        unflushed += [one.video_id for one in worker.finished]
        in_flight = tuple(
            VideoProgress(item.video_id, 0, "waiting" if place else "labeling")
            for place, item in enumerate(worker.inbox)
        )
        done = WorkDone(120, {"fetch": 0.1, "decode": 0.2, "propagate": 9.0, "encode": 0.3})
        return Reported(worker_id, Report(worker_id, ready, in_flight, tuple(unflushed), done=done))


def simulate(fleet: Fleet, folder: Path) -> dict[str, float]:
    """The shares of the fleet's time, from when a worker is ready until the job ends, and what the driver needed."""
    num_videos = fleet.num_workers * fleet.videos_per_worker
    items = (
        WorkItem(f"clip-{number:011d}", VideoSource(f"s3://bucket/{number}.mp4"), (), "0" * 32, expected_seconds=10.0)
        for number in range(num_videos)
    )
    clock = FleetClock(fleet.driver_speed)
    executor = FleetExecutor(fleet, clock)
    storage = SlowStore(f"memory://fleet-{uuid.uuid4().hex}", single_driver=True)
    log = CommitLog(storage, "driver")
    log.load()
    log.claim()
    writer = SegmentWriter(storage, folder, SegmentOrigin(1, "driver", "hash"))
    ledger = JobLedger(SegmentKeeper(storage, log, folder), writer, Provenance("driver", "", "hash", ""), lambda: None)  # type: ignore[arg-type,return-value]
    quiet = JobStorage(f"{storage.uri}-status", single_driver=True)
    progress = Progress(num_videos, 0, quiet, stream=io.StringIO(), clock=clock)
    timing = Timing(clock, submit=_submit(storage, clock, fleet))
    loop = Loop(
        executor,
        Dispatcher(items, ahead_seconds=fleet.ahead_seconds),
        ledger,
        progress,
        Limits(3, 100.0),
        Interrupts(),
        timing,
    )
    assert loop.run() is Ending.DONE
    seconds = clock()
    assert len(log.state.finished) == num_videos
    fleet_seconds = sum(seconds - worker.started for worker in executor.workers.values())
    busy, publishing = executor.label_seconds / fleet_seconds, executor.publish_seconds / fleet_seconds
    storage.delete(storage.tree("_log"))
    return {
        "busy": busy,
        "publishing": publishing,
        "waiting": 1.0 - busy - publishing,
        "seconds": seconds,
        "driver_seconds": clock.driver_seconds,
        "num_reports": executor.num_reports,
        "num_entries": log.state.next_entry,
        "num_segments": len(log.state.segments),
    }


def _submit(storage: SlowStore, clock: FleetClock, fleet: Fleet) -> Submit:
    """Commits whose processor time the driver spends at once, and whose requests take their time beside it."""

    def submit(write: Callable[[], list[Outcome]]) -> _Done:
        before = storage.num_puts
        outcomes = write()
        seconds = (storage.num_puts - before) * fleet.put_seconds
        if not fleet.commits_beside:
            clock.sleep(seconds)
        return _Done(clock, clock() + seconds * fleet.commits_beside, outcomes)

    return submit


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scale.fleet", description=__doc__)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--videos", type=int, default=120, help="for each worker")
    parser.add_argument("--put-seconds", nargs="+", type=float, default=[0.08, 0.25])
    arguments = parser.parse_args(argv)
    fleet = Fleet(arguments.workers, arguments.videos)
    print(
        f"{fleet.num_workers} workers, {fleet.videos_per_worker} videos of {fleet.video_seconds} s for each; a log "
        f"entry takes the store {1000 * arguments.put_seconds[0]:.0f} ms and more"
    )
    print(f"{'PUT ms':>7}{'':>9}" + "".join(f"{heading:>{width}}" for heading, width in _HEADINGS.items()))
    with tempfile.TemporaryDirectory() as folder:
        for put_seconds in arguments.put_seconds:
            for name, one in (("before", as_before(fleet)), ("now", fleet)):
                found = simulate(replace(one, put_seconds=put_seconds), Path(folder))
                print(f"{1000 * put_seconds:>7.0f}{name:>9}{row(found, fleet)}", flush=True)


_HEADINGS = {
    "busy": 8,
    "publishing": 12,
    "waiting": 9,
    "reports": 9,
    "entries": 9,
    "driver s": 10,
    "videos/s of it": 16,
}


def as_before(fleet: Fleet) -> Fleet:
    """The same fleet with workers that report each video and publish themselves, and a driver that commits itself."""
    return replace(fleet, reports_each_video=True, publishes_beside=False, commits_beside=False, ahead_seconds=0.0)


def row(found: Mapping[str, float], fleet: Fleet) -> str:
    """One line of the table. The last figure is how many videos a second a driver that did nothing else could take."""
    values = [
        f"{found['busy']:.1%}",
        f"{found['publishing']:.1%}",
        f"{found['waiting']:.1%}",
        f"{found['num_reports']:,}",
        f"{found['num_entries']:,}",
        f"{found['driver_seconds']:.1f}",
        f"{fleet.num_workers * fleet.videos_per_worker / found['driver_seconds']:,.0f}",
    ]
    return "".join(f"{value:>{width}}" for value, width in zip(values, _HEADINGS.values(), strict=True))


if __name__ == "__main__":
    main()

"""Executors and ledgers that keep the contract and label nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pipeline.cluster.executor import Event, Failure, Lost, Ready, Reported
from pipeline.errors import StorageError
from pipeline.records import Outcome, Report, Segment, Status, VideoProgress, VideoSource, WorkDone, WorkerEnd, WorkItem

Fate = Status | Failure | str
"""How labeling a video ends: a status, a worker's loss, or the message of a storage fault."""


def item(video_id: str) -> WorkItem:
    return WorkItem(video_id, VideoSource(f"/{video_id}.mp4"), (), "hash")


def published(name: str, outcomes: Sequence[Outcome]) -> Segment:
    return Segment(name, {"masks": 0, "tracks": 0, "videos": len(outcomes)}, 1, tuple(outcomes))


@dataclass
class FakeExecutor:
    """Workers that finish one video a call and publish every `flush_every` videos, or when they drain."""

    gpus_per_worker: ClassVar[float] = 0.0
    capacity: int = 1
    fate: Callable[[WorkItem], Fate] = lambda _: Status.OK
    flush_every: int = 1
    setup: Callable[[int], Event | None] = lambda _: None
    offered: list[tuple[str, tuple[WorkItem, ...]]] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    drained: list[str] = field(default_factory=list)
    inboxes: dict[str, list[WorkItem]] = field(default_factory=dict)
    finished: dict[str, list[Outcome]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    node_of: Callable[[int], str] = lambda _: ""
    avoided: list[str] = field(default_factory=list)
    num_started: int = 0
    begun: WorkItem | None = None

    def start(self) -> str:
        worker_id = f"w{self.num_started}"
        self.num_started += 1
        self.inboxes[worker_id], self.finished[worker_id] = [], []
        self.calls.append((worker_id, "setup"))
        return worker_id

    def work(self, worker_id: str, offers: Sequence[WorkItem]) -> None:
        assert worker_id not in {called for called, _ in self.calls}, "one call at a time"
        self.offered.append((worker_id, tuple(offers)))
        self.inboxes[worker_id].extend(offers)
        self.calls.append((worker_id, "work"))

    def drain(self, worker_id: str) -> None:
        self.drained.append(worker_id)
        self.calls.append((worker_id, "drain"))

    def kill(self, worker_id: str) -> None:
        self.killed.append(worker_id)
        self.calls = [call for call in self.calls if call[0] != worker_id]
        self.inboxes.pop(worker_id, None)

    def avoid(self, node: str) -> bool:
        self.avoided.append(node)
        return bool({self.node_of(number) for number in range(self.capacity)} - set(self.avoided))

    def wait(self, timeout_seconds: float) -> list[Event]:
        calls, self.calls = self.calls, []
        return [self._end(*call) for call in calls]

    def show(self, status: Mapping[str, Any]) -> None:
        return None

    def close(self) -> None:
        self.inboxes.clear()

    def _end(self, worker_id: str, method: str) -> Event:
        if method == "setup":
            event = self.setup(int(worker_id[1:]))
            return Ready(worker_id, "a fake", self.node_of(int(worker_id[1:]))) if event is None else event
        inbox, finished = self.inboxes[worker_id], self.finished[worker_id]
        if method == "drain":
            returned, self.inboxes[worker_id] = tuple(inbox), []
            return Reported(worker_id, self._report(worker_id, True, returned=returned))
        fate = self.fate(inbox[0])
        if isinstance(fate, Failure):
            return Lost(worker_id, fate, "boom")
        if isinstance(fate, Status):
            outcome = Outcome(inbox.pop(0).video_id, fate, "hash", 1, 1, "" if fate is Status.OK else "input")
            finished.append(outcome)
            return Reported(worker_id, self._report(worker_id, len(finished) >= self.flush_every, done=WorkDone(1)))
        if fate.startswith("poison"):
            return Reported(worker_id, self._report(worker_id, True, end=WorkerEnd(fate, is_broken=True)))
        if fate == "asked to stop":
            returned, self.inboxes[worker_id] = tuple(inbox), []
            return Reported(worker_id, self._report(worker_id, True, returned=returned, end=WorkerEnd(fate, False)))
        if fate == "goes on" or (fate.startswith("at the end") and self.begun != inbox[0]):
            self.begun = inbox[0]
            return Reported(worker_id, self._report(worker_id, False, done=WorkDone(1)))
        return Reported(worker_id, self._report(worker_id, False, returned=(inbox.pop(0),), storage_errors=(fate,)))

    def _report(self, worker_id: str, flush: bool, **fields: object) -> Report:
        finished = self.finished[worker_id]
        segments = (published(f"{worker_id}-{finished[0].video_id}", finished),) if flush and finished else ()
        if flush:
            self.finished[worker_id] = finished = []
        in_flight = tuple(VideoProgress(one.video_id, 0, "waiting") for one in self.inboxes[worker_id])
        unflushed = tuple(outcome.video_id for outcome in finished)
        return Report(worker_id, segments, in_flight, unflushed, **fields)  # type: ignore[arg-type]


@dataclass
class FakeLedger:
    """Keeps commits in memory. The first `num_away` calls find storage away."""

    num_away: int = 0
    commits: list[tuple[list[str], dict[str, int]]] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    waiting: list[Outcome] = field(default_factory=list)
    read: Collection[str] = ()

    def commit(self, segments: Sequence[Segment], strikes: dict[str, int]) -> list[Outcome]:
        found = [outcome for segment in segments for outcome in segment.outcomes] + self.waiting
        if not found and not strikes:
            return []
        if self.num_away > 0:
            self.num_away -= 1
            raise StorageError("the store is away")
        self.commits.append(([segment.name for segment in segments], dict(strikes)))
        self.waiting = []
        for outcome in found:
            assert outcome.video_id not in self.outcomes, "a video counts once"
            self.outcomes[outcome.video_id] = outcome
        return found

    def write_quarantined(self, item: WorkItem, message: str) -> None:
        self.waiting.append(Outcome(item.video_id, Status.QUARANTINED, item.prompt_hash, 0, 0, "crash", message))

    def write_unreachable(self, item: WorkItem, message: str) -> None:
        self.waiting.append(Outcome(item.video_id, Status.FAILED, item.prompt_hash, 0, 0, "input", message))

    def hosts_read(self) -> Collection[str]:
        if self.num_away > 0:
            raise StorageError("the store is away")
        return self.read


def at_once(write: Callable[[], list[Outcome]]) -> Future[list[Outcome]]:
    """Write a commit while the loop waits, so that each run of a test is the same."""
    written: Future[list[Outcome]] = Future()
    try:
        written.set_result(write())
    except Exception as error:  # the loop raises it
        written.set_exception(error)
    return written


class Clock:
    """Time that passes when it is asked for."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 1000.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

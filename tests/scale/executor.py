"""Workers that return receipts at once, as many as a large cluster has: the executor's contract, and no labeling."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pipeline.cluster.executor import Event, Ready, Reported
from pipeline.output.layout import new_segment_name
from pipeline.records import Outcome, Report, Segment, Status, VideoProgress, WorkDone, WorkItem

_FRAMES, _MASKS, _BYTES_PER_MASK = 120, 240, 185


@dataclass
class _Inbox:
    until_flush: int
    waiting: deque[WorkItem] = field(default_factory=deque)
    finished: list[Outcome] = field(default_factory=list)


@dataclass
class ReceiptExecutor:
    """Each call of `work` finishes one video, and every so many videos of a worker are one segment.

    Workers publish at different times, so that each round brings receipts of some of them. `wait` ends all outstanding
    calls: the driver is never the one who waits. Only names of segments exist, no files.
    """

    gpus_per_worker: ClassVar[float] = 0.0
    capacity: int = 200
    videos_per_segment: int = 20
    num_offered: int = 0
    _inboxes: dict[str, _Inbox] = field(default_factory=dict)
    _calls: list[tuple[str, str]] = field(default_factory=list)
    _num_started: int = 0

    def start(self) -> str:
        worker_id = f"w{self._num_started:04d}"
        self._inboxes[worker_id] = _Inbox(1 + self._num_started % self.videos_per_segment)
        self._num_started += 1
        self._calls.append((worker_id, "setup"))
        return worker_id

    def work(self, worker_id: str, offers: Sequence[WorkItem]) -> None:
        self.num_offered += len(offers)
        self._inboxes[worker_id].waiting.extend(offers)
        self._calls.append((worker_id, "work"))

    def drain(self, worker_id: str) -> None:
        self._calls.append((worker_id, "drain"))

    def kill(self, worker_id: str) -> None:
        self._calls = [call for call in self._calls if call[0] != worker_id]
        del self._inboxes[worker_id]

    def avoid(self, node: str) -> bool:
        raise AssertionError("no node is bad here")

    def wait(self, timeout_seconds: float) -> list[Event]:
        calls, self._calls = self._calls, []
        return [self._ended(worker_id, method) for worker_id, method in calls]

    def show(self, status: Mapping[str, Any]) -> None:
        return None

    def close(self) -> None:
        self._inboxes.clear()

    def _ended(self, worker_id: str, method: str) -> Event:
        inbox = self._inboxes[worker_id]
        returned: tuple[WorkItem, ...] = ()
        num_frames = 0
        if method == "setup":
            return Ready(worker_id, "nothing")
        if method == "drain":
            returned = tuple(inbox.waiting)
            inbox.waiting.clear()
        elif inbox.waiting:
            item = inbox.waiting.popleft()
            inbox.finished.append(Outcome(item.video_id, Status.OK, item.prompt_hash, _MASKS, _FRAMES))
            num_frames = _FRAMES
        segments: tuple[Segment, ...] = ()
        if inbox.finished and (method == "drain" or len(inbox.finished) >= inbox.until_flush):
            segments, inbox.finished = (segment_of(worker_id, inbox.finished),), []
            inbox.until_flush = self.videos_per_segment
        return Reported(
            worker_id,
            Report(
                worker_id,
                segments,
                tuple(VideoProgress(item.video_id, 0, "waiting") for item in inbox.waiting),
                tuple(outcome.video_id for outcome in inbox.finished),
                returned,
                done=WorkDone(num_frames, {"fetch": 0.1, "decode": 0.2, "propagate": 9.0, "encode": 0.3}),
            ),
        )


def segment_of(worker_id: str, outcomes: Sequence[Outcome]) -> Segment:
    """The receipt of a segment with these videos."""
    num_masks = sum(outcome.num_masks for outcome in outcomes)
    num_rows = {"masks": num_masks, "tracks": 2 * len(outcomes), "videos": len(outcomes)}
    name = new_segment_name(1, worker_id)
    return Segment(name, num_rows, num_masks * _BYTES_PER_MASK, tuple(outcomes))

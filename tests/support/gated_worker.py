"""Real workers that a test holds back: imported by Ray's actors, so they live in a module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.records import Report, WorkItem
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.worker import Worker
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Gates:
    """One gate a video: an empty file in this folder, so that processes of other machines see it too."""

    folder: Path

    def open(self, *video_ids: str) -> None:
        """Let workers that have these videos go on."""
        for video_id in video_ids:
            (self.folder / video_id).touch()

    def open_all(self) -> None:
        """Hold nobody back any more, whatever a test that fails has left closed."""
        self.open("all")

    def worker(self, settings: WorkerSettings, worker_id: str) -> Worker:
        """Made in the actor."""
        return Gated(settings, worker_id, self)

    def is_open(self, video_id: str) -> bool:
        return (self.folder / video_id).exists() or (self.folder / "all").exists()


@dataclass(frozen=True)
class Meeting:
    """Workers that begin when so many of them have been given videos, each of which leaves its name in the folder."""

    folder: Path
    count: int

    def worker(self, settings: WorkerSettings, worker_id: str) -> Worker:
        """Made in the actor."""
        return Meets(settings, worker_id, self)

    def wait(self, worker_id: str) -> None:
        (self.folder / worker_id).touch()
        wait_until(lambda: len(list(self.folder.iterdir())) >= self.count, f"meeting of {self.count} workers")


class Meets(Worker):
    """The real worker, which begins together with others."""

    def __init__(self, settings: WorkerSettings, worker_id: str, meeting: Meeting) -> None:
        super().__init__(settings, worker_id)
        self._meeting = meeting

    def work(self, offers: Sequence[WorkItem]) -> Report:
        self._meeting.wait(self.worker_id)
        return super().work(offers)


class Gated(Worker):
    """The real worker, which begins with a video when its gate is open."""

    def __init__(self, settings: WorkerSettings, worker_id: str, gates: Gates) -> None:
        super().__init__(settings, worker_id)
        self._gates = gates

    def work(self, offers: Sequence[WorkItem]) -> Report:
        for item in offers:
            wait_until(lambda video_id=item.video_id: self._gates.is_open(video_id), f"open gate of {item.video_id}")
        return super().work(offers)

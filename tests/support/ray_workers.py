"""Workers for tests on Ray: imported by the actors, so they live in a module.

It imports no torch, which would cost every actor seconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence

from pipeline.errors import StorageError
from pipeline.records import Report, VideoProgress, WorkerEnd, WorkItem


class ScriptedWorker:
    """Does what the id of its first offer says."""

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.has_stopped = threading.Event()

    def setup(self) -> str:
        return f"process {os.getpid()}"

    def work(self, offers: Sequence[WorkItem]) -> Report:
        what = offers[0].video_id
        if what == "die":
            os._exit(1)
        if what == "raise":
            raise ValueError("a worker with a fault")
        if what == "sleep":
            self.has_stopped.wait(200)
        in_flight = (VideoProgress(what, 1, "labeling"),)
        end = WorkerEnd("SIGTERM", is_broken=False) if self.has_stopped.is_set() else None
        return Report(self.worker_id, in_flight=in_flight, end=end)

    def drain(self) -> Report:
        return Report(self.worker_id)

    def stop(self) -> None:
        self.has_stopped.set()

    def close(self) -> None:
        return None


class NoModel(ScriptedWorker):
    def setup(self) -> str:
        raise FileNotFoundError("there is no checkpoint here")


class NoHub(ScriptedWorker):
    def setup(self) -> str:
        raise StorageError("the Hub is busy")


class SlowToStart(ScriptedWorker):
    def setup(self) -> str:
        time.sleep(200)
        return "late"


class SaysGpus(ScriptedWorker):
    """Says which GPUs CUDA would show to its process."""

    def setup(self) -> str:
        return f"sees {os.environ.get('CUDA_VISIBLE_DEVICES', 'all')}"

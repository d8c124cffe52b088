"""A real worker that dies: imported by Ray's actors, so it lives in a module."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pipeline.records import Report, WorkItem
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.worker import Worker


class Fragile(Worker):
    """The real worker, which dies of videos that are called poison."""

    def work(self, offers: Sequence[WorkItem]) -> Report:
        if any(item.video_id.startswith("poison") for item in offers):
            os._exit(9)
        return super().work(offers)


def fragile_worker(settings: WorkerSettings, worker_id: str) -> Worker:
    return Fragile(settings, worker_id)

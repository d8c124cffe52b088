"""For machines that watch a job: its log as JSON lines, and its counts as Ray metrics (Prometheus)."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.redact import redact
from pipeline.work import Outcome

VIDEOS = logging.getLogger("pipeline.videos")
"""One record a video, below what people see: for `log_file=` only."""

_FIELDS = ("video_id", "attempt", "worker_id", "status", "error_class", "strikes", "num_masks", "num_frames")


def log_video(outcome: Outcome, attempt: int) -> None:
    """Log that a video is in the tables."""
    VIDEOS.debug(
        outcome.message or "labelled",
        extra={
            "video_id": outcome.video_id,
            "attempt": attempt,
            "status": outcome.status.value,
            "error_class": outcome.error_class,
            "num_masks": outcome.num_masks,
            "num_frames": outcome.num_frames,
        },
    )


class JsonLines(logging.FileHandler):
    """Appends one JSON object per record, flushed at once: time, level, logger, message and what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        document |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        return json.dumps(document, ensure_ascii=False)


@contextlib.contextmanager
def json_log(path: str | None) -> Iterator[None]:
    """Write the package's log to a file as well, while this is open; None: no file. `~` is the home folder.

    Raises `OSError` if the file cannot be opened.
    """
    if path is None:
        yield
        return
    file = Path(path).expanduser()
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = JsonLines(file, encoding="utf-8")
    package, level, propagate = logging.getLogger("pipeline"), VIDEOS.level, VIDEOS.propagate
    package.addHandler(handler)
    # Straight to the file: a handler of the terminal would print them too, whatever its logger's level.
    VIDEOS.addHandler(handler)
    VIDEOS.setLevel(logging.DEBUG)
    VIDEOS.propagate = False
    try:
        yield
    finally:
        package.removeHandler(handler)
        VIDEOS.removeHandler(handler)
        VIDEOS.setLevel(level)
        VIDEOS.propagate = propagate
        handler.close()


class RayMetrics:
    """Gauges that Ray exports on each node's metrics port; called with what `_status.json` says."""

    def __init__(self) -> None:
        from ray.util.metrics import Gauge

        def gauge(name: str, description: str, *tags: str) -> Any:
            return Gauge(f"maskmill_{name}", description=description, tag_keys=tags)

        self._videos = gauge("videos", "Videos that ended in this run, by status", "status")
        self._failures = gauge("failures", "Failed videos of this run, by class of error", "error_class")
        self._seconds = gauge("stage_seconds", "Seconds spent by all workers, by stage", "stage")
        self._plain = {
            "num_frames": gauge("frames", "Frames labelled in this run"),
            "num_masks": gauge("masks", "Masks committed in this run"),
            "num_waiting": gauge("queue", "Videos that are planned and have not ended"),
            "num_workers": gauge("workers", "Workers that live"),
            "num_gpus": gauge("gpus", "GPUs that the workers hold"),
            "frames_per_second": gauge("frames_per_second", "Frames per second over the last two minutes"),
        }

    def __call__(self, status: Mapping[str, Any]) -> None:
        for name, count in status["num_ended"].items():
            self._videos.set(count, {"status": name})
        for name, count in status["failures"].items():
            self._failures.set(count, {"error_class": name})
        for name, seconds in status["stage_seconds"].items():
            self._seconds.set(seconds, {"stage": name})
        for name, gauge in self._plain.items():
            if name in status:
                gauge.set(status[name])

"""For machines that watch a job: its log as JSON lines, and its counts as Ray metrics (Prometheus)."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.records import Outcome
from pipeline.redact import redact

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

"""The log of a job as JSON lines, for machines that watch it (`log_file=`)."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.records import BAD, Outcome, Status
from pipeline.redact import redact

_PACKAGES = ("pipeline", "model")

VIDEOS = logging.getLogger("pipeline.videos")
"""One record for each video. They go into `log_file=` only, because a person would see too many of them."""
VIDEOS.propagate = False
VIDEOS.addHandler(logging.NullHandler())  # otherwise Python prints warnings of a logger that has no handler

_FIELDS = (
    *("video_id", "object_id", "attempt", "worker_id", "status", "error_class", "strikes"),
    *("num_masks", "num_frames", "num_objects_failed"),
)


def log_video(outcome: Outcome, attempt: int) -> None:
    """Log that a video is in the tables. What failed is a warning: the video, or each object of an `ok` one."""
    for note in outcome.details.notes:
        about = {"video_id": outcome.video_id, "object_id": note.object_id, "status": note.status.value}
        VIDEOS.warning(note.message, extra=about)
    is_warned = outcome.status is Status.OK and bool(outcome.message)
    VIDEOS.log(
        logging.WARNING if outcome.status in BAD or is_warned else logging.DEBUG,
        outcome.message or "labeled",
        extra={
            "video_id": outcome.video_id,
            "attempt": attempt,
            "status": outcome.status.value,
            "error_class": outcome.error_class,
            "num_masks": outcome.num_masks,
            "num_frames": outcome.num_frames,
            "num_objects_failed": outcome.details.num_tracks_failed,
        },
    )


class JsonLines(logging.FileHandler):
    """Appends one JSON object for each record, flushed at once: time, level, logger, message and what it is about."""

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
    """Write the log of `pipeline` and of `model` to a file as well, while this is open. `~` is the home folder.

    With `None` there is no file. Raises `ConfigError` if the file cannot be opened.
    """
    if path is None:
        yield
        return
    with _opened(path) as handler, contextlib.ExitStack() as stack:
        for name in _PACKAGES:
            stack.enter_context(_attached(handler, logging.getLogger(name)))
        stack.enter_context(_attached(handler, VIDEOS))
        stack.callback(VIDEOS.setLevel, VIDEOS.level)
        VIDEOS.setLevel(logging.DEBUG)
        yield


def _opened(path: str) -> contextlib.closing[JsonLines]:
    file = Path(path).expanduser()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return contextlib.closing(JsonLines(file, encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"log_file={path}: cannot be written ({error.strerror}); name another") from error


@contextlib.contextmanager
def _attached(handler: logging.Handler, logger: logging.Logger) -> Iterator[None]:
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)

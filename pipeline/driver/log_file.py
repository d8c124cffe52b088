"""The log of a job as JSON lines, for machines that watch it (`log_file=`).

Each run has a first and a last record, whatever becomes of it: `event` is `run_started` and `run_ended`. The last one
has the exit code and the counts.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.command import OWN_LOGGERS
from pipeline.driver.remote_log import RemoteCopy
from pipeline.errors import ConfigError
from pipeline.records import BAD, Outcome, Status
from pipeline.redact import redact, redact_uri
from pipeline.storage.uris import StorageOptions, is_local, local_path

_log = logging.getLogger(__name__)

VIDEOS = logging.getLogger("pipeline.videos")
"""One record for each video. They go into `log_file=` only, because a person would see too many of them."""

RUNS = logging.getLogger("pipeline.runs")
"""The first and the last record of a run, and what is planned. A person sees these in the summary."""

for _logger in (VIDEOS, RUNS):
    _logger.propagate = False
    _logger.addHandler(logging.NullHandler())  # otherwise Python prints warnings of a logger that has no handler

# Control characters that JSON lets pass, and signs that turn the direction of what follows: people read logs as well.
_UNSEEN = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

_FIELDS = (
    *("video_id", "object_id", "attempt", "worker_id", "status", "error_class", "strikes"),
    *("num_masks", "num_frames", "num_objects_failed"),
)


def log_video(outcome: Outcome, attempt: int) -> None:
    """Log that a video is in the tables. What failed is a warning: the video, or each object of an `ok` one."""
    for note in outcome.details.notes:
        about = {"video_id": outcome.video_id, "object_id": note.object_id, "attempt": attempt}
        about["status"] = note.status.value
        VIDEOS.warning("%s", note.message, extra=about)
    is_warned = outcome.status is Status.OK and bool(outcome.message)
    VIDEOS.log(
        logging.WARNING if outcome.status in BAD or is_warned else logging.DEBUG,
        "%s",
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


def log_run(level: int, message: str, event: str, **facts: Any) -> None:
    """Log how a run stands. `facts` are fields of the record."""
    RUNS.log(level, "%s", message, extra={"facts": {"event": event, **facts}})


class JsonLines(logging.FileHandler):
    """Appends one JSON object for each record, flushed at once: time, level, logger, message and what it is about.

    A disk that takes no record costs the log, and one warning until it takes some again. The run goes on. `shown` is
    the name of the file for people.
    """

    def __init__(self, file: Path, shown: str) -> None:
        super().__init__(file, encoding="utf-8")
        self._shown = shown
        self._is_refused = False

    def flush(self) -> None:
        super().flush()
        self._is_refused = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name that `logging` calls
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._is_refused:
            self._is_refused = True
            _log.warning("log_file=%s is not up to date: %s", self._shown, error.strerror or error)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a warning has told it
            super().close()

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        document |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        document |= getattr(record, "facts", {})
        text = json.dumps(document, ensure_ascii=False)
        return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


@contextlib.contextmanager
def json_log(place: str | None, storage_options: StorageOptions | None = None) -> Iterator[None]:
    """Write the log of `pipeline` and of `model` to a file as well, while this is open. `~` is the home folder.

    New records come after those that the file has. An object in a store is written anew every half minute, and at the
    end. With `None` there is no file. Raises `ConfigError` if the place cannot be written, `StorageError` if its store
    is away.
    """
    if place is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        handler = stack.enter_context(_opened(place, storage_options))
        for logger in (*map(logging.getLogger, OWN_LOGGERS), VIDEOS, RUNS):
            stack.enter_context(_attached(handler, logger))
        for logger in (VIDEOS, RUNS):
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.DEBUG)
        yield


@contextlib.contextmanager
def _opened(place: str, storage_options: StorageOptions | None) -> Iterator[JsonLines]:
    if is_local(place):
        with _local(Path(local_path(place)).expanduser(), place) as handler:
            yield handler
        return
    with tempfile.TemporaryDirectory(prefix="maskmill-log-") as folder:
        path = Path(folder) / "log.jsonl"
        remote = RemoteCopy(place, path, storage_options)
        remote.begin()
        with _local(path, place) as handler, remote:
            yield handler


def _local(file: Path, place: str) -> contextlib.closing[JsonLines]:
    name = redact_uri(place)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return contextlib.closing(JsonLines(file, name))
    except OSError as error:
        raise ConfigError(f"log_file={name}: cannot be written ({error.strerror}); name another") from error


@contextlib.contextmanager
def _attached(handler: logging.Handler, logger: logging.Logger) -> Iterator[None]:
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)

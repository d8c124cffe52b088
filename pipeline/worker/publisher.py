"""Publishing beside the launching thread: finished videos go into the spool, segments and saved sessions to storage.

One helper thread does all of it in the order in which it was asked: a session is written before it is deleted, and a
video is told as published when its segment is. The thread never touches CUDA.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial

from pipeline.errors import StorageError, describe
from pipeline.output.saved_sessions import SessionStore
from pipeline.output.segment_writer import LabeledVideo, SegmentWriter
from pipeline.records import Segment, WorkItem

_STAGES = ("fetch", "decode", "propagate", "encode")
_MAX_QUEUED_BYTES = 64 << 20


@dataclass(frozen=True)
class Finished:
    """A finished video on its way out. `refused` makes the rows that tell why its own rows are refused.

    `saved` is where it was saved in its middle, which is deleted when the video is published.
    """

    item: WorkItem
    video: LabeledVideo
    refused: Callable[[ValueError], LabeledVideo]
    saved: SessionStore | None = None


@dataclass
class Published:
    """What happened since the last look. `returned` are items whose rows the disk of the spool does not take."""

    segments: list[Segment] = field(default_factory=list)
    returned: list[WorkItem] = field(default_factory=list)
    storage_errors: list[str] = field(default_factory=list)
    stage_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    error: Exception | None = None


class Publisher:
    """See the module. All methods belong to the launching thread; of them only `wait` and `close` wait."""

    def __init__(self, writer: SegmentWriter, max_queued_bytes: int = _MAX_QUEUED_BYTES) -> None:
        self._writer = writer
        self._max_queued_bytes = max_queued_bytes
        self._pool = ThreadPoolExecutor(1, "publish")
        self._last: Future[None] | None = None
        self._lock = threading.Lock()
        self._news = Published()
        self._queued_bytes = 0
        self._unflushed: dict[str, None] = {}
        self._sessions: dict[str, SessionStore] = {}

    @property
    def unflushed(self) -> tuple[str, ...]:
        """Ids of videos that are finished, and not told as published by `take`."""
        return tuple(self._unflushed)

    @property
    def is_idle(self) -> bool:
        """Whether all that was asked for is done."""
        return self._last is None or self._last.done()

    @property
    def is_behind(self) -> bool:
        """Whether a segment's worth of rows waits for the thread, so that nothing more should be added."""
        return self._queued_bytes > self._max_queued_bytes

    def add(self, finished: Finished) -> None:
        """Put a video into the spool, and publish what lies there if that is due."""
        self._unflushed[finished.item.video_id] = None
        num_bytes = finished.video.masks.nbytes
        with self._lock:
            self._queued_bytes += num_bytes
        self.submit(partial(self._add, finished, num_bytes))

    def flush_if_due(self) -> None:
        """Publish what lies in the spool if it has waited long enough, or if storage refused it before."""
        if self.is_idle:
            self.submit(self._flush_if_due)

    def flush(self) -> None:
        """Publish all that was added."""
        self.submit(self._flush)

    def submit(self, task: Callable[[], object]) -> Future[None]:
        """Have the thread do something after all that it was asked for before."""
        self._last = self._pool.submit(self._run, task)
        return self._last

    def wait(self, seconds: float | None = None) -> None:
        """Wait until all is done that was asked for, or for so many seconds."""
        if self._last is not None:
            wait([self._last], seconds)

    def take(self) -> Published:
        """What happened since the last call. Its `error` is one that is no video's and not of storage."""
        with self._lock:
            news, self._news = self._news, Published()
        for segment in news.segments:
            for outcome in segment.outcomes:
                self._unflushed.pop(outcome.video_id, None)
        for item in news.returned:
            self._unflushed.pop(item.video_id, None)
        return news

    def close(self) -> None:
        """Wait for what is under way, and delete the spool with what was not published."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._writer.close()

    # In the thread

    def _run(self, task: Callable[[], object]) -> None:
        try:
            task()
        except Exception as error:  # noqa: BLE001  # the launching thread is told, and decides what it means
            with self._lock:
                self._news.error = error

    def _add(self, finished: Finished, num_bytes: int) -> None:
        try:
            added = self._put(finished)
        except StorageError as error:
            with self._lock:
                self._news.returned.append(finished.item)
                self._news.storage_errors.append(describe(error))
        else:
            row = added.video.to_pylist()[0]
            with self._lock:
                for stage in _STAGES:
                    self._news.stage_seconds[stage] += row[f"{stage}_seconds"] or 0.0
            if finished.saved is not None:
                self._sessions[finished.item.video_id] = finished.saved
        finally:
            with self._lock:
                self._queued_bytes -= num_bytes
        self._flush_if_due()

    def _put(self, finished: Finished) -> LabeledVideo:
        """Put the rows into the spool. A video whose rows the writer refuses becomes a failed one."""
        try:
            self._writer.add(finished.video)
        except ValueError as error:
            refused = finished.refused(error)
            self._writer.add(refused)
            return refused
        return finished.video

    def _flush_if_due(self) -> None:
        if self._writer.should_flush():
            self._flush()

    def _flush(self) -> None:
        """Publish what is finished. What storage refuses waits for the next call."""
        try:
            while (segment := self._writer.flush()) is not None:
                with self._lock:
                    self._news.segments.append(segment)
                for outcome in segment.outcomes:
                    if (saved := self._sessions.pop(outcome.video_id, None)) is not None:
                        saved.delete()
        except StorageError as error:
            with self._lock:
                self._news.storage_errors.append(describe(error))

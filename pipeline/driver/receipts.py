"""What came in and is not in the log yet: the next commit, and the one that is being written beside the loop."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.errors import StorageError
from pipeline.records import Outcome, Segment, WorkItem


class Ledger(Protocol):
    """Where results become final. All methods raise `StorageError` if storage is away, and may be called again.

    One thread at a time calls them.
    """

    def commit(self, segments: list[Segment], strikes: dict[str, int]) -> list[Outcome]:
        """Commit published segments and strikes. Returns all their outcomes, also of videos finished before."""

    def write_quarantined(self, item: WorkItem, message: str) -> None:
        """Write the row of a video that no worker survives. It is published with the next commit."""

    def write_unreachable(self, item: WorkItem, message: str) -> None:
        """Write the row of a video whose host never answered. It is published with the next commit."""

    def hosts_read(self) -> Collection[str]:
        """The hosts from which videos of the tables were read; empty text stands for this machine's disk."""


class Writing(Protocol):
    """A commit that runs. `concurrent.futures.Future` is one."""

    def done(self) -> bool:
        """Whether it has ended, well or not."""

    def result(self, timeout: float | None = None) -> list[Outcome]:
        """Wait for its end, at most so many seconds (`TimeoutError`). Raises what the commit raised."""


Submit = Callable[[Callable[[], list[Outcome]]], Writing]


def in_a_thread(write: Callable[[], list[Outcome]]) -> Writing:
    """Write in a thread of its own. It is a daemon, because a store that hangs must not keep the process from ending.

    A process that ends in the middle of a commit is the same as one that is killed there: the entry is written or not.
    """
    writing: Future[list[Outcome]] = Future()

    def run() -> None:
        try:
            writing.set_result(write())
        except BaseException as error:  # noqa: BLE001  # the loop's thread raises it
            writing.set_exception(error)

    threading.Thread(target=run, name="maskmill-commit", daemon=True).start()
    return writing


@dataclass
class _Batch:
    """What goes into one log entry. `is_repeated`: an earlier try has failed, perhaps after the store had the entry."""

    segments: list[Segment] = field(default_factory=list)
    strikes: dict[str, int] = field(default_factory=dict)
    quarantined: list[tuple[WorkItem, str]] = field(default_factory=list)
    unreachable: list[tuple[WorkItem, str]] = field(default_factory=list)
    is_repeated: bool = False

    def __bool__(self) -> bool:
        return bool(self.segments or self.strikes or self.quarantined or self.unreachable or self.is_repeated)

    def write(self, ledger: Ledger) -> list[Outcome]:
        """Make everything final with one log entry, and return its outcomes."""
        for rows, write in ((self.quarantined, ledger.write_quarantined), (self.unreachable, ledger.write_unreachable)):
            while rows:
                write(*rows[-1])
                rows.pop()
        return ledger.commit(self.segments, self.strikes)

    def before(self, later: _Batch) -> _Batch:
        """This batch, which was not written, together with what came in meanwhile."""
        return _Batch(
            self.segments + later.segments,
            self.strikes | later.strikes,
            self.quarantined + later.quarantined,
            self.unreachable + later.unreachable,
            is_repeated=True,
        )


class Receipts:
    """Segments that workers published, new totals of strikes, and videos that get their row from the driver.

    One batch at a time is written, by `submit` in a thread of its own, so that entries keep their order and the loop
    goes on meanwhile. What comes in while a batch is written belongs to the next one.
    """

    def __init__(self, ledger: Ledger, submit: Submit = in_a_thread) -> None:
        self._ledger = ledger
        self._submit = submit
        self._next = _Batch()
        self._written: _Batch | None = None
        self._writing: Writing | None = None

    def add(self, segments: Iterable[Segment], strikes: Mapping[str, int]) -> None:
        """These belong into the next commit."""
        self._next.segments.extend(segments)
        self._next.strikes.update(strikes)

    def quarantine(self, item: WorkItem, message: str) -> None:
        """This video has its row in the next commit, as one that no worker survives."""
        self._next.quarantined.append((item, message))

    def unreachable(self, item: WorkItem, message: str) -> None:
        """This video has its row in the next commit, as one whose host never answered."""
        self._next.unreachable.append((item, message))

    def hosts_read(self) -> Collection[str]:
        """The hosts from which videos of the tables were read. Raises `StorageError` if storage is away.

        Nothing may be being written meanwhile.
        """
        return self._ledger.hosts_read()

    @property
    def is_writing(self) -> bool:
        """Whether a commit is being written, or has ended and was not taken."""
        return self._writing is not None

    def begin(self) -> None:
        """Begin to write what came in, unless nothing did or a commit is still being written."""
        if self._writing is None and self._next:
            batch = self._written = self._next
            self._next = _Batch()
            self._writing = self._submit(lambda: batch.write(self._ledger))

    def take(self) -> list[Outcome] | None:
        """The outcomes of the commit that has ended since; None if none has.

        Raises what the commit raised: after a `StorageError` nothing is lost, and the next commit says it all again.
        """
        if self._writing is None or not self._writing.done():
            return None
        writing, batch = self._writing, self._written
        self._writing = self._written = None
        try:
            return writing.result()
        except StorageError:
            assert batch is not None
            self._next = batch.before(self._next)
            raise

    def finish(self) -> list[Outcome] | None:
        """Write what came in, wait for it, and return its outcomes; None if nothing is left. Raises as `take` does."""
        self.begin()
        if self._writing is None:
            return None
        with contextlib.suppress(Exception):  # `take` raises it
            self._writing.result()
        return self.take()

    def settle(self, seconds: float) -> None:
        """Wait for the commit that is being written, for a loop that ends without taking it."""
        if self._writing is not None:
            with contextlib.suppress(Exception):
                self._writing.result(seconds)

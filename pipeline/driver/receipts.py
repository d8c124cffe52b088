"""What came in and is not in the log yet: the next commit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from pipeline.records import Outcome, Segment, WorkItem


class Ledger(Protocol):
    """Where results become final. All methods raise `StorageError` if storage is away, and may be called again."""

    def commit(self, segments: list[Segment], strikes: dict[str, int]) -> list[Outcome]:
        """Commit published segments and strikes. Returns all their outcomes, also of videos finished before."""

    def write_quarantined(self, item: WorkItem, message: str) -> None:
        """Write the row of a video that no worker survives. It is published with the next commit."""

    def write_unreachable(self, item: WorkItem, message: str) -> None:
        """Write the row of a video whose host never answered. It is published with the next commit."""

    def hosts_read(self) -> Collection[str]:
        """The hosts from which videos of the tables were read; empty text stands for this machine's disk."""


class Receipts:
    """Segments that workers published, new totals of strikes, and videos that are quarantined."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._segments: list[Segment] = []
        self._strikes: dict[str, int] = {}
        self._quarantined: list[tuple[WorkItem, str]] = []
        self._unreachable: list[tuple[WorkItem, str]] = []

    def add(self, segments: Iterable[Segment], strikes: Mapping[str, int]) -> None:
        """These belong into the next commit."""
        self._segments.extend(segments)
        self._strikes.update(strikes)

    def quarantine(self, item: WorkItem, message: str) -> None:
        """This video has its row in the next commit, as one that no worker survives."""
        self._quarantined.append((item, message))

    def unreachable(self, item: WorkItem, message: str) -> None:
        """This video has its row in the next commit, as one whose host never answered."""
        self._unreachable.append((item, message))

    def hosts_read(self) -> Collection[str]:
        """The hosts from which videos of the tables were read. Raises `StorageError` if storage is away."""
        return self._ledger.hosts_read()

    def commit(self) -> list[Outcome]:
        """Make everything final with one log entry, and return its outcomes.

        Raises `StorageError` if storage is away. Nothing is lost then: the next call tries again.
        """
        while self._quarantined:
            self._ledger.write_quarantined(*self._quarantined[-1])
            self._quarantined.pop()
        while self._unreachable:
            self._ledger.write_unreachable(*self._unreachable[-1])
            self._unreachable.pop()
        outcomes = self._ledger.commit(self._segments, self._strikes)
        self._segments, self._strikes = [], {}
        return outcomes

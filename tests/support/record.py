"""What each chaos test has seen, for the table that the suite prints at its end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from pipeline.output.schema import SORT_KEYS
from tests.support.fault_jobs import Tables, assert_same

COLUMNS = ("fault", "times", "rows lost", "rows doubled", "work redone", "seconds")
_PROPERTY = "injected fault"


@dataclass
class Record:
    """One line of the table. A test that fails before it has compared its tables leaves `?` in it."""

    fault: str
    times: int | str = "?"
    rows_lost: int | str = "?"
    rows_doubled: int | str = "?"
    redone: str = "–"
    started: float = field(default_factory=time.monotonic)

    def compare(self, found: Tables, expected: Tables) -> None:
        """Count what is lost and doubled in masks and tracks, then check that all of it is equal row by row."""
        self.rows_lost = self.rows_doubled = 0
        for name in ("masks", "tracks"):
            keys = [tuple(row.values()) for row in getattr(found, name).select(SORT_KEYS[name]).to_pylist()]
            wanted = {tuple(row.values()) for row in getattr(expected, name).select(SORT_KEYS[name]).to_pylist()}
            self.rows_lost += len(wanted - set(keys))
            self.rows_doubled += len(keys) - len(set(keys))
        assert_same(found, expected)

    def cells(self) -> list[str]:
        """The line's cells; the clock stops now."""
        seconds = f"{time.monotonic() - self.started:.0f}"
        return [self.fault, str(self.times), str(self.rows_lost), str(self.rows_doubled), self.redone, seconds]


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Iterator[Record]:
    """The line of this test; named after it unless the test says better."""
    made = Record(request.node.name.removeprefix("test_").replace("_", " "))
    yield made
    request.node.user_properties.append((_PROPERTY, made.cells()))


def table(reports: Sequence[pytest.TestReport]) -> list[str]:
    """The lines of all tests that have one, as a Markdown table; none if there is no such test."""
    lines = [
        (*cells, "" if all(other.outcome == "passed" for other in reports if other.nodeid == report.nodeid) else " ✗")
        for report in reports
        if report.when == "teardown"
        for name, cells in report.user_properties
        if name == _PROPERTY
    ]
    if not lines:
        return []
    widths = [max(len(line[n]) for line in [COLUMNS, *lines]) for n in range(len(COLUMNS))]
    shown = [("| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=False)) + " |") for line in lines]
    heading = "| " + " | ".join(name.ljust(width) for name, width in zip(COLUMNS, widths, strict=True)) + " |"
    marks = [line[len(COLUMNS)] for line in lines]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [heading, rule, *(line + mark for line, mark in zip(shown, marks, strict=True))]

"""What is left of what was said of a track or a frame when a document takes back what it had said before.

A withdrawal through a handout takes back what its reviewer said through it, and nothing else. One in the page takes
back what was said last; what counts again is said once more behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.reviews.corrections import Kind
from pipeline.reviews.verdicts import Verdict

Row = Mapping[str, Any]
Said = tuple[str, Row]
"""The path of a file, and a row of it."""

_IsMine = Callable[[Row], bool]
_TIMES = {"reviewed_at", "labeled_at"}
_OF_VERDICT = ("verdict", "reviewer", "comment")


def counting_correction(history: Iterable[Said], is_mine: _IsMine) -> Row | None:
    """What would count of an object on a frame without what is `mine`, of its rows in the order of time."""
    found: list[Row] = []
    for _, row in history:
        if row["kind"] == Kind.WITHDRAW:
            found = _others(found, is_mine) if is_mine(row) else []
        elif len(found) > 1 and _is_same(found[-2], row, row.keys() - _TIMES):
            found.pop()  # the page took back what was said last
        elif not found or not _is_same(found[-1], row, row.keys() - _TIMES):
            found.append(row)
    return next(reversed(_others(found, is_mine)), None)


def standing_verdicts(history: Iterable[Said], is_mine: _IsMine) -> list[Row]:
    """What was said of a track and not taken back, of its rows in the order of time."""
    rows = list(history)
    again = {path: row for path, row in rows if row["verdict"] != Verdict.WITHDRAW}
    withdrawn: set[str] = set()
    found: list[Row] = []
    for path, row in rows:
        if row["verdict"] == Verdict.WITHDRAW:
            withdrawn.add(path)
            if is_mine(row):
                found = _others(found, is_mine)
                continue
            del found[-1:]
            while found and (path not in again or not _is_same(found[-1], again[path], _OF_VERDICT)):
                found.pop()
        elif path not in withdrawn or not found:
            found.append(row)
    return found


def counting_verdict(standing: Iterable[Row]) -> Row | None:
    """The verdict that counts of those that stand.

    A skip counts only where nothing else does. A category stands until another one is given.
    """
    counting: Row | None = None
    for row in standing:
        if counting is None or counting["verdict"] == Verdict.SKIP:
            counting = row
        elif row["verdict"] != Verdict.SKIP:
            counting = {**row, "category": row["category"] or counting["category"]}
    return counting


def said_again(row: Row) -> dict[str, Any]:
    """A row that counts again, of the labels that its reviewer saw: they may be earlier ones than those of now."""
    return {**row, "labeled_at": row["labeled_at"] or row["reviewed_at"]}


def _others(rows: Iterable[Row], is_mine: _IsMine) -> list[Row]:
    return [row for row in rows if not is_mine(row)]


def _is_same(first: Row, second: Row, names: Iterable[str]) -> bool:
    return all(first[name] == second[name] for name in names)

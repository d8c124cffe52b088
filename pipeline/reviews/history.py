"""What was said of a track, or of an object on a frame, in the order of time: what of it stands, and what counts.

What is taken back is not deleted. A withdrawal takes it back, and what counts again is said once more behind it. One
through a handout takes back what its reviewer said through that, and nothing else: who asks says what is `mine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.reviews.corrections import Kind
from pipeline.reviews.verdicts import Opinion, Verdict

Row = Mapping[str, Any]
Corrected = tuple[str, Row]
"""The path of a file of corrections, and a row of it."""

_IsMine = Callable[[Row], bool]
_OF_VERDICT = ("verdict", "reviewer", "comment")
_NOT_SAID = {"reviewed_at", "labeled_at", "said_id"}  # when it was said, and how it was sent


@dataclass(frozen=True)
class Said:
    """A row of verdicts, and the file that holds it."""

    path: str
    row: Row

    @property
    def verdict(self) -> Verdict:
        """What it says."""
        return Verdict(self.row["verdict"])

    def is_of(self, finished_at: datetime | None) -> bool:
        """Whether it is said of the labels that were made then, and not of earlier ones."""
        row = self.row
        return Opinion(
            self.verdict, row["reviewed_at"], False, row["reviewer"], row["labeled_at"], row["category"]
        ).is_of(finished_at)


@dataclass(frozen=True)
class Standing:
    """What was said and not taken back. `paths` are its file, and those that say it once more after an undo."""

    said: Said
    paths: frozenset[str]


def in_time(path: str, row: Row) -> tuple[datetime, str]:
    """What rows are sorted by, in the order in which they count.

    Clocks of several machines may differ: the time that is written counts. The names of the files decide what was said
    within one millisecond.
    """
    return row["reviewed_at"], path


def nobody(row: Row) -> bool:
    """No row is mine: a withdrawal takes back whatever it is about."""
    return False


def standing_corrections(history: Iterable[Corrected], is_mine: _IsMine = nobody) -> list[Corrected]:
    """Of what was said of an object on a frame all that nobody has taken back."""
    found: list[Corrected] = []
    for path, row in history:
        if row["kind"] == Kind.WITHDRAW:
            found = [one for one in found if not is_mine(one[1])] if is_mine(row) else []
        elif len(found) > 1 and is_same_correction(found[-2][1], row):
            found.pop()  # what it said before counts again
        elif not found or not is_same_correction(found[-1][1], row):
            found.append((path, row))
    return found


def is_same_correction(first: Row, second: Row) -> bool:
    """Whether two rows say the same, at whatever time: what was taken back and counts again is said anew."""
    if first["kind"] == second["kind"] == Kind.WITHDRAW:
        return True
    names = {*first, *second} - _NOT_SAID
    return all(first.get(name) == second.get(name) for name in names)


def standing_verdicts(history: Iterable[Said], is_mine: _IsMine = nobody) -> list[Standing]:
    """Of what was said of a track all that nobody has taken back.

    A row `withdraw` takes back what was said last, and the row behind it in its file says what counts again. Without
    such a row nothing counts any more.
    """
    rows = list(history)
    again = {one.path: one for one in rows if one.verdict is not Verdict.WITHDRAW}
    withdrawn: set[str] = set()
    found: list[Standing] = []
    for one in rows:
        if one.verdict is Verdict.WITHDRAW:
            withdrawn.add(one.path)
            if is_mine(one.row):
                found = [before for before in found if not is_mine(before.said.row)]
                continue
            counting = again.get(one.path)
            del found[-1:]
            while found and (counting is None or not _is_same_verdict(found[-1].said, counting)):
                found.pop()
        elif one.path in withdrawn and found:
            found[-1] = Standing(found[-1].said, found[-1].paths | {one.path})
        else:
            found.append(Standing(one, frozenset({one.path})))
    return found


def counting_verdict(said: Iterable[Said]) -> Said | None:
    """What counts at the end: a skip only where nothing else does.

    A category stands until another one is given, or what was said is taken back.
    """
    counting: Said | None = None
    for one in said:
        if one.verdict is Verdict.WITHDRAW:
            counting = None
        elif counting is None or counting.verdict is Verdict.SKIP:
            counting = one
        elif one.verdict is not Verdict.SKIP:
            counting = Said(one.path, {**one.row, "category": one.row["category"] or counting.row["category"]})
    return counting


def said_again(row: Row) -> dict[str, Any]:
    """A row that counts again, of the labels that its reviewer saw: they may be earlier ones than those of now.

    The page that has said it first has not sent this one, so that it has no `said_id`.
    """
    again = {**row, "labeled_at": row["labeled_at"] or row["reviewed_at"]}
    again.pop("said_id", None)
    return again


def _is_same_verdict(first: Said, second: Said) -> bool:
    return all(first.row[name] == second.row[name] for name in _OF_VERDICT)

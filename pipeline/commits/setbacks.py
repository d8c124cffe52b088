"""Finished videos that could not be labeled again in part: their rows stay, and the log says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

from pipeline.records import Outcome, Status


class Setback(NamedTuple):
    """How the last try to label a finished video again in part ended, which has changed no row of it.

    It was tried with the corrections of `review_hash`. `num_failures` says how often in a row the video ended badly.
    `source_hash` stands for the version of the file that was tried; it is empty where none was opened.
    """

    status: Status
    review_hash: str
    error_class: str
    message: str
    num_failures: int
    source_hash: str = ""

    @staticmethod
    def of(outcome: Outcome, before: Setback | None, num_failures: int) -> Setback:
        """That of a video that had this one `before`, and had ended badly so often in a row."""
        review_hash, source_hash = outcome.details.review_hash, outcome.details.source_hash
        if before is not None and before.review_hash != review_hash:
            num_failures = 0
        error = outcome.error_class, outcome.message
        return Setback(outcome.status, review_hash, *error, num_failures + 1, source_hash)


_TYPES = {
    "setback_status": pa.string(),
    "review_hash": pa.string(),
    "error_class": pa.string(),
    "message": pa.string(),
    "num_failures": pa.int32(),
    "source_hash": pa.string(),
}


def setback_table(setbacks: Mapping[str, Setback]) -> pa.Table:
    """Rows of a roll-up for setbacks, by id."""
    values = {
        column: pa.array([one[place] for one in setbacks.values()], kind)
        for place, (column, kind) in enumerate(_TYPES.items())
    }
    return pa.table({"name": pa.array(setbacks.keys(), pa.string()), **values})


def setbacks_of(rows: pa.Table) -> dict[str, Setback]:
    """The inverse of `setback_table`; none in roll-ups of earlier versions."""
    if not set(_TYPES) <= set(rows.column_names):
        return {}
    found = zip(rows["name"].to_pylist(), *(rows[column].to_pylist() for column in _TYPES), strict=True)
    return {name: Setback(Status(status), *others) for name, status, *others in found}

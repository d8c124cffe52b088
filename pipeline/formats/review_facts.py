"""What an export says of reviews: verdict, reviewer and round of a track, in formats that have room for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = ("verdict", "reviewer", "round")
"""Of `tracks`; see `pipeline.output.schema`."""


def review_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of `COLUMNS` is known of a row of `tracks`; nothing where nobody has said anything and it is of round 1.

    So exports of jobs that nobody reviews are as they were.
    """
    found = {name: row[name] for name in COLUMNS if row[name] is not None}
    return found if found.get("verdict") is not None or found.get("round", 1) > 1 else {}

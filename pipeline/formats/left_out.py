"""What of a job is not exported, by reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.text import MAX_NAMED, one_line

_NAMED = 20


class LeftOut:
    """What of a job is not exported: how much of it, by reason, and the first few."""

    def __init__(self) -> None:
        self.reasons: dict[str, dict[str, Any]] = {}

    def keep(
        self,
        rows: pa.Table,
        is_kept: pa.ChunkedArray | pa.Array,
        reason: str,
        name: Callable[[Mapping[str, Any]], str] | None = None,
    ) -> pa.Table:
        """The rows that are kept, of `videos` or `tracks`; the others are noted by `name`. Null keeps no row."""
        is_kept = pc.fill_null(is_kept, False)
        others = rows.filter(pc.invert(is_kept))
        if others.num_rows:
            noted = self.reasons.setdefault(reason, {"count": 0, "first": []})
            noted["count"] += others.num_rows
            more = others.slice(0, _NAMED - len(noted["first"]))
            noted["first"] += map(name or _named, more.to_pylist())
        return rows.filter(is_kept)

    def lines(self) -> list[str]:
        """A line for each reason."""
        return [f"{reason}: {noted['count']} ({self.named(reason)})" for reason, noted in self.reasons.items()]

    def named(self, reason: str, most: int = MAX_NAMED) -> str:
        """The first of those that are left out for a reason."""
        noted = self.reasons[reason]
        return f"{'; '.join(noted['first'][:most])}{'; …' if noted['count'] > most else ''}"


def _named(row: Mapping[str, Any]) -> str:
    whose = f"object {row['object_id']} of video" if "object_id" in row else "video"
    return f"{whose} {row['video_id']!r}{': ' + one_line(row['message'], 200) if row['message'] else ''}"

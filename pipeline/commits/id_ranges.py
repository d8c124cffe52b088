"""Which ids of videos a segment holds, from the log alone: its first and its last one."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.commits.finished import FinishedVideos


class IdRange(NamedTuple):
    """The first and the last id of the videos in a segment."""

    first: str
    last: str


def id_ranges(finished: FinishedVideos) -> dict[str, IdRange]:
    """The range of each segment that holds a finished video, by its name. There may be millions of videos."""
    rows = finished.to_table().select(["segment", "name"])
    found = rows.group_by("segment").aggregate([("name", "min"), ("name", "max")])
    bounds = zip(found["name_min"].to_pylist(), found["name_max"].to_pylist(), strict=True)
    return dict(zip(found["segment"].to_pylist(), map(IdRange._make, bounds), strict=True))

"""What was taken in of a handout before, so that the same document taken in twice changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any

from pipeline.reviews.corrections import Kind, read_rows
from pipeline.reviews.files import Listed
from pipeline.reviews.verdicts import Key, read_verdict_files
from pipeline.storage.job_storage import JobStorage

Row = Mapping[str, Any]


class Written:
    """All corrections and verdicts of a job: those of one reviewer of one handout, and those of others.

    `corrections` are the newest rows of this reviewer of this handout by video, object and frame, `verdicts` those by
    track. Raises as `read_corrections` does.
    """

    def __init__(self, storage: JobStorage, handout: str, reviewer: str) -> None:
        self._mine = handout, reviewer
        self.corrections: dict[tuple[str, int, int], Row] = {}
        self.verdicts: dict[Key, Row] = {}
        self._others: dict[Key, tuple[datetime, str]] = {}
        self._ids: dict[str, set[int]] = defaultdict(set)
        rows = [row for _, row in read_rows(storage, Listed(storage).paths())]
        self._newest: dict[tuple[str, int], dict[int, str]] = defaultdict(dict)
        for row in sorted(rows, key=itemgetter("reviewed_at")):
            self._ids[row["video_id"]].add(row["object_id"])
            self._newest[row["video_id"], row["object_id"]][row["frame_index"]] = row["kind"]
            if self._note(row):
                self.corrections[row["video_id"], row["object_id"], row["frame_index"]] = row
        said = [row for _, of_file in read_verdict_files(storage) for row in of_file]
        for row in sorted(said, key=itemgetter("reviewed_at")):
            if self._note(row):
                self.verdicts[row["video_id"], row["object_id"]] = row

    def _note(self, row: Row) -> bool:
        at = row["reviewed_at"]
        if (row["handout"], row["reviewer"]) == self._mine:
            return True
        self._others[row["video_id"], row["object_id"]] = at, row["reviewer"]
        return False

    def prompted(self, key: Key, frames: Iterable[int]) -> set[int]:
        """The frames that say where an object is: those with prompts, of which there are `frames`, as corrected."""
        kinds = self._newest.get(key, {})
        found = {frame for frame in frames if kinds.get(frame) != Kind.HIDDEN}
        return found | {frame for frame, kind in kinds.items() if kind == Kind.MASK}

    def later(self, key: Key, at: datetime) -> str | None:
        """Who else has spoken of a track after a time, if somebody has."""
        found = self._others.get(key)
        return found[1] if found is not None and found[0] > at else None

    def first_free_id(self, video_id: str, ids: Iterable[int]) -> int:
        """An id above those of tracks, of which there are `ids`, and of corrections."""
        return max([0, *ids, *self._ids[video_id]]) + 1

    def added(self, video_id: str, ids: Iterable[int]) -> dict[int, dict[int, Row]]:
        """Objects of a video that this reviewer has added in this handout, with their rows by frame."""
        known, found = set(ids), dict[int, dict[int, Row]]()
        for (one, object_id, frame), row in self.corrections.items():
            if one == video_id and object_id not in known and row["kind"] != Kind.WITHDRAW:
                found.setdefault(object_id, {})[frame] = row
        return found

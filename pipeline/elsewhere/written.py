"""What was taken in of a handout before, so that the same document taken in twice changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime

from pipeline.reviews.corrections import Kind, read_rows
from pipeline.reviews.files import Listed
from pipeline.reviews.history import (
    Corrected,
    Row,
    Said,
    counting_verdict,
    in_time,
    standing_corrections,
    standing_verdicts,
)
from pipeline.reviews.verdicts import Key, read_verdict_files
from pipeline.storage.job_storage import JobStorage

_Frame = tuple[str, int, int]  # video id, object id, frame index


class Written:
    """All corrections and verdicts of a job: those of one reviewer of one handout, and those of others.

    `corrections` are the newest rows of this reviewer of this handout by video, object and frame, `verdicts` those by
    track. Raises as `read_corrections` does.
    """

    def __init__(self, storage: JobStorage, handout: str, reviewer: str) -> None:
        self._mine = handout, reviewer
        self.corrections: dict[_Frame, Row] = {}
        self.verdicts: dict[Key, Row] = {}
        self._others: dict[Key, tuple[datetime, str]] = {}
        self._ids: dict[str, set[int]] = defaultdict(set)
        self._of_frame: dict[_Frame, list[Corrected]] = defaultdict(list)
        self._of_track: dict[Key, list[Said]] = defaultdict(list)
        self._frames: dict[Key, set[int]] = defaultdict(set)
        for path, row in sorted(read_rows(storage, Listed(storage).paths()), key=lambda one: in_time(*one)):
            self._ids[row["video_id"]].add(row["object_id"])
            self._frames[row["video_id"], row["object_id"]].add(row["frame_index"])
            key = row["video_id"], row["object_id"], row["frame_index"]
            self._of_frame[key].append((path, row))
            if self._note(row):
                self.corrections[key] = row
        said = [Said(path, row) for path, of_file in read_verdict_files(storage) for row in of_file]
        for one in sorted(said, key=lambda one: in_time(one.path, one.row)):
            track = one.row["video_id"], one.row["object_id"]
            self._of_track[track].append(one)
            if self._note(one.row):
                self.verdicts[track] = one.row

    def is_mine(self, row: Row) -> bool:
        """Whether this reviewer said it through this handout."""
        return (row["handout"], row["reviewer"]) == self._mine

    def _note(self, row: Row) -> bool:
        if self.is_mine(row):
            return True
        self._others[row["video_id"], row["object_id"]] = row["reviewed_at"], row["reviewer"]
        return False

    def newest_is_mine(self, key: _Frame) -> bool:
        """Whether the newest row of an object on a frame is of this reviewer and handout."""
        history = self._of_frame.get(key, [])
        return bool(history) and self.is_mine(history[-1][1])

    def correction_of_others(self, key: _Frame) -> Row | None:
        """What would count of an object on a frame without what this reviewer said through this handout."""
        standing = standing_corrections(self._of_frame.get(key, ()), self.is_mine)
        return next((row for _, row in reversed(standing) if not self.is_mine(row)), None)

    def verdict_counts(self, key: Key) -> bool:
        """Whether the verdict of a track that counts is of this reviewer and handout."""
        counting = counting_verdict(self._standing(key))
        return counting is not None and self.is_mine(counting.row)

    def verdict_of_others(self, key: Key) -> Row | None:
        """What would count of a track without what this reviewer said through this handout."""
        counting = counting_verdict(one for one in self._standing(key) if not self.is_mine(one.row))
        return None if counting is None else counting.row

    def _standing(self, key: Key) -> list[Said]:
        return [one.said for one in standing_verdicts(self._of_track.get(key, ()), self.is_mine)]

    def corrected(self, key: Key) -> set[int]:
        """The frames of a track that this reviewer has corrected through this handout, and not withdrawn."""
        places = ((*key, frame) for frame in self._frames.get(key, ()))
        rows = ((place[2], self.corrections.get(place)) for place in places)
        return {frame for frame, row in rows if row is not None and row["kind"] != Kind.WITHDRAW}

    def prompted(self, key: Key, frames: Iterable[int], told: Collection[int]) -> set[int]:
        """The frames that say where an object is: those with prompts, of which there are `frames`, as corrected.

        On frames that are `told` anew, what this reviewer said through this handout does not count any more.
        """
        kinds: dict[int, str] = {}
        for frame in self._frames.get(key, ()):
            place = *key, frame
            is_told = frame in told and self.newest_is_mine(place)
            row = self.correction_of_others(place) if is_told else self._of_frame[place][-1][1]
            if row is not None:
                kinds[frame] = row["kind"]
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

"""What reviewers have said of the tracks, as far as this server knows: read file by file, and written at once.

A verdict that the newest `skip`, or one on earlier labels, does not change stays the one that counts, as
`read_verdicts` has it. The book also shows a skip where nothing else was said.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.reviews.history import Said, Standing, counting_verdict, in_time, said_again, standing_verdicts
from pipeline.reviews.times import after
from pipeline.reviews.verdicts import Key, Verdict, as_read, read_verdict_files, write_verdicts
from pipeline.storage.job_storage import JobStorage


class ChangedMeanwhile(Exception):
    """Somebody else has said something of the track since."""


class VerdictBook:
    """See the module. Methods may be called in any thread."""

    def __init__(self, storage: JobStorage) -> None:
        self._storage = storage
        self._lock = threading.Lock()  # of what is known; held for moments
        self._looking = threading.Lock()
        self._writing = threading.Lock()  # so that an undo sees everything that this server has written
        self._paths: set[str] = set()
        self._said: dict[Key, list[Said]] = {}

    def look(self) -> set[Key]:
        """Read the files that are new, and return the tracks of which they speak.

        Raises `InputError` for a file that is no table of verdicts, and `StorageError` if the store does not answer.
        """
        with self._looking:
            changed: set[Key] = set()
            for path, rows in read_verdict_files(self._storage, self._paths):
                changed |= self._take(path, rows)
            return changed

    def history(self, key: Key) -> list[Said]:
        """All that was said of a track, in the order of time."""
        with self._lock:
            return list(self._said.get(key, ()))

    def current(self, key: Key) -> Said | None:
        """The verdict on a track that counts, or a skip if nothing else does; None if nothing was said, or taken back.

        It may be of earlier labels: see `Said.is_of`.
        """
        with self._lock:
            return counting_verdict(self._said.get(key, ()))

    def standing(self, key: Key) -> list[Standing]:
        """What was said of a track and not taken back, in the order of time. An undo takes back the last one."""
        return standing_verdicts(self.history(key))

    def said_as(self, said_id: str, key: Key) -> tuple[Said, Said | None] | None:
        """What was said of a track with this `said_id`, by any server, and what counted before; None if nothing was."""
        history = self.history(key)
        for place, one in enumerate(history):
            if one.row["said_id"] == said_id:
                return one, counting_verdict(history[:place])
        return None

    def keys(self) -> list[Key]:
        """All tracks of which something was said."""
        with self._lock:
            return list(self._said)

    def num_by(self, reviewer: str) -> int:
        """How many tracks have a verdict of this reviewer that counts."""
        with self._lock:
            found = (counting_verdict(said) for said in self._said.values())
            return sum(one is not None and one.row["reviewer"] == reviewer for one in found)

    def write(self, row: Mapping[str, Any]) -> tuple[Said, Said | None]:
        """Say something: the new row with its file, and what counted before. Returns when the store has taken it.

        It is said after all that is known of the track here, whatever the clocks of other reviewers say.

        Raises `ValueError` for a row that is no verdict, `StorageError` if the store does not take it: nothing is said.
        """
        key = row["video_id"], row["object_id"]
        with self._writing:
            before = self.current(key)
            at = after((one.row["reviewed_at"] for one in self.history(key)), row["reviewed_at"])
            return self._write([{**row, "reviewed_at": at}])[-1], before

    def undo(self, path: str, key: Key, reviewer: str) -> Said | None:
        """Take back what the reviewer has said of a track by the file `path`; what counted before counts again.

        A `withdraw` takes back all that was said before, so that the verdict which counted before is said once more in
        the same file, by the reviewer who had said it. Returns it.

        Raises `ChangedMeanwhile` if something else was said since, `StorageError` if the store does not answer.
        """
        with self._writing:
            standing = self.standing(key)
            if not standing or path not in standing[-1].paths:
                newest = f": {_in_words(standing[-1].said)} since" if standing else ""
                raise ChangedMeanwhile(f"nothing is undone{newest}")
            before = counting_verdict(one.said for one in standing[:-1])
            now = after(one.row["reviewed_at"] for one in self.history(key))
            names = {"video_id": key[0], "object_id": key[1]}
            rows: list[Mapping[str, Any]] = [
                {**names, "verdict": Verdict.WITHDRAW.value, "reviewer": reviewer, "reviewed_at": now}
            ]
            if before is not None:
                rows.append(said_again(before.row) | {"reviewed_at": now})
            self._write(rows)
            return self.current(key)

    def _write(self, rows: list[Mapping[str, Any]]) -> list[Said]:
        path = write_verdicts(self._storage, rows)
        read = as_read(rows)
        self._take(path, read)
        return [Said(path, row) for row in read]

    def _take(self, path: str, rows: Iterable[Mapping[str, Any]]) -> set[Key]:
        with self._lock:
            if path in self._paths:  # a look has found what a write has just made
                return set()
            self._paths.add(path)
            changed: set[Key] = set()
            for row in rows:
                key = row["video_id"], row["object_id"]
                said = self._said.setdefault(key, [])
                said.append(Said(path, row))
                said.sort(key=lambda one: in_time(one.path, one.row))
                changed.add(key)
            return changed


def _in_words(said: Said) -> str:
    return f"{said.row['reviewer']} said {said.verdict}"

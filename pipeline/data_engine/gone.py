"""Which objects left the tables in each round: those that have no masks any more, and those that people rejected."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from pipeline.commits.history import Kind
from pipeline.commits.read_history import read_history
from pipeline.commits.read_rounds import RoundEntries
from pipeline.errors import NoHistory
from pipeline.reviews.verdicts import Key, Verdict
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables


@dataclass(frozen=True)
class Gone:
    """How many objects were in the tables at the end of the round before, or came in this one, and left.

    `num_without_masks` have no masks any more. It is None where the tables of the round before are deleted.
    `num_rejected` keep their masks, which `rejected=True` shows.
    """

    num_without_masks: int | None = 0
    num_rejected: int = 0


def without_masks(
    storage: JobStorage, entries: RoundEntries, former: JobTables | None, job: JobTables | None
) -> set[Key] | None:
    """The objects that had masks at the end of the round before, `former`, and have none at the end of this one.

    Those of videos that wait to be labeled again as a whole are not among them. None where nobody knows any more.
    """
    if former is None or job is None:
        return None
    try:
        changes = read_history(storage, entries.first, entries.stop).of_kind(Kind.AGAIN)
    except NoHistory:
        return None
    video_ids = sorted(change.video_id for change in changes)
    return _with_masks(former, video_ids) - _with_masks(job, video_ids) if video_ids else set()


def _with_masks(job: JobTables, video_ids: Sequence[str]) -> set[Key]:
    rows = job.track_rows(video_ids, columns=["video_id", "object_id", "num_masks"], rejected=True).to_table()
    return {(row["video_id"], row["object_id"]) for row in rows.to_pylist() if row["num_masks"]}


def rejected(
    verdicts: Mapping[int, Iterable[Mapping[str, Any]]], labeled: Mapping[int, Collection[Key]]
) -> dict[int, set[Key]]:
    """The tracks that were rejected at the end of each round. `verdicts` are all rows by round, ascending.

    `labeled` are the objects that were labeled in each round, as far as that is known: what was said of them in earlier
    rounds does not count any more.
    """
    standing: set[Key] = set()
    found: dict[int, set[Key]] = {}
    for number, rows in verdicts.items():
        newest: dict[Key, str] = {}
        for row in sorted(rows, key=itemgetter("reviewed_at")):
            if row["verdict"] != Verdict.SKIP:
                newest[row["video_id"], row["object_id"]] = row["verdict"]
        rejected_now = {key for key, verdict in newest.items() if verdict == Verdict.REJECT}
        standing = standing.difference(labeled.get(number, ()), newest) | rejected_now
        found[number] = standing
    return found

"""Rounds of reviews in the log: which round it is, and which segments stay because an earlier one needs them.

A job is in round 1 until a run takes reviews in; that run opens the next one. Each entry has its round, so that the
state at the end of a round is the log up to the first entry of a later one. Segments that counted then and do not now
lie below `_former/` for as many rounds as `keep_rounds=` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.records import Outcome, Reason

FIRST_ROUND = 1

_WITH_FORMER_ROWS = (Reason.REVIEW, Reason.RETRY, "")


@dataclass(frozen=True, kw_only=True)
class EntryRound:
    """The round in which an entry was written, and the oldest one that can still be read.

    `former` are videos of which only some objects are labeled again: the segments with their rows of the round before,
    by id. An earlier version forgot these videos; now they are moved to segments of their own. `setbacks` are those of
    them that could not be labeled again: their rows stay. So do those of `put_back`, which no table has any more when
    the round ends: nobody waits for new ones. An earlier version goes on to wait for these.
    """

    round: int = FIRST_ROUND
    oldest_round: int = FIRST_ROUND
    former: Mapping[str, str] = field(default_factory=dict)
    setbacks: tuple[Outcome, ...] = ()
    put_back: tuple[str, ...] = ()


@dataclass(kw_only=True)
class RoundState:
    """What the log adds up to of rounds.

    `formers` are videos that are labeled again in part: the segments with their rows of the round before, by id. Those
    that are finished and `ok` are set aside: their rows count until others take their place. Of others that are
    finished the new labels have failed, where an earlier version had taken the former ones out of the tables.
    `segment_rounds` are the rounds of segments that count, of those that came after the first. `kept` are segments that
    count no more, with the last round at whose end they did.
    """

    round: int = FIRST_ROUND
    oldest_round: int = FIRST_ROUND
    formers: dict[str, str] = field(default_factory=dict)
    segment_rounds: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)

    def spared(self) -> set[str]:
        """The segments that count no more and must not be deleted."""
        return self.kept.keys() | self.formers.values()

    def apply_round(self, entry: EntryRound, added: Iterable[str], removed: Iterable[str]) -> None:
        """Take an entry into account that adds these segments, and removes these of those that counted."""
        self.round = max(self.round, entry.round)
        for name in removed:
            if self.segment_rounds.pop(name, FIRST_ROUND) < self.round:
                self.kept[name] = self.round - 1
        if self.round > FIRST_ROUND:
            self.segment_rounds.update(dict.fromkeys(added, self.round))
        self.formers.update(entry.former)
        for video_id in entry.put_back:
            self.formers.pop(video_id, None)
        if entry.oldest_round > self.oldest_round:
            self.forget_rounds_before(entry.oldest_round)

    def forget_rounds_before(self, oldest_round: int) -> None:
        """Rounds before this one are readable no more."""
        self.oldest_round = oldest_round
        self.kept = {name: last for name, last in self.kept.items() if last >= oldest_round}

    def forget_former(self, video_id: str, why: str) -> None:
        """A video is labeled again for this reason: its former rows are of use only if it is the same video."""
        if why not in _WITH_FORMER_ROWS:
            self.formers.pop(video_id, None)

    def round_tables(self) -> dict[str, pa.Table]:
        """Rows of a roll-up by their kind."""
        return {
            "former": _table(self.formers, "former", pa.string()),
            "segment_round": _table(self.segment_rounds, "round", pa.int32()),
            "kept": _table(self.kept, "round", pa.int32()),
        }

    def read_rounds(self, metadata: Mapping[bytes, bytes], part: Callable[[str], pa.Table]) -> None:
        """The inverse of `round_tables` and `round_metadata`. Of roll-ups of earlier programs it is the first round."""
        self.round = int(metadata.get(b"round", FIRST_ROUND))
        self.oldest_round = int(metadata.get(b"oldest_round", FIRST_ROUND))
        self.formers = _values(part("former"), "former")
        self.segment_rounds = _values(part("segment_round"), "round")
        self.kept = _values(part("kept"), "round")

    def round_metadata(self) -> dict[str, str]:
        """What a roll-up says as a whole."""
        return {"round": str(self.round), "oldest_round": str(self.oldest_round)}


def review_table(hashes: Mapping[str, str]) -> pa.Table:
    """Rows of a roll-up for the hashes of the corrections that videos were labeled with, by id."""
    return _table(hashes, "review_hash", pa.string())


def review_hashes(rows: pa.Table) -> dict[str, str]:
    """The inverse of `review_table`."""
    return _values(rows, "review_hash")


def _table(values: Mapping[str, object], column: str, kind: pa.DataType) -> pa.Table:
    return pa.table({"name": pa.array(values.keys(), pa.string()), column: pa.array(values.values(), kind)})


def _values(rows: pa.Table, column: str) -> dict[str, Any]:
    if column not in rows.column_names:
        return {}
    return dict(zip(rows["name"].to_pylist(), rows[column].to_pylist(), strict=True))

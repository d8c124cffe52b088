"""What the commit log adds up to: which videos are finished, in which segments, and which have strikes.

A roll-up is one Parquet table that is read and written by columns.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.commits.entry import Entry, EntryNotes
from pipeline.commits.finished import FinishedVideo, FinishedVideos, Tally
from pipeline.commits.rolled_up import ROWS_OF_A_GROUP, Rolled, damage_told
from pipeline.commits.round_state import RoundState, review_hashes, review_table
from pipeline.commits.setbacks import Setback, setback_table, setbacks_of
from pipeline.output.schema import SCHEMA_VERSION, TABLES
from pipeline.records import BAD, ObjectCounts, Outcome, Reason, Status
from pipeline.storage.documents import check_version

T = TypeVar("T")
_ROWS_AT_A_TIME = 1 << 18


class SegmentSize(NamedTuple):
    """Rows and bytes of a committed segment."""

    num_masks: int
    num_tracks: int
    num_videos: int
    num_bytes: int


class Tried(NamedTuple):
    """What is kept of a video that was finished and is to be labeled again: why, a `Reason` or one of later versions.

    If it ended badly, also with which prompts and file it was tried, and how often. `why` is empty where an earlier
    version did not tell it.
    """

    prompt_hash: str
    source_hash: str
    attempts: int
    num_failures: int
    why: str = ""


@lru_cache(maxsize=64)
def _again(why: str) -> Tried:
    """What is kept of a video that ended well. All of a reason share it, because there may be millions."""
    return Tried("", "", 0, 0, why)


@dataclass
class JobState(RoundState):
    """The sum of the log up to `next_entry` (exclusive).

    `removed` are segments that count no more or never will. Their files may still exist, and nobody adopts them. All
    entries before number `erased_before` are known to be erased. `tried` are videos that were finished and are to be
    labeled again.
    """

    finished: FinishedVideos = field(default_factory=FinishedVideos)
    segments: dict[str, SegmentSize] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    strikes: dict[str, int] = field(default_factory=dict)
    tried: dict[str, Tried] = field(default_factory=dict)
    epoch: int = 0
    next_entry: int = 0
    erased_before: int = 0

    @property
    def unfinished(self) -> frozenset[str]:
        """Unfinished videos of which the log keeps something. An entry that forgets them drops it."""
        return frozenset(self.strikes) | self.tried.keys()

    def is_set_aside(self, video_id: str) -> bool:
        """Whether a video is labeled again in part, and its rows count until new ones take their place."""
        if video_id not in self.formers or video_id not in self.finished:
            return False
        return self.finished[video_id].status is Status.OK

    def set_aside(self) -> frozenset[str]:
        """The videos of which that is so."""
        return frozenset(filter(self.is_set_aside, self.formers))

    def segments_of_round(self) -> set[str]:
        """The segments with videos that are set aside in the current round.

        What of an earlier round is still set aside is in no table any more, and nobody waits for its new rows.
        """
        held = {self.finished[video_id].segment for video_id in self.set_aside()}
        return {name for name in held if self.segment_rounds.get(name) == self.round}

    def num_set_back(self, without: Collection[str] = ()) -> Counter[Status]:
        """How many videos, but for these, have their former rows because labeling them again ended with each status."""
        return Counter(setback.status for name, setback in self.finished.setbacks.items() if name not in without)

    def failed_before(self) -> dict[str, str]:
        """Of videos to label again that ended badly before: the hash of their prompts then, by id."""
        found = {video_id: tried.prompt_hash for video_id, tried in self.tried.items() if tried.num_failures}
        aside = {video_id: self.finished[video_id] for video_id in self.set_aside()}
        return found | {video_id: finished.prompt_hash for video_id, finished in aside.items() if finished.num_failures}

    def is_forgotten_by(self, video_id: str, why: str) -> bool:
        """Whether an entry that forgets a video for this reason changes anything."""
        if video_id in self.finished or video_id in self.strikes:
            return True
        return video_id in self.tried and self.tried[video_id] != _kept(why)

    def notes_of(self, entry: Entry) -> EntryNotes:
        """What the next entry is to tell readers of changes."""
        removed = [self.segments[name] for name in entry.remove if name in self.segments]
        rows = {table: sum(getattr(size, f"num_{table}") for size in removed) for table in TABLES}
        added = (outcome.video_id for segment in entry.add for outcome in segment.outcomes)
        again = {name: self.tried[name].why or Reason.UNKNOWN for name in added if name in self.tried}
        return EntryNotes(again, rows)

    def objects(self) -> ObjectCounts:
        """The objects of the `ok` videos."""
        num = sum(size.num_tracks for size in self.segments.values())
        num_failed = num_warned = num_partly = num_uncounted = 0
        for video_id, tally in self.finished.tallies.items():
            if tally.num_tracks_failed is None:
                num_uncounted += 1
            elif self.finished[video_id].status is not Status.OK:
                num -= tally.num_tracks_failed  # all that it has
            else:
                num_failed += tally.num_tracks_failed
                num_warned += tally.num_tracks_warned or 0
                num_partly += tally.num_tracks_failed > 0
        return ObjectCounts(num, num_failed, num_warned, num_partly, num_uncounted)

    def attempts_before(self) -> Callable[[str, str], int]:
        """How many attempts at a video, by its id, failed before with prompts of this hash; 0 for a new or changed one.

        It tells what the log says now. Another thread may add to the log while it is asked.
        """
        found = {video_id: (one.prompt_hash, one.attempts) for video_id, one in self.tried.items() if one.attempts}
        for video_id in self.set_aside():
            finished = self.finished[video_id]
            found[video_id] = finished.prompt_hash, finished.tally.attempts if finished.is_bad else 0

        def attempts(video_id: str, prompt_hash: str) -> int:
            tried_hash, num = found.get(video_id, ("", 0))
            return num if tried_hash == prompt_hash else 0

        return attempts

    def check(self, entry: Entry) -> None:
        """Refuse an entry that would double or lose a video.

        Raises:
            ValueError: names the video and the segment.
        """
        leaving, forgotten = set(entry.remove), set(entry.forget)
        for video_id in forgotten:
            if video_id in self.finished and self.finished[video_id].segment not in leaving:
                raise ValueError(f"forgotten video {video_id!r} would stay in {self.finished[video_id].segment}")
        seen: dict[str, str] = {}
        for segment in entry.add:
            if segment.name in self.segments or segment.name in self.removed:
                raise ValueError(f"segment {segment.name} is in the log already")
            for outcome in segment.outcomes:
                video_id = outcome.video_id
                if video_id in seen:
                    raise ValueError(f"video {video_id!r} is in two added segments: {seen[video_id]}, {segment.name}")
                seen[video_id] = segment.name
                if forgotten and video_id not in self.finished:
                    raise ValueError(
                        f"new video {video_id!r} is in an entry that forgets others, where none is looked for"
                    )
                if video_id in self.finished and video_id not in forgotten:
                    held = self.finished[video_id].segment
                    if held not in leaving:
                        raise ValueError(f"video {video_id!r} of segment {segment.name} is committed in {held}")
        named = Counter(self.finished[v].segment for v in forgotten | seen.keys() if v in self.finished)
        for name in leaving & self.segments.keys():
            if named[name] != self.segments[name].num_videos:
                raise ValueError(
                    f"segment {name} holds {self.segments[name].num_videos} videos, but only {named[name]} of them "
                    "are forgotten or in an added segment"
                )

    def apply(self, entry: Entry) -> None:
        """Take the next entry of the log into account."""
        for video_id in entry.forget:
            self._forget(video_id, entry.why.get(video_id, ""))
        counted = [name for name in entry.remove if name in self.segments]
        self.apply_round(entry, [segment.name for segment in entry.add], counted)
        for name in entry.remove:
            self.segments.pop(name, None)
            self.removed.add(name)
        for segment in entry.add:
            rows = segment.num_rows
            self.segments[segment.name] = SegmentSize(rows["masks"], rows["tracks"], rows["videos"], segment.num_bytes)
            for outcome in segment.outcomes:
                before = self.finished.get(outcome.video_id)
                self.finished.put(outcome.video_id, self._finished(outcome, segment.name, before))
                if before is not None:  # it is moved
                    continue
                self.strikes.pop(outcome.video_id, None)
                if outcome.status not in BAD:  # also one that has no prompts any more: no later try keeps rows of it
                    self.formers.pop(outcome.video_id, None)
        for video_id, count in entry.strikes.items():
            if count and (video_id not in self.finished or self.is_set_aside(video_id)):
                self.strikes[video_id] = count
            else:
                self.strikes.pop(video_id, None)
        for outcome in entry.setbacks:
            self._set_back(outcome)
        for video_id in entry.put_back:
            self.strikes.pop(video_id, None)
        self.epoch = max(self.epoch, entry.epoch)
        self.next_entry += 1

    def _forget(self, video_id: str, why: str) -> None:
        finished, before = self.finished.get(video_id), self.tried.pop(video_id, None)
        kept = _kept(why) if finished is None else _kept(why or Reason.UNKNOWN)
        if finished is not None and finished.is_bad and kept is not None:
            tally = finished.tally
            kept = Tried(finished.prompt_hash, finished.source_hash, tally.attempts, tally.num_failures, kept.why)
        if kept is not None and (finished is not None or before is not None):
            self.tried[video_id] = kept
        self.finished.discard(video_id)
        self.strikes.pop(video_id, None)
        self.forget_former(video_id, why)

    def _set_back(self, outcome: Outcome) -> None:
        """A video keeps its rows, because it could not be labeled again."""
        if outcome.video_id not in self.finished:
            return
        before = self.finished[outcome.video_id]
        setback = Setback.of(outcome, before.setback, before.num_failures)
        self.finished.set_back(outcome.video_id, setback)
        self.formers.pop(outcome.video_id, None)
        self.strikes.pop(outcome.video_id, None)

    def _finished(self, outcome: Outcome, segment: str, before: FinishedVideo | None) -> FinishedVideo:
        """A video that is put into a segment, with what the log counts of it `before` if it was only moved."""
        source_hash, review_hash = outcome.details.source_hash, outcome.details.review_hash
        if before is None:
            tally = self._tally(outcome)
            return FinishedVideo(outcome.status, outcome.prompt_hash, segment, tally, source_hash, review_hash)
        # The copies of an earlier version lack hashes.
        hashes = source_hash or before.source_hash, review_hash or before.review_hash
        return FinishedVideo(outcome.status, outcome.prompt_hash, segment, before.tally, *hashes, before.setback)

    def _tally(self, outcome: Outcome) -> Tally:
        """The counts of a video that was labeled."""
        before = self.tried.pop(outcome.video_id, None)
        details = outcome.details
        is_same = before is not None and (before.prompt_hash, before.source_hash) == (
            outcome.prompt_hash,
            details.source_hash,
        )
        num_before = before.num_failures if before is not None and is_same else 0
        return Tally(
            details.num_tracks_failed,
            details.num_tracks_warned,
            details.attempts,
            num_before + 1 if outcome.is_bad else 0,
        )

    def to_parquet(self, rows_of_a_group: int = ROWS_OF_A_GROUP) -> bytes:
        """The whole state as one Parquet file: a row per video, segment, removed segment and strike.

        Tallies that are not those of most videos have rows of their own, and so has what was tried. Videos come first,
        sorted by id, in row groups of their own, so that a reader can look for a few of them.
        """
        sizes = list(self.segments.values())
        segments = pa.table(
            {
                "name": pa.array(self.segments.keys(), pa.string()),
                **{column: pa.array(values, pa.int64()) for column, values in _size_columns(sizes).items()},
            }
        )
        removed = pa.table({"name": pa.array(sorted(self.removed), pa.string())})
        strikes = pa.table(
            {
                "name": pa.array(self.strikes.keys(), pa.string()),
                "strikes": pa.array(self.strikes.values(), pa.int32()),
            }
        )
        parts = [
            part.append_column("kind", pa.array([kind] * part.num_rows, pa.string()))
            for kind, part in (
                ("segment", segments),
                ("removed", removed),
                ("strikes", strikes),
                ("tally", _named_rows(self.finished.tallies, _TALLY)),
                ("tried", _named_rows(self.tried, _TRIED)),
                ("review", review_table(self.finished.reviews)),
                ("setback", setback_table(self.finished.setbacks)),
                *self.round_tables().items(),
            )
        ]
        none = FinishedVideos().to_table().append_column("kind", pa.array([], pa.string()))
        others = pa.concat_tables([none, *parts], promote_options="permissive")
        rolled = self.finished.rolled(rows_of_a_group)
        metadata = {
            "schema_version": str(SCHEMA_VERSION),
            "epoch": str(self.epoch),
            "next_entry": str(self.next_entry),
            "erased_before": str(self.erased_before),
            "has_tallies": "true",
            "videos": json.dumps(asdict(rolled)),
            **self.round_metadata(),
        }
        buffer = io.BytesIO()
        indexed = [name for name in others.column_names if name not in ("name", "prompt_hash", "source_hash")]
        with pq.ParquetWriter(
            buffer,
            others.schema.with_metadata(metadata),
            compression="zstd",
            use_dictionary=indexed,
            write_page_checksum=True,
        ) as writer:
            for videos in self.finished.sorted_tables(rows_of_a_group):
                kinds = pa.repeat(pa.scalar("video"), videos.num_rows)
                writer.write_table(_with_columns(videos.append_column("kind", kinds), others.schema))
            writer.write_table(others)
        return buffer.getvalue()

    @staticmethod
    def from_parquet(data: bytes, name: str = "a roll-up") -> JobState:
        """The inverse of `to_parquet`; `name` says in messages where the roll-up lies.

        Rows of a kind and columns that this program does not know are ignored.

        Raises:
            NewerVersion: a newer version of this program wrote it.
            StorageError: it is damaged.
        """
        with damage_told(name):
            return JobState._from_parquet(data, name)

    @staticmethod
    def _from_parquet(data: bytes, name: str) -> JobState:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        metadata = file.schema_arrow.metadata
        check_version(name, int(metadata[b"schema_version"]), SCHEMA_VERSION)
        has_tallies = b"has_tallies" in metadata
        others: list[pa.RecordBatch] = []

        def videos() -> Iterator[pa.RecordBatch]:
            """Rows of videos, batch after batch: all of them at once would need several times as much memory."""
            for batch in file.iter_batches(_ROWS_AT_A_TIME):
                is_video = pc.equal(batch.column("kind"), "video")
                if rest := len(batch) - is_video.true_count:
                    others.append(batch.filter(pc.invert(is_video)))
                yield batch.filter(is_video) if rest else batch

        rolled = Rolled(**json.loads(metadata[b"videos"])) if b"videos" in metadata else None
        finished = None if rolled is None else FinishedVideos.from_roll_up(file, rolled, name)
        if finished is None or rolled is None:
            finished = FinishedVideos.from_batches(videos(), file.metadata.num_rows, {})
        else:
            others += file.iter_batches(row_groups=list(range(rolled.num_groups, file.num_row_groups)))
        table = pa.Table.from_batches(others, file.schema_arrow) if others else file.schema_arrow.empty_table()

        def part(kind: str) -> pa.Table:
            return table.filter(pc.equal(table["kind"], kind))

        finished.set_tallies(_values_by_name(part("tally"), Tally, _TALLY) if has_tallies else None)
        segments, strikes = part("segment"), part("strikes")
        finished.set_reviews(review_hashes(part("review")))
        finished.set_setbacks(setbacks_of(part("setback")))
        sizes = zip(*(segments[column].to_pylist() for column in _size_columns(())), strict=True)
        state = JobState(
            finished=finished,
            segments=dict(zip(segments["name"].to_pylist(), map(SegmentSize._make, sizes), strict=True)),
            removed=set(part("removed")["name"].to_pylist()),
            strikes=dict(zip(strikes["name"].to_pylist(), strikes["strikes"].to_pylist(), strict=True)),
            tried=_values_by_name(part("tried"), Tried, _TRIED) if has_tallies else {},
            epoch=int(metadata[b"epoch"]),
            next_entry=int(metadata[b"next_entry"]),
            erased_before=int(metadata.get(b"erased_before", 0)),
        )
        state.read_rounds(metadata, part)
        return state


_TALLY = {name: pa.int32() for name in Tally._fields}
_TRIED = {
    "prompt_hash": pa.string(),
    "source_hash": pa.string(),
    "attempts": pa.int32(),
    "num_failures": pa.int32(),
    "why": pa.string(),
}


def _kept(why: str) -> Tried | None:
    """What is kept of an unfinished video that an entry forgets for this reason; None if that is nothing."""
    return None if why in ("", Reason.PRUNE) else _again(why)


def _with_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with the columns of a schema, which are null where the table lacks them."""
    nulls = {field.name: pa.nulls(table.num_rows, field.type) for field in schema}
    return pa.table({**nulls, **{name: table[name] for name in table.column_names}}, schema.remove_metadata())


def _named_rows(values: Mapping[str, NamedTuple], types: Mapping[str, pa.DataType]) -> pa.Table:
    """A row per name with the fields of its value."""
    columns = {
        field: pa.array([value[place] for value in values.values()], kind)
        for place, (field, kind) in enumerate(types.items())
    }
    return pa.table({"name": pa.array(values.keys(), pa.string()), **columns})


def _values_by_name(rows: pa.Table, kind: Callable[..., T], types: Iterable[str]) -> dict[str, T]:
    """The inverse of `_named_rows`. A field that an earlier version did not have is an empty text."""
    missing = [""] * rows.num_rows
    columns = (rows[field].to_pylist() if field in rows.column_names else missing for field in types)
    values = zip(*columns, strict=True)
    return {name: kind(*value) for name, value in zip(rows["name"].to_pylist(), values, strict=True)}


def _size_columns(sizes: Sequence[SegmentSize]) -> dict[str, list[int]]:
    """The columns of a roll-up for sizes of segments, by their names on disk and in the order of `SegmentSize`."""
    return {
        "num_masks": [size.num_masks for size in sizes],
        "num_tracks": [size.num_tracks for size in sizes],
        "num_videos": [size.num_videos for size in sizes],
        "num_bytes": [size.num_bytes for size in sizes],
    }

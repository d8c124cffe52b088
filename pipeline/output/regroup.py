"""Rows of one table put into the order of their videos, by columns: no Python runs for a single row.

Rows come as they lie in segments, where those of a video are next to each other. They are collected up to some
megabytes, ordered in memory, and written to a local file as one sorted run, which is cut where the parts of the output
end. A part is a few videos next to each other. Each part is then read from all runs and ordered once more. Memory is
bounded by what is collected and by one part. Rows of a video that is larger than a part are handed on as they come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.output.schema import TABLES, with_columns_of_today
from pipeline.storage.atomic_files import spool_errors

Ints = npt.NDArray[np.int64]

_COLLECTED_BYTES = 24 << 20
_BATCH_ROWS = 32_768
_SORTED_BYTES = 128 << 20
_LONG_RUN_ROWS = 128


@dataclass(frozen=True)
class _Runs:
    """Rows of one video next to each other, several times: the number of the video, and how many rows."""

    videos: Ints
    lengths: Ints

    def sort(self, rows: pa.Table) -> tuple[pa.Table, _Runs]:
        """The rows of these runs by video, and the runs in this order.

        Long runs are cut out and put together, which copies nothing. Of short ones each row is taken, because a cut
        costs as much as a hundred rows.
        """
        if (np.diff(self.videos) >= 0).all():
            return rows, self
        order = np.argsort(self.videos, kind="stable")
        lengths = self.lengths[order]
        starts = (np.cumsum(self.lengths) - self.lengths)[order]
        if rows.num_rows >= _LONG_RUN_ROWS * len(order):
            cuts = zip(starts.tolist(), lengths.tolist(), strict=True)
            ordered = pa.concat_tables([rows.slice(start, length) for start, length in cuts])
        else:
            ends = np.cumsum(lengths)
            places = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
            ordered = rows.combine_chunks().take(pa.array(places))
        return ordered, _Runs(self.videos[order], lengths)

    def cut(self, rows: pa.Table, first: int, stop: int) -> tuple[pa.Table, _Runs]:
        """The rows of the videos `[first, stop)`, where these runs are by video."""
        start, end = np.searchsorted(self.videos, [first, stop]).tolist()
        before = int(self.lengths[:start].sum())
        found = _Runs(self.videos[start:end], self.lengths[start:end])
        return rows.slice(before, int(found.lengths.sum())), found

    @staticmethod
    def joined(parts: Sequence[_Runs]) -> _Runs:
        """Runs one after the other."""
        return _Runs(np.concatenate([p.videos for p in parts]), np.concatenate([p.lengths for p in parts]))


class RowsByVideo:
    """Rows of one table: `put` takes them in any order of videos, `batches` gives them by video. Used in a `with`.

    `part_ends` are numbers of videos, ascending: the output is made in parts `[end before, end)`. A file in `folder`
    takes rows as soon as `collected_bytes` of them are in memory. Of a part that is larger, about `sorted_bytes` are
    put in order at a time, because Arrow cannot join 2 GiB of masks' codes.
    """

    def __init__(
        self,
        table: str,
        video_ids: Sequence[str],
        part_ends: Ints,
        folder: Path,
        collected_bytes: int = _COLLECTED_BYTES,
        sorted_bytes: int = _SORTED_BYTES,
    ) -> None:
        self._schema = TABLES[table]
        self._without_id = [name for name in self._schema.names if name != "video_id"]
        self._ids = pa.array(video_ids, pa.string())
        self._numbers: Mapping[str, int] = {video_id: number for number, video_id in enumerate(video_ids)}
        self._part_ends = part_ends
        self._most_bytes = collected_bytes
        self._sorted_bytes = sorted_bytes
        self._path = folder / f"{table}.arrow"
        self._collected: list[tuple[pa.Table, _Runs]] = []
        self._collected_bytes = 0
        self._sink: Any = None
        self._writer: Any = None
        self._num_written = 0
        self._parts: dict[int, list[tuple[range, _Runs]]] = {}
        self._part_bytes: Counter[int] = Counter()

    def __enter__(self) -> RowsByVideo:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()
        self._path.unlink(missing_ok=True)

    def put(self, rows: pa.Table) -> None:
        """Add rows of any version of the table, `video_id` as a dictionary.

        Raises:
            ValueError: they do not fit the table, or hold a video that was not announced.
            StorageError: the disk is full.
        """
        # What it is a part of is counted as well, which is quick and mostly enough to know that it is small.
        is_small = rows.get_total_buffer_size() <= self._sorted_bytes
        if not is_small and rows.nbytes > self._sorted_bytes and rows.num_rows > 1:
            half = rows.num_rows // 2
            self.put(rows.slice(0, half))
            self.put(rows.slice(half))
            return
        ids = rows["video_id"].combine_chunks()
        ids = ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()
        for chunk in ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]:
            if not len(chunk):
                continue
            numbers = np.fromiter((self._number(name) for name in chunk.dictionary.to_pylist()), np.int64)
            indices = chunk.indices.to_numpy()
            firsts = np.concatenate([[0], np.flatnonzero(np.diff(indices)) + 1])
            lengths = np.diff(np.concatenate([firsts, [len(indices)]]))
            runs = _Runs(numbers[indices[firsts]], lengths)
            others = with_columns_of_today(rows.drop_columns(["video_id"]), self._schema, self._without_id)
            self._collected.append((others, runs))
            self._collected_bytes += others.nbytes
        if self._collected_bytes >= self._most_bytes:
            self._write_run()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows by video, each in the order in which they came; once everything was put."""
        if self._writer is None:
            if self._collected:
                yield from self._finished(*self._sorted(self._collected))
            self._collected = []
            return
        self._write_run()
        self._close()
        # A large part is mapped, so that memory holds a share of it; otherwise reading is faster.
        with (
            pa.OSFile(str(self._path), "rb") as source,
            pa.memory_map(str(self._path)) as mapped,
            pa.ipc.open_file(source) as plain_reader,
            pa.ipc.open_file(mapped) as mapped_reader,
        ):
            for part in sorted(self._parts):
                reader = mapped_reader if self._part_bytes[part] > self._sorted_bytes else plain_reader
                read = [(pa.Table.from_batches([*map(reader.get_batch, of)]), runs) for of, runs in self._parts[part]]
                for pieces in self._shares(part, read):
                    if len({video for _, runs in pieces for video in runs.videos[[0, -1]].tolist()}) == 1:
                        for rows, runs in pieces:
                            yield from self._finished(rows, runs)
                    else:
                        yield from self._finished(*self._sorted(pieces))

    def _shares(
        self, part: int, pieces: Sequence[tuple[pa.Table, _Runs]]
    ) -> Iterator[Sequence[tuple[pa.Table, _Runs]]]:
        """A part by videos, in shares of about `sorted_bytes` or of one video. The rows of a piece are by video."""
        if self._part_bytes[part] <= self._sorted_bytes:
            yield pieces
            return
        videos = np.concatenate([runs.videos for _, runs in pieces])
        run_bytes = np.concatenate([runs.lengths * (rows.nbytes / rows.num_rows) for rows, runs in pieces])
        numbers, places = np.unique(videos, return_inverse=True)
        shares = np.cumsum(np.bincount(places, run_bytes)) // self._sorted_bytes
        for first in numbers[np.concatenate([[True], np.diff(shares) > 0])]:
            later = numbers[shares > shares[numbers == first]]
            stop = later[0] if len(later) else numbers[-1] + 1
            yield [cut for rows, runs in pieces if (cut := runs.cut(rows, first, stop))[0].num_rows]

    def _number(self, video_id: str) -> int:
        number = self._numbers.get(video_id)
        if number is None:
            raise ValueError(f"rows of video {video_id!r} lie in a segment that does not name it")
        return number

    def _sorted(self, parts: Sequence[tuple[pa.Table, _Runs]]) -> tuple[pa.Table, _Runs]:
        return _Runs.joined([runs for _, runs in parts]).sort(pa.concat_tables([table for table, _ in parts]))

    def _finished(self, rows: pa.Table, runs: _Runs) -> Iterator[pa.RecordBatch]:
        """Rows with their `video_id`, in the order of the table's columns."""
        ids = self._ids.take(pa.array(np.repeat(runs.videos, runs.lengths)))
        whole = pa.table({"video_id": ids, **dict(zip(self._without_id, rows.columns, strict=True))})
        yield from whole.select(self._schema.names).cast(self._schema).to_batches(max_chunksize=_BATCH_ROWS)

    def _write_run(self) -> None:
        """Sort what is collected and write it, a batch for each part."""
        if not self._collected:
            return
        rows, runs = self._sorted(self._collected)
        self._collected, self._collected_bytes = [], 0
        ends = np.cumsum(runs.lengths)
        with spool_errors(self._path.parent):
            if self._writer is None:
                self._sink = pa.OSFile(str(self._path), "wb")
                self._writer = pa.ipc.new_file(self._sink, rows.schema)
            parts = np.searchsorted(self._part_ends, runs.videos, side="right")
            firsts = np.concatenate([[0], np.flatnonzero(np.diff(parts)) + 1, [len(parts)]])
            for first, stop in zip(firsts[:-1].tolist(), firsts[1:].tolist(), strict=True):
                start = int(ends[first] - runs.lengths[first])
                piece = rows.slice(start, int(ends[stop - 1]) - start)
                batches = piece.to_batches()  # long runs are not put together: that would copy them once more
                for batch in batches:
                    self._writer.write_batch(batch)
                    self._part_bytes[int(parts[first])] += batch.nbytes
                written = range(self._num_written, self._num_written + len(batches))
                self._num_written = written.stop
                found = _Runs(runs.videos[first:stop], runs.lengths[first:stop])
                self._parts.setdefault(int(parts[first]), []).append((written, found))

    def _close(self) -> None:
        writer, sink, self._sink = self._writer, self._sink, None
        if sink is not None:
            with spool_errors(self._path.parent), sink:
                writer.close()


def part_ends(rows_of_videos: Sequence[int], most_rows: int) -> Ints:
    """Where parts end that hold at most so many rows, or one video: numbers of videos, by their numbers of rows."""
    ends, num_rows = [], 0
    for number, num in enumerate(rows_of_videos):
        if num_rows and num_rows + num > most_rows:
            ends.append(number)
            num_rows = 0
        num_rows += num
    return np.array([*ends, len(rows_of_videos)], np.int64)

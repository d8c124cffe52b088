"""The input tables: one Parquet file, a folder or a glob of shards, under any fsspec URI, streamed by columns.

A row's address is its file, its row group and its place in the row group. The driver reads ids, hashes the
prompts and hands out addresses, where a worker reads prompts and video bytes. The driver never reads column `bytes`.
"""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.inputs.boxes import BOX_TOLD
from pipeline.inputs.columns import InputColumn, is_text
from pipeline.inputs.naming import Naming, Source, constant, partitions, read_columns, sources, standard_batch
from pipeline.inputs.reading import ReadPolicy, read_input
from pipeline.inputs.rows import RowBatch
from pipeline.inputs.table_files import table_files
from pipeline.inputs.usual_names import classes_in, meant_by, they_are
from pipeline.redact import redact, redact_uri
from pipeline.storage.faults import is_transient
from pipeline.storage.parquet import open_parquet
from pipeline.storage.uris import StorageOptions

T = TypeVar("T")
_OR_FILES = ", or give a folder of videos, a glob or one video (.mp4, .mov, .mkv …)"
_REMEDIES = {
    "videos": f"write it again{_OR_FILES}",
    "prompts": "write it again, for instance with to_parquet of pandas",
    "corrections": "write it again",
    "detections": "write it again, or give it as .csv or .jsonl",
}
_BY_PROMPTS = "python -m pipeline.prompts from={} to=prompts.parquet videos=… (docs/labels.md)"
_OTHER_TABLES = {
    "csv": ("CSV", "read_csv(…)"),
    "tsv": ("TSV", 'read_csv(…, sep="\\t")'),
    "json": ("JSON", "read_json(…)"),
    "jsonl": ("JSON lines", "read_json(…, lines=True)"),
    "ndjson": ("JSON lines", "read_json(…, lines=True)"),
}
"""Tables of other kinds by the ends of their names: what they are, and what of pandas reads them."""


class ParquetShards:
    """One table in one or more Parquet files, in order of their names. `key` is the config key that names the table.

    Files of a folder or a glob without a column `video_id` are each of the video beside which they lie (prompts only).
    `left_out` are files of a folder or a glob that are not of this table. Raises `InputError` when nothing is there, or
    the first file cannot be read or lacks a column. The other files are checked when `read` comes to them.
    """

    temporary: tuple[str, ...] = ()
    """Files that will be videos: a table names none."""

    def __init__(
        self,
        key: str,
        uri: str,
        columns: tuple[InputColumn, ...],
        storage_options: StorageOptions | None = None,
        policy: ReadPolicy | None = None,
        left_out: Collection[str] = (),
        naming: Naming | None = None,
    ) -> None:
        self.key = key
        self.warnings: tuple[str, ...] = ()
        self._policy = policy or ReadPolicy()
        self._columns = {column.name: column for column in columns}
        self._options = storage_options
        self._naming = naming or Naming()
        self._with_ids: set[str] = set()  # files that were read and have a column of ids
        found = self._call(uri, lambda: table_files(key, uri, storage_options, left_out))
        self.files, self.folders = found.files, found.folders
        self._stems = dict(zip(found.files, found.stems, strict=False)) if key != "videos" else {}
        with closing(self._shard(self.files[0])) as first:
            parquet = self._call(self.files[0], first.parquet)
            known = self._sources(self.files[0], parquet)
            self.first_columns = tuple(parquet.schema_arrow.names)
            self.table_columns = frozenset((*self.first_columns, *partitions(self.files[0])))
            self.column_names = frozenset(known)
            self._are_beside = "video_id" not in sources(parquet.schema_arrow, self.files[0], self._naming)
            told = sources(parquet.schema_arrow, self.files[0], self._naming, parquet.metadata).get(BOX_TOLD)
            self.box_told = told.shown if told else ""
            self._unread = self.table_columns.difference(
                self._naming.keep,
                self._columns,
                *(source.columns for source in known.values()),
                *map(self._naming.table_columns, known),
            )

    def read(self, names: Sequence[str], video_ids: Collection[str] | None = None) -> Iterator[RowBatch]:
        """Stream these columns, file after file. A column that a file lacks comes as nulls.

        With `video_ids`, row groups are left out whose statistics say that they have no row of these videos, and files
        that lie beside others. Where the first file lies beside a video, another one that has ids is known as such once
        all were read.

        Raises `InputError` for a file that cannot be read or has wrong types, `StorageError` if storage does not
        answer.
        """
        wanted_ids, any_of = (
            (None, frozenset[str]()) if video_ids is None else (sorted(video_ids), frozenset(video_ids))
        )
        for number, file in enumerate(self.files):
            is_beside = self._are_beside and file not in self._with_ids
            if wanted_ids is not None and is_beside and self._stems.get(file) not in any_of:
                continue
            with closing(self._shard(file)) as shard:
                parquet = self._call(file, shard.parquet)
                known = self._sources(file, parquet)
                wanted = {name: known[name] for name in names if name in known}
                for row_group in _row_groups(parquet.metadata, known.get("video_id"), wanted_ids):
                    shard.start(row_group, read_columns(wanted))
                    start = 0
                    while (batch := self._call(file, shard.next)) is not None:
                        self._check_texts(file, batch)
                        standard = standard_batch(batch, wanted)
                        nulls = pa.nulls(batch.num_rows)
                        arrays = [standard.column(name) if name in wanted else nulls for name in names]
                        rows = pa.RecordBatch.from_arrays(arrays, names=list(names))
                        yield RowBatch(file, number, row_group, start, rows)
                        start += batch.num_rows

    def has_anywhere(self, name: str) -> bool:
        """Whether any file has this column. Opens one file after the other until one does."""
        for file in self.files:
            with closing(self._shard(file)) as shard:
                if name in self._sources(file, self._call(file, shard.parquet)):
                    return True
        return False

    def misspelled(self) -> list[tuple[str, str]]:
        """Columns of the first file that nobody reads, each with the missing column that its writer may have meant."""
        missing = [name for name in self._columns if name not in self.column_names]
        found = []
        for name in sorted(self._unread):
            close = difflib.get_close_matches(name.lower(), missing, n=1, cutoff=0.8)
            found += [(name, meant) for meant in close]
        return found

    def unread_category(self) -> str | None:
        """A column that nobody reads and that looks like the categories of the objects, where no column has them."""
        lacks = "category" in self._columns and "category" not in self.column_names
        return classes_in(self._unread) if lacks else None

    def versions(self) -> None:
        """Versions of videos' files, where a listing tells them; a table does not."""

    def still_written(self, places: Iterable[tuple[str, str | None]]) -> frozenset[str]:
        """Videos whose file is still being written: nobody knows it of those in a table."""
        return frozenset()

    def other_names(self) -> None:
        """Other names under which `prompts=` may name a video; a table has none."""

    def same_id_problem(self, num_rows: int) -> str:
        """What is wrong with a video whose id stands in so many rows."""
        return f"its video_id stands in {num_rows} rows of the videos table; keep one of them"

    def id_rule(self) -> str:
        """Where ids come from, for messages."""
        return "column video_id"

    def _shard(self, file: str) -> _Shard:
        return _Shard(partial(self._open, file), self._policy.batch_rows)

    def _open(self, file: str) -> pq.ParquetFile:
        parquet = open_parquet(file, self._options)
        try:
            self._check(file, parquet)
        except BaseException:
            parquet.close(force=True)
            raise
        return parquet

    def _sources(self, file: str, parquet: pq.ParquetFile) -> dict[str, Source]:
        """Where the columns of this table come from in a file."""
        known = sources(parquet.schema_arrow, file, self._naming, parquet.metadata)
        if "video_id" in known:
            self._with_ids.add(file)
        elif "video_id" not in self._naming.names and file in self._stems:
            known["video_id"] = constant(self._stems[file])  # the file lies beside its video
        return {name: source for name, source in known.items() if name in self._columns}

    def _check(self, file: str, parquet: pq.ParquetFile) -> None:
        schema, known = parquet.schema_arrow, self._sources(file, parquet)
        for name, column in self._columns.items():
            source = known.get(name)
            if source is None:
                if column.required:
                    raise InputError(
                        f"{self.key}: {redact_uri(file)} has no {self._wanted(column)}{they_are(schema.names)}"
                        + (meant_by(name, schema.names) or f"; if one of them is meant, give columns.{name}=…")
                    )
            elif twice := [inner for inner in source.columns if len(schema.get_all_field_indices(inner)) > 1]:
                raise InputError(f"{self.key}: {redact_uri(file)} has several columns {twice[0]}; keep one of them")
            elif not column.accepts(source.kind):
                raise InputError(
                    f"{self.key}: column {source.shown} of {redact_uri(file)} is {source.kind}; "
                    f"write it as {column.allowed}{_or_by(name, source)}"
                )

    def _wanted(self, column: InputColumn) -> str:
        """What is looked for, in words: the standard column, or the one that `columns.NAME=` names."""
        given = self._naming.names.get(column.name)
        other = f"column {given}, as columns.{column.name}= says, and no " if given is not None else ""
        return f"{other}column {column.name} ({column.allowed})"

    def _check_texts(self, file: str, batch: pa.RecordBatch) -> None:
        """Refuse strings that are not UTF-8, because Parquet lets a writer call any bytes a string."""
        for name in batch.schema.names:
            try:
                batch.column(name).validate(full=True)
            except pa.ArrowInvalid as error:
                raise InputError(
                    f"{self.key}: column {name} of {redact_uri(file)} is damaged ({error}); write it again, as UTF-8"
                ) from error

    def _call(self, file: str, function: Callable[[], T]) -> T:
        """`function()`, repeated while storage does not answer. A fault of the file becomes an `InputError`."""
        try:
            return read_input(self.key, file, self._policy, function)
        except (pa.ArrowException, OSError, ValueError) as error:
            if is_transient(error):
                raise
            reason = " ".join(redact(str(error)).split())
            shown, other = redact_uri(file), _OTHER_TABLES.get(file.partition("?")[0].rpartition(".")[2].lower())
            if other is not None:
                name, reader = other
                how = f"pandas.{reader}.to_parquet(…)"
                remedy = f"{how}{_OR_FILES}" if self.key == "videos" else _BY_PROMPTS.format(shown)
                raise InputError(f"{self.key}: {shown} is {name}, not Parquet; convert it: {remedy}") from error
            raise InputError(
                f"{self.key}: {shown} cannot be read as Parquet ({reason}); {_REMEDIES[self.key]}"
            ) from error


def _or_by(name: str, source: Source) -> str:
    """What else makes the column of that type, in words: a key, or the command that numbers objects by their names."""
    if name == "video_id" and pa.types.is_integer(source.kind):
        return f", or give columns.video_id='{{{source.shown}}}', which makes texts of the numbers"
    if name == "object_id" and is_text(source.kind):
        return "; python -m pipeline.prompts numbers objects that have names (docs/labels.md)"
    return ""


def _row_groups(metadata: pq.FileMetaData, ids: Source | None, wanted: Sequence[str] | None) -> Iterator[int]:
    """The row groups that may have rows of the `wanted` videos, sorted; all where statistics do not tell."""
    for number in range(metadata.num_row_groups):
        bounds = None if wanted is None or ids is None else _bounds(metadata.row_group(number), ids)
        if bounds is None or wanted is None:
            yield number
        else:
            place = bisect_left(wanted, bounds[0])
            if place < len(wanted) and wanted[place] <= bounds[1]:
                yield number


def _bounds(group: pq.RowGroupMetaData, ids: Source) -> tuple[str, str] | None:
    """The first and last id of a row group by its statistics; `None` if ids are made of columns, or nothing is told."""
    columns = (group.column(place) for place in range(group.num_columns))
    told = next((one.statistics for one in columns if ids.columns == (ids.shown,) == (one.path_in_schema,)), None)
    if told is None or not told.has_min_max or not isinstance(told.min, str):
        return None
    return told.min, told.max


class _Shard:
    """One file. After a read that failed, the next call opens the file again and goes on where it was."""

    def __init__(self, open_file: Callable[[], pq.ParquetFile], batch_rows: int) -> None:
        self._open_file = open_file
        self._batch_rows = batch_rows
        self._parquet: pq.ParquetFile | None = None
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._row_group = 0
        self._columns: list[str] = []
        self._rows_read = 0

    def parquet(self) -> pq.ParquetFile:
        """The file, which is opened if it is not open."""
        if self._parquet is None:
            self._parquet = self._open_file()
        return self._parquet

    def start(self, row_group: int, columns: list[str]) -> None:
        """Turn to the first row of a row group."""
        self._batches = None
        self._row_group, self._columns, self._rows_read = row_group, columns, 0

    def next(self) -> pa.RecordBatch | None:
        """The next batch of the row group, `None` at its end."""
        try:
            if self._batches is None:
                self._batches = self.parquet().iter_batches(
                    self._batch_rows, row_groups=[self._row_group], columns=self._columns, use_threads=False
                )
                skipped = 0
                while skipped < self._rows_read:
                    skipped += next(self._batches).num_rows
            batch = next(self._batches, None)
        except BaseException:
            self.close()
            raise
        self._rows_read += batch.num_rows if batch is not None else 0
        return batch

    def close(self) -> None:
        if self._parquet is not None:
            self._parquet.close(force=True)
        self._parquet = self._batches = None

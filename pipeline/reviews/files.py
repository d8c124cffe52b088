"""Tables of a few rows in files of their own: each file is written once and never changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.output.layout import REVIEWS, is_review, new_review
from pipeline.reviews.digests import Rows, read_digests, write_digest
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.on_disk import is_folder
from pipeline.storage.parquet import parquet_bytes
from pipeline.storage.uris import local_path
from pipeline.text import one_line

Row = Mapping[str, Any]
T = TypeVar("T", bound=StrEnum)
_FILES_AT_A_TIME = 64


def one_of(kind: type[T], name: str, word: str) -> T:
    """The member of an enumeration that a word names. Raises `ValueError` with the words that there are."""
    if word not in list(kind):
        raise ValueError(f"{name}={word!r}: there are {', '.join(kind)}")
    return kind(word)


class Listed:
    """The files below `reviews/`: listed once, when they are asked for first, for all who read tables of them.

    `kind` is that of the table, where one table alone is read. A store lists 1000 files with a request, and a job has
    many more verdicts than corrections.
    """

    def __init__(self, storage: JobStorage, kind: str | None = None) -> None:
        self._storage = storage
        self._stem = "" if kind is None else f"{kind}-"
        self._paths: tuple[str, ...] | None = None

    def paths(self) -> tuple[str, ...]:
        """Their paths below `output=`. Raises `StorageError` if the store does not answer."""
        if self._paths is None:
            self._paths = tuple(stored.path for stored in self._storage.listing(REVIEWS, self._stem))
        return self._paths


@dataclass(frozen=True)
class ReviewTable:
    """A kind of rows below `reviews/`. `check` raises `ValueError` or `KeyError` for a row that says nonsense.

    The metadata of a file has `version`, that of the schema. Columns of tomorrow are ignored, those that a file of
    yesterday lacks are null. From `many_files` on a digest is looked for.
    """

    name: str
    schema: pa.Schema
    version: int
    check: Callable[[Row], object]
    many_files: int = 256

    def write(self, storage: JobStorage, rows: Iterable[Row]) -> str:
        """Write rows as one new file and return its path below `output=`. Columns that a row lacks are null.

        Raises `ValueError` for a row that `check` refuses or that lacks what each must have, for other columns, for
        values of another type and for times without a time zone; `FileNotFoundError` where the output is a folder that
        is not there; `StorageError` if the store does not take the file.
        """
        if storage.is_local and not is_folder(Path(local_path(storage.uri))):
            raise FileNotFoundError(
                f"{storage} holds no job: there is no folder of that name; give the output= of a run"
            )
        said = [dict(row) for row in rows]
        for row in said:
            self._check_names_and_times(row)
        table = pa.table([self._column(field, said) for field in self.schema], schema=self.schema)
        for field in self.schema:
            if not field.nullable and table[field.name].null_count:
                raise ValueError(f"{self.name}: {field.name} is missing")
        for row in table.to_pylist():
            self.check(row)
        path = new_review(self.name, datetime.now(UTC))
        metadata = {self._version_key: str(self.version).encode()}
        # Its name is random, so that disks and stores without create-only writes take it as well.
        storage.replace(path, parquet_bytes(table.replace_schema_metadata(metadata)))
        return path

    def _column(self, field: pa.Field, rows: Sequence[Row]) -> pa.Array:
        try:
            return pa.array([row.get(field.name) for row in rows], field.type)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise ValueError(f"{self.name}: {field.name} is {field.type}: {one_line(str(error))}") from error

    def _check_names_and_times(self, row: Row) -> None:
        """Raises `ValueError` for what Arrow would drop or change without a word: other columns, and local times."""
        for name, value in row.items():
            if name not in self.schema.names:
                near = get_close_matches(name, self.schema.names, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(self.schema.names)}"
                raise ValueError(f"{self.name}: there is no column {name}{hint}")
            if isinstance(value, datetime) and value.tzinfo is None:
                raise ValueError(f"{self.name}: {name} has no time zone; give one, as datetime.now(UTC) does")

    def read(self, storage: JobStorage, listed: Listed | None = None) -> Iterator[dict[str, Any]]:
        """All rows, file by file in the order of their names, which is that of time; those of `listed` files if given.

        Raises `InputError` for a file that is no such table, and `StorageError` if the store does not answer.
        """
        for _, rows in self.read_files(storage, listed=listed):
            yield from rows

    def read_files(
        self, storage: JobStorage, known: Collection[str] = (), listed: Listed | None = None
    ) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """The path and the rows of each file, in the order of their names, but for those of `known` paths.

        Where there are `many_files`, those that a digest holds are not read. Raises like `read`.
        """
        found = (listed or Listed(storage, self.name)).paths()
        paths = sorted(path for path in found if is_review(self.name, path) and path not in known)
        yield from self._read(storage, paths, self._digested(storage, paths))

    def digest(self, storage: JobStorage) -> None:
        """Write a digest of all files, if `many_files` of them are in none. Raises like `read`."""
        paths = sorted(path for path in Listed(storage, self.name).paths() if is_review(self.name, path))
        digested = self._digested(storage, paths)
        if len(paths) - len(digested) >= self.many_files:
            write_digest(storage, self.name, self.schema, self.version, dict(self._read(storage, paths, digested)))

    def _digested(self, storage: JobStorage, paths: Collection[str]) -> Mapping[str, Rows]:
        if len(paths) < self.many_files:
            return {}
        return read_digests(storage, self.name, self.schema, self.version, frozenset(paths))

    def _read(
        self, storage: JobStorage, paths: Sequence[str], digested: Mapping[str, Rows]
    ) -> Iterator[tuple[str, Rows]]:
        others = [path for path in paths if path not in digested]
        datas = dict(zip(others, storage.read_existing(others), strict=True))
        for path in paths:
            if path in digested:
                yield path, digested[path]
            elif (data := datas[path]) is not None:
                yield path, self._rows(f"{storage}/{path}", data)

    def read_paths(self, storage: JobStorage, paths: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The rows of those of these files that are of this table, each with the path of its file.

        Files come in the order of their names, some at a time. Those that are gone are left out. Raises like `read`.
        """
        remaining = iter(sorted(path for path in paths if is_review(self.name, path)))
        while some := list(islice(remaining, _FILES_AT_A_TIME)):
            for path, data in zip(some, storage.read_existing(some), strict=True):
                for row in () if data is None else self._rows(f"{storage}/{path}", data):
                    yield path, row

    @property
    def _version_key(self) -> bytes:
        return f"maskmill.{self.name}".encode()

    def _rows(self, name: str, data: bytes) -> list[dict[str, Any]]:
        try:
            # `pq.read_table` takes three times as long, which counts where each verdict is a file.
            with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
                table = file.read(use_threads=False)
            if int((table.schema.metadata or {}).get(self._version_key, b"1")) > self.version:
                raise InputError(f"{name} was written by a newer maskmill: use that one for this output")
            columns = [field.name for field in self.schema if field.name in table.column_names]
            kept = pa.schema([self.schema.field(column) for column in columns])
            rows = [dict.fromkeys(self.schema.names) | row for row in table.select(columns).cast(kept).to_pylist()]
            for row in rows:
                self.check(row)
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise InputError(f"{name} is no table of {self.name}: {error}") from error
        return rows

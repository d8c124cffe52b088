"""Published segments: how one is uploaded, found, read and deleted.

A segment is up to three objects, one for each table. A table without rows has none. The `videos` object is published
last, and its footer holds the whole description. A segment is whole if its `videos` object exists and its other
objects have the sizes that the footer states.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import NewerVersion, StorageError
from pipeline.output.layout import FORMER, former_object, segment_object, segment_of
from pipeline.output.schema import TABLES, with_columns_of_today
from pipeline.output.segment_document import SegmentDocument
from pipeline.output.segment_files import METADATA_KEY, BuiltSegment, SegmentOrigin, discard
from pipeline.records import Segment
from pipeline.storage.job_storage import JobStorage
from pipeline.text import reason_in_line

T = TypeVar("T")
_OF_DAMAGE = ("parquet", "decompress", "checksum", "corrupt", "page header")
PUT_BACK = "put it back, as from a backup or from an earlier version that the store keeps, or name another output"
"""What to do where the objects of a job are not what they were."""


@dataclass(frozen=True)
class SegmentFooter:
    """What the `videos` object says of its segment. `table_bytes` are the sizes of the other objects."""

    segment: Segment
    origin: SegmentOrigin
    table_bytes: Mapping[str, int]


def publish(storage: JobStorage, built: BuiltSegment) -> Segment:
    """Upload the files, `videos` last, and delete them here. May be called again after a `StorageError`."""
    for table, path in built.files.items():
        storage.put_file(path, segment_object(table, built.segment.name))
    discard(built)
    return built.segment


def list_segments(storage: JobStorage) -> dict[str, dict[str, int]]:
    """All objects of all tables that belong to a segment: bytes by path, by segment name. Raises `StorageError`."""
    found: dict[str, dict[str, int]] = {}
    for objects in storage.in_parallel(storage.listing, TABLES):
        for stored in objects:
            if name := segment_of(stored.path):
                found.setdefault(name, {})[stored.path] = stored.num_bytes
    return found


def delete_segments(storage: JobStorage, names: Iterable[str]) -> None:
    """Delete all objects of these segments; those that do not exist are fine. Raises `StorageError`."""
    storage.delete(segment_object(table, name) for name in names for table in TABLES)


def retire(
    storage: JobStorage,
    names: Sequence[str],
    spared: Collection[str],
    listed: Mapping[str, Iterable[str]] | None = None,
) -> None:
    """Take segments out of the tables: `spared` ones, which rounds of reviews need, are put away, others deleted.

    `listed` are their objects, where they are known. Raises `StorageError`; call again.
    """
    put_away(storage, [name for name in names if name in spared])
    gone = [name for name in names if name not in spared]
    if listed is None:
        delete_segments(storage, gone)
    else:
        storage.delete(path for name in gone for path in listed[name])


def put_away(storage: JobStorage, names: Iterable[str]) -> None:
    """Move segments out of the folders of the tables, because a round of reviews needs rows of them.

    Those that are there already are fine. Raises `StorageError`; call again.
    """
    for name in names:
        for table in TABLES:
            storage.move(segment_object(table, name), former_object(table, name))


def delete_former(storage: JobStorage, kept: Collection[str]) -> None:
    """Delete all segments that were put away but these. Raises `StorageError`."""
    storage.delete(path for path in storage.tree(FORMER) if segment_of(path) not in kept)


def open_former(storage: JobStorage, table: str, name: str) -> BinaryIO:
    """The rows of one table in a segment that counts no more, to be closed by the caller.

    It may be put away while it is looked for. Raises `FileNotFoundError` if it was deleted, or has no rows of this
    table.
    """
    for path in (former_object(table, name), segment_object(table, name)):
        with contextlib.suppress(FileNotFoundError):
            return storage.open_input(path)
    return storage.open_input(former_object(table, name))


def lost_former(storage: JobStorage, names: Collection[str]) -> set[str]:
    """Those of these segments that count no more of which nothing is left. Raises `StorageError`."""
    if not names:
        return set()
    there = {segment_of(path) for path in storage.tree(FORMER)}
    missing = sorted(set(names) - there)
    left = storage.read_existing([segment_object("videos", name) for name in missing])
    return {name for name, data in zip(missing, left, strict=True) if data is None}


def read_footer(storage: JobStorage, name: str) -> SegmentFooter:
    """What a published segment says of itself.

    Raises:
        FileNotFoundError: its `videos` object does not exist, because it was never published whole.
        NewerVersion: a newer version of this program wrote it.
        ValueError: the object is not one of ours; names it.
    """
    path = segment_object("videos", name)

    def read() -> dict[bytes, bytes]:
        with storage.open_input(path) as file:
            return pq.read_schema(file).metadata or {}

    try:
        metadata = storage.retry(f"read the footer of {path}", read)
        document = SegmentDocument.from_json(metadata[METADATA_KEY.encode()], f"{storage}/{path}")
        segment = document.segment.segment()
    except NewerVersion:
        raise
    except (pa.ArrowInvalid, KeyError, ValueError) as error:
        raise ValueError(f"{storage}/{path} is not a segment of this program: {error}") from error
    whole = replace(segment, num_bytes=segment.num_bytes + storage.num_bytes(path))
    origin = SegmentOrigin(document.epoch, document.worker, document.fingerprint)
    return SegmentFooter(whole, origin, document.table_bytes)


def is_whole(footer: SegmentFooter, sizes: Mapping[str, int]) -> bool:
    """Whether the other objects of a segment are there. `sizes` are bytes by path, as listed."""
    name = footer.segment.name
    return all(sizes.get(segment_object(table, name)) == size for table, size in footer.table_bytes.items())


def open_parquet(storage: JobStorage, path: str, file: BinaryIO, **options: Any) -> pq.ParquetFile:
    """The Parquet file that is open as `file`; its footer is read with the back-off and the errors of the store.

    Its pages are held against their checksums, because rows that are read here are mostly written once more: a copy of
    damaged rows would look whole. Raises `StorageError` for an object that is no Parquet file.
    """
    options["page_checksum_verification"] = True
    try:
        return storage.retry(f"read the footer of {path}", partial(pq.ParquetFile, file, **options))
    except pa.ArrowInvalid as error:
        raise damaged_object(storage, path, error) from error


def read_part(storage: JobStorage, path: str, read: Callable[[], T]) -> T:
    """What is read of an object, with the back-off and the errors of the store; raises `StorageError`."""
    try:
        return storage.retry(f"read {path}", read)
    except StorageError as error:
        if error.__cause__ is not None and is_of_damage(error.__cause__):
            raise damaged_object(storage, path, error.__cause__) from error
        raise


def is_of_damage(error: BaseException) -> bool:
    """Whether Arrow says that a file is not what was written. It does not always say which file that is."""
    is_of_arrow = isinstance(error, (pa.ArrowInvalid, OSError)) and getattr(error, "errno", None) is None
    return is_of_arrow and any(word in str(error).lower() for word in _OF_DAMAGE)


def damaged_object(storage: JobStorage, path: str, error: BaseException) -> StorageError:
    """The error for an object of a table that is not what was published. No waiting makes it whole."""
    return StorageError(f"{storage}/{path} is damaged ({reason_in_line(error)}): {PUT_BACK}", transient=False)


def find_damaged(storage: JobStorage, most_bytes: int) -> tuple[str, Exception] | None:
    """Path of an object of the tables that cannot be read, and why; None if none of the first so many bytes is one.

    All columns of each are read. Raises `StorageError` if the store does not answer.
    """
    for table in TABLES:
        for stored in storage.listing(table):
            most_bytes -= stored.num_bytes
            if most_bytes < 0:
                return None
            if segment_of(stored.path) is not None and (error := _damage(storage, stored.path)) is not None:
                return stored.path, error
    return None


def _damage(storage: JobStorage, path: str) -> Exception | None:
    try:
        data = pa.BufferReader(storage.read(path))
    except FileNotFoundError:
        return None  # replaced meanwhile
    try:
        with pq.ParquetFile(data, page_checksum_verification=True) as parquet:
            for group in range(parquet.num_row_groups):
                parquet.read_row_group(group, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        return error
    return None


def read_batches(
    storage: JobStorage, table: str, segment: Segment, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Rows of one table of a published segment, a row group at a time, with the columns that the table has today.

    A column that an earlier program did not write is null.

    Raises:
        FileNotFoundError: the object with these rows has been deleted.
    """
    if not segment.num_rows[table]:
        return
    path = segment_object(table, segment.name)
    with storage.open_input(path) as file, open_parquet(storage, path, file) as parquet:
        for group in range(parquet.num_row_groups):
            rows = read_part(storage, path, partial(parquet.read_row_group, group, columns=columns))
            yield from with_columns_of_today(rows, TABLES[table], columns).to_batches()


def read_whole(storage: JobStorage, table: str, name: str) -> pa.Table:
    """All rows of one table of a published segment; see `read_object`."""
    return read_object(storage, table, segment_object(table, name))


def read_object(storage: JobStorage, table: str, path: str) -> pa.Table:
    """All rows of one table in an object, with the columns that the table has today, in one request.

    For `videos` and `tracks`, and where many segments are read at the same time.

    Raises:
        FileNotFoundError: the object with these rows has been deleted.
        StorageError: it is damaged, or the store does not answer.
    """
    data = pa.BufferReader(storage.read(path))
    try:
        with pq.ParquetFile(data, pre_buffer=False) as parquet:
            rows = parquet.read(use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise damaged_object(storage, path, error) from error
    return with_columns_of_today(rows, TABLES[table])

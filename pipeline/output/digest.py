"""Rows of `videos` and `tracks` of many small segments in one object each, so that a reader need not open them all.

A worker reports the rows of a small segment together with the segment, and the driver writes those of a thousand
segments at once. A digest holds all rows of a table in a segment or none, and names the segment of each. It is only a
shortcut: rows count if the commit log counts their segment, and a segment that no digest holds is read itself.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import NewerVersion, StorageError
from pipeline.output.layout import DIGESTS, new_digest
from pipeline.output.schema import SCHEMA_VERSION, TABLES, with_columns_of_today
from pipeline.records import Segment
from pipeline.storage.documents import check_version
from pipeline.storage.job_storage import JobStorage

_log = logging.getLogger(__name__)

DIGESTED = ("videos", "tracks")
_SEGMENT = "segment"
_VERSION = b"schema_version"
_MOST_BYTES_OF_ONE = 256 << 10  # larger segments are few
_SEGMENTS_PER_DIGEST = 1_000
_BYTES_PER_DIGEST = 16 << 20


def digest_of(name: str, tables: Mapping[str, pa.Table]) -> dict[str, bytes]:
    """What a worker reports of a segment: its rows by table; nothing of a large segment."""
    found: dict[str, bytes] = {}
    for table in DIGESTED:
        rows = tables[table]
        names = pa.array([name] * rows.num_rows, pa.string())
        place = rows.schema.get_field_index(_SEGMENT)
        rows = rows.append_column(_SEGMENT, names) if place < 0 else rows.set_column(place, _SEGMENT, names)
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows.combine_chunks())
        found[table] = sink.getvalue()
    return found if sum(map(len, found.values())) <= _MOST_BYTES_OF_ONE else {}


class DigestWriter:
    """Collects rows of committed segments, and writes them when there are enough. For the driver.

    A store that refuses, and a driver that ends before, only cost a reader time.
    """

    def __init__(self, storage: JobStorage, num_segments: int = _SEGMENTS_PER_DIGEST) -> None:
        self._storage = storage
        self._num_segments = num_segments
        self._waiting: list[Mapping[str, bytes]] = []
        self._num_bytes = 0

    def add(self, segments: Sequence[Segment]) -> None:
        """Take the rows of segments that were committed."""
        for segment in segments:
            if segment.digest:
                self._waiting.append(segment.digest)
                self._num_bytes += sum(map(len, segment.digest.values()))
        if len(self._waiting) >= self._num_segments or self._num_bytes >= _BYTES_PER_DIGEST:
            waiting, self._waiting, self._num_bytes = self._waiting, [], 0
            try:
                for table in DIGESTED:
                    _write(self._storage, table, pa.concat_tables([_decoded(digest[table]) for digest in waiting]))
            except StorageError as error:
                _log.warning("a digest of %d segments was not written; readers open them all: %s", len(waiting), error)


def read_digests(storage: JobStorage, table: str, segments: Collection[str]) -> tuple[pa.Table, set[str]]:
    """Rows of a table in these segments as far as digests hold them, in the columns of today; and whose they are.

    Raises:
        NewerVersion: a newer version of this program has written one.
        StorageError: the store does not answer.
    """
    wanted = set(segments)
    paths = [stored.path for stored in storage.listing(DIGESTS, f"{table}-")]
    parts = [TABLES[table].empty_table()]
    for path, data in zip(paths, storage.read_existing(paths), strict=True):
        if data is None:
            continue  # a compaction has replaced it
        whole = _read(data, f"{storage}/{path}")
        if whole is None:
            continue
        rows = _of_segments(whole, wanted)
        wanted.difference_update(pc.unique(rows[_SEGMENT]).to_pylist())
        parts.append(with_columns_of_today(rows, TABLES[table]))
    return pa.concat_tables(parts), set(segments) - wanted


def clean_digests(storage: JobStorage, segments: Collection[str]) -> None:
    """Leave only rows of these segments in the digests. Raises `StorageError`; call it again then."""
    for table in DIGESTED:
        for stored in storage.listing(DIGESTS, f"{table}-"):
            (data,) = storage.read_existing([stored.path])
            if data is None:
                continue
            rows = _read(data, f"{storage}/{stored.path}")
            if rows is None:
                storage.delete([stored.path])
                continue
            kept = _of_segments(rows, segments)
            if kept.num_rows < rows.num_rows:
                if kept.num_rows:
                    _write(storage, table, kept)
                storage.delete([stored.path])


def _write(storage: JobStorage, table: str, rows: pa.Table) -> None:
    sink = io.BytesIO()
    rows = rows.replace_schema_metadata({_VERSION: str(SCHEMA_VERSION)})
    pq.write_table(rows, sink, compression="zstd", write_page_checksum=True)
    storage.replace(new_digest(table), sink.getvalue())


def _read(data: bytes, name: str) -> pa.Table | None:
    """The rows of a digest; None if it is damaged: it is only a shortcut."""
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as parquet:
            check_version(name, int((parquet.schema_arrow.metadata or {})[_VERSION]), SCHEMA_VERSION)
            return parquet.read()
    except NewerVersion:
        raise
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        _log.warning("%s is damaged, and the segments are read themselves: %s", name, error)
        return None


def _decoded(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(pa.BufferReader(data)) as reader:
        return reader.read_all()


def _of_segments(rows: pa.Table, segments: Collection[str]) -> pa.Table:
    """The rows of these segments. Each name is looked up once, because a hash of all wanted ones costs more."""
    names = rows[_SEGMENT].combine_chunks().dictionary_encode()
    is_wanted = np.array([name in segments for name in names.dictionary.to_pylist()], bool)
    return rows.filter(pa.array(is_wanted[names.indices.to_numpy()] if len(names) else is_wanted))

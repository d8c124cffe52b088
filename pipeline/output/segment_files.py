"""The files of a segment on local disk: Parquet written in row groups of bounded size, then checked by reading back."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.arrays import Int64Array
from pipeline.output.layout import new_segment_name
from pipeline.output.schema import SORT_KEYS, TABLES
from pipeline.output.segment_document import ObjectDocument, SegmentDocument, SegmentFields
from pipeline.records import Outcome, Segment
from pipeline.storage.atomic_files import deleted_on_error

METADATA_KEY = "maskmill"
"""The key under which the footer of each Parquet file holds its document."""


@dataclass(frozen=True)
class GroupLimits:
    """When a row group is closed: after so many rows, or with the row that reaches so many bytes of masks' codes.

    A row group is written, and later read, as a whole. Arrow cannot read one with 2 GiB of codes, which 37,000 masks of
    60 kB have.
    """

    num_rows: int = 122_880
    code_bytes: int = 64 << 20


DEFAULT_LIMITS = GroupLimits()
_BLOCK_BYTES = 1 << 20
_FORMAT: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 2,
    "write_page_checksum": True,
}
# The lengths of all codes of a page stand before the codes. Mixed, as Parquet does by default, level 3 is needed for as
# few bytes (1 % less), and takes a quarter more time.
_ENCODINGS = {"masks": {"rle.counts": "DELTA_LENGTH_BYTE_ARRAY"}}
# Columns whose values repeat. A dictionary of the others costs time and 3 % of the size.
_DICTIONARY = {
    "masks": ["video_id", "object_id", "frame_index", "is_prompt", "category"],
    "tracks": TABLES["tracks"].names,
    "videos": TABLES["videos"].names,
}


@dataclass(frozen=True)
class SegmentOrigin:
    """Who made a segment: the driver's epoch, the worker, and the fingerprint of what was asked of it."""

    epoch: int
    worker_id: str
    fingerprint: str


@dataclass(frozen=True)
class BuiltSegment:
    """A segment on local disk, checked and ready to be published, by table in the order of publication.

    `checksums` are those of the bytes that were given to the disk, CRC-32.
    """

    segment: Segment
    files: Mapping[str, Path]
    checksums: Mapping[str, int]


def build_segment(
    origin: SegmentOrigin,
    outcomes: Iterable[Outcome],
    batches: Mapping[str, Iterable[pa.RecordBatch]],
    folder: Path,
    limits: GroupLimits = DEFAULT_LIMITS,
) -> BuiltSegment:
    """Write the files of a new segment and check them. After an error none of them is left.

    `batches` gives for each table its rows in the order of `SORT_KEYS`. Never more than a row group is in memory.

    Raises:
        ValueError: the rows do not add up to the outcomes; names the video.
    """
    name = new_segment_name(origin.epoch, origin.worker_id)
    outcomes = tuple(sorted(outcomes, key=lambda outcome: outcome.video_id))
    files = {table: folder / f"{name}.{table}.parquet" for table in TABLES}
    made_by = {"name": name, "worker": origin.worker_id, "epoch": origin.epoch, "fingerprint": origin.fingerprint}
    num_rows: dict[str, int] = {}
    table_bytes: dict[str, int] = {}
    checksums: dict[str, int] = {}
    with deleted_on_error(tuple(files.values())):
        for table in ("masks", "tracks"):
            document = ObjectDocument.model_validate({**made_by, "table": table})
            num_rows[table], checksums[table] = _write(files[table], table, batches[table], document, limits)
            if num_rows[table]:
                table_bytes[table] = files[table].stat().st_size
            else:
                files.pop(table).unlink()
        segment = Segment(name, num_rows | {"videos": len(outcomes)}, sum(table_bytes.values()), outcomes)
        description = SegmentDocument.model_validate(
            {**made_by, "table": "videos", "segment": SegmentFields.of(segment), "table_bytes": table_bytes}
        )
        named = _with_segment_name(batches["videos"], name)
        _, checksums["videos"] = _write(files["videos"], "videos", named, description, limits)
        whole = replace(segment, num_bytes=segment.num_bytes + files["videos"].stat().st_size)
        built = BuiltSegment(whole, files, checksums)
        verify(built)
    return built


def discard(built: BuiltSegment) -> None:
    """Delete the local files."""
    for path in built.files.values():
        path.unlink(missing_ok=True)


def verify(built: BuiltSegment) -> None:
    """Read the files back: their bytes against the checksums, their numbers of rows and ids against the outcomes.

    Only ids are decoded. Masks' codes are most of a file, and decoding them says nothing that the checksum does not.

    Raises:
        ValueError: a file is not the one that was written, or does not hold the rows that the outcomes promise; names
            the segment and the video.
    """
    segment = built.segment
    num_masks: Counter[str] = Counter()
    for table, path in built.files.items():
        if _checksum(path) != built.checksums[table]:
            raise ValueError(f"segment {segment.name}: the local disk does not give back what was written to {path}")
        ids = _ids(path)
        if len(ids) != segment.num_rows[table]:
            raise ValueError(f"segment {segment.name}: {len(ids)} rows of {table}, expected {segment.num_rows[table]}")
        if table == "masks":
            num_masks += Counter({c["values"]: c["counts"] for c in ids.value_counts().to_pylist()})
        if table == "videos" and ids.to_pylist() != [outcome.video_id for outcome in segment.outcomes]:
            raise ValueError(f"segment {segment.name}: rows of `videos` are not those of its outcomes")
    for outcome in segment.outcomes:
        if num_masks[outcome.video_id] != outcome.num_masks:
            raise ValueError(
                f"segment {segment.name}, video {outcome.video_id!r}: {num_masks[outcome.video_id]} masks, expected "
                f"{outcome.num_masks}"
            )


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _ids(path: Path) -> pa.ChunkedArray:
    """The column `video_id`, as a dictionary: a segment holds far fewer videos than rows."""
    with pq.ParquetFile(path, read_dictionary=["video_id"]) as parquet:
        return parquet.read(["video_id"], use_threads=False)["video_id"]


class _Summed:
    """A file to write to, with the CRC-32 of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.checksum = 0

    closed = False

    def write(self, data: bytes) -> int:
        """Add `data` to the file and to the checksum."""
        self.checksum = zlib.crc32(data, self.checksum)
        return self._file.write(data)

    def flush(self) -> None:
        """Nothing waits here: the file itself is flushed when it is closed."""

    def close(self) -> None:
        """The file is closed by whoever opened it."""


def _with_segment_name(batches: Iterable[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
    position = TABLES["videos"].get_field_index("segment")
    for batch in batches:
        yield batch.set_column(position, TABLES["videos"].field(position), pa.array([name] * batch.num_rows))


def writer_options(table: str) -> dict[str, Any]:
    """How the columns of a table are written: options of `pyarrow.parquet.ParquetWriter`."""
    return {
        **_FORMAT,
        "use_dictionary": _DICTIONARY[table],
        "column_encoding": _ENCODINGS.get(table),
        "write_statistics": [column for column in TABLES[table].names if column != "rle"],
    }


def _write(
    path: Path, table: str, batches: Iterable[pa.RecordBatch], document: ObjectDocument, limits: GroupLimits
) -> tuple[int, int]:
    """Write one Parquet file in full row groups; return its number of rows and its checksum."""
    schema = TABLES[table].with_metadata({METADATA_KEY: document.to_json()})
    num_rows = 0
    with path.open("wb") as file:
        summed = _Summed(file)
        with pq.ParquetWriter(
            summed,
            schema,
            sorting_columns=pq.SortingColumn.from_ordering(schema, [(key, "ascending") for key in SORT_KEYS[table]]),
            **writer_options(table),
        ) as writer:
            for group in _row_groups(batches, schema, limits):
                writer.write_table(group, row_group_size=limits.num_rows)
                num_rows += group.num_rows
    return num_rows, summed.checksum


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema, limits: GroupLimits) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    num_waiting = code_bytes = 0
    for batch in batches:
        code_bytes_N = _code_bytes(batch)
        start = 0
        while start < batch.num_rows:
            most = min(batch.num_rows - start, limits.num_rows - num_waiting)
            ends = np.cumsum(code_bytes_N[start : start + most])
            num_rows = min(most, int(np.searchsorted(ends, limits.code_bytes - code_bytes)) + 1)
            waiting.append(batch.slice(start, num_rows))
            num_waiting += num_rows
            code_bytes += int(ends[num_rows - 1])
            start += num_rows
            if num_waiting == limits.num_rows or code_bytes >= limits.code_bytes:
                yield _table(waiting, schema)
                waiting, num_waiting, code_bytes = [], 0, 0
    if waiting:
        yield _table(waiting, schema)


def _code_bytes(batch: pa.RecordBatch) -> Int64Array:
    """Bytes of each row's code; none in tables without masks."""
    if "rle" not in batch.schema.names:
        return np.zeros(batch.num_rows, np.int64)
    lengths: Int64Array = pc.binary_length(pc.struct_field(batch["rle"], "counts")).to_numpy().astype(np.int64)
    return lengths


def _table(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches(batches).cast(schema)

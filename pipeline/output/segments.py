"""The files of one segment: Parquet written sorted and bounded, checked by reading back, published whole.

A segment is up to three objects, `{table}/{name}.parquet`; a table without rows has none. The `videos` object is
published last, and its footer holds the whole description, so that a segment whose `videos` object exists, and whose
others have the sizes that it states, is whole.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.output.schema import SCHEMA_VERSION, SORT_KEYS, TABLES
from pipeline.records import Outcome, Segment, Status
from pipeline.storage.atomic_files import deleted_on_error
from pipeline.storage.job_storage import JobStorage

_NAME = re.compile(r"e\d{6,}-[A-Za-z0-9\-]*-[0-9a-f]{12}")
ROWS_PER_GROUP = 122_880
_METADATA_KEY = "maskmill"
_FORMAT: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 3,
    "write_page_checksum": True,
}
# Columns whose values repeat. A dictionary of the others costs time and 3 % of the size.
_DICTIONARY = {
    "masks": ["video_id", "object_id", "frame_index", "is_prompt"],
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
class SegmentFooter:
    """What the `videos` object says of its segment. `table_bytes` are the sizes of the other objects."""

    segment: Segment
    origin: SegmentOrigin
    table_bytes: Mapping[str, int]


@dataclass(frozen=True)
class BuiltSegment:
    """A segment on local disk, checked and ready to be published, by table in the order of publication."""

    segment: Segment
    files: Mapping[str, Path]


def new_segment_name(origin: SegmentOrigin) -> str:
    """A name that nobody else uses: epoch, worker, random part."""
    worker = re.sub(r"[^A-Za-z0-9\-]+", "-", origin.worker_id)[:40]
    return f"e{origin.epoch:06d}-{worker}-{uuid.uuid4().hex[:12]}"


def object_path(table: str, name: str) -> str:
    """Path of one object of a segment, relative to the job."""
    return f"{table}/{name}.parquet"


def build_segment(
    name: str,
    origin: SegmentOrigin,
    outcomes: Iterable[Outcome],
    batches: Mapping[str, Iterable[pa.RecordBatch]],
    folder: Path,
) -> BuiltSegment:
    """Write the files of a segment and check them; after an error none of them is left.

    `batches` gives for each table its rows in the order of `SORT_KEYS`; never more than a row group is in memory.

    Raises:
        ValueError: the rows do not add up to the outcomes; names the video.
    """
    outcomes = tuple(sorted(outcomes, key=lambda outcome: outcome.video_id))
    files = {table: folder / f"{name}.{table}.parquet" for table in TABLES}
    header = {"schema_version": SCHEMA_VERSION, "name": name, "worker": origin.worker_id}
    header |= {"epoch": origin.epoch, "fingerprint": origin.fingerprint}
    num_rows: dict[str, int] = {}
    table_bytes: dict[str, int] = {}
    with deleted_on_error(tuple(files.values())):
        for table in ("masks", "tracks"):
            num_rows[table] = _write(files[table], table, batches[table], {**header, "table": table})
            if num_rows[table]:
                table_bytes[table] = files[table].stat().st_size
            else:
                files.pop(table).unlink()
        segment = Segment(name, num_rows | {"videos": len(outcomes)}, sum(table_bytes.values()), outcomes)
        description = {**header, "table": "videos", "segment": segment_to_json(segment), "table_bytes": table_bytes}
        _write(files["videos"], "videos", _with_segment_name(batches["videos"], name), description)
        whole = replace(segment, num_bytes=segment.num_bytes + files["videos"].stat().st_size)
        built = BuiltSegment(whole, files)
        _verify(built)
    return built


def publish(storage: JobStorage, built: BuiltSegment) -> Segment:
    """Upload the files, `videos` last, and delete them here. May be called again after a `StorageError`."""
    for table, path in built.files.items():
        storage.put_file(path, object_path(table, built.segment.name))
    discard(built)
    return built.segment


def discard(built: BuiltSegment) -> None:
    """Delete the local files."""
    for path in built.files.values():
        path.unlink(missing_ok=True)


def list_segments(storage: JobStorage) -> dict[str, dict[str, int]]:
    """All objects of all tables that belong to a segment: bytes by path, by segment name. Raises `StorageError`."""
    found: dict[str, dict[str, int]] = {}
    for objects in storage.in_parallel(storage.listing, TABLES):
        for stored in objects:
            if name := _segment_of(stored.path):
                found.setdefault(name, {})[stored.path] = stored.num_bytes
    return found


def delete_segments(storage: JobStorage, names: Iterable[str]) -> None:
    """Delete all objects of these segments; those that do not exist are fine. Raises `StorageError`."""
    storage.delete(object_path(table, name) for name in names for table in TABLES)


def read_footer(storage: JobStorage, name: str) -> SegmentFooter:
    """What a published segment says of itself.

    Raises:
        FileNotFoundError: its `videos` object does not exist, so it was never published whole.
        ValueError: the object is not one of ours; names it.
    """
    path = object_path("videos", name)

    def read() -> dict[bytes, bytes]:
        with storage.open_input(path) as file:
            return pq.read_schema(file).metadata or {}

    try:
        metadata = storage.retry(f"read the footer of {path}", read)
        document = json.loads(metadata[_METADATA_KEY.encode()])
    except (pa.ArrowInvalid, KeyError, ValueError) as error:
        raise ValueError(f"{storage}/{path} is not a segment of this program: {error}") from error
    segment = segment_from_json(document["segment"])
    total = segment.num_bytes + storage.num_bytes(path)
    origin = SegmentOrigin(document["epoch"], document["worker"], document["fingerprint"])
    return SegmentFooter(
        Segment(segment.name, segment.num_rows, total, segment.outcomes), origin, document["table_bytes"]
    )


def is_whole(footer: SegmentFooter, sizes: Mapping[str, int]) -> bool:
    """Whether the other objects of a segment are there. `sizes` are bytes by path, as listed."""
    return all(sizes.get(object_path(table, footer.segment.name)) == size for table, size in footer.table_bytes.items())


def read_batches(
    storage: JobStorage, table: str, segment: Segment, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Rows of one table of a published segment, a row group at a time.

    Raises:
        FileNotFoundError: the object with these rows has been deleted.
    """
    if not segment.num_rows[table]:
        return
    path = object_path(table, segment.name)
    with storage.open_input(path) as file, pq.ParquetFile(file) as parquet:
        for group in range(parquet.num_row_groups):
            read = partial(parquet.read_row_group, group, columns=columns)
            yield from storage.retry(f"read {path}", read).to_batches()


def _segment_of(path: str) -> str | None:
    """Name of the segment that an object belongs to, by its path; None: none of ours made the object."""
    name = PurePosixPath(path).name.removesuffix(".parquet")
    return name if _NAME.fullmatch(name) else None


def _with_segment_name(batches: Iterable[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
    position = TABLES["videos"].get_field_index("segment")
    for batch in batches:
        yield batch.set_column(position, TABLES["videos"].field(position), pa.array([name] * batch.num_rows))


def _write(path: Path, table: str, batches: Iterable[pa.RecordBatch], description: Mapping[str, Any]) -> int:
    """Write one Parquet file in full row groups; return its number of rows."""
    schema = TABLES[table].with_metadata({_METADATA_KEY: json.dumps(description, ensure_ascii=False)})
    with pq.ParquetWriter(
        path,
        schema,
        use_dictionary=_DICTIONARY[table],
        write_statistics=[column for column in schema.names if column != "rle"],
        sorting_columns=pq.SortingColumn.from_ordering(schema, [(key, "ascending") for key in SORT_KEYS[table]]),
        **_FORMAT,
    ) as writer:
        num_rows = 0
        for group in _row_groups(batches, schema):
            writer.write_table(group, row_group_size=ROWS_PER_GROUP)
            num_rows += group.num_rows
    return num_rows


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    num_waiting = 0
    for batch in batches:
        start = 0
        while num_waiting + batch.num_rows - start >= ROWS_PER_GROUP:
            stop = start + ROWS_PER_GROUP - num_waiting
            yield _table([*waiting, batch.slice(start, stop - start)], schema)
            waiting, num_waiting, start = [], 0, stop
        if start < batch.num_rows:
            waiting.append(batch.slice(start))
            num_waiting += batch.num_rows - start
    if waiting:
        yield _table(waiting, schema)


def _table(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches(batches).cast(schema)


def _verify(built: BuiltSegment) -> None:
    """Read the files back, checksums and all, and hold them against the outcomes."""
    segment = built.segment
    num_masks: Counter[str] = Counter()
    for table, path in built.files.items():
        num_rows = 0
        with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
            for group in range(parquet.num_row_groups):
                rows = parquet.read_row_group(group)
                num_rows += rows.num_rows
                if table == "masks":
                    num_masks += Counter(
                        {c["values"]: c["counts"] for c in rows["video_id"].value_counts().to_pylist()}
                    )
                if table == "videos":
                    written = rows["video_id"].to_pylist()
                    expected = [outcome.video_id for outcome in segment.outcomes][num_rows - len(written) : num_rows]
                    if written != expected:
                        raise ValueError(f"segment {segment.name}: rows of `videos` are not those of its outcomes")
        if num_rows != segment.num_rows[table]:
            raise ValueError(f"segment {segment.name}: {num_rows} rows of {table}, expected {segment.num_rows[table]}")
    for outcome in segment.outcomes:
        if num_masks[outcome.video_id] != outcome.num_masks:
            raise ValueError(
                f"segment {segment.name}, video {outcome.video_id!r}: {num_masks[outcome.video_id]} masks, expected "
                f"{outcome.num_masks}"
            )


def segment_to_json(segment: Segment) -> dict[str, Any]:
    """A segment for the log and for its own footer. An outcome is a list of its fields in order, to keep it short."""
    outcomes = [list(_outcome_fields(outcome)) for outcome in segment.outcomes]
    return {"name": segment.name, "rows": segment.num_rows, "bytes": segment.num_bytes, "outcomes": outcomes}


def segment_from_json(document: Mapping[str, Any]) -> Segment:
    """The inverse of `segment_to_json`."""
    outcomes = (Outcome(video_id, Status(status), *rest) for video_id, status, *rest in document["outcomes"])
    return Segment(document["name"], dict(document["rows"]), document["bytes"], tuple(outcomes))


_outcome_fields = attrgetter(*(field.name for field in fields(Outcome)))

"""The files of a segment: their layout, their footer, and damage that is noticed before anything is published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import NewerVersion
from pipeline.output.former_rows import FormerRows
from pipeline.output.layout import segment_object
from pipeline.output.merge import _groups, _Source
from pipeline.output.schema import MASKS
from pipeline.output.segment_files import (
    DEFAULT_LIMITS,
    METADATA_KEY,
    GroupLimits,
    SegmentOrigin,
    build_segment,
    verify,
)
from pipeline.output.segments import is_whole, publish, read_batches, read_footer
from pipeline.records import Outcome, Status
from pipeline.storage.job_storage import JobStorage
from tests.support import labeled as fake
from tests.support.cut_reads import cut_reads
from tests.support.labeled import labeled

ORIGIN = SegmentOrigin(2, "w", "f")


def test_the_footer_describes_the_whole_segment(storage: JobStorage, tmp_path: Path) -> None:
    segment = fake.publish(storage, tmp_path, labeled("b"), labeled("a", status=Status.FAILED), epoch=2, worker="w")
    footer = read_footer(storage, segment.name)
    assert footer.segment == segment
    assert footer.origin == ORIGIN
    sizes = {stored.path: stored.num_bytes for table in ("masks", "tracks") for stored in storage.listing(table)}
    assert is_whole(footer, sizes)
    assert not is_whole(footer, {path: size - 1 for path, size in sizes.items()})
    assert not is_whole(footer, {})


def test_a_footer_that_is_missing_or_foreign_is_said_so(disk_storage: JobStorage) -> None:
    with pytest.raises(FileNotFoundError):
        read_footer(disk_storage, "nothing")
    disk_storage.replace("videos/junk.parquet", b"not parquet")
    with pytest.raises(ValueError, match=r"videos/junk\.parquet is not a segment"):
        read_footer(disk_storage, "junk")
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), sink)
    disk_storage.replace("videos/foreign.parquet", sink.getvalue().to_pybytes())
    with pytest.raises(ValueError, match=r"videos/foreign\.parquet is not a segment"):
        read_footer(disk_storage, "foreign")


def many_rows(num_rows: int, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Rows of `masks` of one video, made as they are asked for."""
    for start in range(0, num_rows, batch_rows):
        count = min(batch_rows, num_rows - start)
        zeros = pa.array(np.zeros(count, np.int32))
        rle = pa.StructArray.from_arrays(
            [pa.array([[1, 1]] * count, pa.list_(pa.int32())), pa.array([f"counts{start}"] * count)],
            fields=list(MASKS.field("rle").type),
        )
        columns = dict.fromkeys(MASKS.names, zeros) | {
            "video_id": pa.array(["v"] * count),
            "frame_index": pa.array(np.arange(start, start + count, dtype=np.int32)),
            "rle": rle,
            "is_prompt": pa.array([False] * count),
        }
        yield pa.RecordBatch.from_arrays([columns[field.name].cast(field.type) for field in MASKS], schema=MASKS)


@pytest.mark.slow
def test_layout_is_as_promised(tmp_path: Path) -> None:
    num_rows = 2 * DEFAULT_LIMITS.num_rows + 17
    video = labeled("v")
    outcome = Outcome("v", Status.OK, "p", num_rows, num_rows)
    batches = {"masks": many_rows(num_rows, 50_000), "tracks": [], "videos": fake.video_row(outcome, 1).to_batches()}
    built = build_segment(ORIGIN, [outcome], batches, tmp_path)
    assert video.outcome.video_id == "v"
    metadata = pq.ParquetFile(built.files["masks"]).metadata
    assert [metadata.row_group(group).num_rows for group in range(3)] == [122_880, 122_880, 17]
    columns = {
        metadata.row_group(0).column(index).path_in_schema: metadata.row_group(0).column(index)
        for index in range(metadata.num_columns)
    }
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    for path, column in columns.items():
        is_rle = path.startswith("rle.")
        assert column.is_stats_set is not is_rle, path
        assert column.has_dictionary_page is (path in {"video_id", "object_id", "frame_index", "category"}), path
    assert columns["frame_index"].statistics.max == 122_879
    assert [s.column_index for s in metadata.row_group(0).sorting_columns] == [0, 1, 2]


@pytest.mark.parametrize("batch_rows", [1, 7, 100])
def test_a_row_group_ends_with_the_row_that_reaches_its_bytes(batch_rows: int, tmp_path: Path) -> None:
    """However the rows come. The code of row n takes n bytes: ten rows are 55 bytes, and then 11 + … + 17 are 98."""
    codes = ["x" * n for n in range(1, 31)]
    rows = pa.Table.from_batches(many_rows(30, 30))
    rle = [{"size": [1, 1], "counts": code} for code in codes]
    rows = rows.set_column(rows.column_names.index("rle"), MASKS.field("rle"), pa.array(rle, MASKS.field("rle").type))
    outcome = Outcome("v", Status.OK, "p", 30, 30)
    tables = {"masks": rows, "tracks": labeled("v").tracks, "videos": fake.video_row(outcome, 1)}
    batches = {name: table.to_batches(max_chunksize=batch_rows) for name, table in tables.items()}
    built = build_segment(ORIGIN, [outcome], batches, tmp_path, GroupLimits(num_rows=10, code_bytes=90))
    file = pq.ParquetFile(built.files["masks"])
    groups = [file.read_row_group(number)["rle"].to_pylist() for number in range(file.num_row_groups)]
    sizes = [[len(row["counts"]) for row in group] for group in groups]
    assert [size for group in sizes for size in group] == [*range(1, 31)]
    assert [group[0] for group in sizes] == [1, 11, 18, 23, 27]
    assert pq.read_table(built.files["masks"]).num_rows == 30


def test_rows_that_do_not_add_up_to_the_outcomes_are_not_published(tmp_path: Path) -> None:
    video = labeled("v", 6)
    batches = {"tracks": video.tracks.to_batches(), "videos": video.video.to_batches()}
    with pytest.raises(ValueError, match="video 'v': 11 masks, expected 12"):
        build_segment(ORIGIN, [video.outcome], {**batches, "masks": video.masks.slice(1).to_batches()}, tmp_path)
    with pytest.raises(ValueError, match="rows of `videos` are not those"):
        build_segment(
            ORIGIN,
            [video.outcome],
            {**batches, "masks": video.masks.to_batches(), "videos": labeled("w").video.to_batches()},
            tmp_path,
        )


def test_a_damaged_file_is_noticed(tmp_path: Path) -> None:
    video = labeled("v", 300)
    batches = {"masks": video.masks, "tracks": video.tracks, "videos": video.video}
    built = build_segment(ORIGIN, [video.outcome], {t: rows.to_batches() for t, rows in batches.items()}, tmp_path)
    verify(built)
    content = bytearray(built.files["masks"].read_bytes())
    content[len(content) // 4] ^= 0xFF
    built.files["masks"].write_bytes(content)
    with pytest.raises((OSError, ValueError)):
        verify(built)


def test_the_footer_of_a_newer_version_is_refused_by_name(disk_storage: JobStorage, tmp_path: Path) -> None:
    segment = fake.publish(disk_storage, tmp_path, labeled("a"))
    path = Path(disk_storage.uri) / "videos" / f"{segment.name}.parquet"
    rows = pq.read_table(path)
    document = json.loads(rows.schema.metadata[METADATA_KEY.encode()])
    for changes in ({"schema_version": 99}, {"found_later": 1}):
        metadata = {METADATA_KEY: json.dumps(document | changes)}
        pq.write_table(rows.replace_schema_metadata(metadata), path)
        if "schema_version" in changes:
            with pytest.raises(NewerVersion, match=rf"{segment.name}\.parquet was written .* in version 99"):
                read_footer(disk_storage, segment.name)
        else:
            assert read_footer(disk_storage, segment.name).segment.outcomes == segment.outcomes


def test_batches_come_back_as_written(disk_storage: JobStorage, tmp_path: Path) -> None:
    video = labeled("v", 6)
    batches = {
        "masks": video.masks.sort_by([("object_id", "ascending")]),
        "tracks": video.tracks,
        "videos": video.video,
    }
    built = build_segment(ORIGIN, [video.outcome], {t: rows.to_batches() for t, rows in batches.items()}, tmp_path)
    publish(disk_storage, built)
    again = pa.Table.from_batches(read_batches(disk_storage, "masks", built.segment))
    assert again.replace_schema_metadata().equals(batches["masks"].combine_chunks())
    assert next(read_batches(disk_storage, "masks", built.segment, ["area"])).schema.names == ["area"]
    assert not any(path.exists() for path in built.files.values())


@pytest.mark.parametrize("table", ["masks", "tracks", "videos"])
def test_rows_whose_object_was_deleted_are_not_taken_for_none(
    disk_storage: JobStorage, tmp_path: Path, table: str
) -> None:
    segment = fake.publish(disk_storage, tmp_path, labeled("a"))
    none = fake.publish(disk_storage, tmp_path, labeled("b", status=Status.FAILED))
    disk_storage.delete([segment_object(table, segment.name)])
    with pytest.raises(FileNotFoundError):
        next(read_batches(disk_storage, table, segment))
    assert [list(read_batches(disk_storage, table, none)) for table in ("masks", "tracks")] == [[], []]


def read_all(storage: JobStorage, name: str, folder: Path) -> list[pa.Table]:
    """Everything that is read of a segment through open objects, by the driver, a worker and a merger."""
    whole = read_footer(storage, name).segment
    former = FormerRows(storage, name, "a", folder)
    return [
        pa.Table.from_batches(read_batches(storage, "masks", whole)),
        former.masks({1, 2}),
        *(
            rows
            for _, rows in _groups(storage, _Source("masks", segment_object("masks", name)), _opened(storage, name))
        ),
    ]


def _opened(storage: JobStorage, name: str) -> BinaryIO:
    return storage.open_input(segment_object("masks", name))


@pytest.mark.slow
def test_a_cut_connection_at_any_read_of_a_segment_costs_nothing(disk_storage: JobStorage, tmp_path: Path) -> None:
    """A driver that puts a segment without some videos in its place would end with a traceback otherwise."""
    name = fake.publish(disk_storage, tmp_path, labeled("a"), labeled("b")).name
    expected = read_all(uncut := cut_reads(disk_storage, cut=-1), name, tmp_path)
    assert uncut.num_reads >= 6
    for cut in range(uncut.num_reads):
        assert read_all(cut_reads(disk_storage, cut), name, tmp_path) == expected, f"read {cut}"

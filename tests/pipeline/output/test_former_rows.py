"""Rows that a video had: found among those of others, copied as they are, in memory or on disk."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.output.former_rows import FormerRows, merged_masks
from pipeline.output.layout import FORMER, segment_object
from pipeline.output.schema import MASKS
from pipeline.output.segments import put_away, read_whole
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import labeled, mask_rows, publish


def test_rows_of_some_objects_are_read_bit_for_bit_from_memory_and_from_disk(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    videos = [labeled(name, 9, (1, 2, 3)) for name in ("a", "b", "c")]
    segment = publish(disk_storage, tmp_path, *videos)
    wanted = read_whole(disk_storage, "masks", segment.name)
    wanted = wanted.filter(pc.and_(pc.equal(wanted["video_id"], "b"), pc.not_equal(wanted["object_id"], 2)))
    put_away(disk_storage, [segment.name])
    folder = tmp_path / "scratch"
    for small_bytes in (1 << 20, 0):
        rows = FormerRows(disk_storage, segment.name, "b", folder, small_bytes)
        found = rows.masks({1, 3})
        assert found.equals(wanted)
        former = rows.read()
        assert former is not None
        assert former.video["video_id"] == "b"
        assert former.tracks["object_id"].to_pylist() == [1, 2, 3]
    assert list(folder.iterdir()) == []
    assert rows.masks(()).num_rows == 0


def test_a_segment_that_is_gone_and_a_video_that_is_not_in_it_have_no_rows(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    segment = publish(disk_storage, tmp_path, labeled("a"))
    assert FormerRows(disk_storage, segment.name, "b", tmp_path).read() is None
    assert FormerRows(disk_storage, "gone", "a", tmp_path).read() is None


def test_parts_are_joined_by_object() -> None:
    whole = labeled("a", 4, (1, 2, 3, 4)).masks.sort_by([("object_id", "ascending"), ("frame_index", "ascending")])

    def of(*object_ids: int) -> pa.Table:
        return whole.filter(pc.is_in(whole["object_id"], value_set=pa.array(object_ids, pa.int64())))

    assert merged_masks([of(2, 4), MASKS.empty_table(), of(1), of(3)]).equals(whole)
    assert merged_masks([]).num_rows == 0


class _PutsAwayMeanwhile(JobStorage):
    """Puts a segment away after the first look for each of its objects, as a driver or a compaction may just then."""

    def open_input(self, path: str) -> BinaryIO:
        try:
            return super().open_input(path)
        except FileNotFoundError:
            table, _, name = path.removeprefix(f"{FORMER}/").partition("/")
            self.move(f"{table}/{name}", f"{FORMER}/{table}/{name}")
            raise


def test_an_object_whose_rows_are_gone_is_not_taken_for_none(disk_storage: JobStorage, tmp_path: Path) -> None:
    segment = publish(disk_storage, tmp_path, labeled("a", 4, (1, 2)))
    disk_storage.delete([segment_object("tracks", segment.name)])
    assert FormerRows(disk_storage, segment.name, "a", tmp_path).read() is None


class _PutAwayWhileRead(JobStorage):
    """Puts a segment away when the first object of it is open, and loses what is open, as object stores do."""

    def open_input(self, path: str) -> BinaryIO:
        file = super().open_input(path)
        if not path.startswith(FORMER):
            self.move(path, f"{FORMER}/{path}")
            file.close()
            raise FileNotFoundError(path)
        return file


@pytest.mark.parametrize("kind", [_PutsAwayMeanwhile, _PutAwayWhileRead])
def test_rows_are_found_that_are_put_away_while_they_are_looked_for_or_read(
    disk_storage: JobStorage, tmp_path: Path, kind: type[JobStorage]
) -> None:
    segment = publish(disk_storage, tmp_path, labeled("a", 4, (1, 2)))
    rows = FormerRows(kind(disk_storage.uri), segment.name, "a", tmp_path)
    former = rows.read()
    assert former is not None
    assert former.tracks["object_id"].to_pylist() == [1, 2]
    assert rows.masks({1, 2}).num_rows == 8


def test_masks_of_several_parts_are_joined_in_the_order_of_objects_each_once() -> None:
    def part(*object_ids: int) -> pa.Table:
        return mask_rows("a", object_ids, 3).sort_by([("object_id", "ascending"), ("frame_index", "ascending")])

    assert merged_masks([part(2, 4), part(1, 3, 5), part()]).equals(part(1, 2, 3, 4, 5))

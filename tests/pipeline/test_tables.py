"""How a notebook reads a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from pipeline import tables
from pipeline.errors import StorageError
from pipeline.output.schema import MASKS, TRACKS, VIDEOS
from pipeline.records import Status
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import driver, labeled, pixels, publish


@pytest.fixture
def job(storage: JobStorage, tmp_path: Path) -> tables.JobTables:
    """Three committed videos in two segments, one of them failed, and one uncommitted."""
    _, keeper = driver(storage, tmp_path)
    keeper.commit(
        [
            publish(storage, tmp_path, labeled("b", 4), labeled("a", 6)),
            publish(storage, tmp_path, labeled("c", status=Status.FAILED)),
        ]
    )
    publish(storage, tmp_path, labeled("d"))
    storage.replace("job.json", json.dumps({"model": "mini"}).encode())
    return tables.open(storage.uri, storage.storage_options)


def test_tables_have_the_promised_schemas_and_only_committed_rows(job: tables.JobTables) -> None:
    masks, tracks, videos = job.masks().to_table(), job.tracks(), job.videos()
    assert masks.schema.equals(MASKS)
    assert tracks.schema.equals(TRACKS)
    assert videos.schema.equals(VIDEOS)
    assert (masks.num_rows, tracks.num_rows) == (20, 4)
    assert videos["video_id"].to_pylist() == ["a", "b", "c"]
    assert job.job_config() == {"model": "mini"}


def test_videos_are_selected_by_id(job: tables.JobTables) -> None:
    assert job.masks(["a", "c", "d"]).to_table().num_rows == 12
    assert job.tracks(["b"])["object_id"].to_pylist() == [1, 2]
    assert job.videos(["c"])["status"].to_pylist() == ["failed"]
    assert job.masks(["d"]).to_table().num_rows == 0
    assert job.masks([]).to_table().schema.equals(MASKS)


@pytest.mark.parametrize("table", ["masks", "tracks", "videos"])
def test_rows_that_somebody_has_deleted_are_not_taken_for_rows_that_are_replaced(
    disk_storage: JobStorage, tmp_path: Path, table: str
) -> None:
    """Who reads while a compaction is at work reads again. Here that would be for a minute, and in vain."""
    _, keeper = driver(disk_storage, tmp_path)
    keeper.commit([segment := publish(disk_storage, tmp_path, labeled("a"))])
    job = tables.open(disk_storage.uri)
    (tmp_path / "job" / table / f"{segment.name}.parquet").unlink()
    reads = {"masks": lambda: job.masks().to_table(), "tracks": job.tracks, "videos": job.videos}
    with pytest.raises(StorageError, match=rf"{segment.name}\.parquet.* is missing, and the commit log counts") as told:
        reads[table]()
    assert not told.value.transient


def test_masks_of_a_video_are_decoded_in_order(job: tables.JobTables) -> None:
    found = list(job.video_masks("a"))
    assert [(mask.object_id, mask.frame_index) for mask in found] == [(o, f) for o in (1, 2) for f in range(6)]
    for mask in found:
        assert mask.pixels_HW.dtype == bool
        np.testing.assert_array_equal(mask.pixels_HW, pixels("a", mask.object_id, mask.frame_index).astype(bool))
    assert {mask.object_id for mask in job.video_masks("a", [2])} == {2}
    with pytest.raises(KeyError, match="no finished video 'd'"):
        next(job.video_masks("d"))


def test_an_empty_place_is_not_a_job(storage: JobStorage) -> None:
    with pytest.raises(FileNotFoundError, match="holds no job"):
        tables.open(storage.uri, storage.storage_options)


def test_a_place_without_a_job_is_told_by_what_is_there(disk_storage: JobStorage, tmp_path: Path) -> None:
    _, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, labeled("a"))])
    output, empty = Path(disk_storage.uri), tmp_path / "empty"
    empty.mkdir()
    for place, told in (
        (output / "masks", f"it lies in one: did you mean {output}?"),
        (tmp_path / "nowhere", f"there is no folder {tmp_path / 'nowhere'}; check the path"),
        (empty, "no _log/ lies there, which the first run writes; give the output= of a run"),
    ):
        with pytest.raises(FileNotFoundError) as error:
            tables.open(str(place))
        assert f"{place} holds no job: {told}" in str(error.value)


def test_one_text_in_the_place_of_a_list_is_refused(disk_storage: JobStorage, tmp_path: Path) -> None:
    """The id `cup` would be read as the ids `c`, `u` and `p`, of which there is none: a table without rows."""
    _, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, labeled("cup"))])
    job, both = tables.open(disk_storage.uri), tables.open([disk_storage.uri])
    for ask in (job.videos, job.tracks, job.masks, job.track_rows, both.videos, both.tracks, both.masks):
        with pytest.raises(TypeError, match=r"video_ids='cup' is one text: give a list, as in video_ids=\['cup'\]"):
            ask("cup")
    with pytest.raises(TypeError, match="columns='rle' is one text"):
        job.masks(columns="rle")
    assert job.videos(["cup"]).num_rows == 1


def test_ids_of_a_column_of_arrow_and_of_a_generator_are_those_of_a_list(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    """Each value of such a column is an object of Arrow, which equals no text: nothing was found, without a word."""
    _, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, labeled("a"), labeled("b"))])
    job, both = tables.open(disk_storage.uri), tables.open([disk_storage.uri])
    column = job.videos()["video_id"]

    def asked(ids: Any) -> list[int]:
        few = [job.tracks(ids()), job.videos(ids()), both.videos(ids()), both.tracks(ids()), *job.track_batches(ids())]
        many = [job.masks(ids()), job.track_rows(ids()), both.masks(ids())]
        return [rows.num_rows for rows in few] + [rows.count_rows() for rows in many] + [len(job.missing(ids()))]

    expected = asked(lambda: ["a", "b"])
    assert 0 not in expected[:-1]
    assert expected[-1] == 0
    assert asked(lambda: column) == expected
    assert asked(lambda: column.combine_chunks()) == expected
    assert asked(lambda: (video_id for video_id in "ab")) == expected
    assert [len(list(job.video_masks(video_id))) for video_id in column] == [len(list(job.video_masks("a")))] * 2
    assert [job.video(video_id).video_id for video_id in column] == ["a", "b"]
    assert [both.video(video_id).video_id for video_id in column] == ["a", "b"]


@pytest.mark.parametrize("strange", [5, b"a", None, float("nan")])
def test_an_id_that_is_no_text_is_refused(disk_storage: JobStorage, tmp_path: Path, strange: object) -> None:
    _, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, labeled("a"))])
    job: Any = tables.open(disk_storage.uri)
    for ask in (job.videos, job.tracks, job.masks, job.missing):
        with pytest.raises(TypeError, match="which is no text: ids of videos are texts, as in"):
            ask(["a", strange])


def test_a_list_without_outputs_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="the list of outputs is empty: give at least one"):
        tables.open([])


def test_plain_parquet_reading_works_after_a_clean_end(disk_storage: JobStorage, tmp_path: Path) -> None:
    _, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, labeled(video_id)) for video_id in "ab"])
    publish(disk_storage, tmp_path, labeled("c"))
    keeper.sweep()
    rows = pq.read_table(f"{disk_storage.uri}/masks")
    assert set(rows["video_id"].to_pylist()) == {"a", "b"}
    first = rows.slice(0, 1).to_pylist()[0]
    expected = pixels(first["video_id"], first["object_id"], first["frame_index"])
    np.testing.assert_array_equal(coco.decode(first["rle"]), expected)


def test_masks_of_a_filter_open_only_segments_that_can_hold_them(disk_storage: JobStorage, tmp_path: Path) -> None:
    """By the ids that the log knows: neither footers nor statistics are read for it."""
    _, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, labeled(pair[0]), labeled(pair[1])) for pair in ("ac", "df", "gi")])
    dataset = tables.open(disk_storage.uri).masks()
    for path in Path(disk_storage.uri, "masks").iterdir():
        path.rename(path.with_suffix(".hidden"))

    def num_opened(condition: ds.Expression) -> int:
        return len(list(dataset.get_fragments(condition)))

    video_id = ds.field("video_id")
    assert num_opened(video_id == "d") == 1
    assert num_opened(video_id == "e") == 1, "the log knows first and last id"
    assert num_opened(video_id == "z") == 0
    assert num_opened(video_id >= "d") == 2
    assert num_opened(ds.field("area") > 0) == 3
    assert dataset.to_table(filter=video_id == "z").num_rows == 0


def test_masks_that_a_filter_leaves_are_those_of_reading_everything(job: tables.JobTables) -> None:
    condition = (ds.field("video_id") == "a") & (ds.field("area") > 0)
    columns = ["object_id", "frame_index"]
    expected = job.masks().to_table().filter(condition).select(columns)
    found = job.masks().to_table(columns=columns, filter=condition)
    assert 0 < found.num_rows == expected.num_rows
    assert found.sort_by([(name, "ascending") for name in columns]).equals(expected)


def test_the_newest_videos_are_those_of_the_last_segments_with_masks(disk_storage: JobStorage, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    _, keeper = driver(disk_storage, spool)
    keeper.commit([publish(disk_storage, spool, labeled("a"), labeled("b"), epoch=1)])
    keeper.commit([publish(disk_storage, spool, labeled("c", num_frames=1), epoch=2)])
    keeper.commit([publish(disk_storage, spool, labeled("bad", status=Status.FAILED), epoch=3)])
    job = tables.open(disk_storage.uri)
    assert job.newest_videos(1)["video_id"].to_pylist() == ["c"]
    assert sorted(job.newest_videos(2)["video_id"].to_pylist()) == ["a", "b", "c"]
    assert job.newest_videos(0).num_rows == 0

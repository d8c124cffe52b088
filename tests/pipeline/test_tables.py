"""How a notebook reads a job."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from pipeline import tables
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

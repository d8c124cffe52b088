"""Who reads input tables closes them."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import TableChanged
from pipeline.inputs.prompts import read_prompts
from pipeline.inputs.table_readers import TableReaders
from pipeline.records import RowSpan
from pipeline.video.media import open_media
from tests.pipeline.inputs.test_prompts import click, planned, write
from tests.support.faulty_store import FaultyStore, Request, faulty_store
from tests.support.jobs import JobFolder
from tests.support.media_files import item

__all__ = ["faulty_store"]


def open_files(folder: Path) -> list[str]:
    """Names of the files below a folder that this process holds open."""
    return [Path(file.path).name for file in psutil.Process().open_files() if Path(file.path).is_relative_to(folder)]


def bytes_span(path: Path, row: int = 0) -> RowSpan:
    pq.write_table(pa.table({"video_id": ["clip"] * 3, "bytes": [b"0", b"1", b"2"]}), path)
    return RowSpan(str(path), 0, row, row + 1)


@pytest.mark.slow
def test_no_input_table_stays_open_after_a_job(tmp_path: Path) -> None:
    job = JobFolder(tmp_path).write(["a", "b"])
    assert job.run("model=mini") == 0
    assert open_files(tmp_path) == []


def test_tables_stay_open_between_videos_and_are_closed_with_their_readers(tmp_path: Path) -> None:
    prompted = planned([click()], RowSpan(write(tmp_path / "prompts.parquet", [click()]), 0, 0, 1))
    stored = item(None, bytes_at=bytes_span(tmp_path / "videos.parquet"))
    with TableReaders() as readers:
        assert len(read_prompts(prompted, None, readers.prompts).objects) == 1
        with open_media(stored, None, readers.video_bytes) as media, media.files[0]() as file:
            assert file.read() == b"0"
        assert sorted(open_files(tmp_path)) == ["prompts.parquet", "videos.parquet"]
    assert open_files(tmp_path) == []


def test_without_readers_a_table_is_open_for_one_video_only(tmp_path: Path) -> None:
    prompted = planned([click()], RowSpan(write(tmp_path / "prompts.parquet", [click()]), 0, 0, 1))
    assert len(read_prompts(prompted).objects) == 1
    with open_media(item(None, bytes_at=bytes_span(tmp_path / "videos.parquet"))):
        assert open_files(tmp_path) == []


def test_closing_does_not_wait_for_a_read_that_hangs_and_leaves_nothing_open(
    tmp_path: Path, faulty_store: type[FaultyStore]
) -> None:
    """The worker's fetch thread may hang in a store while the worker ends."""
    first = planned([click()], RowSpan(write(tmp_path / "first.parquet", [click()]), 0, 0, 1))
    faulty_store().pipe_file("/second.parquet", Path(write(tmp_path / "second.parquet", [click()])).read_bytes())
    second = planned([click()], RowSpan("faulty://second.parquet", 0, 0, 1))
    asked, answered = threading.Event(), threading.Event()

    def hang(_: Request) -> None:
        asked.set()
        assert answered.wait(200)

    readers = TableReaders()
    read_prompts(first, None, readers.prompts)
    faulty_store.before = staticmethod(hang)
    reading = threading.Thread(target=read_prompts, args=(second, None, readers.prompts))
    reading.start()
    assert asked.wait(200)
    readers.close()
    answered.set()
    reading.join(200)
    assert readers.prompts.num_open == 0
    assert open_files(tmp_path) == []


def test_a_read_that_fails_after_the_end_leaves_nothing_open(tmp_path: Path) -> None:
    span = bytes_span(tmp_path / "videos.parquet")
    readers = TableReaders()
    readers.close()
    with (
        pytest.raises(TableChanged),
        open_media(item(None, bytes_at=RowSpan(span.file, 0, 7, 8)), None, readers.video_bytes),
    ):
        pass
    assert (readers.video_bytes.num_open, open_files(tmp_path)) == (0, [])

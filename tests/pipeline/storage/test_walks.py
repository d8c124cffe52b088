"""A folder that is not listed is no empty folder: whoever lists asks again, or says which one may not be read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import AlreadyExists, InputError, StorageError
from pipeline.inputs.reading import ReadPolicy
from pipeline.inputs.table_files import table_files
from pipeline.inputs.video_files import find_videos
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.matching import folders_with
from pipeline.storage.retry import Backoff
from pipeline.storage.uris import open_filesystem
from tests.support.faulty_store import FaultyStore, faulty_store
from tests.support.listed_bucket import BUCKET, ListedBucket

__all__ = ["faulty_store"]  # pytest finds the fixture in this module

QUICK = Backoff(patience_seconds=5.0, first_seconds=0.01)
ONCE = Backoff(patience_seconds=0.0)


@pytest.fixture
def bucket() -> Iterator[ListedBucket]:
    """A job, and videos in two folders."""
    with ListedBucket() as bucket:
        for key in ("job/reviews/verdicts-1.parquet", "clips/a/x.mp4", "clips/b/y.mp4", "jobs/1/_log/0.json"):
            bucket.put(key, 1)
        yield bucket


def options_of(bucket: ListedBucket) -> dict[str, Any]:
    return {"key": "x", "secret": "x", "client_kwargs": {"endpoint_url": bucket.endpoint}}


@pytest.mark.slow
def test_a_store_that_throttles_is_asked_again_for_the_objects_of_a_job(bucket: ListedBucket) -> None:
    bucket.throttled.add("job/reviews/")
    found = JobStorage(f"s3://{BUCKET}/job", options_of(bucket), backoff=QUICK).listing("reviews")
    assert [one.path for one in found] == ["reviews/verdicts-1.parquet"]
    assert not bucket.throttled


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["clips/", "clips/b/"])
def test_a_store_that_throttles_within_a_glob_is_asked_again_for_its_videos(bucket: ListedBucket, prefix: str) -> None:
    bucket.throttled.add(prefix)
    found = find_videos(f"s3://{BUCKET}/clips/*/*.mp4", options_of(bucket), ReadPolicy(backoff=QUICK))
    assert found is not None
    assert found.found.ids.to_pylist() == ["a/x", "b/y"]
    assert not bucket.throttled


@pytest.mark.slow
def test_a_store_that_throttles_is_asked_again_for_the_outputs_of_a_glob(bucket: ListedBucket) -> None:
    bucket.throttled.add("jobs/1/")
    assert folders_with(f"s3://{BUCKET}/jobs/*", "_log/0.json", options_of(bucket)) == [f"s3://{BUCKET}/jobs/1"]
    assert not bucket.throttled


def fail(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    """Have this disk refuse to list a folder."""
    plain = os.scandir

    def scandir(path: Any = ".") -> Any:
        if Path(path) == folder:
            raise OSError(number, os.strerror(number), str(path))
        return plain(path)

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two folders with a video each."""
    for name in ("a/x.mp4", "b/y.mp4"):
        (tmp_path / "clips" / name).parent.mkdir(parents=True)
        (tmp_path / "clips" / name).touch()
    return tmp_path / "clips"


@pytest.mark.parametrize("tail", ["", "/*/*.mp4"])
def test_videos_do_not_vanish_in_a_disk_that_fails(clips: Path, tail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, clips / "b", errno.EIO)
    with pytest.raises(StorageError, match="Input/output error"):
        find_videos(f"{clips}{tail}", policy=ReadPolicy(backoff=ONCE))


def test_a_folder_of_videos_that_may_not_be_read_is_named(
    clips: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fail(monkeypatch, clips / "b", errno.EACCES)
    found = find_videos(str(clips))
    assert found is not None
    assert found.found.ids.to_pylist() == ["a/x"]
    assert f"the folder {clips / 'b'} may not be read" in caplog.text


def test_a_folder_that_vanishes_while_it_is_listed_is_none(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, clips / "b", errno.ENOENT)
    found = find_videos(str(clips))
    assert found is not None
    assert found.found.ids.to_pylist() == ["a/x"]


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_objects_of_a_job_do_not_vanish_in_a_disk_that_fails(
    disk_storage: JobStorage, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_storage.replace("reviews/verdicts-1.parquet", b"rows")
    storage = JobStorage(disk_storage.uri, backoff=ONCE)
    fail(monkeypatch, Path(storage.uri) / "reviews", number)
    with pytest.raises(StorageError, match="reviews"):
        storage.listing("reviews")
    with pytest.raises(StorageError, match="reviews"):
        storage.tree("reviews")


def test_shards_do_not_vanish_in_a_disk_that_fails(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, clips / "b", errno.ESTALE)
    with pytest.raises(OSError, match="Stale file handle"):  # the caller asks again
        table_files("prompts", str(clips), None)


def test_other_programs_of_the_process_list_as_before(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_filesystem(str(clips))
    fail(monkeypatch, clips / "b", errno.EIO)
    assert LocalFileSystem().find(str(clips)) == [str(clips / "a/x.mp4")]


def test_an_only_driver_does_not_write_over_an_entry_that_the_store_does_not_show(
    faulty_store: type[FaultyStore],
) -> None:
    storage = JobStorage("faulty://job", single_driver=True, backoff=QUICK)
    storage.create("_log/0.json", b"first")
    left = ["SlowDown"]

    def before(request: tuple[str, str, int | None, int | None]) -> None:
        if request[0] == "info" and left:
            raise TimeoutError(left.pop())

    faulty_store.before = staticmethod(before)
    with pytest.raises(AlreadyExists):
        storage.create("_log/0.json", b"second")
    assert storage.read("_log/0.json") == b"first"


def test_a_place_that_holds_nothing_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no"):
        table_files("prompts", str(tmp_path), None)


def test_an_output_whose_name_looks_like_a_glob_is_found(tmp_path: Path) -> None:
    for name in ("runs [v2]", "runs v"):
        (tmp_path / name / "_log").mkdir(parents=True)
    assert folders_with(f"{tmp_path}/runs [v2]", "_log") == [f"{tmp_path}/runs [v2]"]
    assert folders_with(f"{tmp_path}/runs [v]", "_log") == [f"{tmp_path}/runs v"]

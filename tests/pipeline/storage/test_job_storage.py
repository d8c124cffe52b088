"""Where a job lies: atomic writes on each kind of store, and what happens when the store fails."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import botocore.exceptions
import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.errors import AlreadyExists, StorageError, UnusableStore
from pipeline.storage.job_storage import JobStorage, Stored
from pipeline.storage.retry import Backoff
from tests.pipeline.conftest import QUICK
from tests.support.azure_server import AzureServer
from tests.support.full_disk import FULL, full_disk
from tests.support.gcs_server import GcsServer
from tests.support.s3_server import S3Server


class FailingMemory(MemoryFileSystem):
    """An object store in memory that raises what a test puts into `faults`, before or after it does the work."""

    protocol = "failing"
    store: dict[str, Any] = {}  # noqa: RUF012 - as in the parent, all instances share it
    pseudo_dirs = [""]  # noqa: RUF012
    faults: list[tuple[str, str, Exception]] = []  # noqa: RUF012 - (operation, "before" or "after", error)
    calls: list[str] = []  # noqa: RUF012

    def _faulty(self, operation: str, work: Callable[[], Any]) -> Any:
        self.calls.append(operation)
        moment, error = "", None
        if self.faults and self.faults[0][0] == operation:
            _, moment, error = self.faults.pop(0)
        if error is not None and moment == "before":
            raise error
        result = work()
        if error is not None:
            raise error
        return result

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> Any:
        return self._faulty("write", lambda: super(FailingMemory, self).pipe_file(path, value, mode=mode, **kwargs))

    def cat_file(self, path: str, *args: Any, **kwargs: Any) -> Any:
        return self._faulty("read", lambda: super(FailingMemory, self).cat_file(path, *args, **kwargs))


class CreatingStorage(JobStorage):
    """On a store with create-only writes of its own, though `schemes` has no row for it."""

    supports_create = True


@pytest.fixture(params=["disk", *(pytest.param(name, marks=pytest.mark.slow) for name in ("s3", "gcs", "azure"))])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> JobStorage:
    """An empty job, on each kind of store that refuses a second writer."""
    if request.param == "disk":
        return JobStorage(str(tmp_path / "a job"), backoff=QUICK)
    server: S3Server | GcsServer | AzureServer = request.getfixturevalue(f"{request.param}_server")
    return JobStorage(f"{server.new_folder()}/jobs/one", server.options(), backoff=QUICK)


@pytest.fixture
def failing() -> Iterator[JobStorage]:
    """A store with native create-only writes whose faults a test chooses."""
    fsspec.register_implementation("failing", FailingMemory, clobber=True)
    FailingMemory.store.clear()
    FailingMemory.faults.clear()
    FailingMemory.calls.clear()
    yield CreatingStorage("failing://job", backoff=QUICK)
    assert FailingMemory.faults == [], "a fault that the test arranged was never met"


def test_objects_are_written_read_listed_and_deleted(storage: JobStorage) -> None:
    storage.replace("_status.json", b"one")
    storage.replace("_status.json", b"two")
    storage.create("_log/00.json", b"a")
    storage.create("_log/roll-1.parquet", b"bcd")
    storage.replace("_log/deeper/file", b"x")
    assert storage.read("_status.json") == b"two"
    assert [(s.path, s.num_bytes) for s in storage.listing("_log")] == [("_log/00.json", 1), ("_log/roll-1.parquet", 3)]
    assert [s.path for s in storage.listing("_log", "roll-")] == ["_log/roll-1.parquet"]
    assert storage.listing("nowhere") == []
    assert storage.read_existing(["_log/00.json", "_log/01.json"]) == [b"a", None]
    with storage.open_input("_log/roll-1.parquet") as file:
        file.seek(1)
        assert file.read() == b"cd"
    storage.delete(["_log/00.json", "never there"])
    assert [s.path for s in storage.listing("_log")] == ["_log/roll-1.parquet"]
    with pytest.raises(FileNotFoundError):
        storage.read("_log/00.json")


def test_listings_show_what_another_process_has_just_written(storage: JobStorage) -> None:
    assert storage.listing("masks") == []
    pickle.loads(pickle.dumps(storage)).replace("masks/a.parquet", b"1")
    assert [s.path for s in storage.listing("masks")] == ["masks/a.parquet"]


def test_create_is_refused_when_the_object_is_anothers(storage: JobStorage) -> None:
    storage.create("_log/0.json", b"mine")
    storage.create("_log/0.json", b"mine")  # the same writer, whose first answer was lost
    with pytest.raises(AlreadyExists, match=r"_log/0\.json"):
        storage.create("_log/0.json", b"theirs")
    assert storage.read("_log/0.json") == b"mine"


def test_of_many_writers_at_once_exactly_one_creates(storage: JobStorage) -> None:
    def create(writer: int) -> bool:
        try:
            pickle.loads(pickle.dumps(storage)).create("_log/7.json", b"%d" % writer * 2000)
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(create, range(8)))
    assert created.count(True) == 1
    assert storage.read("_log/7.json") == b"%d" % created.index(True) * 2000


def test_files_are_uploaded_whole_and_checked(storage: JobStorage, tmp_path: Path) -> None:
    local = tmp_path / "segment"
    local.write_bytes(bytes(range(256)) * 4096)
    assert storage.put_file(local, "masks/s.parquet") == 1 << 20
    assert storage.read("masks/s.parquet") == local.read_bytes()
    local.write_bytes(b"again")
    storage.put_file(local, "masks/s.parquet")
    assert storage.read("masks/s.parquet") == b"again"
    assert storage.listing("_tmp") == []


def test_an_object_gets_another_name_once_and_stays_whole(storage: JobStorage) -> None:
    storage.replace("masks/s.parquet", b"rows")
    for _ in range(2):
        storage.move("masks/s.parquet", "_former/masks/s.parquet")
        assert storage.listing("masks") == []
        assert storage.read("_former/masks/s.parquet") == b"rows"


def test_probe_accepts_stores_that_refuse_a_second_writer(storage: JobStorage) -> None:
    now = storage.probe()
    storage.replace("later", b"")
    assert -2 < (storage.modified("later") - now).total_seconds() < 600, "the same clock"
    assert storage.listing("_tmp") == []


class Unconditional(MemoryFileSystem):
    """A server that ignores the condition of a create-only write."""

    protocol = "unconditional"
    cachable = False

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        super().pipe_file(path, value)


def test_probe_finds_a_server_that_ignores_the_condition() -> None:
    fsspec.register_implementation("unconditional", Unconditional, clobber=True)
    with pytest.raises(UnusableStore, match=r"ignores the condition of create-only writes.*single_driver=true"):
        CreatingStorage("unconditional://job", backoff=QUICK).probe()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_disk_without_hard_links_is_told_with_what_to_set(
    disk_storage: JobStorage, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*paths: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(UnusableStore, match=r"makes no hard links, so that two drivers .*single_driver=true"):
        disk_storage.probe()
    assert disk_storage.listing("_tmp") == []
    JobStorage(disk_storage.uri, single_driver=True).probe()


def test_memory_needs_the_promise_of_a_single_driver() -> None:
    with pytest.raises(UnusableStore, match=r"no create-only writes.*single_driver=true"):
        JobStorage("memory://job-a").probe()
    promised = JobStorage("memory://job-b", single_driver=True)
    promised.probe()
    promised.create("x", b"1")
    with pytest.raises(AlreadyExists):
        promised.create("x", b"2")


def test_transient_errors_are_waited_out(failing: JobStorage) -> None:
    FailingMemory.faults[:] = [("write", "before", TimeoutError("slow")), ("write", "before", ConnectionResetError())]
    failing.replace("a", b"1")
    FailingMemory.faults[:] = [("read", "before", TimeoutError("slow"))]
    assert failing.read("a") == b"1"
    assert FailingMemory.calls == ["write"] * 3 + ["read"] * 2


def test_expired_credentials_are_read_again(failing: JobStorage) -> None:
    expired = OSError("not understood by s3fs")
    answer = {"Error": {"Code": "ExpiredToken", "Message": "The provided token has expired."}}
    expired.__cause__ = botocore.exceptions.ClientError(answer, "GetObject")  # type: ignore[arg-type]
    failing.replace("a", b"1")
    session = failing._filesystem
    FailingMemory.faults[:] = [("read", "before", TimeoutError())]
    assert failing.read("a") == b"1"
    assert failing._filesystem is session
    FailingMemory.faults[:] = [("read", "before", expired)]
    assert failing.read("a") == b"1"
    assert failing._filesystem is not session


def test_only_old_leftovers_of_killed_writers_are_cleared(disk_storage: JobStorage) -> None:
    disk_storage.replace("_tmp/old", b"")
    disk_storage.replace("_tmp/at work", b"")
    two_hours_ago = time.time() - 7200
    os.utime(Path(disk_storage.uri) / "_tmp" / "old", (two_hours_ago, two_hours_ago))
    disk_storage.clear_temporary()
    assert [stored.path for stored in disk_storage.listing("_tmp")] == ["_tmp/at work"]


def test_a_create_whose_answer_was_lost_is_ones_own(failing: JobStorage) -> None:
    FailingMemory.faults[:] = [("write", "after", ConnectionResetError())]
    failing.create("_log/0.json", b"mine")
    assert FailingMemory.calls == ["write", "write", "read"]  # written, refused, compared


def test_patience_ends_in_a_storage_error_that_says_what_and_why(failing: JobStorage) -> None:
    storage = JobStorage(failing.uri, backoff=Backoff(0.05, 0.01, 0.01))
    FailingMemory.faults[:] = [("read", "before", TimeoutError("no answer from http://host/x?token=abc"))] * 100
    with pytest.raises(StorageError, match=r"read failing://job/a failed \d+ times.*TimeoutError: no answer") as caught:
        storage.read("a")
    assert caught.value.transient
    assert "abc" not in str(caught.value)
    FailingMemory.faults.clear()


def test_a_refusal_is_not_tried_again(failing: JobStorage) -> None:
    FailingMemory.faults[:] = [("write", "before", PermissionError("AccessDenied."))]
    with pytest.raises(StorageError, match="write failing://job/a was refused") as caught:
        failing.replace("a", b"")
    assert not caught.value.transient
    assert "AccessDenied. Check that the URI and the credentials are right, that it may be" in str(caught.value)
    assert FailingMemory.calls == ["write"]


def test_a_full_disk_is_a_storage_error(disk_storage: JobStorage) -> None:
    with full_disk(room_bytes=3), pytest.raises(StorageError, match=FULL):
        disk_storage.create("a", b"12345")
    assert disk_storage.listing("") == []
    assert disk_storage.listing("_tmp") == []


def test_secrets_in_the_uri_do_not_reach_the_errors() -> None:
    storage = JobStorage("memory://user:hunter2@host/job?sig=abc", {"secret": "swordfish"}, single_driver=True)
    for secret in ("hunter2", "abc", "swordfish"):
        assert secret not in f"{storage} {storage!r}"


@pytest.mark.parametrize("single_driver", [False, True])
def test_an_output_on_a_web_server_is_refused_before_anything_is_asked(single_driver: bool) -> None:
    storage = JobStorage("https://127.0.0.1:9/job?sig=hunter2", single_driver=single_driver)
    with pytest.raises(UnusableStore, match=r"is on a web server, .*: use local disk, s3://") as caught:
        storage.read("job.json")
    assert "hunter2" not in str(caught.value)


def test_an_unknown_scheme_is_an_unusable_store() -> None:
    with pytest.raises(
        UnusableStore, match=r"output=nosuch://bucket/job: nosuch:// cannot be opened .Protocol not known"
    ):
        JobStorage("nosuch://bucket/job").read("a")


@pytest.mark.slow
def test_a_bucket_that_does_not_exist_is_said_at_once(s3_server: S3Server) -> None:
    storage = JobStorage("s3://no-such-bucket-here/job", s3_server.options(), backoff=QUICK)
    with pytest.raises(StorageError, match=r"create s3://no-such-bucket-here.*was refused") as caught:
        storage.probe()
    assert not caught.value.transient


@pytest.mark.slow
def test_missing_credentials_are_said_at_once(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    options = {"client_kwargs": s3_server.options()["client_kwargs"]}
    with pytest.raises(StorageError, match="Unable to locate credentials") as caught:
        JobStorage(f"{s3_server.new_folder()}/job", options, backoff=QUICK).replace("a", b"")
    assert not caught.value.transient


class CountedEntry:
    """An entry of a folder that notes of which files somebody wants to know more than the name."""

    asked: ClassVar[list[str]] = []

    def __init__(self, entry: os.DirEntry[str]) -> None:
        self.name, self.path, self._entry = entry.name, entry.path, entry

    def __fspath__(self) -> str:
        self.asked.append(self.name)
        return self.path

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self._entry.is_dir(follow_symlinks=follow_symlinks)

    def stat(self) -> os.stat_result:
        self.asked.append(self.name)
        return self._entry.stat()


def test_a_listing_of_a_disk_asks_for_no_more_files_than_are_meant(
    disk_storage: JobStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("roll-1.parquet", *(f"{number}.json" for number in range(20))):
        disk_storage.replace(f"_log/{name}", b"12345")
    (Path(disk_storage.uri) / "_log" / "roll-folder").mkdir()
    scandir = os.scandir
    with monkeypatch.context() as patch:
        patch.setattr(CountedEntry, "asked", [])
        patch.setattr(os, "scandir", lambda path: contextlib.nullcontext(map(CountedEntry, scandir(path))))
        assert disk_storage.listing("_log", "roll-") == [Stored("_log/roll-1.parquet", 5)]
        assert set(CountedEntry.asked) == {"roll-1.parquet"}
    assert len(disk_storage.listing("_log")) == 21


def test_links_to_nothing_and_to_themselves_are_not_listed(disk_storage: JobStorage) -> None:
    folder = Path(disk_storage.uri, "reviews")
    folder.mkdir(parents=True)
    (folder / "a").write_bytes(b"abc")
    (folder / "circle").symlink_to("circle")
    (folder / "nothing").symlink_to("gone")
    assert [(stored.path, stored.num_bytes) for stored in disk_storage.listing("reviews")] == [("reviews/a", 3)]

"""A real object store that fails: connections cut in a write, answers lost, the server away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from pipeline import tables
from pipeline.commits.log import CommitLog
from pipeline.errors import AlreadyExists, StorageError
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.retry import Backoff
from tests.pipeline.conftest import QUICK
from tests.support.cutting_proxy import Cut, CuttingProxy
from tests.support.labeled import driver, labeled, publish
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.slow
T = TypeVar("T")


@pytest.fixture
def cut_storage(s3_server: S3Server, cutting_proxy: CuttingProxy) -> JobStorage:
    """A job whose requests go through the proxy."""
    return JobStorage(f"{s3_server.new_folder()}/job", s3_server.options(cutting_proxy.port), backoff=QUICK)


def direct(storage: JobStorage, s3_server: S3Server) -> JobStorage:
    return JobStorage(storage.uri, s3_server.options(), backoff=QUICK)


def test_an_upload_cut_in_the_middle_is_never_visible_in_part(
    cut_storage: JobStorage, cutting_proxy: CuttingProxy, s3_server: S3Server, tmp_path: Path
) -> None:
    local = tmp_path / "segment"
    local.write_bytes(bytes(range(256)) * 8192)
    impatient = JobStorage(cut_storage.uri, cut_storage.storage_options, backoff=Backoff(0.0))
    cutting_proxy.cuts.append(Cut(b"masks/s.parquet", body_bytes=1 << 20))
    with pytest.raises(StorageError):
        impatient.put_file(local, "masks/s.parquet")
    assert cutting_proxy.cuts == []
    assert direct(cut_storage, s3_server).listing("masks") == []
    cutting_proxy.cuts.append(Cut(b"masks/s.parquet", body_bytes=1 << 20, times=3))
    assert cut_storage.put_file(local, "masks/s.parquet") == 1 << 21
    assert direct(cut_storage, s3_server).read("masks/s.parquet") == local.read_bytes()


def test_a_create_whose_answer_is_lost_is_recognized_as_ones_own(
    cut_storage: JobStorage, cutting_proxy: CuttingProxy
) -> None:
    cutting_proxy.cuts.append(Cut(b"_log/0.json"))
    cut_storage.create("_log/0.json", b"mine")
    assert cutting_proxy.cuts == []
    with pytest.raises(AlreadyExists):
        cut_storage.create("_log/0.json", b"theirs")


def test_commits_with_lost_answers_count_once(
    cut_storage: JobStorage, cutting_proxy: CuttingProxy, s3_server: S3Server, tmp_path: Path
) -> None:
    log, keeper = driver(cut_storage, tmp_path)
    segment = publish(cut_storage, tmp_path, labeled("a", 5))
    keeper._storage = log._storage = JobStorage(cut_storage.uri, cut_storage.storage_options, backoff=Backoff(0.0))
    cutting_proxy.cuts.append(Cut(b"_log/00000000000000000001.json"))
    with pytest.raises(StorageError):
        keeper.commit([segment])
    assert cutting_proxy.cuts == []
    keeper.commit([segment, publish(cut_storage, tmp_path, labeled("b", 5))])
    assert log.state == CommitLog(direct(cut_storage, s3_server), "r").load()
    assert tables.open(cut_storage.uri, s3_server.options()).masks().to_table().num_rows == 20


@dataclass(frozen=True)
class ComesBack(Backoff):
    """Waits for a server that comes back during the third wait."""

    come_back: Callable[[], None] = lambda: None
    waits: list[float] = field(default_factory=list)

    def run(self, what: str, call: Callable[[], T], sleep: Callable[[float], None] = time.sleep) -> T:
        def wait(seconds: float) -> None:
            self.waits.append(seconds)
            if len(self.waits) == 3:
                self.come_back()

        return super().run(what, call, wait)


def test_a_server_that_is_away_for_a_while_is_waited_for(tmp_path: Path) -> None:
    server = S3Server(tmp_path / "own server")
    try:
        server.start()
        patient = ComesBack(patience_seconds=200, come_back=server.start)
        storage = JobStorage(f"{server.new_folder()}/job", server.options(), backoff=patient)
        _, keeper = driver(storage, tmp_path)
        keeper.commit([publish(storage, tmp_path, labeled("a", 5))])
        server.stop()
        impatient = JobStorage(
            storage.uri, storage.storage_options, backoff=Backoff(patience_seconds=0.1, first_seconds=0.01)
        )
        with pytest.raises(StorageError, match=r"failed \d+ times"):
            impatient.read("_log/00000000000000000000.json")
        assert patient.waits == []
        keeper.commit([publish(storage, tmp_path, labeled("b", 4))])
        assert len(patient.waits) >= 3
        assert tables.open(storage.uri, storage.storage_options).videos()["video_id"].to_pylist() == ["a", "b"]
    finally:
        server.stop()

"""One driver at a time: a living one is left alone, a dead one replaced."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.commits.log import CommitLog
from pipeline.commits.owner import Heartbeat, Ownership, look, new_writer_id
from pipeline.errors import LostOwnership, NewerVersion, OwnedByAnother, UnusableStore
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.retry import Backoff
from tests.support.no_files_left import NoFilesLeft
from tests.support.waiting import wait_until

OFTEN = Heartbeat(every_seconds=0.05, stale_seconds=0.5)


def owning(storage: JobStorage, heartbeat: Heartbeat, sleep: Callable[[float], None] = time.sleep) -> Ownership:
    """The ownership that a driver asks for, which has read the log."""
    log = CommitLog(storage, new_writer_id())
    log.load()
    return Ownership(storage, log, heartbeat, sleep)


@pytest.fixture
def ownership(storage: JobStorage) -> Iterator[Callable[..., Ownership]]:
    """Makes drivers of one job, and ends them."""
    made: list[Ownership] = []

    def make(heartbeat: Heartbeat = OFTEN, sleep: Callable[[float], None] = time.sleep) -> Ownership:
        made.append(owning(storage, heartbeat, sleep))
        return made[-1]

    yield make
    for owner in made:
        owner.release()


def elsewhere(storage: JobStorage, writer_id: str = "host-9", epoch: int = 1, beat_at: str = "then") -> None:
    """The heartbeat of a driver on another machine."""
    record = {"writer_id": writer_id, "epoch": epoch, "beat_at": beat_at}
    record |= {"machine": "other", "process_id": 1, "started": "5"}
    storage.replace("_owner.json", json.dumps(record).encode())


def test_a_second_driver_is_refused_while_the_first_lives(
    storage: JobStorage, ownership: Callable[..., Ownership]
) -> None:
    first = ownership()
    assert first.acquire() == 1
    sign = storage.read("_owner.json")
    wait_until(lambda: storage.read("_owner.json") != sign, "another heartbeat")
    with pytest.raises(OwnedByAnother, match="is at work on this output"):
        ownership(Heartbeat(stale_seconds=60)).acquire()
    first.check()
    first.beat()


def test_after_release_the_next_driver_gets_a_new_epoch(
    storage: JobStorage, ownership: Callable[..., Ownership]
) -> None:
    first = ownership()
    first.acquire()
    first.release()
    assert [stored.path for stored in storage.listing("_tmp")] == []
    second = ownership()
    assert second.acquire() == 2


def test_a_fresh_heartbeat_from_another_machine_is_respected(
    disk_storage: JobStorage, ownership: Callable[..., Ownership], storage: JobStorage
) -> None:
    elsewhere(storage)
    with pytest.raises(OwnedByAnother, match="host-9"):
        ownership(Heartbeat(stale_seconds=60)).acquire()
    assert storage.listing("_log") == [], "nothing was written"


@pytest.mark.parametrize("storage", ["disk"], indirect=True)
def test_a_stale_heartbeat_from_another_machine_is_watched_and_then_replaced(
    storage: JobStorage, ownership: Callable[..., Ownership]
) -> None:
    elsewhere(storage)
    an_hour_ago = time.time() - 3600
    os.utime(Path(storage.uri) / "_owner.json", (an_hour_ago, an_hour_ago))
    waits: list[float] = []
    assert ownership(Heartbeat(10, 60), waits.append).acquire() == 1
    assert waits == [15.0]


@pytest.mark.parametrize("storage", ["disk"], indirect=True)
def test_a_driver_whose_heartbeat_was_held_up_by_an_outage_keeps_the_job(
    storage: JobStorage, ownership: Callable[..., Ownership]
) -> None:
    elsewhere(storage)
    an_hour_ago = time.time() - 3600
    os.utime(Path(storage.uri) / "_owner.json", (an_hour_ago, an_hour_ago))
    with pytest.raises(OwnedByAnother, match="is at work on this output"):
        ownership(Heartbeat(10, 60), lambda _: elsewhere(storage, beat_at="now")).acquire()
    assert storage.listing("_log") == [], "the job was not claimed"


DRIVER = """
import sys, time
from pipeline.commits.log import CommitLog
from pipeline.commits.owner import Ownership, new_writer_id
from pipeline.storage.job_storage import JobStorage
storage = JobStorage(sys.argv[1])
log = CommitLog(storage, new_writer_id())
log.load()
print(Ownership(storage, log).acquire(), flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_a_killed_driver_of_this_machine_is_replaced_at_once(disk_storage: JobStorage) -> None:
    process = subprocess.Popen([sys.executable, "-c", DRIVER, disk_storage.uri], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        log = CommitLog(disk_storage, new_writer_id())
        log.load()
        successor = Ownership(disk_storage, log)
        with pytest.raises(OwnedByAnother):
            successor.acquire()
        process.send_signal(signal.SIGKILL)
        stat = Path(f"/proc/{process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z", "end of the process")
        assert successor.acquire() == 2, "a process that is dead and not yet waited for is gone as well"
        successor.release()
    finally:
        process.kill()
        process.wait()
    assert disk_storage.listing("_tmp") == []


def test_a_driver_learns_that_it_was_replaced(storage: JobStorage, ownership: Callable[..., Ownership]) -> None:
    first = ownership()
    first.acquire()

    def has_learned() -> bool:
        """The newer driver beats on, because a heartbeat that was on its way may have replaced its sign."""
        elsewhere(storage, "newer", epoch=2)
        try:
            first.check()
        except LostOwnership:
            return True
        return False

    wait_until(has_learned, "loss of the job")
    with pytest.raises(LostOwnership, match="newer"):
        first.check()
    first.release()
    assert b"newer" in storage.read("_owner.json"), "the newer driver's sign stays"


class Outage(JobStorage):
    """Answers nothing while there is a file `away` in its folder, and leaves `refused` there when that was noticed.

    `away-when-read` becomes `away` when something is read.
    """

    def _run(self, verb: str, path: str, call: Callable[[Any, str], Any]) -> Any:
        def refuse_while_away() -> None:
            if Path(self.uri, "away").exists():
                Path(self.uri, "refused").touch()
                raise ConnectionError("away")

        if verb == "read":
            with contextlib.suppress(FileNotFoundError):
                Path(self.uri, "away-when-read").rename(Path(self.uri, "away"))

        self.backoff.run(verb, refuse_while_away)
        return super()._run(verb, path, call)


def test_an_outage_does_not_end_the_heartbeat(tmp_path: Path) -> None:
    storage = Outage(str(tmp_path), backoff=Backoff(patience_seconds=0.0))
    owner = owning(storage, OFTEN)
    owner.acquire()
    (tmp_path / "away").touch()
    wait_until((tmp_path / "refused").exists, "a heartbeat that is refused")
    (tmp_path / "away").unlink()
    before = storage.modified("_owner.json")
    wait_until(lambda: storage.modified("_owner.json") != before, "another heartbeat")
    owner.check()
    owner.release()


def test_an_error_of_the_system_does_not_end_the_heartbeat(tmp_path: Path) -> None:
    """Another driver would take the place of this one a minute later."""
    storage = NoFilesLeft(str(tmp_path))
    owner = owning(storage, OFTEN)
    owner.acquire()
    (tmp_path / "full").touch()
    wait_until((tmp_path / "refused").exists, "a heartbeat that fails")
    (tmp_path / "full").unlink()
    (heartbeat,) = (one for one in threading.enumerate() if one.name == "maskmill-heartbeat")
    before = storage.modified("_owner.json")
    wait_until(lambda: not heartbeat.is_alive() or storage.modified("_owner.json") != before, "another heartbeat")
    assert heartbeat.is_alive()
    owner.release()


def test_a_store_that_is_away_does_not_hold_up_the_end(tmp_path: Path) -> None:
    storage = Outage(str(tmp_path), backoff=Backoff(patience_seconds=600, first_seconds=0.01, longest_seconds=0.05))
    owner = owning(storage, replace(OFTEN, release_seconds=0.3))
    others = set(threading.enumerate())
    owner.acquire()
    (heartbeat,) = {one for one in threading.enumerate() if one.name == "maskmill-heartbeat"} - others
    (tmp_path / "away-when-read").touch()
    wait_until((tmp_path / "refused").exists, "the heartbeat to wait for the store, before it writes")
    owner.release()  # the store's patience is ten minutes, and the limit of each test less
    last = (tmp_path / "_owner.json").stat().st_mtime_ns
    (tmp_path / "away").unlink()
    heartbeat.join()
    assert (tmp_path / "_owner.json").stat().st_mtime_ns == last, "a heartbeat came after the end"


def test_an_unsafe_store_is_refused_before_anything_is_written() -> None:
    storage = JobStorage("memory://unsafe")
    log = CommitLog(storage, "w")
    with pytest.raises(UnusableStore):
        Ownership(storage, log).acquire()
    assert storage.listing("") == []


def test_garbage_in_the_owner_file_is_nobody(storage: JobStorage, ownership: Callable[..., Ownership]) -> None:
    storage.replace("_owner.json", b"{ torn")
    assert ownership().acquire() == 1


def living(storage: JobStorage, **more: object) -> None:
    """The heartbeat of a driver at work: this process."""
    log = CommitLog(storage, "living")
    log.load()
    owner = Ownership(storage, log, Heartbeat(every_seconds=60))
    owner.acquire()
    document = json.loads(storage.read("_owner.json"))
    owner.release()
    storage.replace("_owner.json", json.dumps(document | more).encode())


def test_a_driver_of_a_later_program_that_says_more_of_itself_is_left_alone(
    storage: JobStorage, ownership: Callable[..., Ownership]
) -> None:
    living(storage, gpus=8)
    with pytest.raises(OwnedByAnother, match="driver living is at work"):
        ownership(Heartbeat()).acquire()


def test_a_driver_of_a_newer_version_is_not_replaced(storage: JobStorage, ownership: Callable[..., Ownership]) -> None:
    living(storage, version=2)
    with pytest.raises(NewerVersion, match=r"_owner\.json was written by a newer maskmill, in version 2; .* up to 1\."):
        ownership(Heartbeat()).acquire()
    assert len(storage.listing("_log")) == 1, "the job was not claimed"


def test_a_driver_that_a_newer_version_replaced_stops(storage: JobStorage, ownership: Callable[..., Ownership]) -> None:
    first = ownership(Heartbeat(every_seconds=60))
    first.acquire()
    living_document = json.loads(storage.read("_owner.json"))
    storage.replace("_owner.json", json.dumps(living_document | {"version": 2}).encode())
    with pytest.raises(LostOwnership, match="a driver of a newer maskmill has taken this job over"):
        first.beat()
    first.release()
    assert json.loads(storage.read("_owner.json"))["version"] == 2, "the newer driver's sign stays"


def test_the_owner_file_has_the_names_that_earlier_programs_read(disk_storage: JobStorage) -> None:
    living(disk_storage)
    document = json.loads(disk_storage.read("_owner.json"))
    assert set(document) == {"version", "writer_id", "epoch", "machine", "process_id", "started", "beat_at"}
    assert (document["version"], document["process_id"]) == (1, os.getpid())


def test_another_process_with_the_same_id_is_not_the_driver(disk_storage: JobStorage) -> None:
    """Ids of processes are used again, also by a process that lives long: when it began tells them apart."""
    living(disk_storage)
    document = json.loads(disk_storage.read("_owner.json"))
    seen = look(disk_storage)
    assert seen is not None
    assert not seen.is_gone
    an_hour_before = str(int(document["started"]) - 3600 * os.sysconf("SC_CLK_TCK"))
    disk_storage.replace("_owner.json", json.dumps(document | {"started": an_hour_before}).encode())
    seen = look(disk_storage)
    assert seen is not None
    assert seen.is_gone

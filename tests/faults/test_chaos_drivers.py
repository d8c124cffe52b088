"""Drivers that are stopped, killed or doubled: the same command finishes the job."""

from __future__ import annotations

import re
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import tables
from pipeline.commits.compaction import compact
from pipeline.standing import read_status
from pipeline.storage.job_storage import JobStorage
from pipeline.text import counted
from tests.faults.conftest import Inputs, s3_arguments
from tests.support.fault_jobs import RunningJob, log_entries, read_tables, run
from tests.support.media_server import MediaServer, media_server
from tests.support.proxy import Fault, Proxy, Rule, proxy_to
from tests.support.record import Record
from tests.support.s3_server import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ADOPTED = "that a killed run had published"

OFTEN = ("worker.beat_seconds=1", "flush.seconds=1")


def num_committed(output: Path) -> int:
    """Videos in the log of a job on local disk, as its entries say."""
    return sum(entry.read_text().count('"ok"') for entry in output.glob("_log/*.json"))


def with_a_server(inputs: Inputs, folder: Path, media: MediaServer, num_served: int) -> Inputs:
    """The same inputs, of which a server has the last videos."""
    rows = pq.read_table(inputs.videos).to_pylist()
    for row in rows[-num_served:]:
        row["uri"] = media.uri(row["uri"])
    for row in rows[:-num_served]:
        row["uri"] = str(inputs.folder / row["uri"])
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(inputs.videos)), folder / "videos.parquet")
    return replace(inputs, videos=str(folder / "videos.parquet"))


@pytest.mark.chaos
def test_sigterm_drains_within_20_seconds_and_the_same_command_goes_on(
    few: Inputs, tmp_path: Path, record: Record
) -> None:
    """A server does not answer for the last videos before the driver has ended, however fast the workers are."""
    output = tmp_path / "out"
    answers = threading.Event()
    with media_server(few.folder) as media:
        inputs = with_a_server(few, tmp_path, media, num_served=2)
        media.harm.update((f"clip-{number:03d}.mp4", lambda _: answers.wait()) for number in (6, 7))
        drains_and_goes_on(inputs, output, answers, record)


def drains_and_goes_on(few: Inputs, output: Path, answers: threading.Event, record: Record) -> None:
    tmp_path = output.parent
    arguments = few.arguments(output, "cluster.actors=2", "input.hosts=127.0.0.1", *OFTEN)
    with RunningJob(tmp_path, *arguments) as job:
        job.wait_until(lambda: log_entries(str(output)) >= 2 and job.busy_actors(), "a commit")
        asked = time.monotonic()
        job.signal(signal.SIGTERM)
        assert job.wait() == 143, job.log
        drained_seconds = time.monotonic() - asked
    answers.set()
    assert drained_seconds < 20 + 5, job.log
    before = num_committed(output)
    assert 0 < before < few.num_videos, "the signal did not come in mid-work"
    assert not list(output.glob("_owner.json"))

    again = run(tmp_path, *arguments)
    assert again.process.returncode == 0, again.log
    assert f"this run {counted(few.num_videos - before, 'video')}," in again.log
    record.times, record.redone = 1, few.redone(job, again)
    record.compare(read_tables(str(output)), few.expected)


@pytest.mark.chaos
def test_a_second_driver_is_refused_and_a_dead_ones_place_is_taken(few: Inputs, tmp_path: Path, record: Record) -> None:
    output = tmp_path / "out"
    arguments = few.arguments(output, "cluster.actors=1", *OFTEN)
    with RunningJob(tmp_path, *arguments) as first:
        first.wait_until(lambda: log_entries(str(output)) >= 2, "a commit")
        second = run(tmp_path, *arguments)
        assert second.process.returncode == 3, second.log
        assert "is at work on this output" in second.log
        assert first.process.poll() is None, "the running driver was evicted"
        first.signal(signal.SIGKILL)
        first.wait()
    before = num_committed(output)
    assert 0 < before < few.num_videos, "the kill did not come in mid-work"
    third = run(tmp_path, *arguments)
    assert third.process.returncode == 0, third.log
    record.times, record.redone = 2, f"0 of {before} committed videos"
    assert f"this run {counted(few.num_videos - before, 'video')}," in third.log or ADOPTED in third.log
    record.compare(read_tables(str(output)), few.expected)


@pytest.mark.chaos
def test_storage_that_is_slow_refuses_and_hangs_up(
    few: Inputs, tmp_path: Path, s3_server: S3Server, record: Record
) -> None:
    """Every kind of fault, several times each, in one job; none of it is a failed video or a truncated object."""
    output = f"{s3_server.new_folder()}/job"
    with proxy_to(s3_server.port) as proxy:
        for fault in (Fault.CUT, Fault.LOSE_ANSWER, Fault.ERROR_500, Fault.ERROR_503, Fault.SLOW):
            proxy.rules += [
                Rule(fault, "PUT", r"/masks/", times=1),
                Rule(fault, "PUT", r"/videos/", times=1),
                Rule(fault, "PUT", r"/_log/\d+\.json", times=2),
                Rule(fault, "GET|HEAD", r".", times=3, skip=3),
            ]
        proxy.rules.append(Rule(Fault.ERROR_412, "PUT", r"/tracks/", times=1))
        job = run(tmp_path, *few.arguments(output, "cluster.actors=2", *OFTEN, *s3_arguments(proxy)))
        faults = {rule.fault for rule in proxy.rules}
        hits = {fault: sum(rule.num_hits for rule in proxy.rules if rule.fault is fault) for fault in faults}
    assert job.process.returncode == 0, job.log
    assert all(count > 0 for count in hits.values()), hits
    assert f"{few.num_videos} ok" in job.log
    record.times, record.redone = sum(hits.values()), few.redone(job)
    record.compare(read_tables(output, s3_server.options()), few.expected)


@pytest.mark.chaos
def test_a_server_that_stops_for_20_seconds(few: Inputs, tmp_path: Path, s3_server: S3Server, record: Record) -> None:
    output = f"{s3_server.new_folder()}/job"
    with proxy_to(s3_server.port) as proxy:
        arguments = few.arguments(output, "cluster.actors=2", *OFTEN, *s3_arguments(proxy))
        with RunningJob(tmp_path, *arguments) as job:
            job.wait_until(lambda: commits(proxy) >= 2, "a commit")
            s3_server.stop()
            try:
                time.sleep(20)
                assert job.process.poll() is None, job.log
            finally:
                s3_server.start()
            assert job.wait() == 0, job.log
    assert job.count("trying again") > 0, "the job never noticed"
    assert f"{few.num_videos} ok" in job.log
    record.times, record.redone = 1, few.redone(job)
    record.compare(read_tables(output, s3_server.options()), few.expected)


@pytest.mark.chaos
def test_a_server_that_stops_for_good(few: Inputs, tmp_path: Path, s3_server: S3Server, record: Record) -> None:
    output = f"{s3_server.new_folder()}/job"
    impatient = "worker.storage_patience_seconds=5"
    with proxy_to(s3_server.port) as proxy:
        arguments = few.arguments(output, "cluster.actors=1", *OFTEN, impatient, *s3_arguments(proxy))
        with RunningJob(tmp_path, *arguments) as job:
            job.wait_until(lambda: commits(proxy) >= 2, "a commit")
            s3_server.stop()
            try:
                assert job.wait(600) == 1, job.log
            finally:
                s3_server.start()
        assert re.search("storage did not answer|Check the storage service", job.log)
        assert "the same command" in job.log
        again = run(tmp_path, *arguments)
    assert again.process.returncode == 0, again.log
    record.times, record.redone = 1, few.redone(job, again)
    record.compare(read_tables(output, s3_server.options()), few.expected)


@pytest.mark.chaos
def test_compaction_and_status_while_a_job_runs(few: Inputs, tmp_path: Path, record: Record) -> None:
    """Merged again and again under the driver, which is then killed; the next run goes on from merged segments."""
    output = tmp_path / "out"
    storage = JobStorage(str(output))
    arguments = few.arguments(output, "cluster.actors=1", *OFTEN)
    num_compactions, num_merged, seen = 0, 0, set()

    def merge() -> None:
        nonlocal num_compactions, num_merged
        num_compactions += 1
        num_merged += compact(storage, tmp_path / "spool").num_merged
        seen.add(read_status(storage).standing.name)

    with RunningJob(tmp_path, *arguments) as job:
        job.wait_until(lambda: num_committed(output) >= 2, "two videos")
        merge()
        job.wait_until(lambda: num_committed(output) >= 4 or merge(), "two more")
        merge()
        job.signal(signal.SIGKILL)
        job.process.wait()
    assert num_merged >= 2
    seen.add(read_status(storage).standing.name)
    assert {"running", "interrupted"} <= seen
    before = len(tables.open(str(output)).videos())
    assert 0 < before < few.num_videos, "the kill did not come in mid-work"
    again = run(tmp_path, *arguments)
    assert again.process.returncode == 0, again.log
    assert f"this run {counted(few.num_videos - before, 'video')}," in again.log or ADOPTED in again.log
    record.times, record.redone = num_compactions + 1, f"0 of {before} committed videos"
    record.compare(read_tables(str(output)), few.expected)
    compact(storage, tmp_path / "spool")
    record.compare(read_tables(str(output)), few.expected)
    assert len(list(output.glob("masks/*.parquet"))) == 1
    third = run(tmp_path, *arguments)
    assert third.process.returncode == 0
    assert "up to" not in third.log, "a finished job starts no worker"


def commits(proxy: Proxy) -> int:
    """Log entries that were written through a proxy."""
    return sum(method == "PUT" and "/_log/0" in path for method, path in list(proxy.requests))

"""The command that merges small segments: its arguments, its exit codes, and a kill in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline import command as job_command
from pipeline import compact as compact_module
from pipeline import status, tables
from pipeline.commits.log import CommitLog
from pipeline.compact import HELP
from pipeline.errors import ClusterDown, StorageError
from pipeline.output.layout import log_entry
from pipeline.output.schema import TABLES
from pipeline.storage.job_storage import JobStorage
from tests.support.quick_storage import QuickStorage
from tests.support.record import Record
from tests.support.small_segments import commit_segments, glob_rows, rows


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "output= is missing"),
        (["folder=x"], "output= is missing: give the folder or URI of the job; folder= is no key of this command"),
        (["output"], "not key=value"),
        (["output=x", "colour=red"], "unknown key colour"),
        (["output=x", "storage_options=[1]"], "storage_options"),
        (["output=/nowhere/at/all"], "no job"),
        (["output=x", "cluster=ray"], "cluster.kind=ray: allowed are local, existing, serial"),
        (["output=x", "cluster.actors=0"], "cluster.actors=0: allowed is at least 1"),
        (["output=x", "cluster=existing"], "lies on this machine's disk"),
    ],
)
def test_wrong_arguments_are_explained(words: Sequence[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert job_command.main(HELP, compact_module.CompactArguments, compact_module.run, words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "command"),
    [(compact_module.CompactArguments, compact_module.run), (status.StatusArguments, status.run)],
)
def test_a_job_of_a_newer_version_is_exit_code_2(
    disk_storage: JobStorage,
    capsys: pytest.CaptureFixture[str],
    kind: type[job_command.JobArguments],
    command: Callable[[job_command.JobArguments], job_command.ExitCode],
) -> None:
    CommitLog(disk_storage, "newer").claim()
    document = json.loads(disk_storage.read(log_entry(0))) | {"schema_version": 99}
    disk_storage.replace(log_entry(0), json.dumps(document).encode())
    assert job_command.main(HELP, kind, command, [f"output={disk_storage.uri}"]) == 2
    printed = capsys.readouterr().err
    assert "was written by a newer maskmill, in version 99" in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize("kind", [StorageError, ClusterDown])
def test_a_store_or_a_cluster_that_fails_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], kind: type[Exception]
) -> None:
    def fail(arguments: job_command.JobArguments) -> job_command.ExitCode:
        raise kind("read s3://bucket/x?X-Amz-Signature=abc failed")

    assert job_command.main(HELP, job_command.JobArguments, fail, ["output=x"]) == 1
    assert "abc" not in capsys.readouterr().err


@pytest.mark.chaos
@pytest.mark.slow
def test_two_thousand_segments_by_command_killed_in_the_middle(tmp_path: Path, record: Record) -> None:
    storage, spool = QuickStorage(str(tmp_path / "job")), tmp_path / "spool"
    spool.mkdir()
    commit_segments(storage, spool, 2_000)
    before = rows(storage)
    command = [sys.executable, "-m", "pipeline.compact", f"output={storage.uri}", f"spool_dir={spool}"]
    running = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while not list(spool.glob("maskmill-worker-*/*.parquet")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert rows(storage) == before

    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "2000 segments merged into 1" in finished.stdout
    assert rows(storage) == before
    assert {table: glob_rows(storage, table) for table in TABLES} == {t: len(r) for t, r in before.items()}
    assert isinstance(tables.open(storage.uri).videos(), pa.Table)
    record.fault, record.times, record.redone = "a compaction of 2,000 segments killed", 1, "the merge"
    record.rows_lost = record.rows_doubled = 0

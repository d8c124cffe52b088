"""Folders for temporary files: a dead owner's goes, a living one's stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from pipeline.storage.scratch import WorkerFolder

HOLD_A_FOLDER = """
import sys, time
from pipeline.storage.scratch import WorkerFolder
folder = WorkerFolder(sys.argv[1])
(folder.path / "rows.arrow").write_bytes(b"rows")
print("ready", flush=True)
time.sleep(60)
"""


def test_a_folder_is_gone_when_it_is_closed(tmp_path: Path) -> None:
    folder = WorkerFolder(str(tmp_path / "spool"))
    (folder.path / "file").write_text("x")
    folder.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_a_killed_worker_left_goes_and_a_living_ones_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD_A_FOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        (theirs,) = tmp_path.iterdir()
        mine = WorkerFolder(str(tmp_path))
        assert set(tmp_path.iterdir()) == {theirs, mine.path}
        os.kill(other.pid, signal.SIGKILL)
    another = WorkerFolder(str(tmp_path))
    assert set(tmp_path.iterdir()) == {mine.path, another.path}
    mine.close()
    another.close()


def test_folders_of_one_process_leave_each_other_alone(tmp_path: Path) -> None:
    first = WorkerFolder(str(tmp_path))
    (first.path / "rows").write_text("x")
    second = WorkerFolder(str(tmp_path))
    assert {first.path, second.path} == set(tmp_path.iterdir())
    assert (first.path / "rows").read_text() == "x"
    first.close()
    first.close()
    assert [second.path] == list(tmp_path.iterdir())
    second.close()


def test_another_thread_may_close_it(tmp_path: Path) -> None:
    folder = WorkerFolder(str(tmp_path))
    closer = threading.Thread(target=folder.close)
    closer.start()
    closer.join()
    assert list(tmp_path.iterdir()) == []
    WorkerFolder(str(tmp_path)).close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_lock_was_left_by_a_dead_process(tmp_path: Path) -> None:
    (tmp_path / "maskmill-worker-1-abc").mkdir()
    (tmp_path / "mine").mkdir()
    folder = WorkerFolder(str(tmp_path))
    assert set(tmp_path.iterdir()) == {folder.path, tmp_path / "mine"}
    folder.close()

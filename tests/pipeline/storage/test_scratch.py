"""Folders for temporary files: a dead owner's goes, a living one's stays."""

from __future__ import annotations

import threading
from pathlib import Path

from pipeline.storage.scratch import WorkerFolder


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

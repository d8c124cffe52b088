"""Files on local disk that are whole or not there, also where another process tidies up at the same time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pipeline.storage.atomic_files import copy_file, create_file, replace_file


class Vanishing(type(Path())):  # type: ignore[misc]  # the class of paths of this system
    """A folder that is deleted once right after it was made, as by another overlay that has ended."""

    is_there = threading.Event()

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        super().mkdir(mode, parents, exist_ok)
        if not self.is_there.is_set():
            self.is_there.set()
            self.rmdir()


@pytest.fixture
def aside(tmp_path: Path) -> Path:
    Vanishing.is_there = threading.Event()
    return Vanishing(tmp_path / "_tmp")


def test_a_folder_for_temporary_files_that_another_process_deletes_is_made_again(aside: Path, tmp_path: Path) -> None:
    replace_file(tmp_path / "a", b"content", aside)
    assert (tmp_path / "a").read_bytes() == b"content"
    assert Vanishing.is_there.is_set()


def test_so_it_is_for_new_files_and_copies(aside: Path, tmp_path: Path) -> None:
    create_file(tmp_path / "a", b"content", aside)
    Vanishing.is_there = threading.Event()
    aside.rmdir()
    copy_file(tmp_path / "a", tmp_path / "b", aside)
    assert (tmp_path / "b").read_bytes() == b"content"


def test_a_source_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        copy_file(tmp_path / "nothing", tmp_path / "b", tmp_path / "_tmp")
    assert not list((tmp_path / "_tmp").iterdir())

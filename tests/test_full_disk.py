"""The full disk that tests pretend: it must stop the product's files, and leave nothing torn for later processes."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.full_disk import FULL, full_disk

LONG = "words = " + repr([f"word {number}" for number in range(500)])


def test_a_file_stops_growing_at_the_room_that_is_left(tmp_path: Path) -> None:
    with full_disk(room_bytes=3), pytest.raises(OSError, match=FULL):
        (tmp_path / "table").write_bytes(b"1234")
    assert (tmp_path / "table").read_bytes() == b"123"
    (tmp_path / "table").write_bytes(b"1234")


def test_a_module_that_is_imported_on_a_full_disk_can_be_imported_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("imported_here", "imported_by_another_process"):
        (tmp_path / f"{name}.py").write_text(LONG)
    with full_disk(room_bytes=100):
        importlib.import_module("imported_here")
        subprocess.run([sys.executable, "-c", "import imported_by_another_process"], cwd=tmp_path, check=True)
    both = "import imported_here, imported_by_another_process"
    subprocess.run([sys.executable, "-c", both], cwd=tmp_path, check=True)

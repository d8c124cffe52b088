"""How long videos may be, from the sizes of their files."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.inputs.durations import FileSizes


def test_larger_files_are_longer_and_what_is_no_file_is_unknown(tmp_path: Path) -> None:
    for name, num_bytes in (("a", 100_000), ("b", 1_000_000)):
        (tmp_path / name).write_bytes(bytes(num_bytes))
    uris = [*(str(tmp_path / name) for name in ("a", "b", "missing")), f"file://{tmp_path}/b", str(tmp_path)]
    a, b, missing, with_scheme, folder = FileSizes(uris, ask_stores=False).seconds()
    assert b / a == pytest.approx(10, rel=0.5)
    assert b == with_scheme
    assert (missing, folder) == (0, 0)
    assert FileSizes([None, "a.tar::b", "nul\0byte"], ask_stores=True).seconds().tolist() == [0, 0, 0]


def test_web_servers_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.inputs.durations.open_filesystem", lambda *_: pytest.fail("asked"))
    started = threading.active_count()
    assert FileSizes(["http://127.0.0.1:9/a.mp4", "https://127.0.0.1:9/b.mp4"], ask_stores=True).seconds().sum() == 0
    assert threading.active_count() == started


@pytest.fixture
def memory_files() -> Iterator[list[str]]:
    """A short and a long file in a store that is not this disk, and a name that is not there."""
    store = fsspec.filesystem("memory")
    store.pipe_file("/expected-time/short", bytes(100_000))
    store.pipe_file("/expected-time/long", bytes(2_000_000))
    yield [f"memory://expected-time/{name}" for name in ("short", "long", "missing")]
    store.rm("/expected-time", recursive=True)


def test_stores_are_asked_where_it_is_wanted(memory_files: list[str]) -> None:
    assert FileSizes(memory_files, ask_stores=False).seconds().tolist() == [0, 0, 0]
    short, long, missing = FileSizes(memory_files, ask_stores=True).seconds()
    assert 0 < short < long
    assert missing == 0


def test_a_store_that_does_not_answer_is_not_waited_for(
    memory_files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(self: MemoryFileSystem, path: str, **options: Any) -> dict[str, Any]:
        time.sleep(1.0)
        return {"size": 5}

    monkeypatch.setattr(MemoryFileSystem, "info", slow)
    started = time.monotonic()
    assert FileSizes(memory_files, ask_stores=True).seconds(patience_seconds=0.1).tolist() == [0, 0, 0]
    assert time.monotonic() - started < 0.8

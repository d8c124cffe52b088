"""How long videos may be, from the sizes of their files."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from pipeline.inputs.durations import FileSizes
from tests.support.faulty_store import FaultyStore, faulty_store

__all__ = ["faulty_store"]


def test_larger_files_are_longer_and_what_is_no_file_is_unknown(tmp_path: Path) -> None:
    for name, num_bytes in (("a", 100_000), ("b", 1_000_000)):
        (tmp_path / name).write_bytes(bytes(num_bytes))
    uris = [*(str(tmp_path / name) for name in ("a", "b", "missing")), f"file://{tmp_path}/b", str(tmp_path)]
    a, b, missing, with_scheme, folder = FileSizes(uris, ask_stores=False).seconds()
    assert b / a == pytest.approx(10, rel=0.5)
    assert b == with_scheme
    assert (missing, folder) == (0, 0)
    assert FileSizes([None, "a.tar::b", "nul\0byte"], ask_stores=True).seconds().tolist() == [0, 0, 0]


def test_web_servers_are_not_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        uris = [f"http://127.0.0.1:{port}/a.mp4", f"https://127.0.0.1:{port}/b.mp4"]
        assert FileSizes(uris, ask_stores=True).seconds().sum() == 0
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.fixture
def stored_files(faulty_store: type[FaultyStore]) -> list[str]:
    """A short and a long file in a store that is not this disk, and a name that is not there."""
    faulty_store().pipe_file("/expected-time/short", bytes(100_000))
    faulty_store().pipe_file("/expected-time/long", bytes(2_000_000))
    return [f"faulty://expected-time/{name}" for name in ("short", "long", "missing")]


def test_stores_are_asked_where_it_is_wanted(stored_files: list[str], faulty_store: type[FaultyStore]) -> None:
    assert FileSizes(stored_files, ask_stores=False).seconds().tolist() == [0, 0, 0]
    assert faulty_store.requests == []
    short, long, missing = FileSizes(stored_files, ask_stores=True).seconds()
    assert 0 < short < long
    assert missing == 0


def test_a_store_that_does_not_answer_is_not_waited_for(
    stored_files: list[str], faulty_store: type[FaultyStore]
) -> None:
    answers = threading.Event()
    faulty_store.before = staticmethod(lambda _: answers.wait())
    try:
        assert FileSizes(stored_files, ask_stores=True).seconds(patience_seconds=0.1).tolist() == [0, 0, 0]
    finally:
        answers.set()

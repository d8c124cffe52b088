from __future__ import annotations

import io
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.errors import StorageError
from pipeline.storage.ranges import BlockCache, RangeFile, remote_file
from pipeline.storage.uris import open_filesystem
from tests.support.s3_server import S3Server
from tests.support.waiting import wait_until

DATA = os.urandom(1000)


class Store:
    """Serves ranges of `DATA` and notes which. A range whose start is in `held` comes when its event is set."""

    def __init__(self, held: dict[int, threading.Event] | None = None) -> None:
        self.fetched: list[tuple[int, int]] = []
        self._held = held or {}

    def fetch(self, start: int, stop: int) -> bytes:
        self.fetched.append((start, stop))
        if start in self._held:
            assert self._held[start].wait(100)
        return DATA[start:stop]


def test_a_file_reads_like_the_bytes_in_memory() -> None:
    file = io.BufferedReader(RangeFile(BlockCache(Store().fetch, len(DATA), block_bytes=64, max_blocks=3)))
    same = io.BytesIO(DATA)
    rng = random.Random(0)
    for _ in range(300):
        offset = rng.randrange(1100)
        assert file.seek(offset) == same.seek(offset)
        size = rng.choice([0, 1, 63, 64, 65, 500, -1])
        assert file.read(size) == same.read(size)
        assert file.tell() == same.tell()
    assert file.seek(-10, io.SEEK_END) == 990
    assert file.read() == DATA[-10:]


def test_blocks_are_fetched_once_while_there_is_room() -> None:
    store = Store()
    cache = BlockCache(store.fetch, len(DATA), block_bytes=400, max_blocks=2)
    for _ in range(3):
        assert RangeFile(cache).read(800) == DATA[:400]
        assert cache.read(500, 600) == DATA[500:600]
    assert store.fetched == [(0, 400), (400, 800)]
    assert cache.read(900, 2000) == DATA[900:]
    assert cache.read(0, 1) == DATA[:1]
    assert store.fetched[2:] == [(800, 1000), (0, 400)]


def test_nothing_is_fetched_beyond_the_end() -> None:
    store = Store()
    file = RangeFile(BlockCache(store.fetch, len(DATA)))
    file.seek(5000)
    assert file.read(10) == b""
    assert store.fetched == []
    with pytest.raises(ValueError, match="before the start"):
        file.seek(-1)


def test_a_short_answer_is_a_fault_of_storage() -> None:
    cache = BlockCache(lambda start, stop: DATA[start : stop - 1], len(DATA))
    with pytest.raises(TimeoutError, match="999 of 1000 bytes"):
        cache.read(0, 10)


def test_a_reader_of_another_block_does_not_wait_for_one_that_is_on_its_way() -> None:
    arrives = threading.Event()
    store = Store({0: arrives})
    cache = BlockCache(store.fetch, len(DATA), block_bytes=100)
    with ThreadPoolExecutor(2) as threads:
        slow = [threads.submit(cache.read, 0, 50) for _ in range(2)]
        wait_until(lambda: (0, 100) in store.fetched)
        assert cache.read(500, 600) == DATA[500:600]
        arrives.set()
        assert [one.result(100) for one in slow] == [DATA[:50]] * 2
    assert sorted(store.fetched) == [(0, 100), (500, 600)]


def test_who_waits_for_a_block_whose_reader_fails_tries_again() -> None:
    arrives, calls = threading.Event(), []

    def fetch(start: int, stop: int) -> bytes:
        calls.append(start)
        if len(calls) == 1:
            assert arrives.wait(100)
            raise ConnectionError("lost")
        return DATA[start:stop]

    cache = BlockCache(fetch, len(DATA))
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.read, 0, 50)
        wait_until(lambda: bool(calls))
        second = threads.submit(cache.read, 0, 50)
        arrives.set()
        assert second.result(100) == DATA[:50]
        with pytest.raises(ConnectionError, match="lost"):
            first.result(100)


def test_the_next_block_is_fetched_when_half_of_one_is_read_and_none_is_fetched_twice() -> None:
    store = Store()
    file = RangeFile(BlockCache(store.fetch, len(DATA), block_bytes=200, reads_ahead=True))
    file.read(90)
    assert store.fetched == [(0, 200)]
    file.read(20)
    wait_until(lambda: store.fetched == [(0, 200), (200, 400)])
    found = [DATA[:110]]
    while data := file.read(10):
        found.append(data)
    assert b"".join(found) == DATA
    assert store.fetched == [(start, start + 200) for start in range(0, 1000, 200)]


def test_nothing_is_read_ahead_of_a_reader_that_jumps() -> None:
    store = Store()
    file = RangeFile(BlockCache(store.fetch, len(DATA), block_bytes=200, reads_ahead=True))
    for place in (150, 790, 350):
        file.seek(place)
        file.read(40)
    time.sleep(0.02)
    assert store.fetched == [(0, 200), (600, 800), (200, 400)]


def test_a_block_that_could_not_be_read_ahead_is_fetched_when_it_is_read() -> None:
    store, failed = Store(), threading.Event()

    def fetch(start: int, stop: int) -> bytes:
        if start and not failed.is_set():
            failed.set()
            raise ConnectionError("lost")
        return store.fetch(start, stop)

    file = RangeFile(BlockCache(fetch, len(DATA), block_bytes=500, reads_ahead=True))
    assert file.read(400) == DATA[:400]
    assert failed.wait(100)
    assert file.read(100) + file.read(500) == DATA[400:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("after", "said"), [(DATA[::-1], "it has another ETag"), (DATA + b"more", "it has 1004 bytes and had 1000")]
)
def test_an_object_that_is_replaced_while_it_is_read_is_given_back(
    s3_server: S3Server, after: bytes, said: str
) -> None:
    """Half of the one with half of the other is no video. It is read again from its start."""
    filesystem, path = open_filesystem(f"{s3_server.new_folder()}/a.mp4", s3_server.options())
    filesystem.pipe_file(path, DATA)
    num_bytes, fetch = remote_file(filesystem, path)
    assert num_bytes == len(DATA)
    assert fetch(10, 500) + fetch(500, 1000) == DATA[10:]
    filesystem.pipe_file(path, after)
    with pytest.raises(StorageError, match=f"a.mp4 was changed while it was read: {said}") as caught:
        fetch(500, 1000)
    assert not caught.value.transient
    num_bytes, fetch = remote_file(filesystem, path)
    assert num_bytes == len(after)
    assert fetch(0, num_bytes) == after
    filesystem.rm_file(path)
    with pytest.raises(FileNotFoundError):
        fetch(0, 10)


def test_where_no_thread_can_be_started_the_reader_fetches_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    file = RangeFile(BlockCache(lambda start, stop: DATA[start:stop], len(DATA), block_bytes=200, reads_ahead=True))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        found = b"".join(iter(lambda: file.read(50), b""))
    assert found == DATA

from __future__ import annotations

import io
import os
import random

import pytest

from pipeline.storage.ranges import BlockCache, RangeFile

DATA = os.urandom(1000)


class Store:
    """Serves ranges of `DATA` and notes which."""

    def __init__(self) -> None:
        self.fetched: list[tuple[int, int]] = []

    def fetch(self, start: int, stop: int) -> bytes:
        self.fetched.append((start, stop))
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

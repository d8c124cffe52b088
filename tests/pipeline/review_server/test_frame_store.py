"""Frames are decoded once, ahead of whoever plays, and memory holds a bounded number of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pipeline.errors import NotInJob
from pipeline.review_server.bounded import Bounded
from pipeline.review_server.frame_store import FrameStore

KEY = ("a", "")
NUM = 200


class FakeClip:
    """Frames that tell their number, every second one labeled; notes from where it was read, and who was closed."""

    def __init__(self) -> None:
        self.frame_indexes = np.arange(0, 2 * NUM, 2)
        self.starts: list[int] = []
        self.decoded: list[int] = []
        self.num_open = 0
        self.damaged: set[int] = set()

    def check_frames(self, frames: list[int]) -> None:
        if frames[0] not in self.frame_indexes:
            raise NotInJob(f"no frame {frames[0]}")

    def pixels(self, frames: list[int], *, reading: str) -> Iterator[tuple[int, float, np.ndarray]]:
        assert reading == "walk"
        self.starts.append(frames[0])
        self.num_open += 1
        try:
            for frame in frames:
                if frame in self.damaged:
                    raise ValueError(f"frame {frame} is damaged")
                self.decoded.append(frame)
                yield frame, 0.0, np.full((16, 16, 3), frame % 250, np.uint8)
        finally:
            self.num_open -= 1


def asked(store: FrameStore, clip: Any, frame: int, ahead: int = 0, key: tuple[str, str] = KEY) -> bytes:
    return store.jpeg(key, lambda: clip, frame, ahead)


def test_steps_and_small_leaps_go_on_with_the_same_decoder() -> None:
    store, clip = FrameStore(), FakeClip()
    for frame in (100, 102, 104, 120, 104, 122):
        asked(store, clip, frame)
    assert clip.starts == [100]
    assert clip.decoded == list(range(100, 124, 2)), "each once"
    store.close()
    assert clip.num_open == 0


def test_a_frame_elsewhere_is_entered_at_once_and_steps_back_are_few_entries() -> None:
    store, clip = FrameStore(), FakeClip()
    for frame in (300, *range(298, 236, -2)):
        asked(store, clip, frame)
    assert clip.starts == [300, 266, 232]
    asked(store, clip, 20)
    assert clip.starts[-1] == 20
    assert clip.num_open == 1
    store.close()


def test_frames_are_decoded_ahead_of_whoever_plays() -> None:
    store, clip = FrameStore(), FakeClip()
    is_done = threading.Event()
    asked(store, clip, 10, ahead=5)
    store.do_ahead(is_done.set)
    assert is_done.wait(60)
    assert clip.decoded == [10, 12, 14, 16, 18, 20]
    store.close()


def test_a_damaged_frame_is_told_and_the_others_are_shown() -> None:
    store, clip = FrameStore(), FakeClip()
    clip.damaged = {14}
    asked(store, clip, 12)
    with pytest.raises(ValueError, match="14 is damaged"):
        asked(store, clip, 14)
    assert asked(store, clip, 16)
    assert clip.num_open == 1
    with pytest.raises(NotInJob):
        asked(store, clip, 13)
    store.close()


def test_few_videos_are_open_and_memory_is_bounded() -> None:
    clips = [FakeClip() for _ in range(6)]
    size = len(asked(FrameStore(), FakeClip(), 0))
    store = FrameStore(most_bytes=10 * size, most_videos=2)
    for number, clip in enumerate(clips):
        for frame in range(0, 20, 2):
            asked(store, clip, frame, key=(str(number), ""))
    assert sum(clip.num_open for clip in clips) == 2
    assert store.jpegs.size <= 10 * size
    store.close()


def test_what_was_asked_for_longest_ago_leaves_first() -> None:
    gone: list[str] = []
    kept: Bounded[str, str] = Bounded(3, dropped=gone.append)
    for name in "abc":
        kept.put(name, name)
    assert kept.get("a") == "a"
    kept.put("d", "d")
    assert gone == ["b"]
    assert kept.put("a", "another") == "a", "what is there stays"
    kept.clear(lambda key: key == "c")
    assert gone == ["b", "c"]
    assert kept.size == 2

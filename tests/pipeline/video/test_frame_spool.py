from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from pipeline.video.frame_spool import FrameSpool


def noise(label: int) -> np.ndarray:
    return np.random.default_rng(label).integers(0, 255, (16, 24, 3), np.uint8)


def test_frames_come_back_newest_first_and_unchanged(tmp_path: Path) -> None:
    with closing(FrameSpool(10**9, tmp_path)) as spool:
        for label in range(3, 20):
            spool.put(label, noise(label))
        for label in reversed(range(3, 20)):
            found = spool.pop()
            assert found is not None
            assert found[0] == label
            assert np.array_equal(found[1], noise(label))
            assert found[1].flags.writeable
        assert spool.pop() is None


def test_the_newest_frames_within_the_budget_are_kept() -> None:
    frame_bytes = 16 * 24 * 3
    with closing(FrameSpool(40 * frame_bytes)) as spool:
        for label in range(500):
            spool.put(label, noise(label))
        kept = []
        while (found := spool.pop()) is not None:
            kept.append(found[0])
    assert kept == list(range(499, 499 - len(kept), -1))
    assert 30 <= len(kept) <= 60


def test_the_last_frame_is_kept_whatever_the_budget() -> None:
    with closing(FrameSpool(1)) as spool:
        for label in range(50):
            spool.put(label, noise(label))
        found = spool.pop()
    assert found is not None
    assert found[0] == 49


def test_nothing_is_left_on_disk(tmp_path: Path) -> None:
    with closing(FrameSpool(10**9, tmp_path)) as spool:
        spool.put(0, noise(0))
        assert list(tmp_path.iterdir()) == []

"""The share of doubtful tracks of a sample of videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline import tables
from pipeline.commits.run_document import DoubtCount
from pipeline.driver.sample import Sample
from pipeline.schedule.doubtful import count_doubtful
from tests.support.drawn_job import DrawnVideo, write_job


def disc(radius: int, shift: int = 0) -> np.ndarray:
    rows, columns = np.ogrid[:48, :64]
    return np.asarray((rows - 24) ** 2 + (columns - 30 - shift) ** 2 <= radius**2)


@pytest.mark.slow
def test_tracks_that_jump_and_vanish_are_counted_and_those_of_other_videos_are_not(tmp_path: Path) -> None:
    """Object 4 has a predicted IoU of 0.9 in drawn jobs, and drifts; the others leap, or grow from frame to frame."""
    calm = {(4, n): disc(9, n) for n in range(6)}
    wild = {(9, n): disc(3 + 9 * (n % 2), 20 * (n % 2) - 10) for n in range(6)}
    videos = (
        DrawnVideo("calm", {4: None}, masks=calm),
        DrawnVideo("wild", {4: None, 9: None}, masks=calm | wild),
        DrawnVideo("other", {9: None}, masks=wild),
    )
    job = tables.open(write_job(tmp_path, videos)[0])
    one = count_doubtful(job, ["calm"])
    assert (one.num_videos, one.num_tracks) == (1, 1)
    both = count_doubtful(job, ["calm", "wild"])
    assert (both.num_videos, both.num_tracks) == (2, 3)
    assert both.num_doubtful == 2 * one.num_doubtful + 1
    assert count_doubtful(job, ["broken"]) == DoubtCount(num_videos=0, num_tracks=0, num_doubtful=0)


def test_a_sample_is_the_same_in_any_order_and_never_larger_than_asked_for() -> None:
    names = [f"video {number}" for number in range(500)]
    one, other, none = Sample(20), Sample(20), Sample(0)
    for name in names:
        one.add(name)
        none.add(name)
    for name in reversed(names):
        other.add(name)
    assert one.video_ids == other.video_ids
    assert len(set(one.video_ids)) == 20
    assert none.video_ids == []

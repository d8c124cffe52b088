"""Scores from run lengths are those of whole frames, and take a fraction of the processor time."""

from __future__ import annotations

import pytest

from tests.bench.scores import compare_scores


@pytest.mark.slow
def test_scores_from_run_lengths_take_a_fraction_of_the_time_of_whole_frames() -> None:
    """Processor time, the median of three runs in turn. Of 24 frames it is 28 times as fast."""
    found = compare_scores((480, 854), num_frames=6, num_objects=1, rounds=3)
    assert found["difference"] < 1e-6
    assert 0.5 < found["mean_f"] < 0.95, "outlines must differ for the search to have work"
    assert found["ratio_cpu"] > 2, found

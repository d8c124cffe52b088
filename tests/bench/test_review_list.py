"""The bench of the list of a review runs, at a small size."""

from __future__ import annotations

import pytest

from tests.bench.review_list import review_list


@pytest.mark.slow
def test_the_bench_measures_a_list_of_all_tracks() -> None:
    found = review_list(num_videos=9, num_tracks=3, rounds=1)
    assert found["num_tracks"] == 27
    assert all(value > 0 for value in found.values())
    assert {"start", "first page", "next track"} < found.keys()

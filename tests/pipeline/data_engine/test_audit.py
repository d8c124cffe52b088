"""Lots and intervals: as an outside judge has them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.data_engine.audit import Rate, lots


@pytest.mark.parametrize(("num_bad", "num"), [(0, 5), (3, 40), (20, 20), (7, 13)])
def test_bounds_are_those_of_scipy(num_bad: int, num: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(num_bad, num).proportion_ci(method="wilson")
    assert Rate(num_bad, num).bounds == pytest.approx((expected.low, expected.high))


def test_without_a_sample_nothing_is_known() -> None:
    assert Rate(0, 0).bounds == (0.0, 1.0)


def test_lots_are_even_and_differ_by_seed_video_and_object() -> None:
    videos = [f"v{number // 4}" for number in range(4000)]
    from scipy.stats import kstest

    drawn = lots(videos, range(4000), seed=0)
    assert kstest(drawn, "uniform").pvalue > 0.001
    assert len(np.unique(drawn)) == 4000
    assert lots(["a"], [1], 0) != lots(["a"], [1], 1)

"""Lots and intervals: as an outside judge has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from pipeline.data_engine.audit import Rate, lots
from pipeline.data_engine.reviewed import audited


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


FIRST, SECOND = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 8, tzinfo=UTC)


def _said(*rows: tuple[int, str, bool, datetime | None]) -> list[dict[str, Any]]:
    """Verdicts a minute after one another: of which object, what, whether it was drawn by lot, and of which labels."""
    names = "object_id", "verdict", "is_audit", "labeled_at"
    return [
        {"video_id": "v", "reviewed_at": SECOND + timedelta(minutes=number), **dict(zip(names, row, strict=True))}
        for number, row in enumerate(rows)
    ]


@pytest.mark.parametrize("labels", [(FIRST, SECOND), (None, None)])
def test_a_bad_track_that_was_drawn_stays_in_the_sample_when_its_new_labels_are_good(
    labels: tuple[datetime | None, datetime | None],
) -> None:
    """Of 4 that were drawn 2 were bad; mended and looked at again these left the sample, and no track was bad."""
    drawn = [(1, "accept", True), (2, "accept", True), (3, "fix", True), (4, "reject", True)]
    again = [(3, "accept", False), (4, "accept", False), (5, "reject", False)]
    found = audited(_said(*((*row, labels[0]) for row in drawn), *((*row, labels[1]) for row in again)))
    assert found == Rate(2, 4)


def test_of_the_labels_that_were_drawn_the_newest_verdict_counts_unless_it_was_taken_back() -> None:
    first = (1, "accept", True, FIRST)
    assert audited(_said(first, (1, "reject", False, FIRST))) == Rate(1, 1), "somebody has thought again"
    assert audited(_said(first, (1, "skip", False, FIRST))) == Rate(0, 1)
    assert audited(_said(first, (1, "withdraw", False, None))) == Rate(0, 0)
    assert audited(_said(first, (1, "withdraw", False, None), (1, "reject", True, FIRST))) == Rate(1, 1)
    assert audited(_said(first, (1, "accept", False, SECOND), (1, "withdraw", False, None))) == Rate(0, 1)
    assert audited(_said(first, (1, "fix", True, SECOND))) == Rate(1, 2), "drawn twice, of other labels"

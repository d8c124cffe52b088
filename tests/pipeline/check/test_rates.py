"""What a frame, a mask and a megapixel take, fitted to videos. The judge is the sum that made the seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.check.estimate import Experience
from pipeline.check.rates import Rates, Work, fit
from pipeline.check.room import OnDisk
from pipeline.output.schema import VIDEOS as VIDEO_ROWS
from pipeline.records import Outcome, Status
from tests.support.labeled import video_row

VIDEOS = np.array([[100, 100, 200], [100, 800, 200], [50, 50, 400], [400, 400, 100], [300, 1500, 600]], np.float64)


@pytest.mark.parametrize("rates", [(0.02, 0.003, 0.001), (0.05, 0.0, 0.0), (0.0, 0.004, 0.0), (0.01, 0.0, 0.002)])
def test_the_three_parts_are_found_apart(rates: tuple[float, float, float]) -> None:
    found = fit(VIDEOS, VIDEOS @ np.array(rates))
    assert found is not None
    assert found == pytest.approx(rates, abs=1e-9)


def test_videos_that_are_all_alike_are_explained_by_one_part_and_their_sum_is_exact() -> None:
    found = fit(np.tile(VIDEOS[:1], (4, 1)), np.array([2.0, 2.2, 1.8, 2.4]))
    assert found is not None
    assert sum(rate > 0 for rate in found) == 1
    assert found.seconds(Work(frames=400, masks=400, megapixels=800)) == pytest.approx(8.4)


def test_no_part_is_negative_where_noise_would_have_it_so() -> None:
    seconds = VIDEOS @ np.array([0.05, 0.0, 0.0]) + np.array([0.4, -0.9, -0.5, 0.3, -0.8])
    found = fit(VIDEOS, seconds)
    assert found is not None
    assert min(found) >= 0
    total = VIDEOS.sum(axis=0)
    assert found.seconds(Work(total[0], total[1], total[2])) == pytest.approx(seconds.sum())


def test_small_rates_are_told_with_enough_digits_and_those_that_explain_nothing_are_left_out() -> None:
    assert Rates(0.25, 0.0083, 0.000045).in_words() == "250 ms a frame, 8.3 ms a mask, 0.045 ms a megapixel"
    assert Rates(0.0, 0.0000004, 0.0).in_words() == "less than 0.001 ms a mask"
    assert Rates(0.0, 0.0, 0.0).in_words() == "no time to speak of"


def test_nothing_measured_gives_no_rates() -> None:
    assert fit(np.zeros((0, 3)), np.zeros(0)) is None
    assert fit(VIDEOS, np.zeros(5)) is None


def test_work_adds_up() -> None:
    work = Work(1, 2, 3, 4, 5, 6)
    assert work.plus(work) == work.times(2) == Work(2, 4, 6, 8, 10, 12)
    assert Rates(1.0, 10.0, 100.0).seconds(work) == 321.0


def _labeled(number: int, seconds: float, **columns: Any) -> pa.Table:
    """A row of `videos`: 100 frames of 8 objects, the number-th of one worker."""
    row = video_row(Outcome(f"v{number}", Status.OK, "p", 800, 100), num_tracks=8).to_pylist()[0]
    ended = datetime(2026, 11, 30, tzinfo=UTC) + timedelta(hours=number)
    made = {"wall_seconds": seconds, "finished_at": ended, "height": 480, "width": 640}
    return pa.Table.from_pylist([row | made | columns], VIDEO_ROWS)


def test_videos_of_which_a_round_labeled_some_objects_alone_do_not_say_how_long_whole_ones_take() -> None:
    """Their masks are those of all objects: after a round of reviews a plan promised half of the time."""
    earlier = datetime(2026, 11, 1, tzinfo=UTC)
    whole = [_labeled(number, 20.0) for number in range(3)]
    partly = [_labeled(number, 4.0, kept_since=earlier) for number in range(3, 6)]
    found = Experience.measured(pa.concat_tables([*whole, *partly]), OnDisk(), "{videos}")
    assert (found.num_videos, found.seconds, found.num_frames) == (3, 60.0, 300)
    assert found.rates is not None
    assert found.rates.seconds(Work(100, 800, 30.72)) == pytest.approx(20.0)
    only = Experience.measured(pa.concat_tables(partly), OnDisk(), "{videos}")
    assert (only.num_videos, only.seconds) == (3, 12.0), "better than nothing"

"""When a night is worse than the nights before: held against exact chances, and against nights that are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import comb

import numpy as np
import pytest

from pipeline.commits.run_document import DoubtCount, RunDocument
from pipeline.schedule.usual import Share, Usual, is_worse, worse_than


def chance_by_urn(bad: int, good: int, draws: int, at_least: int) -> Fraction:
    """Polya's urn, drawn from exactly: each ball goes back with another one of its color."""

    def exactly(count: int) -> Fraction:
        found = Fraction(comb(draws, count))
        for n in range(draws):
            color = bad + n if n < count else good + n - count
            found *= Fraction(color, bad + good + n)
        return found

    return sum((exactly(count) for count in range(at_least, draws + 1)), Fraction(0))


@pytest.mark.parametrize(
    ("bad", "good", "draws", "at_least"),
    [(1, 9, 1, 1), (2, 38, 30, 6), (5, 5, 12, 12), (3, 97, 60, 0), (1, 400, 90, 3)],
)
def test_the_chance_of_a_night_is_that_of_an_urn(bad: int, good: int, draws: int, at_least: int) -> None:
    found = Usual(bad, good).chance(Share(draws, at_least))
    assert found == pytest.approx(float(chance_by_urn(bad, good, draws, at_least)), rel=1e-9)


def drawn_nights(random: np.random.Generator, count: int, share: float, weight: float) -> list[Share]:
    """Nights of 3 to 3000 videos, whose share of bad ones varies as a beta distribution does."""
    sizes = np.exp(random.uniform(np.log(3), np.log(3000), count)).astype(int)
    shares = random.beta(share * weight, (1 - share) * weight, count)
    bad = random.binomial(sizes, shares)
    return [Share(int(num), int(num_bad)) for num, num_bad in zip(sizes, bad, strict=True)]


@pytest.mark.parametrize(("share", "weight"), [(0.002, 1e6), (0.03, 1e6), (0.03, 100.0), (0.3, 40.0)])
def test_nights_that_are_as_usual_cry_wolf_in_one_of_a_hundred_at_most(share: float, weight: float) -> None:
    random = np.random.default_rng(7)
    weeks = [drawn_nights(random, 8, share, weight) for _ in range(1500)]
    num_cries = sum(is_worse(nights[-1], nights[:-1]) for nights in weeks)
    assert num_cries <= 15


def test_a_night_in_which_four_times_as_many_fail_is_found() -> None:
    random = np.random.default_rng(7)
    weeks = [drawn_nights(random, 7, 0.05, 300.0) for _ in range(200)]
    tonight = [Share(400, int(random.binomial(400, 0.2))) for _ in weeks]
    assert sum(is_worse(night, week) for night, week in zip(tonight, weeks, strict=True)) >= 160


@pytest.mark.parametrize(
    ("tonight", "why"),
    [
        (Share(1, 1), "one video says nothing"),
        (Share(2, 1), "two say nothing"),
        (Share(100_000, 3_400), "0.4 points more matter to nobody, however certain they are"),
        (Share(400, 0), "it is better"),
        (Share(0, 0), "nothing was labeled"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_night_is_as_usual(tonight: Share, why: str) -> None:
    assert not is_worse(tonight, [Share(1000, 30)] * 7), why


def test_without_three_nights_before_nothing_is_usual() -> None:
    bad = Share(400, 400)
    assert not is_worse(bad, [Share(1000, 30)] * 2 + [Share(0, 0)] * 5)
    assert is_worse(bad, [Share(1000, 30)] * 3)


def night(num_ok: int, num_failed: int, doubt: tuple[int, int, int] | None = None) -> RunDocument:
    found = DoubtCount(num_videos=doubt[0], num_tracks=doubt[1], num_doubtful=doubt[2]) if doubt else None
    ended = {"ok": num_ok, "failed": num_failed, "quarantined": 0, "no_prompts": 3}
    facts = {"output": "o", "started_at": "", "ended_at": "", "seconds": 1.0, "state": "done", "exit_code": 0}
    return RunDocument(message="", num_ended=ended, doubt=found, **facts)


def test_both_shares_are_told_with_those_of_the_week() -> None:
    week: Sequence[RunDocument] = [night(97, 3, (97, 400, 20)) for _ in range(7)]
    assert worse_than(night(95, 5, (95, 400, 24)), week) == []
    assert worse_than(night(60, 40, (60, 240, 12)), week) == ["40.0% of its videos failed, 3.0% in the week before"]
    assert worse_than(night(97, 3, (97, 400, 200)), week) == [
        "49.5% of its tracks are doubtful, 5.2% in the week before"
    ]


def test_many_tracks_of_few_videos_are_few_videos() -> None:
    """Tracks of one film go wrong together, so that 200 of them are one accident."""
    week = [night(97, 3, (97, 400, 20)) for _ in range(7)]
    assert worse_than(night(2, 0, (2, 400, 200)), week) == []


def test_videos_that_wait_are_told_when_more_have_come_for_three_nights_than_were_labeled() -> None:
    def nights(*waiting: int) -> list[RunDocument]:
        return [night(97, 3).model_copy(update={"num_waiting": number}) for number in waiting]

    def told(*waiting: int) -> list[str]:
        *before, tonight = nights(*waiting)
        return worse_than(tonight, before)

    assert told(900, 800, 10, 120, 200, 310) == [
        "310 videos wait, 200 after the night before: for 3 nights more have come than were labeled"
    ]
    assert told(10, 120, 200) == told(10, 120, 120, 310) == told(500, 120, 200, 310, 300) == told(0, 0, 0, 0) == []

"""When a job is given up: too many failed videos, or storage that stays away."""

from __future__ import annotations

import pytest

from pipeline.driver.limits import FailureBudget, StorageOutage
from pipeline.records import Outcome, Status
from tests.support.fake_workers import Clock


def outcomes(num_ok: int, num_failed: int) -> list[Outcome]:
    statuses = [Status.OK] * num_ok + [Status.FAILED] * num_failed
    return [Outcome(f"v{number}", status, "hash", 0, 0) for number, status in enumerate(statuses)]


@pytest.mark.parametrize(
    ("num_ok", "num_failed", "said"),
    [(0, 99, ""), (50, 50, ""), (49, 51, "51 of the first 100 of this run"), (0, 100, "100 of the first 100")],
)
def test_failed_videos_are_judged_after_a_hundred(num_ok: int, num_failed: int, said: str) -> None:
    budget = FailureBudget(0.5)
    budget.count(outcomes(num_ok, num_failed))
    assert bool(budget.exceeded()) == bool(said)
    assert budget.exceeded().startswith(said)


def test_pauses_grow_while_storage_is_away_and_start_again_when_it_has_answered() -> None:
    clock = Clock()
    outage = StorageOutage(clock, patience_seconds=100.0)
    assert [outage.failed("away") - clock.now for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert outage.is_over()
    assert not outage.is_over(), "the outage is over only once"
    assert outage.failed("away again") - clock.now == 1
    assert outage.last_error == "storage: away again"


def test_an_outage_is_too_long_after_the_patience_from_its_first_failure_on() -> None:
    clock = Clock()
    outage = StorageOutage(clock, patience_seconds=100.0)
    assert not outage.is_too_long()
    outage.failed("away")
    clock.sleep(60.0)
    outage.failed("still away")
    clock.sleep(40.0)
    assert not outage.is_too_long()
    clock.sleep(0.1)
    assert outage.is_too_long()
    outage.is_over()
    assert not outage.is_too_long()

"""What one run may spend."""

from __future__ import annotations

import pytest

from pipeline.driver.run_budget import RunBudget
from tests.support.fake_workers import Clock


def test_time_counts_from_the_start_of_the_run() -> None:
    clock = Clock()
    budget = RunBudget(clock, clock(), stop_after=3600.0)
    clock.sleep(3599.0)
    assert budget.spent(1e9) == ""
    clock.sleep(1.0)
    assert budget.spent(0.0) == "stop_after=1:00:00"


def test_cost_is_that_of_all_workers_together() -> None:
    budget = RunBudget(Clock(), 0.0, max_cost=5.0, price_per_hour=2.5)
    assert budget.spent(7199.0) == ""
    assert budget.spent(7344.0) == "max_cost=5, and its workers have cost 5.10"


@pytest.mark.parametrize(
    ("bounds", "is_bounded"), [({}, False), ({"max_cost": 0.0}, True), ({"stop_after": 1.0}, True)]
)
def test_a_run_without_bounds_spends_what_it_needs(bounds: dict[str, float], is_bounded: bool) -> None:
    clock = Clock()
    budget = RunBudget(clock, clock(), **bounds)
    clock.sleep(1e9)
    assert budget.is_bounded == is_bounded == bool(budget.spent(1e9))

"""When a job is given up: too many failed videos, or storage that stays away."""

from __future__ import annotations

import pytest

from pipeline.driver.limits import FailureBudget, StorageOutage
from pipeline.records import Outcome, OutcomeDetails, Status
from tests.support.fake_workers import Clock


def outcomes(num_ok: int, num_failed: int) -> list[Outcome]:
    statuses = [Status.OK] * num_ok + [Status.FAILED] * num_failed
    return [Outcome(f"v{number}", status, "hash", 0, 0) for number, status in enumerate(statuses)]


@pytest.mark.parametrize(
    ("num_ok", "num_failed", "said"),
    [(0, 99, ""), (50, 50, ""), (49, 51, "51 of the first 100 videos of this run"), (0, 100, "100 of the first 100")],
)
def test_failed_videos_are_judged_after_a_hundred(num_ok: int, num_failed: int, said: str) -> None:
    budget = FailureBudget(0.5)
    budget.count(outcomes(num_ok, num_failed))
    assert bool(budget.exceeded()) == bool(said)
    assert budget.exceeded().startswith(said)


def test_a_run_is_judged_at_its_end_however_few_videos_it_had() -> None:
    budget = FailureBudget(0.5)
    assert budget.exceeded_at_end() == "", "none of none is not too much"
    budget.count(outcomes(1, 1))
    assert budget.exceeded_at_end() == ""
    budget.count(outcomes(0, 1))
    assert (budget.exceeded(), budget.exceeded_at_end()) == ("", "2 of the 3 videos of this run")


def test_objects_of_ok_videos_are_judged_as_well() -> None:
    budget = FailureBudget(0.5)
    details = OutcomeDetails(num_tracks=7, num_tracks_failed=6)
    budget.count([Outcome("v", Status.OK, "hash", 0, 0, details=details)])
    assert budget.exceeded_at_end() == "6 of the 7 objects of this run"
    budget.count([Outcome(f"v{n}", Status.OK, "hash", 0, 0, details=OutcomeDetails(1)) for n in range(99)])
    assert budget.exceeded() == ""


def test_videos_that_are_tried_again_and_those_without_prompts_do_not_count() -> None:
    budget = FailureBudget(0.5, retried={"v0": "hash", "v1": "another"})
    budget.count([*outcomes(0, 2), Outcome("n", Status.NO_PROMPTS, "", 0, 0)])
    assert budget.exceeded_at_end() == "1 of the 1 video of this run", "v1 has other prompts now"


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

"""Who is blamed for lost workers: chance kills condemn nobody, and a video that is the cause does not go on forever."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pipeline.cluster.executor import Failure
from pipeline.driver.blame import Blame
from pipeline.driver.dispatch import Dispatcher
from pipeline.records import Outcome, Report, Segment, Status, VideoProgress
from tests.support.fake_workers import item

MANY_DEATHS = 1000


def finished(worker_id: str, video_id: str) -> Report:
    segment = Segment(video_id, {}, 0, (Outcome(video_id, Status.OK, "hash", 1, 1),))
    return Report(worker_id, (segment,))


def quarantined(
    num_videos: int, dies: Callable[[str], bool], failure: Failure = Failure.AMBIGUOUS, max_deaths: int = MANY_DEATHS
) -> dict[str, int]:
    """Drive two workers through a plan; the worker of each attempt may die. Returns strikes by quarantined video."""
    dispatcher = Dispatcher(item(f"v{number}") for number in range(num_videos))
    given_up: dict[str, int] = {}
    for worker_id in ("w", "v"):
        dispatcher.add_worker(worker_id)
    opened: dict[str, list[str]] = {"w": [], "v": []}
    num_deaths = 0
    while not dispatcher.done:
        for worker_id, videos in opened.items():
            videos += [one.video_id for one in dispatcher.offers(worker_id, 0.0, 2)]
            if not videos:
                continue
            if num_deaths < max_deaths and dies(videos[0]):
                num_deaths += 1
                loss = dispatcher.lost(worker_id, failure)
                dispatcher.add_worker(worker_id)
                videos.clear()
                given_up |= {one.video_id: loss.strikes[one.video_id] for one in loss.quarantined}
                dispatcher.committed(one.video_id for one in loss.quarantined)
            else:
                done = videos.pop(0)
                dispatcher.report(finished(worker_id, done), 0.0)
                dispatcher.committed([done])
    return given_up


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.1, 0.2, 0.33, 0.5])
def test_thirty_random_kills_over_sixty_videos_quarantine_nobody(rate: float) -> None:
    """Every attempt dies at this rate. Bad luck cannot be told from a fault for certain: of 100 jobs 2 may go wrong."""
    num_wrong = 0
    for seed in range(100):
        chance = random.Random(seed)
        num_wrong += bool(quarantined(60, lambda _: chance.random() < rate, max_deaths=30))  # noqa: B023  # called here
    assert num_wrong <= 2


@pytest.mark.parametrize("seed", range(10))
def test_a_video_that_kills_its_worker_is_quarantined_among_random_kills(seed: int) -> None:
    chance = random.Random(seed)
    found = quarantined(200, lambda video_id: video_id == "v7" or chance.random() < 0.2)
    assert 3 <= found["v7"] <= 9
    assert len(found) <= 2


def test_without_other_deaths_each_deadly_video_is_quarantined_at_its_third_strike() -> None:
    deadly = {"v0", "v30", "v31", "v99"}
    assert quarantined(100, deadly.__contains__) == dict.fromkeys(deadly, 3)


def test_a_batch_of_deadly_videos_costs_fewer_than_four_deaths_each() -> None:
    """A fifth of all videos kill their workers. Each is quarantined, and a few need a fourth or fifth death."""
    deadly = {f"v{number}" for number in range(0, 200, 5)}
    found = quarantined(200, deadly.__contains__)
    assert set(found) == deadly
    assert sum(found.values()) < 4 * len(deadly)


def test_videos_that_always_crash_together_are_not_retried_forever() -> None:
    """Each loss looks like the fault of the node, until the same videos were there too often."""
    assert quarantined(20, {"v3", "v4"}.__contains__, Failure.TOGETHER) == {"v3": 3, "v4": 3}


@pytest.mark.parametrize("failure", [Failure.INFRASTRUCTURE, Failure.ENVIRONMENT])
def test_lost_nodes_and_failed_starts_cost_no_strike(failure: Failure) -> None:
    blame = Blame()
    assert all(blame.lost(["a"], failure).strikes == {} for _ in range(20))
    assert blame.strikes("a") == 0


def test_saved_progress_clears_strikes_and_the_driver_is_told_to_log_it() -> None:
    dispatcher = Dispatcher([item("a")], Blame({"a": 2}))
    dispatcher.add_worker("w")
    dispatcher.offers("w", 0.0)
    same = Report("w", in_flight=(VideoProgress("a", 9, "propagate", num_saved=0),))
    assert dispatcher.report(same, 0.0).strikes == {}
    further = Report("w", in_flight=(VideoProgress("a", 10, "propagate", num_saved=10),))
    assert dispatcher.report(further, 0.0).strikes == {"a": 0}
    assert dispatcher.report(further, 0.0).strikes == {}
    assert dispatcher.lost("w", Failure.AMBIGUOUS).strikes == {"a": 1}


def test_the_same_progress_twice_clears_nothing() -> None:
    blame = Blame()
    assert blame.saved("a", 10)
    blame.lost(["a"], Failure.HANG)
    assert not blame.saved("a", 10), "the next attempt has only come back to where it was"
    assert blame.strikes("a") == 1
    assert blame.saved("a", 11)
    assert blame.strikes("a") == 0


def test_a_death_is_bad_luck_once_all_its_videos_are_finished_even_if_progress_cleared_their_strikes() -> None:
    blame = Blame(max_strikes=2)
    for pair in (["a", "b"], ["d", "e"]):
        blame.lost(pair, Failure.AMBIGUOUS)
        assert blame.saved(pair[0], 5)
        for video_id in pair:
            blame.finished(video_id)
    blame.lost(["c"], Failure.AMBIGUOUS)
    assert blame.lost(["c"], Failure.AMBIGUOUS).quarantined == frozenset(), "2 of 6 attempts ended with bad luck"


def test_deaths_of_videos_that_are_quarantined_are_no_bad_luck() -> None:
    """Their rows come into the log as well, which says nothing of whether they were the cause."""
    blame = Blame()
    for video_id in "abc":
        for _ in range(3):
            verdict = blame.lost([video_id], Failure.AMBIGUOUS)
        assert verdict.quarantined == {video_id}
        blame.finished(video_id)

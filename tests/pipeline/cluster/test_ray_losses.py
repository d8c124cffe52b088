"""How losses of actors are told apart, and which of them wait until the cause is clear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from ray import exceptions

from pipeline.cluster.executor import Failure, Lost
from pipeline.cluster.ray_losses import Doubts, failure_of, losses_together


def lost(worker_id: str, node: str = "n1", failure: Failure = Failure.AMBIGUOUS) -> Lost:
    return Lost(worker_id, failure, "", node)


def failures(losses: Sequence[Lost], **workers_by_node: int) -> list[Failure]:
    return [one.failure for one in losses_together(losses, Counter(workers_by_node))]


def test_most_workers_of_a_node_at_once_are_blamed_on_the_node() -> None:
    assert failures([lost("a"), lost("b")], n1=2) == [Failure.TOGETHER] * 2
    assert failures([lost("a"), lost("b")], n1=3) == [Failure.TOGETHER] * 2


def test_a_single_loss_or_a_few_of_many_are_not() -> None:
    assert failures([lost("a")], n1=1) == [Failure.AMBIGUOUS]
    assert failures([lost("a"), lost("b")], n1=8) == [Failure.AMBIGUOUS] * 2
    assert failures([lost("a"), lost("b", "n2")], n1=2, n2=2) == [Failure.AMBIGUOUS] * 2


def test_other_reasons_stay_what_they_are() -> None:
    losses = [lost("a", failure=Failure.HANG), lost("b"), lost("c")]
    assert failures(losses, n1=3) == [Failure.HANG, Failure.TOGETHER, Failure.TOGETHER]


class Preempted(exceptions.ActorDiedError):
    preempted = True


class InitFailed(exceptions.ActorDiedError):
    actor_init_failed = True


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (exceptions.WorkerCrashedError(), Failure.AMBIGUOUS),
        (exceptions.OutOfMemoryError("killed"), Failure.AMBIGUOUS),
        (exceptions.LocalRayletDiedError(), Failure.INFRASTRUCTURE),
        (exceptions.RayError("The actor died because its node has died."), Failure.INFRASTRUCTURE),
        (Preempted(), Failure.INFRASTRUCTURE),
        (exceptions.RuntimeEnvSetupError("no such package"), Failure.ENVIRONMENT),
        (InitFailed(), Failure.ENVIRONMENT),
    ],
)
def test_an_error_of_ray_says_what_kind_of_failure_it_is(error: exceptions.RayError, failure: Failure) -> None:
    assert failure_of(error, is_setup=False) is failure


def test_a_death_before_the_model_is_loaded_is_a_matter_of_the_environment_unless_the_node_is_gone() -> None:
    assert failure_of(exceptions.WorkerCrashedError(), is_setup=True) is Failure.ENVIRONMENT
    assert failure_of(exceptions.NodeDiedError("gone"), is_setup=True) is Failure.INFRASTRUCTURE


def settled(doubts: Doubts, now: float, *dead_nodes: str) -> list[tuple[str, Failure]]:
    return [(one.worker_id, one.failure) for one in doubts.settled(now, set(dead_nodes), Counter(n1=2, n2=2))]


def test_a_death_waits_a_second_for_others_of_its_node() -> None:
    doubts = Doubts()
    doubts.add(lost("a"), 10.0)
    assert settled(doubts, 10.9) == []
    assert doubts
    assert settled(doubts, 11.0) == [("a", Failure.AMBIGUOUS)]
    assert not doubts


def test_deaths_of_a_node_within_a_second_are_settled_together() -> None:
    doubts = Doubts()
    doubts.add(lost("a"), 10.0)
    doubts.add(lost("b"), 10.9)
    doubts.add(lost("c", "n2"), 10.9)
    assert settled(doubts, 11.0) == [("a", Failure.TOGETHER), ("b", Failure.TOGETHER)]
    assert settled(doubts, 11.9) == [("c", Failure.AMBIGUOUS)]


def test_a_death_on_a_node_that_turns_out_to_be_gone_is_nobodys_fault() -> None:
    doubts = Doubts()
    doubts.add(lost("a"), 10.0)
    assert settled(doubts, 10.1, "n1") == [("a", Failure.INFRASTRUCTURE)]


def test_an_actor_that_cannot_be_reached_waits_for_news_of_its_node() -> None:
    doubts = Doubts()
    doubts.add(Lost("a", Failure.AMBIGUOUS, "ActorUnavailableError: no answer", "n1"), 10.0)
    assert settled(doubts, 34.9) == []
    assert settled(doubts, 35.0) == [("a", Failure.AMBIGUOUS)]

"""A node where workers fail before their first frame is left alone, and nobody's fault is taken for a node's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cluster.executor import Failure, Lost
from pipeline.driver.bad_nodes import BadNodes
from pipeline.driver.summary import JobCounts, summary
from pipeline.records import Ending, Status, WorkItem
from tests.pipeline.driver.test_loop import fates, loop_over
from tests.support.fake_workers import FakeExecutor, Fate

DEAD = Failure.AMBIGUOUS


def failures(nodes: BadNodes, node: str, count: int, failure: Failure = DEAD, with_suspect: bool = False) -> list[str]:
    """Which node is left alone after each of so many workers of `node` that fail before their first frame."""
    found = []
    for number in range(count):
        worker_id = f"{node}-{number}-{len(nodes.left_alone)}"
        if failure is not Failure.ENVIRONMENT:
            nodes.is_ready(worker_id, node)
        found.append(nodes.lost(Lost(worker_id, failure, "CUDA error", node), with_suspect))
    return found


def beside_another() -> BadNodes:
    nodes = BadNodes()
    nodes.is_ready("good", "other")
    return nodes


@pytest.mark.parametrize("failure", [Failure.AMBIGUOUS, Failure.HANG, Failure.TOGETHER, Failure.ENVIRONMENT])
def test_a_node_is_left_alone_after_three_workers_that_failed_before_their_first_frame(failure: Failure) -> None:
    nodes = beside_another()
    assert failures(nodes, "bad", 3, failure) == ["", "", "bad"]
    assert nodes.left_alone["bad"].startswith("3 workers in a row failed there before their first frame; last: CUDA")
    assert failures(nodes, "bad", 2, failure) == ["", ""], "it is said once"


@pytest.mark.parametrize("failure", [Failure.STOPPED, Failure.INFRASTRUCTURE])
def test_a_worker_that_was_ended_or_whose_node_went_says_nothing(failure: Failure) -> None:
    assert not any(failures(beside_another(), "bad", 9, failure))


def test_where_no_worker_started_anywhere_no_node_is_blamed() -> None:
    """The weights cannot be had, or the environment is broken: the limit of failed starts ends that job."""
    assert not any(failures(BadNodes(), "any", 9, Failure.ENVIRONMENT))


def test_a_death_alone_with_a_suspect_is_the_suspects() -> None:
    assert not any(failures(beside_another(), "bad", 9, with_suspect=True))


def test_a_death_after_a_first_frame_is_no_fault_of_the_node_and_a_new_workers_first_frame_clears_it() -> None:
    nodes = beside_another()
    failures(nodes, "bad", 2)
    nodes.is_ready("works", "bad")
    nodes.has_labeled("works")
    assert nodes.lost(Lost("works", DEAD, "", "bad"), was_with_suspect=False) == ""
    assert failures(nodes, "bad", 3) == ["", "", "bad"]


def test_a_worker_that_was_there_before_says_nothing_of_the_card_beside_it() -> None:
    """Of eight cards one is bad: the seven others label on, and each new worker gets the bad one."""
    nodes = beside_another()
    nodes.is_ready("old", "bad")
    nodes.has_labeled("old")
    failures(nodes, "bad", 2)
    nodes.has_labeled("old")
    assert failures(nodes, "bad", 1) == ["bad"]


def test_the_last_node_is_given_up_later_because_the_first_videos_may_all_be_deadly() -> None:
    assert failures(BadNodes(), "only", 6) == ["", "", "", "", "", "only"]


def on_nodes(*names: str) -> Callable[[int], str]:
    return lambda number: names[number % len(names)]


class BrokenCard(FakeExecutor):
    """Each worker on the node `bad` dies at its first call. New workers go where nobody has asked to avoid."""

    def _end(self, worker_id: str, method: str):  # type: ignore[no-untyped-def]
        number = int(worker_id[1:])
        if method == "work" and self.node_of(number) == "bad":
            return Lost(worker_id, DEAD, "CUDA error: an illegal instruction", "bad")
        return super()._end(worker_id, method)


def test_a_job_goes_on_without_the_node_and_says_so(tmp_path: Path) -> None:
    executor = BrokenCard(2)
    executor.node_of = lambda number: "bad" if number in (1, 2, 3) else "good"
    loop = loop_over(executor, [f"v{number}" for number in range(60)], tmp_path)
    assert loop.run() is Ending.DONE
    assert executor.avoided == ["bad"]
    assert set(loop.statuses.values()) == {"ok"}
    assert executor.num_started == 5, "the one that came in place of the bad ones labeled"
    text = summary(loop.progress, JobCounts({Status.OK: 60}), "/out", "maskmill")
    assert "node     bad was left alone: 3 workers in a row failed there before their first frame; last: CUDA" in text


def test_a_job_whose_only_node_is_bad_ends_as_a_fault_of_the_environment(tmp_path: Path) -> None:
    executor = BrokenCard(1, node_of=on_nodes("bad"))
    loop = loop_over(executor, [f"v{number}" for number in range(60)], tmp_path)
    assert loop.run() is Ending.ENVIRONMENT
    assert executor.num_started == 6
    assert loop.statuses == {}
    assert "node bad is left alone" in loop.loop.last_failure


def test_deadly_videos_cost_no_node(tmp_path: Path) -> None:
    deadly: dict[str, Fate] = {f"v{number}": DEAD for number in range(4, 40, 4)}
    executor = FakeExecutor(1, fates(**deadly), node_of=on_nodes("only"))

    def fate(one: WorkItem) -> Fate:
        return deadly.get(one.video_id, Status.OK)

    executor.fate = fate
    loop = loop_over(executor, [f"v{number}" for number in range(40)], tmp_path)
    assert loop.run() is Ending.DONE
    assert executor.avoided == []
    assert {name for name, status in loop.statuses.items() if status == "quarantined"} == set(deadly)

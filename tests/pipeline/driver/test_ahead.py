"""Inboxes of workers that report once in a while: deep enough for the time between, and no deeper at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from pipeline.cluster.executor import Failure
from pipeline.commits.snapshot import JobState
from pipeline.config.cluster_config import ClusterConfig
from pipeline.config.job_config import JobConfig, ModelConfig
from pipeline.driver.dispatch import Dispatcher
from pipeline.driver.driver import _dispatcher
from pipeline.driver.executors import open_executor
from pipeline.records import Report, VideoProgress, WorkItem
from pipeline.storage.job_storage import JobStorage
from tests.pipeline.driver.test_dispatch import segment
from tests.support.fake_workers import item
from tests.support.pretended_gpu import pretended_gpu

AHEAD_SECONDS = 15.0


def plan(num_videos: int, expected_seconds: float = 10.0) -> list[WorkItem]:
    return [replace(item(f"v{number}"), expected_seconds=expected_seconds) for number in range(num_videos)]


def dispatcher(items: list[WorkItem], num_workers: int = 1, videos_in_flight: int = 1) -> Dispatcher:
    made = Dispatcher(items, None, videos_in_flight, AHEAD_SECONDS)
    for number in range(num_workers):
        made.add_worker(f"w{number}")
    return made


def ids(items: tuple[WorkItem, ...]) -> list[str]:
    return [one.video_id for one in items]


@pytest.mark.parametrize(("device", "num_offered", "num_gpus"), [("auto", 5, 1.0), ("cpu", 2, 0.0)])
def test_a_worker_in_this_process_gets_as_many_videos_as_it_labels_at_a_time_on_its_device(
    device: Literal["auto", "cpu"], num_offered: int, num_gpus: float
) -> None:
    """Ray hands GPUs out and tells how many; without Ray the driver looks for itself."""
    model = ModelConfig(name="mini", checkpoint="mini", device=device)
    config = JobConfig(model=model, cluster=ClusterConfig(kind="serial"), output="o")
    state, record = JobState(), SimpleNamespace(config_hash="f", versions="")
    job: Any = SimpleNamespace(config=config, log=SimpleNamespace(state=state), record=record, weights=None)
    job.storage, job.numbers_are_resolved = JobStorage("o"), False
    items = plan(20)
    with pretended_gpu(), open_executor(job) as executor:
        whole: Any = SimpleNamespace(num_to_label=20)
        made = _dispatcher(job, whole, items, executor.gpus_per_worker)
    made.add_worker("w0")
    assert executor.gpus_per_worker == num_gpus
    assert ids(made.offers("w0", now=0.0, num_workers=1)) == [one.video_id for one in items[:num_offered]]


def work_off(made: Dispatcher, worker_id: str, now: float, seconds_each: float, num_workers: int = 1) -> list[str]:
    """The worker labels all that it is offered, and says so. Returns what it was offered."""
    offered = ids(made.offers(worker_id, now, num_workers))
    made.report(Report(worker_id, (segment(*offered),)), now + seconds_each * len(offered))
    made.committed(offered)
    return offered


@pytest.mark.parametrize(("seconds_each", "num"), [(1.2, 13), (5.0, 3), (60.0, 2), (0.01, 34)])
def test_an_inbox_is_work_for_some_seconds_by_what_videos_took(seconds_each: float, num: int) -> None:
    made = dispatcher(plan(1000))
    assert len(work_off(made, "w0", 0.0, seconds_each)) == 2, "nobody knows yet how long a video takes"
    assert len(made.offers("w0", 100.0, 1)) == num


def test_videos_of_which_the_length_is_known_count_by_their_length() -> None:
    made = dispatcher([*plan(2), *plan(1000, expected_seconds=40.0)[2:]])
    work_off(made, "w0", 0.0, 1.0)
    assert len(made.offers("w0", 100.0, 1)) == 4, "4 s each"


def test_calls_that_finish_nothing_count_for_the_video_that_they_were_for() -> None:
    made = dispatcher(plan(1000))
    now = 0.0
    first, _ = made.offers("w0", now, 1)
    for _ in range(3):
        now += 10.0
        made.report(Report("w0", in_flight=(VideoProgress(first.video_id, 1, "labeling"),)), now)
        assert made.offers("w0", now, 1) == ()
    made.report(Report("w0", (segment(first.video_id),)), now + 10.0)
    assert len(made.offers("w0", now + 10.0, 1)) == 1, "a video takes 40 s"


def test_the_last_videos_are_spread() -> None:
    """Ten workers and 300 videos of 1 s: nobody is left with much when the others have nothing."""
    made = dispatcher(plan(300), 10)
    for number in range(10):
        work_off(made, f"w{number}", 0.0, 1.0, 10)
    left = {f"w{number}": list[str]() for number in range(10)}
    now = 100.0
    most_at_the_end = 0
    while not made.done:
        for worker_id, inbox in left.items():
            inbox += ids(made.offers(worker_id, now, 10))
            done, left[worker_id] = inbox[:10], inbox[10:]
            made.report(Report(worker_id, (segment(*done),) if done else ()), now + 10.0)
            made.committed(done)
            if not made.num_waiting(1):
                most_at_the_end = max(most_at_the_end, len(inbox))
        now += 10.0
    assert most_at_the_end <= 4


def test_the_plan_is_counted_and_not_read_ahead_where_its_length_is_known() -> None:
    taken = []

    def stream() -> Iterator[WorkItem]:
        for one in plan(1000):
            taken.append(one.video_id)
            yield one

    made = Dispatcher(stream(), None, 1, AHEAD_SECONDS, num_planned=1000)
    made.add_worker("w0")
    work_off(made, "w0", 0.0, 1.0)
    offered = made.offers("w0", 100.0, 10)
    assert len(offered) == 15
    assert len(taken) <= 2 + 15 + 1
    assert made.num_waiting(5000) == 1000 - 2 - 15


def test_a_plan_that_ends_sooner_than_was_said_ends_the_job() -> None:
    made = Dispatcher(plan(2), None, num_planned=5)
    made.add_worker("w0")
    work_off(made, "w0", 0.0, 1.0)
    made.offers("w0", 100.0, 1)
    assert made.done


def deep(num_videos: int = 100) -> tuple[Dispatcher, list[str]]:
    """A worker with many videos in its inbox, and their ids."""
    made = dispatcher(plan(num_videos))
    work_off(made, "w0", 0.0, 1.0)
    return made, ids(made.offers("w0", 100.0, 1))


@pytest.mark.parametrize("failure", [Failure.AMBIGUOUS, Failure.HANG])
def test_videos_that_only_wait_in_an_inbox_get_no_strike(failure: Failure) -> None:
    made, offered = deep()
    stages = ["labeling", "fetching", *["waiting"] * 13]
    in_flight = tuple(VideoProgress(name, 1, stage) for name, stage in zip(offered, stages, strict=True))
    made.report(Report("w0", in_flight=in_flight), 105.0)
    assert made.lost("w0", failure).strikes == dict.fromkeys(offered[:2], 1)


def test_of_a_worker_that_never_reported_only_the_first_videos_get_a_strike() -> None:
    made, offered = deep()
    assert made.lost("w0", Failure.AMBIGUOUS).strikes == dict.fromkeys(offered[:2], 1)


def test_what_was_lost_with_a_worker_comes_in_small_numbers_until_the_cause_is_found() -> None:
    made, offered = deep()
    made.lost("w0", Failure.AMBIGUOUS)
    deaths = 0
    killer = offered[9]
    while True:
        made.add_worker("w0")
        inbox = ids(made.offers("w0", 200.0, 1))
        if killer not in inbox:
            made.report(Report("w0", (segment(*inbox),)), 201.0)
            made.committed(inbox)
            made.lost("w0", Failure.STOPPED)
            continue
        assert len(inbox) <= 2
        deaths += 1
        if (loss := made.lost("w0", Failure.AMBIGUOUS)).quarantined:
            break
    assert [one.video_id for one in loss.quarantined] == [killer]
    assert deaths <= 4


def test_a_video_that_was_given_back_says_nothing_of_how_long_videos_take() -> None:
    made = dispatcher(plan(1000))
    first, second = made.offers("w0", 0.0, 1)
    made.report(Report("w0", (segment(first.video_id),), returned=(second,)), 10.0, retry_at=1e6)
    made.committed([first.video_id])
    assert len(made.offers("w0", 10.0, 1)) == 2, "one took 10 s, and two are more than 15 s"


def test_the_time_in_which_a_worker_had_nothing_to_do_does_not_count() -> None:
    made = dispatcher(plan(1000))
    work_off(made, "w0", 1000.0, 1.2)
    work_off(made, "w0", 2000.0, 1.2)
    assert len(made.offers("w0", 3000.0, 1)) == 13


def test_videos_that_are_labeled_and_not_published_count_as_finished() -> None:
    made = dispatcher(plan(1000))
    offered = ids(made.offers("w0", 0.0, 1))
    made.report(Report("w0", unflushed=tuple(offered)), 2.4)
    assert len(made.offers("w0", 2.4, 1)) == 13

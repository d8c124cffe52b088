"""The order in which videos that no worker has are handed out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pipeline.driver.waiting import Waiting
from pipeline.records import WorkItem
from tests.support.fake_workers import item


def waiting(video_ids: str, **strikes: int) -> Waiting:
    return Waiting((item(video_id) for video_id in video_ids), lambda video_id: strikes.get(video_id, 0))


def drained(queue: Waiting, now: float = 0.0) -> str:
    found = ""
    while (one := queue.next(now)) is not None:
        found += one.video_id
    return found


def test_lost_items_come_first_then_the_plan_then_what_storage_refused() -> None:
    queue = waiting("abc")
    queue.add_later(item("x"), 5.0)
    queue.add_first([item("l"), item("m")])
    assert drained(queue, 4.9) == "lmabc"
    assert drained(queue, 5.0) == "x"


def test_what_storage_refused_comes_in_the_order_of_its_times() -> None:
    queue = waiting("")
    for name, not_before in (("z", 3.0), ("x", 1.0), ("y", 2.0)):
        queue.add_later(item(name), not_before)
    assert drained(queue, 2.0) == "xy"


def test_a_planned_video_with_strikes_is_a_suspect_at_its_next_attempt() -> None:
    queue = waiting("abc", b=2)
    assert drained(queue) == "ac"
    suspect = queue.next_suspect(0.0)
    assert suspect is not None
    assert (suspect.video_id, suspect.attempt, suspect.alone) == ("b", 3, True)
    assert queue.next_suspect(0.0) is None


def test_a_suspect_that_storage_refused_is_never_handed_out_among_others() -> None:
    queue = waiting("", a=1)
    queue.add_suspect(item("a"))
    suspect = queue.next_suspect(0.0)
    assert suspect is not None
    queue.add_later(suspect, 5.0)
    assert queue.next_suspect(4.0) is None
    assert queue.next(6.0) is None
    assert queue.next_suspect(6.0) == suspect


def test_the_plan_is_read_only_as_far_as_it_is_counted() -> None:
    read: list[str] = []

    def plan() -> Iterator[WorkItem]:
        for video_id in "abcdef":
            read.append(video_id)
            yield item(video_id)

    queue = Waiting(plan(), lambda _: 0)
    assert queue.count(2) == 2
    assert read == ["a", "b"]
    assert queue.count(100) == 6


def test_what_the_plan_has_counted_itself_is_not_read_to_be_counted() -> None:
    read: list[str] = []

    def plan() -> Iterator[WorkItem]:
        for video_id in "abcdef":
            read.append(video_id)
            yield item(video_id)

    queue = Waiting(plan(), lambda _: 0, 6)
    assert (queue.count(100), read) == (6, ["a"])
    longer = Waiting(plan(), lambda _: 0, 4)
    assert drained(longer) == "abcdef"
    assert longer.count(1) == 0
    shorter = Waiting(plan(), lambda _: 0, 9)
    assert drained(shorter) == "abcdef"
    assert shorter.count(5) == 0


def test_a_suspect_that_storage_refused_comes_after_the_others() -> None:
    queue = waiting("a", a=1)
    assert not queue.has_fresh()
    queue.add_later(replace(item("r"), alone=True), 0.0)
    assert [one.video_id for _ in range(2) if (one := queue.next_suspect(1.0))] == ["a", "r"]


def test_what_storage_refused_is_no_suspect_because_none_is_left() -> None:
    queue = waiting("")
    queue.add_later(item("r"), 0.0)
    assert queue.next_suspect(1.0) is None
    assert drained(queue, 1.0) == "r"


def test_a_video_that_is_forgotten_waits_nowhere() -> None:
    queue = waiting("")
    for name, not_before in (("z", 3.0), ("x", 1.0), ("y", 2.0), ("w", 4.0)):
        queue.add_later(item(name), not_before)
    queue.add_suspect(item("s"))
    queue.add_first([item("f")])
    for name in "sfx":
        queue.forget(name)
    assert queue.next_suspect(0.0) is None
    assert drained(queue, 9.0) == "yzw"

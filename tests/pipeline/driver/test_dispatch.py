"""Who labels what next, and what the loss of a worker costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipeline.cluster.executor import Failure
from pipeline.driver.blame import Blame
from pipeline.driver.dispatch import Dispatcher
from pipeline.records import Outcome, Report, Segment, Status, VideoProgress, VideoSource, WorkItem


def item(video_id: str) -> WorkItem:
    return WorkItem(video_id, VideoSource(f"/{video_id}.mp4"), (), "hash")


def dispatcher(video_ids: str = "abcdef", blame: Blame | None = None) -> Dispatcher:
    made = Dispatcher((item(video_id) for video_id in video_ids), blame)
    made.add_worker("w")
    return made


def names(items: tuple[WorkItem, ...]) -> str:
    return "".join(one.video_id for one in items)


def segment(*video_ids: str) -> Segment:
    outcomes = tuple(Outcome(video_id, Status.OK, "hash", 1, 1) for video_id in video_ids)
    return Segment(f"s-{'-'.join(video_ids)}", {}, 0, outcomes)


def report(worker_id: str = "w", done: str = "", unflushed: str = "", returned: tuple[WorkItem, ...] = ()) -> Report:
    return Report(
        worker_id, (segment(*done),) if done else (), (VideoProgress("x", 1, ""),), tuple(unflushed), returned
    )


def test_a_single_worker_gets_the_last_item_into_its_inbox_too() -> None:
    made = dispatcher("ab")
    assert names(made.offers("w", 0, num_workers=1)) == "ab"


def test_an_inbox_holds_one_item_beyond_the_one_in_flight() -> None:
    made = dispatcher()
    assert names(made.offers("w", 0)) == "ab"
    assert names(made.offers("w", 0)) == ""
    made.report(report(unflushed="a"), 0)
    assert names(made.offers("w", 0)) == "c"


def test_the_last_items_wait_for_whoever_is_free() -> None:
    made = dispatcher("abcde")
    made.add_worker("v")
    assert names(made.offers("w", 0, num_workers=2)) == "ab"
    assert names(made.offers("v", 0, num_workers=2)) == "c"
    made.report(report("w", done="a"), 0)
    assert names(made.offers("w", 0, num_workers=2)) == ""
    made.report(report("v", done="c"), 0)
    assert names(made.offers("v", 0, num_workers=2)) == "d"


def test_a_small_job_is_spread_over_workers_that_are_still_starting() -> None:
    made = Dispatcher((item(video_id) for video_id in "abcde"), videos_in_flight=4)
    made.add_worker("first")
    assert names(made.offers("first", 0, num_workers=3)) == "ab"
    made.add_worker("second")
    assert names(made.offers("second", 0, num_workers=3)) == "cd"
    made.report(report("first", done="a"), 0)
    assert names(made.offers("first", 0, num_workers=3)) == "", "the third one has none"
    made.add_worker("third")
    assert names(made.offers("third", 0, num_workers=3)) == "e"


def test_the_plan_is_streamed_and_not_read_ahead() -> None:
    taken = []

    def plan() -> Iterator[WorkItem]:
        for video_id in "abcdefgh":
            taken.append(video_id)
            yield item(video_id)

    made = Dispatcher(plan())
    made.add_worker("w")
    made.offers("w", 0)
    assert taken == ["a", "b"]


def test_it_is_done_when_everything_is_in_the_log() -> None:
    made = dispatcher("ab")
    made.offers("w", 0)
    made.report(report(unflushed="ab"), 0)
    assert made.needs_flush("w")
    made.report(report(done="ab"), 0)
    assert not made.needs_flush("w")
    assert not made.done
    made.committed(["a"])
    assert not made.done
    made.committed(["b"])
    assert made.done


def test_a_result_counts_once() -> None:
    made = dispatcher("ab")
    made.offers("w", 0)
    assert made.awaits("a")
    made.committed(["a"])
    assert not made.awaits("a")
    assert not made.awaits("never planned")


def test_a_lost_node_costs_no_strike_and_its_items_come_first() -> None:
    made = dispatcher()
    made.offers("w", 0)
    loss = made.lost("w", Failure.INFRASTRUCTURE)
    assert (loss.strikes, loss.quarantined) == ({}, ())
    made.add_worker("v")
    again = made.offers("v", 0)
    assert names(again) == "ab"
    assert [(one.attempt, one.alone) for one in again] == [(2, False)] * 2


@pytest.mark.parametrize("failure", [Failure.AMBIGUOUS, Failure.HANG])
def test_videos_in_flight_at_a_death_get_a_strike_and_run_alone_after_the_others(failure: Failure) -> None:
    made = dispatcher("abcd")
    made.offers("w", 0)
    assert made.lost("w", failure).strikes == {"a": 1, "b": 1}
    made.add_worker("v")
    assert names(made.offers("v", 0)) == "cd"
    assert made.offers("v", 0) == ()
    made.report(report("v", done="cd"), 0)
    (suspect,) = made.offers("v", 0)
    assert (suspect.video_id, suspect.alone, suspect.attempt) == ("a", True, 2)
    assert made.offers("v", 0) == ()
    made.report(report("v", done="a"), 0)
    assert names(made.offers("v", 0)) == "b"
    made.report(report("v", done="b"), 0)
    made.committed("abcd")
    assert made.done


def test_a_free_worker_takes_a_suspect_after_some_other_videos() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    made = dispatcher(letters)
    made.offers("w", 0)
    made.lost("w", Failure.AMBIGUOUS)
    made.add_worker("v")
    order = ""
    while not order.endswith("b"):
        offered = names(made.offers("v", 0))
        made.report(report("v", done=offered), 0)
        made.committed(offered)
        order += offered
    assert order == "cdefghijklmnopqrastuvwxyzb"


@pytest.mark.parametrize("dies", [False, True], ids=["workers live", "the one that makes room dies"])
def test_a_suspect_does_not_wait_for_the_end_of_a_long_job(dies: bool) -> None:
    made = dispatcher("ab" + "".join(chr(0x4E00 + number) for number in range(2000)))
    made.offers("w", 0)
    made.lost("w", Failure.AMBIGUOUS)
    inboxes = dict.fromkeys("xy", "")
    for worker_id in inboxes:
        made.add_worker(worker_id)
    done = ""
    while not {"a", "b"} <= set(done):
        for worker_id in inboxes:
            inboxes[worker_id] += names(made.offers(worker_id, 0))
            if dies and len(done) > 256 and len(inboxes[worker_id]) == 1:
                dies, inboxes[worker_id] = False, ""
                made.lost(worker_id, Failure.INFRASTRUCTURE)
                made.add_worker(worker_id)
                continue
            finished, inboxes[worker_id] = inboxes[worker_id][:1], inboxes[worker_id][1:]
            made.report(report(worker_id, done=finished), 0)
            made.committed(finished)
            done += finished
    assert not dies
    assert done.index("a") < 300
    assert done.index("b") < 600


def test_where_workers_die_anyway_it_takes_more_deaths_to_blame_a_video() -> None:
    """Every video but one is labeled at its second attempt: chance explains two deaths there, but not ten."""
    made = dispatcher("abcdefgh", Blame(max_strikes=2))
    num_attempts: Counter[str] = Counter()
    while True:
        offered = names(made.offers("w", 0))
        num_attempts.update(offered)
        done = "".join(video_id for video_id in offered if num_attempts[video_id] == 2 and video_id != "h")
        made.report(report(done=done), 0)
        made.committed(done)
        loss = made.lost("w", Failure.AMBIGUOUS)
        if loss.quarantined:
            break
        made.add_worker("w")
    assert [one.video_id for one in loss.quarantined] == ["h"]
    assert loss.strikes == {"h": 6}  # 3 of 10 attempts at others died: 3 times as many strikes are needed
    made.committed("h")
    assert made.done


def test_a_finished_video_that_was_not_published_is_not_blamed() -> None:
    made = dispatcher()
    made.offers("w", 0)
    made.report(report(unflushed="a"), 0)
    made.offers("w", 0)
    assert made.lost("w", Failure.AMBIGUOUS).strikes == {"b": 1, "c": 1}
    made.add_worker("t")
    assert names(made.offers("t", 0)) == "ad"
    made.report(report("t", done="ad"), 0)
    assert names(made.offers("t", 0)) == "ef"
    made.add_worker("v")
    assert names(made.offers("v", 0)) == "b"
    made.add_worker("u")
    assert names(made.offers("u", 0)) == "c"


def test_the_third_strike_quarantines_only_the_one_that_was_alone() -> None:
    made = dispatcher("ab")
    made.offers("w", 0)
    made.lost("w", Failure.AMBIGUOUS)
    made.add_worker("v")
    assert names(made.offers("v", 0)) == "a"
    assert made.lost("v", Failure.AMBIGUOUS).strikes == {"a": 2}
    made.add_worker("u")
    assert names(made.offers("u", 0)) == "b"
    made.report(report("u", done="b"), 0)
    assert names(made.offers("u", 0)) == "a"
    loss = made.lost("u", Failure.AMBIGUOUS)
    assert loss.strikes == {"a": 3}
    assert [one.video_id for one in loss.quarantined] == ["a"]
    made.committed("b")
    assert not made.done
    made.committed("a")
    assert made.done


def test_strikes_of_an_earlier_run_count() -> None:
    made = dispatcher("abc", Blame({"b": 2}))
    assert names(made.offers("w", 0)) == "ac"
    made.report(report(done="ac"), 0)
    (suspect,) = made.offers("w", 0)
    assert (suspect.video_id, suspect.alone) == ("b", True)
    assert [one.video_id for one in made.lost("w", Failure.AMBIGUOUS).quarantined] == ["b"]


def test_a_suspect_that_ends_well_is_forgiven() -> None:
    made = dispatcher("a", Blame({"a": 2}))
    made.offers("w", 0)
    made.report(report(done="a"), 0)
    made.committed("a")
    assert made.lost("w", Failure.AMBIGUOUS).strikes == {}


def test_losses_of_several_workers_at_once_are_blamed_on_nobody_at_first() -> None:
    made = dispatcher("a", Blame(max_strikes=2))
    seen = []
    for round_number in range(5):
        worker_id = f"v{round_number}"
        made.add_worker(worker_id)
        made.offers(worker_id, 0)
        seen.append(made.lost(worker_id, Failure.TOGETHER).strikes)
    assert seen == [{}, {}, {}, {"a": 1}, {"a": 2}]


def test_a_worker_that_could_not_start_costs_nothing() -> None:
    made = dispatcher("ab")
    assert made.lost("never added", Failure.ENVIRONMENT).strikes == {}
    assert names(made.offers("w", 0)) == "ab"


def test_an_item_that_storage_failed_waits_and_keeps_its_good_name() -> None:
    made = dispatcher("ab")
    first, _ = made.offers("w", 0)
    made.report(report(returned=(first,)), 0, 10.0)
    assert names(made.offers("w", 9.9)) == ""
    assert not made.done
    (again,) = made.offers("w", 10.0)
    assert (again.video_id, again.attempt, again.alone) == ("a", 2, False)


def test_a_suspect_that_storage_failed_still_runs_alone() -> None:
    made = dispatcher("abc", Blame({"a": 1}))
    assert names(made.offers("w", 0)) == "bc"
    made.report(report(done="bc"), 0)
    (suspect,) = made.offers("w", 0)
    made.report(report(returned=(suspect,)), 0, 5.0)
    assert made.offers("w", 1.0) == ()
    (again,) = made.offers("w", 6.0)
    assert again.alone


def refuse(made: Dispatcher, now: float, seconds: float) -> None:
    """The only video is offered, and after some seconds storage refuses it."""
    offered = made.offers("w", now)
    assert names(offered) == "a"
    made.report(replace(report(returned=offered), storage_errors=("no space left",)), now + seconds)


def patient(seconds: float) -> Dispatcher:
    return dispatcher("a", Blame(patience_seconds=seconds))


def test_a_video_that_storage_refuses_while_it_answers_others_is_set_aside() -> None:
    made = patient(100.0)
    for outage in range(5):
        assert (made.done, made.set_aside) == (False, [])
        refuse(made, 30.0 * outage, seconds=25)
        made.storage_is_back()
    assert (made.done, made.set_aside) == (True, ["a"])
    assert not made.awaits("a")


@pytest.mark.parametrize(
    ("every", "seconds", "is_back"),
    [(20.0, 10.0, True), (30.0, 30.0, False), (3600.0, 2.0, True)],
    ids=["a hiccup", "one long outage", "waiting for its turn"],
)
def test_a_video_is_not_set_aside_for(every: float, seconds: float, is_back: bool) -> None:
    made = patient(100.0)
    for number in range(6):
        refuse(made, every * number, seconds)
        if is_back:
            made.storage_is_back()
    assert made.set_aside == []
    assert names(made.offers("w", 1e6)) == "a"


def test_a_video_that_comes_further_between_refusals_is_not_set_aside() -> None:
    made = patient(100.0)
    for number in range(20):
        now = 120.0 * number
        refuse(made, now, seconds=60)
        made.storage_is_back()
        offered = made.offers("w", now + 60)
        further = VideoProgress("a", number + 1, "propagate", num_saved=number + 1)
        made.report(replace(report(returned=offered), in_flight=(further,)), now + 120)
    assert made.set_aside == []


def test_waiting_items_are_counted_without_reading_the_whole_plan() -> None:
    made = dispatcher("abcdef", Blame({"b": 1}))
    assert made.num_waiting(3) == 3
    assert names(made.offers("w", 0)) == "ac"
    assert made.num_waiting(100) == 4


@pytest.mark.parametrize("has_suspect", [False, True])
def test_one_worker_at_a_time_makes_room_for_a_suspect_and_none_where_there_is_none(has_suspect: bool) -> None:
    made = dispatcher("a" + "".join(chr(0x4E00 + number) for number in range(1000)), Blame({"a": int(has_suspect)}))
    made.add_worker("v")
    inboxes = {worker_id: names(made.offers(worker_id, 0)) for worker_id in "wv"}

    def finish_one(worker_id: str) -> str:
        """The worker has always one left, so that it is never free."""
        finished, inboxes[worker_id] = inboxes[worker_id][:1], inboxes[worker_id][1:]
        made.report(report(worker_id, done=finished), 0)
        made.committed(finished)
        offered = names(made.offers(worker_id, 0))
        inboxes[worker_id] += offered
        return offered

    for _ in range(127):
        assert all([finish_one("w"), finish_one("v")])
    assert finish_one("w")
    assert (finish_one("v") == "") == has_suspect
    assert [bool(finish_one("w")) for _ in range(3)] == [True] * 3, "one that runs dry is enough"
    if has_suspect:
        assert finish_one("v") == "a"


@pytest.mark.parametrize("where", ["set aside", "waiting", "held"])
def test_a_video_that_is_given_up_is_not_handed_out_again_and_awaits_its_row(where: str) -> None:
    made = dispatcher("a", Blame(patience_seconds=0.0))
    (given,) = made.offers("w", 0)
    if where == "waiting":
        made.report(report(returned=(given,)), 0, 0.0)
    elif where == "set aside":
        for now in range(5):
            made.report(replace(report(returned=(given,)), storage_errors=("away",)), now + 1)
            made.storage_is_back()
            made.offers("w", now + 1)
    (unfinished,) = made.unfinished()
    made.give_up(unfinished)
    assert (made.unfinished(), made.set_aside, made.num_waiting(1)) == ([], [], 0)
    assert made.offers("w", 1e6) == ()
    assert (made.awaits("a"), made.done) == (True, False)
    made.committed("a")
    assert made.done


def test_what_a_worker_gives_back_without_an_error_of_storage_was_not_refused() -> None:
    made = patient(100.0)
    for number in range(6):
        offered = made.offers("w", 60.0 * number)
        made.report(report(returned=offered), 60.0 * number + 50)
        made.storage_is_back()
    assert made.set_aside == []
    made.report(report(returned=(item("never offered"),)), 400.0)
    assert names(made.offers("w", 400.0)) == "a"


def test_what_was_read_of_the_plan_and_not_handed_out_is_not_unfinished() -> None:
    made = dispatcher("abcd")
    assert not made.needs_flush("w")
    assert made.num_waiting(4) == 4
    made.offers("w", 0)
    made.report(report(unflushed="a"), 0)
    assert not made.needs_flush("w"), "b is open"
    assert [one.video_id for one in made.unfinished()] == ["a", "b"]
    made.lost("w", Failure.INFRASTRUCTURE)
    assert [one.video_id for one in made.unfinished()] == ["a", "b"]

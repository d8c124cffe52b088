"""Videos in flight step when their frames are there: a slow one delays nobody, and what is ready shares a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pipeline.errors import WorkerBroken
from pipeline.worker.stepping import Lane

STEP_SECONDS = 0.004


@dataclass
class Clock:
    """Time passes while somebody waits or computes."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@dataclass(eq=False)
class Film:
    """A video whose frames take `frame_seconds` to decode, one after the other, ahead of its steps."""

    clock: Clock
    frame_seconds: float = 0.0
    num_frames: int = 1000
    is_by_itself: bool = False
    is_at_its_end: bool = False
    num_done: int = 0
    num_looks: int = 0
    is_fetched: bool = False
    check: Callable[[], None] = lambda: None

    @property
    def is_ready(self) -> bool:
        return self.clock() >= (self.num_done + 1) * self.frame_seconds

    def begin_fetch(self) -> None:
        self.is_fetched = True

    def check_progress(self) -> None:
        self.num_looks += 1
        self.check()


def test_videos_behind_those_at_their_end_are_fetched_before_they_are_labeled() -> None:
    """Several videos may be at their end at once: clips of one length, whose last masks are all on their way."""
    lane: Lane[Film] = Lane(2, clock=Clock())
    films = [Film(Clock()) for _ in range(8)]
    for film in films:
        lane.add(film)
    assert [film.is_fetched for film in films] == [True] * 4 + [False] * 4
    for film in films[:4]:
        film.is_at_its_end = True
    assert films[4] in lane.next_batch(0.0)
    assert [film.is_fetched for film in films] == [True] * 8


@dataclass
class Run:
    """A worker with a clock of its own: a round of steps takes as long as one step, whatever the batch."""

    limit: int = 4
    clock: Clock = field(default_factory=Clock)
    sizes: list[int] = field(default_factory=list)

    def seconds_until(self, lane: Lane[Film], film: Film) -> float:
        while film.num_done < film.num_frames:
            batch = lane.next_batch(self.clock() + 10.0)
            self.sizes.append(len(batch))
            for one in batch:
                one.num_done += 1
            self.clock.pass_by(STEP_SECONDS)
        return self.clock()

    def lane(self, *films: Film) -> Lane[Film]:
        lane: Lane[Film] = Lane(
            self.limit, clock=self.clock, wait=lambda seconds: self.clock.pass_by(min(seconds, 1e-3))
        )
        for film in films:
            lane.add(film)
        return lane


def test_a_slow_neighbor_costs_a_video_a_tenth_of_its_time_at_most() -> None:
    alone = Run()
    film = Film(alone.clock)
    seconds_alone = alone.seconds_until(alone.lane(film), film)
    beside = Run()
    film, slow = Film(beside.clock), Film(beside.clock, frame_seconds=0.5)
    seconds_beside = beside.seconds_until(beside.lane(slow, film), film)
    assert seconds_beside <= 1.1 * seconds_alone
    assert slow.num_done == pytest.approx(seconds_beside / 0.5, abs=1.5), "the slow one goes at its own pace"


def test_what_is_ready_at_the_same_time_shares_a_batch() -> None:
    run = Run()
    films = [Film(run.clock, num_frames=50) for _ in range(3)]
    run.seconds_until(run.lane(*films), films[0])
    assert set(run.sizes) == {3}


def test_no_more_videos_are_labeled_than_asked_for_and_one_at_its_end_makes_room() -> None:
    run = Run(limit=2)
    first, second, third = (Film(run.clock) for _ in range(3))
    lane = run.lane(first, second, third)
    assert lane.next_batch(1.0) == [first, second]
    first.is_at_its_end = True
    assert lane.next_batch(1.0) == [second, third, first]


def test_a_video_by_itself_waits_until_it_is_first_and_shares_no_batch() -> None:
    run = Run()
    first, alone, last = Film(run.clock), Film(run.clock, is_by_itself=True), Film(run.clock)
    lane = run.lane(first, alone, last)
    assert lane.next_batch(1.0) == [first, last]
    lane.remove(first)
    assert lane.next_batch(1.0) == [alone]


def test_without_anything_to_do_it_waits_for_a_second_or_until_the_deadline() -> None:
    run = Run()
    waits: list[float] = []
    lane: Lane[Film] = Lane(4, clock=run.clock, wait=waits.append)
    lane.add(Film(run.clock, frame_seconds=100.0))
    assert lane.next_batch(10.0) == lane.next_batch(0.25) == lane.next_batch(-1.0) == []
    assert waits == [1.0, 0.25]


def test_the_last_masks_of_a_video_are_looked_for_now_and_then_while_another_is_decoded() -> None:
    run = Run()
    ending = Film(run.clock, is_at_its_end=True)
    lane = run.lane(ending, Film(run.clock, frame_seconds=1.0))
    assert lane.next_batch(10.0) == [ending]
    assert run.clock() < 0.01


def test_a_hang_is_looked_for_only_where_nothing_else_is_to_be_done() -> None:
    def hangs() -> None:
        raise WorkerBroken("decoding hangs")

    run = Run()
    relaxed: list[bool] = []
    film, hanging = Film(run.clock), Film(run.clock, frame_seconds=1e9, check=hangs)
    lane: Lane[Film] = Lane(2, clock=run.clock, relax=lambda: relaxed.append(True))
    lane.add(hanging)
    lane.add(film)
    assert lane.next_batch(1.0) == [film]
    assert relaxed == [True]
    lane.remove(film)
    with pytest.raises(WorkerBroken, match="decoding hangs"):
        lane.next_batch(0.0)


def test_as_many_videos_are_fetched_ahead_as_are_labeled() -> None:
    run = Run(limit=2)
    films = [Film(run.clock) for _ in range(6)]
    lane = run.lane(*films)
    assert [film.is_fetched for film in films] == [True] * 4 + [False] * 2
    lane.remove(films[1])
    assert [film.is_fetched for film in films] == [True] * 5 + [False]

"""Who labels what next, and what a lost worker costs: the scheduler's logic, without Ray, storage or clocks of its own.

An item is *waiting* (streamed from the plan, or given back), *held* by one worker (offered to it, not yet published),
or *published* (in a segment that the driver has not committed). It leaves when the driver says that it is in the log,
or is *set aside* for a later run when storage refuses it again and again.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.cluster.executor import Failure
from pipeline.driver.blame import Refusals
from pipeline.records import Report, WorkItem


@dataclass(frozen=True)
class Loss:
    """What a lost worker means for its items: new strikes by video, and those that have too many."""

    strikes: dict[str, int]
    quarantined: tuple[WorkItem, ...]


@dataclass
class _Held:
    """What one worker has. `unflushed` are labelled but live on the worker's disk only."""

    items: dict[str, WorkItem] = field(default_factory=dict)
    unflushed: frozenset[str] = frozenset()

    def open_items(self) -> list[WorkItem]:
        return [item for video_id, item in self.items.items() if video_id not in self.unflushed]


# Losses that are blamed on nobody become strikes after so many of one video, or two videos that always kill their
# workers at the same moment would go on for ever.
_MAX_LOSSES_TOGETHER = 3


# A suspect waits for a worker that has nothing open and until so many other videos are done, or nothing else is left:
# others come first, and by then it is known how often workers die without any video's fault.
_SUSPECT_AFTER_VIDEOS = 16

# Workers that live have always something open while there are fresh videos. After so many of these one of them is left
# without new ones until it is free for a suspect, or all suspects would wait for the end of a long job.
_ROOM_AFTER_VIDEOS = 256

# A video is quarantined when deaths of its workers are less likely than this to be chance; in any case after so many
# times `max_strikes` of them.
_CHANCE = 1e-3
_PATIENCE = 4

# How far the plan is read ahead to see whether an inbox would be a bad place to wait.
_MOST_LOOKED_AT = 4096


class Dispatcher:
    """Hands out the plan. `videos_in_flight` is how many videos a worker has open; one more waits in its inbox."""

    def __init__(
        self,
        plan: Iterable[WorkItem],
        strikes: Mapping[str, int] | None = None,
        videos_in_flight: int = 1,
        max_strikes: int = 3,
        refusals: Refusals | None = None,
    ) -> None:
        self._plan: Iterator[WorkItem] = iter(plan)
        self._exhausted = False
        self._front: deque[WorkItem] = deque()
        self._suspects: deque[WorkItem] = deque()
        self._later: list[tuple[float, str, WorkItem]] = []
        self._held: dict[str, _Held] = {}
        self._uncommitted: dict[str, int] = {}
        self._strikes = {video_id: count for video_id, count in (strikes or {}).items() if count}
        self._together: dict[str, int] = {}
        self._num_saved: dict[str, int] = {}
        self._refusals = Refusals() if refusals is None else refusals
        self._set_aside: list[str] = []
        self._cleared: set[str] = set()
        self._num_labelled = 0
        self._num_innocent_deaths = 0
        self._deaths: list[set[str]] = []
        self._num_since_suspect = 0
        self._running_dry = ""
        self._inbox = videos_in_flight + 1
        self._max_strikes = max_strikes

    def add_worker(self, worker_id: str) -> None:
        """A worker that can take offers."""
        self._held[worker_id] = _Held()

    def offers(self, worker_id: str, now: float, num_workers: int = 0) -> tuple[WorkItem, ...]:
        """New items for a worker, so that one lies in its inbox beyond those in flight; a suspect comes alone.

        The last items go to whoever of `num_workers` is free: in an inbox they would wait for the video before them.
        Which are the last depends on how long that one is: others take so many items in the meantime.
        """
        held = self._held[worker_id]
        opened = held.open_items()
        if any(item.alone for item in opened):
            return ()
        if opened and self._must_run_dry(worker_id):
            return ()
        if not opened and (self._num_since_suspect >= _SUSPECT_AFTER_VIDEOS or not self._has_fresh()):
            suspect = self._next_suspect(now)
            if suspect is not None:
                self._num_since_suspect, self._running_dry = 0, ""
                return self._hand_over(held, [suspect], now)
        chosen: list[WorkItem] = []
        while len(opened) + len(chosen) < self._inbox:
            if len(opened) + len(chosen) == self._inbox - 1 and self._others_are_sooner(
                [*opened, *chosen], num_workers
            ):
                break
            item = self._next(now)
            if item is None:
                break
            chosen.append(item)
        return self._hand_over(held, chosen, now)

    def report(self, report: Report, now: float, retry_at: float = 0.0) -> None:
        """What a worker said. Items that it gave back (storage faults) are not offered again before `retry_at`."""
        held = self._held[report.worker_id]
        for segment in report.segments:
            for outcome in segment.outcomes:
                held.items.pop(outcome.video_id, None)
        for item in report.returned:
            if held.items.pop(item.video_id, None) is None:
                continue
            if report.storage_errors and self._refusals.add(item.video_id, now, retry_at):
                self._uncommitted.pop(item.video_id, None)
                self._set_aside.append(item.video_id)
            else:
                again = replace(item, attempt=item.attempt + 1)
                heapq.heappush(self._later, (retry_at, item.video_id, again))
        held.unflushed = frozenset(report.unflushed)
        for progress in report.in_flight:
            if progress.num_saved > self._num_saved.get(progress.video_id, 0):
                self._num_saved[progress.video_id] = progress.num_saved
                self._refusals.forget(progress.video_id)
                if self._strikes.pop(progress.video_id, 0):
                    self._cleared.add(progress.video_id)

    def storage_is_back(self) -> None:
        """Storage answered: what it refuses from now on is another outage."""
        self._refusals.storage_is_back()

    def take_cleared(self) -> dict[str, int]:
        """New totals of strikes, 0, of videos that have come further than where they were saved before."""
        cleared, self._cleared = dict.fromkeys(self._cleared, 0), set()
        return cleared

    def awaits(self, video_id: str) -> bool:
        """Whether a published result of this video is new: it was handed out and is not in the log."""
        return video_id in self._uncommitted

    def attempt_of(self, video_id: str) -> int:
        """Which attempt at a video that is not in the log was handed out last."""
        return self._uncommitted.get(video_id, 1)

    def committed(self, video_ids: Iterable[str]) -> None:
        """These videos are in the log."""
        for video_id in video_ids:
            self._uncommitted.pop(video_id, None)
            self._num_labelled += 1
            self._num_since_suspect += 1
            if self._strikes.pop(video_id, 0):
                self._acquit(video_id)
            self._together.pop(video_id, None)
            self._refusals.forget(video_id)
            self._num_saved.pop(video_id, None)

    def lost(self, worker_id: str, failure: Failure) -> Loss:
        """A worker is gone: its items wait again, in front; those that may have killed it get a strike."""
        held = self._held.pop(worker_id, _Held())
        strikes: dict[str, int] = {}
        quarantined: list[WorkItem] = []
        suspects: list[WorkItem] = []
        for item in reversed(held.items.values()):
            again = replace(item, attempt=item.attempt + 1)
            if item.video_id in held.unflushed or not self._is_blamed(item.video_id, failure):
                self._front.appendleft(again)
                continue
            strikes[item.video_id] = self._strikes[item.video_id] = self._strikes.get(item.video_id, 0) + 1
            if self._is_condemned(strikes[item.video_id]):
                quarantined.append(item)
                del self._strikes[item.video_id]
            else:
                suspects.append(replace(again, alone=True))
        self._suspects.extend(reversed(suspects))
        if quarantined:
            self._deaths = [death for death in self._deaths if not death & {item.video_id for item in quarantined}]
        elif strikes:
            self._deaths.append(set(strikes))
        return Loss(strikes, tuple(reversed(quarantined)))

    def num_open(self, worker_id: str) -> int:
        """Videos that a worker has and has not finished."""
        return len(self._held[worker_id].open_items())

    def holds_nothing(self, worker_id: str) -> bool:
        """Whether a worker has no video, finished or not."""
        return not self._held[worker_id].items

    def needs_flush(self, worker_id: str) -> bool:
        """Whether a worker holds finished videos and nothing else, with nothing more to come soon."""
        held = self._held[worker_id]
        return bool(held.items) and not held.open_items()

    def num_waiting(self, at_most: int) -> int:
        """How many items wait to be handed out, counted up to `at_most` (the plan is a stream)."""
        while not self._exhausted and self._num_waiting() < at_most:
            item = next(self._plan, None)
            if item is None:
                self._exhausted = True
            else:
                self._queue(item)
        return min(self._num_waiting(), at_most)

    @property
    def done(self) -> bool:
        """Nothing waits and everything that was handed out is in the log, or set aside."""
        return not self._uncommitted and self.num_waiting(1) == 0

    @property
    def set_aside(self) -> Sequence[str]:
        """Videos that storage refused so often that they are left to a later run."""
        return self._set_aside

    def _others_are_sooner(self, before: Sequence[WorkItem], num_workers: int) -> bool:
        """Whether the next item waits less for a free worker than behind `before` in an inbox."""
        if num_workers == 1:
            return False
        next_seconds = self._front[0].expected_seconds if self._has_fresh() else 0.0
        # Those in flight share the worker, so the shortest is done after as many times its length.
        seconds = len(before) * min((item.expected_seconds for item in before), default=0.0)
        num_meanwhile = max(1.0, seconds / next_seconds) if next_seconds > 0 and seconds > 0 else 1.0
        at_most = min(int(num_workers * num_meanwhile), max(_MOST_LOOKED_AT, num_workers))
        return self.num_waiting(at_most + 1) <= at_most

    def _hand_over(self, held: _Held, items: Sequence[WorkItem], now: float) -> tuple[WorkItem, ...]:
        self._refusals.offered((item.video_id for item in items), now)
        held.items.update((item.video_id, item) for item in items)
        self._uncommitted.update((item.video_id, item.attempt) for item in items)
        return tuple(items)

    def _is_blamed(self, video_id: str, failure: Failure) -> bool:
        if failure is Failure.TOGETHER:
            self._together[video_id] = self._together.get(video_id, 0) + 1
            return self._together[video_id] > _MAX_LOSSES_TOGETHER
        return failure in (Failure.AMBIGUOUS, Failure.HANG)

    def _acquit(self, video_id: str) -> None:
        """A video was labelled after deaths of its workers; a death was chance if this is so for all its suspects."""
        for death in self._deaths:
            death.discard(video_id)
        self._num_innocent_deaths += sum(not death for death in self._deaths)
        self._deaths = [death for death in self._deaths if death]

    def _is_condemned(self, num_strikes: int) -> bool:
        """Whether so many deaths of its workers are a video's fault.

        Where workers die anyway, killed by somebody or on a bad machine, some videos are in flight several times. How
        often that happens is seen from the videos that were labelled in the end.
        """
        if num_strikes < self._max_strikes:
            return False
        innocent = self._num_innocent_deaths
        chance = innocent / (innocent + self._num_labelled) if innocent else 0.0
        return chance**num_strikes <= _CHANCE or num_strikes >= _PATIENCE * self._max_strikes

    def _has_fresh(self) -> bool:
        """Whether a video without strikes waits."""
        while not self._front and not self._exhausted:
            planned = next(self._plan, None)
            if planned is None:
                self._exhausted = True
            else:
                self._queue(planned)
        return bool(self._front)

    def _next(self, now: float) -> WorkItem | None:
        """The next item in turn; what storage refused comes last, or a host that is gone would hold up all others."""
        if self._has_fresh():
            return self._front.popleft()
        if self._later and self._later[0][0] <= now:
            _, _, item = heapq.heappop(self._later)
            if not item.alone:
                return item
            self._suspects.append(item)
        return None

    def _must_run_dry(self, worker_id: str) -> bool:
        """Whether a worker gets nothing new until it is free for a suspect; one of them at a time."""
        is_time = self._num_since_suspect >= _ROOM_AFTER_VIDEOS and bool(self._suspects)
        if is_time and self._running_dry not in self._held:
            self._running_dry = worker_id
        return self._running_dry == worker_id

    def _next_suspect(self, now: float) -> WorkItem | None:
        if not self._suspects and self._later and self._later[0][0] <= now and self._later[0][2].alone:
            return heapq.heappop(self._later)[2]
        return self._suspects.popleft() if self._suspects else None

    def _queue(self, item: WorkItem) -> None:
        """An item of the plan waits: with strikes from an earlier run it is a suspect."""
        if self._strikes.get(item.video_id):
            self._suspects.append(replace(item, alone=True, attempt=self._strikes[item.video_id] + 1))
        else:
            self._front.append(item)

    def _num_waiting(self) -> int:
        return len(self._front) + len(self._suspects) + len(self._later)

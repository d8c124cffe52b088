"""Who labels what next. The scheduler's logic, without Ray, storage or a clock of its own.

An item is *waiting* (`Waiting`), *held* by one worker (offered to it, and not yet published), or *published* (in a
segment that the driver has not committed). It leaves when the driver says that it is in the log. A video that storage
refuses again and again is *set aside* for a later run. `Blame` decides about that, and about suspects and quarantine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.cluster.executor import Failure
from pipeline.driver.blame import Blame
from pipeline.driver.tempo import Tempo
from pipeline.driver.waiting import Waiting
from pipeline.records import Report, WorkItem

# A suspect runs after 16 other videos are finished, or when nothing else is left. The others come first because they
# are likely to succeed, and because `Blame` sees from them how often workers die through no video's fault.
_SUSPECT_AFTER_VIDEOS = 16

# A suspect needs a worker that has nothing else open, and a worker always has something open while there are fresh
# videos. After 256 finished videos one worker at a time gets no new videos until it is free, because suspects would
# otherwise wait for the end of a long job.
_ROOM_AFTER_VIDEOS = 256

# How far the plan is read ahead to see whether other workers would be free before a video in an inbox is reached.
_MOST_LOOKED_AT = 4096

# How many videos lie in an inbox at most, however short they are: they are lost together with their worker.
_MOST_AHEAD = 32


@dataclass(frozen=True)
class Noted:
    """What a report changes: new totals of strikes (0: cleared) by video, and the items that are set aside."""

    strikes: Mapping[str, int]
    set_aside: Sequence[WorkItem]


@dataclass(frozen=True)
class Loss:
    """What a lost worker means for its items: new totals of strikes by video, and those that are quarantined."""

    strikes: Mapping[str, int]
    quarantined: tuple[WorkItem, ...]


@dataclass
class _Held:
    """What one worker has. `unflushed` are labeled, and their rows are on the worker's disk only.

    `tried_since` is when each item was offered to the worker, or when its saved frames last became more. `untouched`
    are those that lay in its inbox at its last report. It works since `asked_at`, and did for `seconds` before that
    since it finished a video.
    """

    items: dict[str, WorkItem] = field(default_factory=dict)
    tried_since: dict[str, float] = field(default_factory=dict)
    unflushed: frozenset[str] = frozenset()
    untouched: frozenset[str] = frozenset()
    asked_at: float = 0.0
    seconds: float = 0.0

    def open_items(self) -> list[WorkItem]:
        return [item for video_id, item in self.items.items() if video_id not in self.unflushed]

    def in_flight(self, at_most: int) -> list[str]:
        """The videos that the worker may have been at: the first ones that it did not say lie in its inbox.

        Videos are labeled in the order in which they were offered, so the first one is always among them.
        """
        first = [item.video_id for item in self.open_items()[:at_most]]
        return [video_id for video_id in first if video_id not in self.untouched] or first[:1]

    def add(self, items: Sequence[WorkItem], now: float) -> None:
        self.items.update((item.video_id, item) for item in items)
        self.tried_since.update((item.video_id, now) for item in items)

    def drop(self, video_id: str) -> None:
        self.items.pop(video_id, None)
        self.tried_since.pop(video_id, None)


class Dispatcher:
    """Hands out the plan. `videos_in_flight` is how many videos a worker has open; one more waits in its inbox.

    More wait there while they are short: work for `ahead_seconds`, so that a worker that reports once in a while
    never waits for the driver's answer. `num_planned` is how many items the plan has, if that is known.
    """

    def __init__(
        self,
        plan: Iterable[WorkItem],
        blame: Blame | None = None,
        videos_in_flight: int = 1,
        ahead_seconds: float = 0.0,
        num_planned: int = 0,
    ) -> None:
        self._blame = Blame() if blame is None else blame
        self._waiting = Waiting(plan, self._blame.strikes, num_planned)
        self._inbox = videos_in_flight + 1
        self._ahead_seconds = ahead_seconds
        self._tempo = Tempo()
        self._held: dict[str, _Held] = {}
        self._uncommitted: dict[str, int] = {}  # attempt by video
        self._set_aside: list[WorkItem] = []
        self._num_since_suspect = 0
        self._running_dry = ""

    def add_worker(self, worker_id: str) -> None:
        """This worker can take offers."""
        self._held[worker_id] = _Held()

    def offers(self, worker_id: str, now: float, num_workers: int = 0) -> tuple[WorkItem, ...]:
        """New items for a worker, so that one lies in its inbox beyond those in flight, or work for some seconds.

        A suspect comes alone. The last items of the plan go to whichever of `num_workers` is free, because in an inbox
        they would wait for the video before them. How many items are the last ones depends on the length of that video.
        """
        held = self._held[worker_id]
        held.asked_at = now
        opened = held.open_items()
        if any(item.alone for item in opened) or (opened and self._must_run_dry(worker_id)):
            return ()
        if not opened and (self._num_since_suspect >= _SUSPECT_AFTER_VIDEOS or not self._waiting.has_fresh()):
            suspect = self._waiting.next_suspect(now)
            if suspect is not None:
                self._num_since_suspect, self._running_dry = 0, ""
                return self._hand_over(held, [suspect], now)
        chosen: list[WorkItem] = []
        while len(opened) + len(chosen) < self._inbox:
            before = [*opened, *chosen]
            if len(before) == self._inbox - 1 and self._others_are_sooner(before, num_workers):
                break
            # Nobody has less than nothing: a thousand workers are not asked at each report.
            if before and self._others_have_less(held, len(before), num_workers):
                break
            item = self._waiting.next(now)
            if item is None:
                break
            chosen.append(item)
        if len(opened) + len(chosen) == self._inbox:
            chosen += self._ahead([*opened, *chosen], now, num_workers)
        return self._hand_over(held, chosen, now)

    def report(self, report: Report, now: float, retry_at: float = 0.0) -> Noted:
        """What a worker said. Items that it gave back (storage faults) are not offered again before `retry_at`."""
        held = self._held[report.worker_id]
        open_before = held.open_items()
        set_aside: list[WorkItem] = []
        for segment in report.segments:
            for outcome in segment.outcomes:
                held.drop(outcome.video_id)
        for returned in report.returned:
            item = held.items.get(returned.video_id)
            if item is None:
                continue
            tried_seconds = max(now, retry_at) - held.tried_since[item.video_id]
            held.drop(item.video_id)
            if report.storage_errors and self._blame.refused(item.video_id, tried_seconds):
                self._uncommitted.pop(item.video_id, None)
                set_aside.append(item)
            else:
                self._waiting.add_later(replace(item, attempt=item.attempt + 1), retry_at)
        held.unflushed = frozenset(report.unflushed)
        held.untouched = frozenset(progress.video_id for progress in report.in_flight if progress.is_waiting)
        self._note_tempo(held, open_before, report, now)
        cleared: dict[str, int] = {}
        for progress in report.in_flight:
            had_strikes = self._blame.strikes(progress.video_id) > 0
            if not self._blame.saved(progress.video_id, progress.num_saved):
                continue
            if progress.video_id in held.items:
                held.tried_since[progress.video_id] = now
            if had_strikes:
                cleared[progress.video_id] = 0
        self._set_aside += set_aside
        return Noted(cleared, set_aside)

    def storage_is_back(self) -> None:
        """Storage answered. What it refuses from now on belongs to another outage."""
        self._blame.storage_is_back()

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
            self._num_since_suspect += 1
            self._blame.finished(video_id)

    def lost(self, worker_id: str, failure: Failure) -> Loss:
        """A worker is gone. Its items wait again: in front, or among the suspects if they may have been the cause."""
        held = self._held.pop(worker_id, _Held())
        verdict = self._blame.lost(held.in_flight(self._inbox), failure)
        again = {video_id: replace(item, attempt=item.attempt + 1) for video_id, item in held.items.items()}
        self._waiting.add_first([item for video_id, item in again.items() if video_id not in verdict.strikes])
        for video_id in verdict.strikes:
            if video_id not in verdict.quarantined:
                self._waiting.add_suspect(again[video_id])
        quarantined = tuple(item for item in held.items.values() if item.video_id in verdict.quarantined)
        return Loss(verdict.strikes, quarantined)

    def has_suspect(self, worker_id: str) -> bool:
        """Whether a worker is alone with a video that may be what kills workers."""
        return any(item.alone for item in self._held.get(worker_id, _Held()).open_items())

    def num_open(self, worker_id: str) -> int:
        """How many videos a worker has and has not finished."""
        return len(self._held[worker_id].open_items())

    def needs_flush(self, worker_id: str) -> bool:
        """Whether a worker holds finished videos and nothing else, with nothing more to come soon."""
        held = self._held[worker_id]
        return bool(held.items) and not held.open_items()

    def num_waiting(self, at_most: int) -> int:
        """How many items wait to be handed out, counted up to `at_most` (the plan is a stream)."""
        return self._waiting.count(at_most)

    @property
    def done(self) -> bool:
        """Whether nothing waits and everything that was handed out is in the log, or set aside."""
        return not self._uncommitted and self.num_waiting(1) == 0

    @property
    def set_aside(self) -> Sequence[str]:
        """Videos that storage refused so often that they are left to a later run."""
        return [item.video_id for item in self._set_aside]

    def unfinished(self) -> list[WorkItem]:
        """Items that were handed out and have no row, at the end of a run: set aside, waiting, or with a worker."""
        waiting = [item for item in self._waiting.known() if item.video_id in self._uncommitted]
        held = [item for held in self._held.values() for item in held.items.values()]
        return [*self._set_aside, *waiting, *held]

    def give_up(self, item: WorkItem) -> None:
        """This unfinished item gets a row from the driver."""
        self._set_aside = [other for other in self._set_aside if other.video_id != item.video_id]
        self._waiting.forget(item.video_id)
        for held in self._held.values():
            held.drop(item.video_id)
        self._uncommitted[item.video_id] = item.attempt

    def _hand_over(self, held: _Held, items: Sequence[WorkItem], now: float) -> tuple[WorkItem, ...]:
        held.add(items, now)
        self._uncommitted.update((item.video_id, item.attempt) for item in items)
        return tuple(items)

    def _note_tempo(self, held: _Held, open_before: Sequence[WorkItem], report: Report, now: float) -> None:
        """A worker has reported: how long it took for what it has finished."""
        held.seconds += now - held.asked_at
        returned = {item.video_id for item in report.returned}
        gone = (item for item in open_before if item.video_id not in held.items or item.video_id in held.unflushed)
        if finished := [item for item in gone if item.video_id not in returned]:
            self._tempo.finished(finished, held.seconds)
            held.seconds = 0.0

    def _ahead(self, before: Sequence[WorkItem], now: float, num_workers: int) -> list[WorkItem]:
        """Further items for an inbox that has `before`, while these are work for less than `ahead_seconds`.

        Each further place is filled only while all workers could fill it twice, because a video in an inbox waits for
        its worker although another may be free. Items that were lost with a worker share theirs with few others:
        whoever killed it is found sooner.
        """
        chosen: list[WorkItem] = []
        seconds = sum(self._tempo.seconds(item) for item in before)
        if any(item.attempt > 1 for item in before):
            return chosen
        while seconds < self._ahead_seconds and len(before) + len(chosen) < self._inbox + _MOST_AHEAD:
            for_all = 2 * (len(chosen) + 1) * max(1, num_workers)
            item = self._waiting.next(now) if self.num_waiting(for_all + 1) > for_all else None
            if item is None:
                break
            chosen.append(item)
            seconds += self._tempo.seconds(item)
        return chosen

    def _others_are_sooner(self, before: Sequence[WorkItem], num_workers: int) -> bool:
        """Whether the next item waits less for a free worker than behind `before` in an inbox."""
        if num_workers == 1:
            return False
        next_seconds = self._waiting.next_seconds()
        # Videos in flight share the worker, so the shortest of them takes as many times its length as there are.
        seconds = len(before) * min((item.expected_seconds for item in before), default=0.0)
        num_meanwhile = max(1.0, seconds / next_seconds) if next_seconds > 0 else 1.0
        at_most = min(int(num_workers * num_meanwhile), max(_MOST_LOOKED_AT, num_workers))
        return self.num_waiting(at_most + 1) <= at_most

    def _others_have_less(self, held: _Held, num: int, num_workers: int) -> bool:
        """Whether all items that wait are for the others, until each of these has `num` videos too.

        Those that are still starting are among them: a worker that has four videos in flight would take all of a small
        job before the others have loaded their model.
        """
        most = num * (num_workers - 1)
        if num_workers <= 1 or self.num_waiting(most + 1) > most:
            return False
        others = [len(one.open_items()) for one in self._held.values() if one is not held]
        num_starting = max(0, num_workers - 1 - len(others))
        num_wanted = sum(max(0, num - has) for has in others) + num * num_starting
        return self.num_waiting(num_wanted + 1) <= num_wanted

    def _must_run_dry(self, worker_id: str) -> bool:
        """Whether a worker gets nothing new until it is free for a suspect; one worker at a time."""
        is_time = self._num_since_suspect >= _ROOM_AFTER_VIDEOS and self._waiting.has_suspects()
        if is_time and self._running_dry not in self._held:
            self._running_dry = worker_id
        return self._running_dry == worker_id

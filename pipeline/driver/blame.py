"""Which videos are suspects, which are quarantined, and which are left to a later run. The dispatcher asks `Blame`."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pipeline.cluster.executor import Failure

_MAX_LOSSES_TOGETHER = 3
_OFTEN = 0.05
_MORE_STRIKES = 3
_MAX_OUTAGES = 5


@dataclass(frozen=True)
class Verdict:
    """What the loss of a worker means for its videos: their new totals of strikes, and which are quarantined."""

    strikes: Mapping[str, int]
    quarantined: Collection[str]


@dataclass
class _Case:
    """What is held against one video that is not finished."""

    strikes: int = 0
    num_losses_together: int = 0
    num_saved: int = 0
    outages: set[int] = field(default_factory=set)
    tried_seconds: float = 0.0


class Blame:
    """Says who is to blame when workers are lost, or when storage refuses a video.

    Strikes. When a worker dies or hangs, each video that it had and had not finished may be the cause. Each of them
    gets a strike and is a suspect from then on. The dispatcher runs a suspect alone, so that no other video can be
    the cause of its next death. A worker that could not start, was asked to stop, or was on a lost node costs no
    strike. When several workers of a node die at once, the node is blamed and no video. But a video gets a strike
    for each such loss after its third, because two videos that always crash together would be retried forever.

    Acquittal. A video loses its strikes when it is in the log. It also loses them when a worker has saved more
    frames of it than were saved before, because it has got past the place where the worker died. The driver keeps
    strikes in the log, so that they survive the end of a run.

    Quarantine. A video with 3 strikes (`max_strikes`) is quarantined. Where workers die anyway, because somebody
    kills them or because a machine is bad, 3 strikes can be bad luck, and 9 are needed (3 times as many). Workers
    die anyway when bad luck has struck at least twice and in more than one attempt of 20. It has struck once for
    each death after which all videos with a strike for it were finished. It has also struck once for each other
    video that has 2 strikes at this moment, because most such videos will be finished.

    Storage. A video that cannot be fetched or written is no suspect, and it is tried again later. It is set aside
    for a later run when storage has refused it during 5 outages and it has been tried for longer than
    `patience_seconds` in all; the time in which it waits for its turn does not count. Storage answered for another
    video between two outages, so the fault is in this video's address, or on the disk of the worker. New progress
    sets both counts back to zero.
    """

    def __init__(
        self, strikes: Mapping[str, int] | None = None, max_strikes: int = 3, patience_seconds: float = math.inf
    ) -> None:
        self._cases = {video_id: _Case(count) for video_id, count in (strikes or {}).items() if count}
        self._max_strikes = max_strikes
        self._patience_seconds = patience_seconds
        self._open_deaths: list[set[str]] = []  # of each death the videos with a strike for it that are not finished
        self._num_unlucky_deaths = 0
        self._num_finished = 0
        self._num_outages = 0

    def strikes(self, video_id: str) -> int:
        """How many strikes a video has. One that has any is a suspect."""
        case = self._cases.get(video_id)
        return case.strikes if case else 0

    def lost(self, video_ids: Collection[str], failure: Failure) -> Verdict:
        """A worker is gone that had these videos and had not finished them. Returns who gets a strike for it."""
        struck: dict[str, int] = {}
        for video_id in video_ids:
            case = self._cases.setdefault(video_id, _Case())
            case.num_losses_together += failure is Failure.TOGETHER
            if failure in (Failure.AMBIGUOUS, Failure.HANG) or case.num_losses_together > _MAX_LOSSES_TOGETHER:
                case.strikes += 1
                struck[video_id] = case.strikes
        needed = self._strikes_needed(struck) if struck else 0
        quarantined = frozenset(video_id for video_id, count in struck.items() if count >= needed)
        for video_id in quarantined:
            del self._cases[video_id]
        if quarantined:
            self._open_deaths = [death for death in self._open_deaths if not death & quarantined]
        elif struck:
            self._open_deaths.append(set(struck))
        return Verdict(struck, quarantined)

    def finished(self, video_id: str) -> None:
        """A video is in the log."""
        self._num_finished += 1
        self._cases.pop(video_id, None)
        for death in self._open_deaths:
            death.discard(video_id)
        self._num_unlucky_deaths += sum(not death for death in self._open_deaths)
        self._open_deaths = [death for death in self._open_deaths if death]

    def saved(self, video_id: str, num_saved: int) -> bool:
        """Whether these saved frames of a video are more than before. If so, nothing is held against it any more."""
        before = self._cases.get(video_id, _Case())
        if num_saved <= before.num_saved:
            return False
        self._cases[video_id] = _Case(num_losses_together=before.num_losses_together, num_saved=num_saved)
        return True

    def refused(self, video_id: str, tried_seconds: float) -> bool:
        """Storage refused a video that was tried for so long. Returns whether it is set aside for a later run."""
        case = self._cases.setdefault(video_id, _Case())
        case.outages.add(self._num_outages)
        case.tried_seconds += tried_seconds
        return len(case.outages) >= _MAX_OUTAGES and case.tried_seconds > self._patience_seconds

    def storage_is_back(self) -> None:
        """Storage answered. What it refuses from now on belongs to another outage."""
        self._num_outages += 1

    def _strikes_needed(self, struck: Collection[str]) -> int:
        others = sum(1 < case.strikes < self._max_strikes for name, case in self._cases.items() if name not in struck)
        num_unlucky = self._num_unlucky_deaths + others
        workers_die_anyway = num_unlucky >= 2 and num_unlucky > _OFTEN * (num_unlucky + self._num_finished)
        return self._max_strikes * (_MORE_STRIKES if workers_die_anyway else 1)

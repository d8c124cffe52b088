"""The work of an annotator on measured tracks (`loop_tracks`): which he checks first, what he corrects, what it takes.

What he corrects is propagated again before the next round, in which the queue knows it anew. Seconds are those of
`pipeline.data_engine.costs`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from pipeline.data_engine.audit import lots
from pipeline.data_engine.costs import SECONDS_TO_FIND_A_FRAME
from pipeline.data_engine.queue import Order, Queue, QueueRules
from tests.bench.loop_tracks import Key, Look, State, Tracks

Policy = Literal["doubt", "value", "random", "all", "best", "mendable"]
"""By doubt and by value as the queue has them, by lot, as the tables have them, and by what a second gains as the truth
knows it (`best`). `mendable` is by value, but tracks of which no mask can be saved come last."""

POLICIES: tuple[Policy, ...] = get_args(Policy)

Habit = Literal["looks through", "glances", "skips"]
"""What an annotator does who is not sure of a track yet. He `looks through` it at once. Or he leaves it to the end: who
`glances`, before he would have to look through it, and who `skips`, where a frame that he tried gives no mask."""

NUM_ROUNDS = 3


@dataclass
class Work:
    """Corrections and skips of each track so far, tracks that need no look until they are labeled again, seconds spent.

    Skips are those since the last correction.
    """

    tracks: Tracks
    habit: Habit = "looks through"
    corrections: Counter[Key] = field(default_factory=Counter)
    skipped: Counter[Key] = field(default_factory=Counter)
    done: set[Key] = field(default_factory=set)
    seconds: float = 0.0

    def check(self, key: Key) -> None:
        """Look at a track: mend a frame of it, skip it, or be done with it."""
        state, ahead = self._state(key), self.ahead(key)
        if self.skipped[key] and (self.habit == "skips" or state.num_quick):
            self.seconds += SECONDS_TO_FIND_A_FRAME  # the page opens it once more
        at_once = self._at_once(state, ahead, self.skipped[key] > 0)
        self.seconds += sum(look.seconds for look in at_once) if at_once else SECONDS_TO_FIND_A_FRAME
        if at_once and at_once[-1].frame_index is not None:
            self.corrections[key] += 1
            self.skipped[key] = 0
        elif len(at_once) < len(ahead):
            self.skipped[key] += 1
        else:
            self.done.add(key)

    def ahead(self, key: Key) -> tuple[Look, ...]:
        """The next tries at a track, up to the first that saves a mask."""
        state, num_skipped = self._state(key), self.skipped[key]
        tried = {"looks through": 0, "skips": num_skipped, "glances": (state.num_quick or 0) if num_skipped else 0}
        return state.looks[tried[self.habit] :]

    def _at_once(self, state: State, ahead: tuple[Look, ...], is_skipped: bool) -> tuple[Look, ...]:
        """Those of the next tries after which he leaves the track; none: he glances at the doubtful frame alone."""
        if self.habit == "skips":
            return ahead[:1]
        return ahead if self.habit == "looks through" or is_skipped else ahead[: state.num_quick]

    def _state(self, key: Key) -> State:
        return self.tracks.state(key, self.corrections[key])

    def gain(self, key: Key) -> float:
        """The J&F that the next tries at a track bring."""
        if self.ahead(key)[-1].frame_index is None:
            return 0.0
        number = self.corrections[key]
        return self.tracks.state(key, number + 1).j_and_f - self.tracks.state(key, number).j_and_f

    def j_and_f(self) -> float:
        """The mean over all tracks, once the job has run again."""
        return float(np.mean([self.tracks.state(key, self.corrections[key]).j_and_f for key in self.tracks.keys]))


def work(
    tracks: Tracks, policy: Policy, budget: float | None = None, seed: int = 0, habit: Habit = "looks through"
) -> Iterator[Work]:
    """The work after each track and at its end. Each round may take a third of the budget; None is no bound.

    A track that was begun is finished. What a round leaves of its seconds is for the next one. A track that was skipped
    has its turn again behind all others.
    """
    now = Work(tracks, habit)
    for number in range(1, NUM_ROUNDS + 1):
        last = np.inf if budget is None else budget * number / NUM_ROUNDS
        turns = _order(now, policy, seed + 1000 * number)
        while turns and now.seconds < last:
            before = now.skipped.copy()
            for key in turns:
                if now.seconds >= last:
                    break
                now.check(key)
                yield now
            turns = [key for key in turns if now.skipped[key] > before[key]]
    yield now


def _order(now: Work, policy: Policy, seed: int) -> list[Key]:
    """The tracks that a round would check, in order."""
    skipped = {key for key, number in now.skipped.items() if number}
    if policy in ("doubt", "value", "mendable"):
        order: Order = "doubt" if policy == "doubt" else "value"
        queue = Queue(QueueRules(top=len(now.tracks.keys), order=order, audit=0.0), now.done, skipped)
        queue.add(now.tracks.rows(now.corrections))
        keys = [entry.key for entry, _ in queue.entries()]
        if policy == "mendable":
            keys.sort(key=lambda key: now.ahead(key)[-1].frame_index is None)
        return keys
    left = [key for key in now.tracks.keys if key not in now.done]
    if policy == "random":
        drawn = lots([video_id for video_id, _ in left], [object_id for _, object_id in left], seed)
        left = [left[place] for place in np.argsort(drawn)]
    if policy == "best":
        worth = np.array([now.gain(key) / sum(look.seconds for look in now.ahead(key)) for key in left])
        left = [left[place] for place in np.argsort(-worth, kind="stable")]
    return sorted(left, key=lambda key: key in skipped)

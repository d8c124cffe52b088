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
from pipeline.data_engine.queue import Queue, QueueRules
from tests.bench.loop_tracks import Key, Look, Tracks

Policy = Literal["doubt", "value", "random", "all", "best"]
"""By doubt and by value as the queue has them, by lot, as the tables have them, and in the best order that somebody who
knows the truth can give."""

POLICIES: tuple[Policy, ...] = get_args(Policy)
NUM_ROUNDS = 3


@dataclass
class Work:
    """Corrections of each track so far, tracks that need no look until they are labeled again, seconds spent."""

    tracks: Tracks
    corrections: Counter[Key] = field(default_factory=Counter)
    done: set[Key] = field(default_factory=set)
    seconds: float = 0.0

    def check(self, key: Key) -> None:
        """Look at a track, and mend a frame of it if one is found."""
        look = self.look(key)
        self.seconds += look.seconds
        if look.frame_index is None:
            self.done.add(key)
        else:
            self.corrections[key] += 1

    def look(self, key: Key) -> Look:
        """What the next look at a track is."""
        return self.tracks.state(key, self.corrections[key]).look

    def gain(self, key: Key) -> float:
        """The J&F that the next look at a track brings."""
        if self.look(key).frame_index is None:
            return 0.0
        number = self.corrections[key]
        return self.tracks.state(key, number + 1).j_and_f - self.tracks.state(key, number).j_and_f

    def j_and_f(self) -> float:
        """The mean over all tracks, once the job has run again."""
        return float(np.mean([self.tracks.state(key, self.corrections[key]).j_and_f for key in self.tracks.keys]))


def work(tracks: Tracks, policy: Policy, budget: float | None = None, seed: int = 0) -> Iterator[Work]:
    """The work after each track and at its end. Each round may take a third of the budget; None is no bound.

    A track that was begun is finished. What a round leaves of its seconds is for the next one.
    """
    now = Work(tracks)
    for number in range(1, NUM_ROUNDS + 1):
        last = np.inf if budget is None else budget * number / NUM_ROUNDS
        for key in _order(now, policy, seed + 1000 * number):
            if now.seconds >= last:
                break
            now.check(key)
            yield now
    yield now


def _order(now: Work, policy: Policy, seed: int) -> list[Key]:
    """The tracks that a round would check, in order."""
    if policy == "doubt" or policy == "value":
        queue = Queue(QueueRules(top=len(now.tracks.keys), order=policy, audit=0.0), now.done)
        queue.add(now.tracks.rows(now.corrections))
        return [entry.key for entry, _ in queue.entries()]
    left = [key for key in now.tracks.keys if key not in now.done]
    if policy == "random":
        drawn = lots([video_id for video_id, _ in left], [object_id for _, object_id in left], seed)
        return [left[place] for place in np.argsort(drawn)]
    if policy == "best":
        worth = np.array([now.gain(key) / now.look(key).seconds for key in left])
        return [left[place] for place in np.argsort(-worth, kind="stable")]
    return left

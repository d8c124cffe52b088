"""Whether a night is worse than the nights of the week before: more videos failed, more tracks are doubtful, more wait.

The nights before say how likely each number of failures is tonight. That is a beta-binomial distribution (a share that
varies from night to night, and chance within the night), fitted by its moments as in Kleinman 1973. A night is worse
if so many failures or more come once in a thousand nights, and only if the share is larger by enough to matter. A night
of few videos says little, and then this says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from pipeline.commits.run_document import RunDocument
from pipeline.text import counted

WEEK = timedelta(days=7)
"""How far back nights are compared with."""

_FEWEST_NIGHTS = 3
_ONCE_IN = 1000.0
_LEAST_MORE = 0.02
_LEAST_TIMES = 1.25

# Nights vary: however alike those of a week are, they do not count as more independent videos than this, and a week
# shows too little of how they vary, because it has seven. With both, drawn nights that vary are called worse in fewer
# than one of a hundred cases; without, in two.
_MOST_WEIGHT = 300.0
_MORE_SPREAD = 1.5


@dataclass(frozen=True)
class Share:
    """So many of `num` are bad."""

    num: int
    num_bad: int

    @property
    def value(self) -> float:
        """The share; 0 of nothing."""
        return self.num_bad / self.num if self.num else 0.0


@dataclass(frozen=True)
class Usual:
    """What nights are like: a beta distribution of the share, by its two parameters."""

    alpha: float
    beta: float

    @classmethod
    def of(cls, nights: Sequence[Share]) -> Usual:
        """What `N` nights say. Half a video of either kind is put to them, because never seen is not impossible."""
        num, num_bad = sum(night.num for night in nights), sum(night.num_bad for night in nights)
        mean = (num_bad + 0.5) / (num + 1)
        weight = min(_weight(nights, mean), num + 1, _MOST_WEIGHT)
        return cls(mean * weight, (1 - mean) * weight)

    def chance(self, night: Share) -> float:
        """How likely so many bad ones, or more, are in a night of this size."""
        total, left = 0.0, night.num - night.num_bad
        term = math.exp(
            math.lgamma(night.num + 1)
            - math.lgamma(night.num_bad + 1)
            - math.lgamma(left + 1)
            + _log_beta(night.num_bad + self.alpha, left + self.beta)
            - _log_beta(self.alpha, self.beta)
        )
        for bad in range(night.num_bad, night.num + 1):
            total += term
            if bad == night.num or (term < 1e-12 * total and bad > night.num * self.alpha / (self.alpha + self.beta)):
                break
            good = night.num - bad
            term *= good / (bad + 1) * (bad + self.alpha) / (good - 1 + self.beta)
        return min(total, 1.0)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _weight(nights: Sequence[Share], mean: float) -> float:
    """As how many independent videos one night's share counts: infinity if nights vary no more than by chance."""
    sizes = [night.num for night in nights if night.num]
    num = sum(sizes)
    spread = _MORE_SPREAD * sum(night.num * (night.value - mean) ** 2 for night in nights)
    by_chance = mean * (1 - mean) * (len(sizes) - 1)
    room = mean * (1 - mean) * (num - sum(size * size for size in sizes) / num - len(sizes) + 1) if num else 0.0
    if spread <= by_chance or room <= 0:
        return math.inf
    correlation = min((spread - by_chance) / room, 1.0)
    return max((1 - correlation) / correlation, 1e-3)


def is_worse(tonight: Share, nights: Sequence[Share]) -> bool:
    """Whether tonight is worse than these nights, of which empty ones do not count."""
    nights = [night for night in nights if night.num]
    if len(nights) < _FEWEST_NIGHTS or not tonight.num_bad:
        return False
    usual = sum(night.num_bad for night in nights) / sum(night.num for night in nights)
    if tonight.value < max(usual + _LEAST_MORE, usual * _LEAST_TIMES):
        return False
    return Usual.of(nights).chance(tonight) < 1 / _ONCE_IN


def worse_than(tonight: RunDocument, nights: Sequence[RunDocument]) -> list[str]:
    """What is worse tonight than in these nights, a sentence each."""
    found = []
    failed, before = _failed(tonight), [_failed(night) for night in nights]
    if is_worse(failed, before):
        found.append(_sentence("of its videos failed", failed.value, _mean(before)))
    if tonight.doubt is not None:
        doubts = [night.doubt for night in nights if night.doubt is not None]
        # Tracks of one video go wrong together: what counts as a sample are videos.
        shares = [Share(one.num_videos, round(one.share * one.num_videos)) for one in (tonight.doubt, *doubts)]
        if is_worse(shares[0], shares[1:]):
            found.append(_sentence("of its tracks are doubtful", shares[0].value, _mean(shares[1:])))
    if _grows([*(night.num_waiting for night in nights), tonight.num_waiting]):
        found.append(
            f"{counted(tonight.num_waiting, 'video')} wait, {nights[-1].num_waiting} after the night before: for "
            f"{_FEWEST_NIGHTS} nights more have come than were labeled"
        )
    return found


def _grows(waiting: Sequence[int]) -> bool:
    """Whether more have waited after each of the last nights than after the one before."""
    last = waiting[-_FEWEST_NIGHTS - 1 :]
    return len(last) > _FEWEST_NIGHTS and all(before < after for before, after in pairwise(last))


def _failed(night: RunDocument) -> Share:
    return Share(night.num_labeled, night.num_bad)


def _mean(nights: Sequence[Share]) -> float:
    return sum(night.num_bad for night in nights) / max(1, sum(night.num for night in nights))


def _sentence(what: str, tonight: float, before: float) -> str:
    return f"{tonight:.1%} {what}, {before:.1%} in the week before"

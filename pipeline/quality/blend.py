"""How signals become one doubt: a logistic regression whose weights are not below 0, each signal on a ramp.

Legend: T tracks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Float64Array
from pipeline.quality.reasons import Reason


@dataclass(frozen=True)
class Term:
    """What one signal adds: nothing up to `low`, `weight` (in logits) from `high` on, and a straight line between."""

    low: float
    high: float
    weight: float

    def evidence(self, badness: Float64Array) -> Float64Array:
        """How far the signal speaks against each track, 0 … 1; one that is not known does not speak."""
        share = np.clip((badness - self.low) / (self.high - self.low), 0.0, 1.0)
        return np.where(np.isnan(share), 0.0, share)


@dataclass(frozen=True)
class Blend:
    """A term for each signal that counts. `base` is the logit of a track that nothing speaks against."""

    base: float
    terms: Mapping[Reason, Term]

    def evidence(self, badness: Mapping[Reason, Float64Array]) -> dict[Reason, Float64Array]:
        """What each signal adds to the logit of T tracks."""
        return {reason: term.weight * term.evidence(badness[reason]) for reason, term in self.terms.items()}

    def doubt(self, evidence: Mapping[Reason, Float64Array]) -> Float64Array:
        """How doubtful each track is, 0 … 1: the chance that it is bad, as far as it is above that of a sound one."""
        base = _logistic(np.array(self.base))
        doubt: Float64Array = (_logistic(self.base + np.sum(list(evidence.values()), axis=0)) - base) / (1 - base)
        return doubt


def _logistic(logits: Float64Array) -> Float64Array:
    return 1.0 / (1.0 + np.exp(-logits))


DEFAULT = Blend(
    base=-3.0,
    terms={
        Reason.LOW_IOU: Term(0.05, 0.40, 3.0),
        Reason.IOU_DIPS: Term(0.10, 0.50, 1.5),
        Reason.UNSURE_STRETCH: Term(0.05, 0.50, 2.0),
        Reason.UNSTABLE: Term(0.10, 0.60, 2.0),
        Reason.WEAK_SCORE: Term(-4.0, 0.0, 1.0),
        Reason.LOST: Term(0.03, 0.40, 3.0),
        Reason.FLICKERS: Term(1.0, 6.0, 2.0),
        Reason.AREA_JUMP: Term(0.6, 2.5, 2.5),
        Reason.SHAPE_JUMP: Term(0.15, 0.60, 2.0),
        Reason.LEAP: Term(0.8, 3.0, 2.0),
        Reason.FRAGMENTS: Term(0.1, 0.6, 1.0),
        Reason.WHOLE_FRAME: Term(0.7, 0.9, 4.0),
        Reason.OVERLAPS: Term(0.1, 0.6, 2.5),
        Reason.INSIDE: Term(0.3, 0.9, 1.0),
    },
)

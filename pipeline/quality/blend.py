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

    def with_more(self, doubt: Float64Array, added: Float64Array) -> tuple[Float64Array, Float64Array]:
        """The doubt of T tracks when `added` joins their logits, and how much evidence their doubt came from, `[T]`."""
        base = _logistic(np.array(self.base))
        chance = np.clip(base + np.minimum(doubt, 1.0) * (1 - base), 1e-12, 1 - 1e-12)
        before = np.maximum(np.log(chance / (1 - chance)) - self.base, 0.0)
        return (_logistic(self.base + before + added) - base) / (1 - base), before


def _logistic(logits: Float64Array) -> Float64Array:
    return 1.0 / (1.0 + np.exp(-logits))


DEFAULT = Blend(
    base=-2.30,
    terms={
        # Fitted by `python -m tests.bench.doubt --fit`: 236 tracks of 75 drawn clips with true masks, labeled by mini.
        Reason.LOW_IOU: Term(0.152, 0.513, 0.87),
        Reason.IOU_DIPS: Term(0.239, 0.729, 0.81),
        Reason.UNSURE_STRETCH: Term(0.0, 0.875, 0.87),
        Reason.UNSTABLE: Term(0.362, 0.714, 0.39),
        Reason.WEAK_SCORE: Term(-5.85, -3.51, 0.20),
        Reason.AREA_JUMP: Term(0.311, 1.22, 0.54),
        Reason.SHAPE_JUMP: Term(0.398, 0.861, 0.68),
        Reason.FRAGMENTS: Term(0.312, 0.87, 0.30),
        Reason.OVERLAPS: Term(0.257, 0.932, 0.75),
        Reason.INSIDE: Term(0.638, 0.977, 0.90),
        # By hand, because drawn clips hardly have these faults.
        Reason.LOST: Term(0.03, 0.40, 1.5),
        Reason.FLICKERS: Term(1.0, 6.0, 1.0),
        Reason.LEAP: Term(0.8, 3.0, 1.0),
        Reason.WHOLE_FRAME: Term(0.7, 0.9, 3.0),
    },
)
"""The weights of the program. `python -m pipeline.queue calibrate=true` fits others to what reviewers said."""

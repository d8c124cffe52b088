"""Weights of the blend, fitted to tracks of which somebody has said whether they are bad.

A logistic regression whose weights are not below 0, because a signal that speaks for a track which it should speak
against has learned a coincidence. A prior holds the weights near others, so that few verdicts change little.

Legend: T tracks, S signals.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.arrays import BoolArray, Float64Array, Int64Array
from pipeline.quality.blend import Blend, Term
from pipeline.quality.reasons import Reason
from pipeline.storage.documents import Document

PRIOR_STRENGTH = 10.0
"""How many verdicts the weights of before are worth."""

_STEPS = 4000
_SMALL_STEP = 1e-6
_GOOD_SHARE = 0.5
_BAD_SHARE = 0.9


def fit(
    badness: Mapping[Reason, Float64Array], is_bad: BoolArray, prior: Blend | None = None, strength: float = 1.0
) -> Blend:
    """The blend that makes these verdicts most likely, `is_bad` `[T]`.

    Without a `prior` each ramp begins where half of the good tracks lie below, and ends where nine tenths of the bad
    ones do, and weights are drawn to 0. With one, the ramps are those of the prior, and weights are drawn to
    its own. `strength` is that of the draw, in verdicts.

    Raises `ValueError` if no track is bad, or none is good.
    """
    if is_bad.all() or not is_bad.any():
        raise ValueError("the verdicts say the same of every track: a fit needs good ones and bad ones")
    terms = dict(prior.terms) if prior is not None else _ramps(badness, is_bad)
    evidence_TS = np.stack([term.evidence(badness[reason]) for reason, term in terms.items()], axis=1)
    around = np.array([term.weight for term in terms.values()])
    base = prior.base if prior is not None else float(np.log(is_bad.mean() / (1 - is_bad.mean())))
    base, weights = _descend(evidence_TS, is_bad.astype(np.float64), base, around, strength)
    fitted = zip(terms.items(), weights.tolist(), strict=True)
    return Blend(base, {reason: Term(term.low, term.high, weight) for (reason, term), weight in fitted})


def _ramps(badness: Mapping[Reason, Float64Array], is_bad: BoolArray) -> dict[Reason, Term]:
    """A ramp without weight for each signal that is higher in bad tracks than in good ones."""
    terms = {}
    for reason, values in badness.items():
        good, bad = (values[some & ~np.isnan(values)] for some in (~is_bad, is_bad))
        if not len(good) or not len(bad):
            continue
        low, high = float(np.quantile(good, _GOOD_SHARE)), float(np.quantile(bad, _BAD_SHARE))
        if high > low:
            terms[reason] = Term(low, high, 0.0)
    return terms


def _descend(
    evidence_TS: Float64Array, is_bad_T: Float64Array, base: float, around_S: Float64Array, strength: float
) -> tuple[float, Float64Array]:
    """Projected gradient descent with Nesterov's momentum. The loss is convex: where it begins does not matter."""
    count = len(is_bad_T)
    features = np.concatenate([np.ones((count, 1)), evidence_TS], axis=1)
    center = np.concatenate([[base], around_S])
    pull = np.concatenate([[0.0], np.full(len(around_S), strength / count)])
    rate = 1.0 / (0.25 * np.linalg.norm(features, 2) ** 2 / count + pull.max())
    lowest = np.concatenate([[-np.inf], np.zeros(len(around_S))])
    here = ahead = center.copy()
    momentum = 1.0
    for _ in range(_STEPS):
        chance = 1.0 / (1.0 + np.exp(-features @ ahead))
        slope = features.T @ (chance - is_bad_T) / count + pull * (ahead - center)
        there = np.maximum(ahead - rate * slope, lowest)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = there + (momentum - 1) / following * (there - here)
        if np.abs(there - here).max() < _SMALL_STEP:
            return float(there[0]), there[1:]
        here, momentum = there, following
    return float(here[0]), here[1:]


def auroc(badness: Float64Array, is_bad: BoolArray) -> float:
    """How often a bad track has the higher value than a good one; ties count half, and nan is the lowest."""
    values = np.nan_to_num(badness, nan=-np.inf)
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    num_bad, num_good = int(is_bad.sum()), int((~is_bad).sum())
    return float((ranks[is_bad].sum() - num_bad * (num_bad + 1) / 2) / (num_bad * num_good))


def cross_validated(
    badness: Mapping[Reason, Float64Array], is_bad: BoolArray, folds: Int64Array, prior: Blend
) -> float:
    """The AUROC of doubt on tracks whose verdicts the weights have not seen; `folds` `[T]` are parts of the tracks.

    Tracks of one video belong into one fold, because they fail together.
    """
    doubt = np.zeros(len(is_bad))
    for fold in np.unique(folds):
        inside = folds == fold
        seen = {reason: values[~inside] for reason, values in badness.items()}
        both = is_bad[~inside].any() and not is_bad[~inside].all()
        blend = fit(seen, is_bad[~inside], prior, PRIOR_STRENGTH) if both else prior
        unseen = {reason: values[inside] for reason, values in badness.items()}
        doubt[inside] = blend.doubt(blend.evidence(unseen))
    return auroc(doubt, is_bad)


class BlendDocument(Document):
    """A blend as JSON: the base, and for each signal the ends of its ramp and its weight."""

    base: float
    terms: dict[str, tuple[float, float, float]]
    num_verdicts: int = 0

    @classmethod
    def of(cls, blend: Blend, num_verdicts: int) -> BlendDocument:
        """What is written of a blend that was fitted to so many verdicts."""
        terms = {reason.value: (term.low, term.high, term.weight) for reason, term in blend.terms.items()}
        return cls(base=blend.base, terms=terms, num_verdicts=num_verdicts)

    def blend(self) -> Blend:
        """The blend. Signals that this program does not know are left out."""
        known = {reason.value for reason in Reason}
        terms = {Reason(name): Term(*numbers) for name, numbers in self.terms.items() if name in known}
        ramps = list(self.terms.values())
        if not np.isfinite([self.base, *sum(ramps, ())]).all() or any(low >= high for low, high, _ in ramps):
            raise ValueError("the ends of a ramp must ascend, and all numbers be finite")
        return Blend(self.base, terms)

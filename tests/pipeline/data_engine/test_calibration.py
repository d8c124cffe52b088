"""Fitted weights: those of scikit-learn where none must be held at 0, and close to the prior where verdicts are few."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.data_engine.calibration import BlendDocument, auroc, cross_validated, fit
from pipeline.quality.blend import DEFAULT, Blend, Term
from pipeline.quality.reasons import Reason

REASONS = (Reason.LOW_IOU, Reason.LOST, Reason.LEAP)
PRIOR = Blend(-1.0, {reason: Term(0.0, 1.0, 1.0) for reason in REASONS})


def drawn(count: int, weights: tuple[float, ...], seed: int = 0) -> tuple[dict[Reason, np.ndarray], np.ndarray]:
    """Tracks whose chance to be bad follows from these weights, and -2 for the base."""
    rng = np.random.default_rng(seed)
    evidence = rng.random((count, len(REASONS)))
    is_bad = rng.random(count) < 1 / (1 + np.exp(2 - evidence @ np.array(weights)))
    return dict(zip(REASONS, evidence.T, strict=True)), is_bad


def test_weights_are_the_most_likely_ones_that_are_not_below_0() -> None:
    """Held against a bounded minimization of scipy's."""
    from scipy.optimize import minimize

    badness, is_bad = drawn(500, (4.0, 2.0, -3.0))
    features = np.stack(list(badness.values()), axis=1)

    def loss(x: np.ndarray) -> float:
        logits = x[0] + features @ x[1:]
        return float(np.sum(np.logaddexp(0, logits) - is_bad * logits) + 0.5 * 2.0 * np.sum((x[1:] - 1) ** 2))

    judge = minimize(loss, np.array([-1.0, 1, 1, 1]), bounds=[(None, None), *[(0, None)] * 3])
    found = fit(badness, is_bad, PRIOR, strength=2.0)
    assert [term.weight for term in found.terms.values()] == pytest.approx(judge.x[1:], abs=0.02)
    assert found.base == pytest.approx(judge.x[0], abs=0.02)
    assert found.terms[Reason.LEAP].weight == 0


def test_few_verdicts_change_little_and_many_change_much() -> None:
    few = fit(*drawn(20, (6.0, 0.0, 0.0)), PRIOR, strength=10.0)
    many = fit(*drawn(2000, (6.0, 0.0, 0.0)), PRIOR, strength=10.0)
    distance = [abs(one.terms[Reason.LOW_IOU].weight - 1) for one in (few, many)]
    assert distance[0] < 1.5 < 3 < distance[1]


def test_verdicts_that_all_agree_are_refused() -> None:
    badness, _ = drawn(20, (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="good ones and bad ones"):
        fit(badness, np.ones(20, bool), PRIOR)


@pytest.mark.slow
def test_auroc_is_that_of_scipy_with_ties() -> None:
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(1)
    values, is_bad = rng.integers(0, 6, 200).astype(float), rng.random(200) < 0.3
    expected = mannwhitneyu(values[is_bad], values[~is_bad]).statistic / (is_bad.sum() * (~is_bad).sum())
    assert auroc(values, is_bad) == pytest.approx(expected)


def test_a_cross_validation_of_noise_finds_nothing() -> None:
    """A fit is never judged by the verdicts that it has seen."""
    badness, _ = drawn(400, (0.0, 0.0, 0.0))
    is_bad = np.random.default_rng(3).random(400) < 0.4
    found = cross_validated(badness, is_bad, np.arange(400) % 5, PRIOR)
    assert 0.4 < found < 0.58


def test_a_blend_survives_its_document() -> None:
    document = BlendDocument.of(DEFAULT, 7)
    assert BlendDocument.from_json(document.to_json(), "w").blend() == DEFAULT
    unknown = document.model_copy(update={"terms": {**document.terms, "of_tomorrow": (0.0, 1.0, 1.0)}})
    assert unknown.blend() == DEFAULT
    upside_down = document.model_copy(update={"terms": {"lost": (1.0, 0.5, 1.0)}})
    with pytest.raises(ValueError, match="must ascend"):
        upside_down.blend()

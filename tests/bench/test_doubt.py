"""Doubt finds the bad ones among tracks whose truth is known, and its weights are those that the bench fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.data_engine.calibration import fit
from pipeline.quality.blend import DEFAULT, Blend, Term
from pipeline.quality.reasons import Reason
from pipeline.quality.track_columns import VALUES, badness_of
from tests.bench.doubt import BY_HAND, FIT_STRENGTH, KEPT, Tracks, label, report
from tests.bench.signals_cost import signals_cost


@pytest.fixture(scope="module")
def kept() -> Tracks:
    """The tracks of 150 clips, as the bench measured them."""
    return Tracks(pq.read_table(KEPT))


def test_doubt_finds_more_of_the_bad_tracks_than_chance_or_any_signal(kept: Tracks) -> None:
    """On the half of the clips that the weights have not seen."""
    found = report(kept.half(1), DEFAULT)
    assert (found["num_tracks"] > 200, found["num_bad"] > 50) == (True, True)
    signals = [found[reason.value] for reason in badness_of(kept.table)]
    assert found["blend"]["auroc"] >= max(0.84, *(one["auroc"] + 0.05 for one in signals))
    assert found["blend"]["found"] >= max(0.75, *(one["found"] + 0.05 for one in signals))
    assert found["chance"] < 0.5 * found["blend"]["found"]


@pytest.mark.parametrize("name", ["turned round", "one signal alone", "without weights"])
def test_the_bar_is_above_wrecked_weights(name: str, kept: Tracks) -> None:
    wrecked = {
        "turned round": {reason: Term(term.low, term.high, -term.weight) for reason, term in DEFAULT.terms.items()},
        "one signal alone": {Reason.WEAK_SCORE: DEFAULT.terms[Reason.WEAK_SCORE]},
        "without weights": {reason: Term(term.low, term.high, 0.0) for reason, term in DEFAULT.terms.items()},
    }
    found = report(kept.half(1), Blend(DEFAULT.base, wrecked[name]))
    assert found["blend"]["auroc"] < 0.7
    assert found["blend"]["found"] < 0.6


def test_the_weights_of_the_program_are_those_that_are_fitted(kept: Tracks) -> None:
    half = kept.half(0)
    known = {reason: values for reason, values in badness_of(half.table).items() if reason not in BY_HAND}
    found = fit(known, half.is_bad, strength=FIT_STRENGTH)
    assert found.base == pytest.approx(DEFAULT.base, abs=0.01)
    for reason, term in found.terms.items():
        assert (term.low, term.high) == pytest.approx((DEFAULT.terms[reason].low, DEFAULT.terms[reason].high), rel=0.01)
        assert term.weight == pytest.approx(DEFAULT.terms[reason].weight, abs=0.01)
    assert set(DEFAULT.terms) == set(found.terms) | (set(BY_HAND) & set(DEFAULT.terms))


@pytest.mark.slow
def test_a_job_measures_what_the_bench_has_kept(kept: Tracks, tmp_path: Path) -> None:
    """One of its clips is labeled again; another processor may differ a little."""
    found = label(range(1), tmp_path).table.sort_by([("video_id", "ascending"), ("object_id", "ascending")])
    wanted = kept.table.slice(0, found.num_rows)
    assert found.select(["video_id", "object_id"]).equals(wanted.select(["video_id", "object_id"]))
    for name in ("j_and_f", *VALUES):
        ours, theirs = (np.nan_to_num(table[name].to_numpy().astype(float)) for table in (found, wanted))
        assert ours == pytest.approx(theirs, abs=0.1, rel=0.1), name


@pytest.mark.slow
def test_signals_take_less_than_a_fiftieth_of_the_processors_time() -> None:
    """Of the network's and the encoder's, in one run. Of a job with its decoding and writing it is still less."""
    found = signals_cost((240, 320), num_frames=10, num_objects=2, rounds=5)  # what is spent by video counts less
    assert found["ratio"] < 0.02, found

"""Reviewed tracks with what was measured of them, for a fit of the weights and for the estimate of errors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.arrays import BoolArray, Int64Array
from pipeline.data_engine.audit import Rate
from pipeline.data_engine.calibration import PRIOR_STRENGTH, auroc, cross_validated, fit
from pipeline.errors import InputError
from pipeline.quality.blend import Blend
from pipeline.quality.track_columns import badness_of
from pipeline.reviews.verdicts import Key, Opinion, Verdict

_LEAST = 10
_FOLDS = 5


def audited(verdicts: Iterable[Mapping[str, Any]]) -> Rate:
    """How many of the tracks that were drawn by lot were bad when somebody looked, by all rows of verdicts.

    A draw is of the labels that were there then. It stays in the sample when its track is labeled again and somebody
    finds the new masks good: else bad ones would leave the sample, and good ones stay. Of the same labels the newest
    verdict counts.
    """
    found: dict[tuple[Key, datetime | None], bool] = {}
    last: dict[Key, tuple[Key, datetime | None]] = {}
    for row in sorted(verdicts, key=lambda row: row["reviewed_at"]):
        key, verdict = (row["video_id"], row["object_id"]), Verdict(row["verdict"])
        if verdict is Verdict.WITHDRAW:  # of the labels of which something was said last
            found.pop(last.get(key, (key, None)), None)
        elif verdict is not Verdict.SKIP:
            draw = last[key] = key, row["labeled_at"]
            if row["is_audit"] or (draw in found and row["labeled_at"] is not None):
                found[draw] = verdict in (Verdict.REJECT, Verdict.FIX)
    return Rate(sum(found.values()), len(found))


@dataclass(frozen=True)
class Calibration:
    """A blend that was fitted to verdicts, and how well doubt tells bad tracks before and after (AUROC).

    The one after is of tracks whose verdicts the weights had not seen.
    """

    blend: Blend
    num_good: int
    num_bad: int
    before: float
    after: float


def calibrate(tracks: pa.Table, opinions: Mapping[Key, Opinion], prior: Blend) -> Calibration:
    """Fit the weights to verdicts on these rows of `tracks`. Raises `InputError` for too few of either kind."""
    keys = list(zip(tracks["video_id"].to_pylist(), tracks["object_id"].to_pylist(), strict=True))
    is_known = np.array([key in opinions for key in keys], np.bool_) & tracks["doubt"].is_valid().to_numpy()
    tracks = tracks.filter(pa.array(is_known))
    keys = [key for key, known in zip(keys, is_known, strict=True) if known]
    is_bad: BoolArray = np.array([opinions[key].is_bad for key in keys], np.bool_)
    num_bad, num_good = int(is_bad.sum()), int((~is_bad).sum())
    if min(num_bad, num_good) < _LEAST:
        raise InputError(
            f"calibrate=true needs verdicts on {_LEAST} good and {_LEAST} bad tracks. "
            f"There are {num_good} and {num_bad}: check more of the queue first."
        )
    badness = badness_of(tracks)
    return Calibration(
        fit(badness, is_bad, prior, PRIOR_STRENGTH),
        num_good,
        num_bad,
        auroc(prior.doubt(prior.evidence(badness)), is_bad),
        cross_validated(badness, is_bad, _folds(keys), prior),
    )


def _folds(keys: list[Key]) -> Int64Array:
    """A fold for each track, by a hash of its video."""
    digests = (hashlib.blake2b(video_id.encode(), digest_size=4).digest() for video_id, _ in keys)
    return np.array([int.from_bytes(digest) % _FOLDS for digest in digests], np.int64)

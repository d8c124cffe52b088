"""The page of a comparison of two outputs: how many tracks differ, and the worst of them with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.pages.charts import Histogram, histogram
from pipeline.pages.page import render
from pipeline.pages.pair_cards import PairCard
from pipeline.quality.comparison import AS_GOOD
from pipeline.text import counted

_BINS = 20


@dataclass(frozen=True)
class ComparisonFigures:
    """What a page of a comparison is made of. `tracks` are its rows, `alone` the videos that one side alone has.

    `notes` are as those of `EvaluationFigures`.
    """

    a: str
    b: str
    truth: str | None
    tracks: pa.Table
    cards: Sequence[PairCard]
    alone: Sequence[tuple[str, Sequence[str]]]
    notes: Sequence[tuple[str, str]]


def comparison_page(figures: ComparisonFigures) -> str:
    """The page as HTML. Raises `ConfigError` if jinja2 is not installed."""
    tracks = figures.tracks
    kinds = {row["values"]: row["counts"] for row in pc.value_counts(tracks["difference"]).to_pylist()}
    return render(
        "comparison.html",
        a=figures.a,
        b=figures.b,
        truth=figures.truth,
        kinds=kinds,
        num_tracks=tracks.num_rows,
        num_different=tracks.num_rows - kinds.get("same", 0),
        iou_mean=pc.mean(tracks["iou_mean"]).as_py(),
        gains=_gains(tracks),
        charts=_charts(tracks),
        cards=figures.cards,
        alone=[(side, len(videos), list(videos[:20])) for side, videos in figures.alone if videos],
        notes=figures.notes,
        as_good=AS_GOOD,
        num_videos=len(pc.unique(tracks["video_id"])),
    )


def _gains(tracks: pa.Table) -> dict[str, Any] | None:
    """How many tracks became better and worse, and the means; None without a truth."""
    scored = tracks.filter(pc.is_valid(tracks["gain"]))
    if not scored.num_rows:
        return None
    gains = scored["gain"].to_numpy()
    better, worse = int((gains > AS_GOOD).sum()), int((gains < -AS_GOOD).sum())
    means = {side: pc.mean(scored[f"j_and_f_{side}"]).as_py() for side in ("a", "b")}
    return {"better": better, "worse": worse, "equal": len(gains) - better - worse, **means}


def _charts(tracks: pa.Table) -> list[Histogram]:
    edges = np.linspace(0, 1, _BINS + 1)
    ious = tracks.filter(pc.field("difference") != "same")["iou_mean"].drop_null().to_numpy()
    words = [f"{100 * edge:.0f}" for edge in edges]
    counts = np.histogram(ious, edges)[0].tolist()
    found = [
        histogram(
            "IoU of a with b",
            edges.tolist(),
            counts,
            words,
            what="tracks",
            summary=f"Of {counted(len(ious), 'track')} with other masks. 100 would be the same masks.",
        )
    ]
    gains = tracks["gain"].drop_null().to_numpy()
    if len(gains):
        most = max(float(np.abs(gains).max()), 0.01)
        edges = np.linspace(-most, most, _BINS + 2)
        words = [f"{100 * edge:+.1f}" for edge in edges]
        counts = np.histogram(gains, edges)[0].tolist()
        summary = "Left of the middle b is worse than a, right of it better."
        found.append(
            histogram("J&F of b over a, in points", edges.tolist(), counts, words, what="tracks", summary=summary)
        )
    return found

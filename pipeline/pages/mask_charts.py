"""The four distributions of a report as charts, each with what it says in words."""

from __future__ import annotations

import pyarrow as pa

from pipeline.pages.charts import Histogram, histogram
from pipeline.pages.job_figures import visibility
from pipeline.pages.mask_figures import MaskFigures, Spread
from pipeline.pages.page import fixed, percent


def charts(figures: MaskFigures, tracks: pa.Table) -> list[Histogram]:
    """Predicted IoU, object score, area and visibility; those of which nothing was counted are left out."""
    found = [_predicted_iou(figures.predicted_ious), _object_score(figures.object_scores), _area(figures.area_shares)]
    counted = [chart for chart, spread in zip(found, _spreads(figures), strict=True) if spread.total]
    edges, counts = visibility(tracks)
    if sum(counts):
        summary = f"{percent(counts[-1] / sum(counts))} of the tracks are visible on at least 90 % of their frames."
        words = [f"{100 * edge:.0f} %" for edge in edges]
        counted.append(histogram("Visible share of a track", edges, counts, words, what="tracks", summary=summary))
    return counted


def _spreads(figures: MaskFigures) -> tuple[Spread, Spread, Spread]:
    return figures.predicted_ious, figures.object_scores, figures.area_shares


def _predicted_iou(spread: Spread) -> Histogram:
    edges, counts = spread.bars(20)
    summary = (
        f"Median {fixed(spread.quantile(0.5))}; 5 % of the visible masks are below {fixed(spread.quantile(0.05))}."
    )
    return histogram("Predicted IoU of visible masks", edges, counts, [f"{e:.2g}" for e in edges], summary=summary)


def _object_score(spread: Spread) -> Histogram:
    edges, counts = spread.bars(25)
    hidden = spread.counts[: round(-spread.low / (spread.high - spread.low) * len(spread.counts))].sum()
    summary = (
        f"A logit: above 0 the model sees the object. {percent(hidden / max(spread.total, 1))} are below; median "
        f"{fixed(spread.quantile(0.5), 1)}."
    )
    return histogram("Object score of all rows", edges, counts, [f"{e:.0f}" for e in edges], summary=summary)


def _area(spread: Spread) -> Histogram:
    edges, counts = spread.bars(20)
    words = [_share(10**edge) for edge in edges]
    low, middle, high = (spread.quantile(share) for share in (0.05, 0.5, 0.95))
    summary = "" if low is None or middle is None or high is None else (
        f"Half of the visible masks cover more than {_share(10**middle)} of the frame, nine of ten between "
        f"{_share(10**low)} and {_share(10**high)}."
    )  # fmt: skip
    return histogram("Area, as a share of the frame", edges, counts, words, summary=summary)


def _share(share: float) -> str:
    return f"{100 * share:.1g} %" if share < 0.1 else f"{100 * share:.0f} %"

"""The page of an evaluation: the scores, what they are by group, and the worst objects with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.pages.charts import Histogram, histogram
from pipeline.pages.page import render
from pipeline.pages.pair_cards import PairCard
from pipeline.quality.conventions import SENTENCES, Convention
from pipeline.quality.summary import NO_CATEGORY

_BINS = 20
_MOST_GROUPS = 40
_GROUPS = {
    "category": "category",
    "size": "size",
    "hidden": "share of frames on which it is hidden",
    "length": "length",
}


@dataclass(frozen=True)
class EvaluationFigures:
    """What a page of an evaluation is made of; `notes` are what did not count: a word as `left out`, and a sentence."""

    output: str
    truth: str
    convention: Convention
    objects: pa.Table
    summary: pa.Table
    cards: Sequence[PairCard]
    notes: Sequence[tuple[str, str]]


def evaluation_page(figures: EvaluationFigures) -> str:
    """The page as HTML. Raises `ConfigError` if jinja2 is not installed."""
    rows = figures.summary.to_pylist()
    groups = {
        words: [row for row in rows if row["grouped_by"] == name][:_MOST_GROUPS] for name, words in _GROUPS.items()
    }
    if [row["group"] for row in groups["category"]] == [NO_CATEGORY]:
        del groups["category"]
    return render(
        "evaluation.html",
        output=figures.output,
        truth=figures.truth,
        convention=figures.convention,
        sentence=SENTENCES[figures.convention],
        total=rows[0],
        groups=groups,
        charts=[_histogram(figures.objects, *what) for what in (("j", "J"), ("f", "F"))],
        cards=figures.cards,
        notes=figures.notes,
        num_videos=len(pc.unique(figures.objects["video_id"])),
    )


def _histogram(objects: pa.Table, column: str, name: str) -> Histogram:
    values = objects[column].drop_null().to_numpy()
    edges = np.linspace(0, 1, _BINS + 1)
    counts = np.histogram(values, edges)[0].tolist()
    words = [f"{100 * edge:.0f}" for edge in edges]
    half = f"Half of the objects have {100 * np.median(values):.1f} or more." if len(values) else "No object is scored."
    return histogram(f"{name} of the objects", edges.tolist(), counts, words, what="objects", summary=half)

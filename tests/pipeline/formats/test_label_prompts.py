"""Memory that an import takes: a few numbers of each label, and none of its objects of Python. What it warns of."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.formats.label import Label, LabelBox, LabelFrame
from pipeline.formats.label_prompts import Destination, Wishes, write_prompts
from pipeline.formats.label_videos import LabelVideos


def detections(num: int) -> Iterator[Label]:
    """Ten boxes a frame, a thousand a video."""
    for number in range(num):
        box = LabelBox((number % 900, 5.0, number % 900 + 20.5, 80.0))
        frame = LabelFrame(number % 1000 // 10)
        yield Label(f"clip-{number // 1000}", frame, None, box, "cup", 0.5, f"detections.json, entry {number}")


def peak_bytes(num: int, folder: Path) -> int:
    """The most that Python, numpy and Arrow held at once."""
    folder.mkdir()
    pool = pa.default_memory_pool()
    tracemalloc.start()
    try:
        account = write_prompts(
            detections(num), LabelVideos(None), Wishes(), Destination(str(folder / "p.parquet"), None, folder)
        )
        assert account.num_prompts == num // 100
        return tracemalloc.get_traced_memory()[1] + pool.bytes_allocated()
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_label_more_costs_less_memory_than_its_words(tmp_path: Path) -> None:
    peak_bytes(1_000, tmp_path / "first")  # what is imported once
    less, more = (peak_bytes(num, tmp_path / str(num)) for num in (10_000, 25_000))
    assert (more - less) / 15_000 < 100


def test_an_object_whose_labels_name_several_categories_is_told_with_both(tmp_path: Path) -> None:
    def label(number: int, track: int | None, category: str | None) -> Label:
        box = LabelBox((1.0, 2.0, 30.0, 40.0))
        return Label("clip", LabelFrame(number), track, box, category, None, f"boxes.csv, row {number}")

    said = [(7, "plate"), (8, "pan"), (7, None), (7, "cup"), (7, "pan"), (9, None), (8, "pan"), (9, "cup")]
    labels = [label(number, *one) for number, one in enumerate(said)]
    to = Destination(str(tmp_path / "p.parquet"), None, tmp_path)
    (warning,) = write_prompts(labels, LabelVideos(None), Wishes(frames="all"), to).warnings
    assert warning.startswith(
        "1 object has labels of several categories, as object 7 of video 'clip': 'plate', then 'cup' (boxes.csv, row 3)"
    )
    alike = [one for one in labels if one.category in (None, "pan")]
    assert not any("categories" in told for told in write_prompts(alike, LabelVideos(None), Wishes(), to).warnings)


@pytest.mark.parametrize(("min_score", "is_told"), [(0.5, True), (50, False), (None, False)])
def test_scores_in_percent_that_pass_a_threshold_of_fractions_are_told(
    tmp_path: Path, min_score: float | None, is_told: bool
) -> None:
    box = LabelBox((1.0, 2.0, 30.0, 40.0))
    labels = [
        Label("clip", LabelFrame(0), None, box, None, score, f"boxes.csv, row {row}")
        for row, score in enumerate((0.9, 60.0, 97.0))
    ]
    to = Destination(str(tmp_path / "p.parquet"), None, tmp_path)
    warnings = write_prompts(labels, LabelVideos(None), Wishes(min_score=min_score), to).warnings
    said = "2 labels with a score above 1, the first is 60 (boxes.csv, row 1), and all of them passed min_score=0.5"
    assert any(one.startswith(said) for one in warnings) == is_told

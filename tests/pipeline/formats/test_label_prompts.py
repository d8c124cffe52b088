"""Memory that an import takes: a few numbers of each label, and none of its objects of Python."""

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

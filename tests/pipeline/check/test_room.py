"""What the tables will take on disk. The judge is a segment that was written, with codes that do not compress."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.check.room import BYTES_PER_MASK, OnDisk, room_of
from pipeline.commits.snapshot import SegmentSize
from pipeline.output.schema import RLE
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import labeled, publish

_CODE_BYTES = 150


def written(folder: Path, num_videos: int, num_frames: int) -> SegmentSize:
    """The size of a segment of so many videos with two objects, whose masks have random codes."""
    random = np.random.default_rng(1)
    videos = []
    for number in range(num_videos):
        one = labeled(f"v{number:04}", num_frames)
        codes = [random.integers(48, 112, _CODE_BYTES, np.uint8).tobytes().decode() for _ in range(2 * num_frames)]
        rle = pa.array([{"size": [240, 320], "counts": code} for code in codes], RLE)
        videos.append(replace(one, masks=one.masks.set_column(one.masks.schema.get_field_index("rle"), "rle", rle)))
    segment = publish(JobStorage(str(folder / "job")), folder / "spool", *videos)
    return SegmentSize(*(segment.num_rows[name] for name in ("masks", "tracks", "videos")), segment.num_bytes)


@pytest.mark.slow
def test_a_few_short_videos_tell_what_a_thousand_masks_take(tmp_path: Path) -> None:
    first, large = written(tmp_path / "first", 4, 40), written(tmp_path / "large", 40, 40)
    known = OnDisk.of([first])
    assert known.num_bytes / known.num_masks > 1.5 * large.num_bytes / large.num_masks, "a large part is its files"
    expected = room_of(large.num_masks, large.num_tracks + large.num_videos, 1, (known.bytes_of_mask,) * 2)
    assert expected.is_measured
    assert expected.about == pytest.approx(large.num_bytes, rel=0.25)
    again = room_of(first.num_masks, known.num_rows, 1, (known.bytes_of_mask,) * 2)
    assert again.about == pytest.approx(first.num_bytes, rel=0.25)


@pytest.mark.slow
def test_where_nothing_is_measured_the_room_is_right_within_a_factor_of_two(tmp_path: Path) -> None:
    for name, (num_videos, num_frames) in {"few": (1, 3), "some": (6, 24), "many": (40, 40)}.items():
        real = written(tmp_path / name, num_videos, num_frames)
        expected = room_of(real.num_masks, real.num_tracks + real.num_videos, 1, BYTES_PER_MASK)
        assert real.num_bytes / 2 < expected.about < 2 * real.num_bytes, name


def test_a_few_masks_do_not_tell_what_a_mask_takes(tmp_path: Path) -> None:
    assert OnDisk.of([written(tmp_path, 1, 2)]).bytes_of_mask == 0.0
    assert OnDisk().bytes_of_mask == 0.0


def test_a_small_range_is_told_as_less_than_a_megabyte() -> None:
    assert room_of(100, 5, 1, BYTES_PER_MASK).in_words() == "less than 1 MB"
    assert room_of(30_000, 0, 0, BYTES_PER_MASK).in_words() == "about 6.7 MB (1.5 MB to 30.0 MB)"
    assert room_of(100, 0, 1, (200, 200)).in_words() == "about 60 kB"

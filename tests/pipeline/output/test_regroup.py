"""Rows in the order of their videos: what pyarrow's own sort makes of them, from memory and from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.output.regroup import RowsByVideo, part_ends
from pipeline.output.schema import MASKS, SORT_KEYS, VIDEOS
from pipeline.records import Outcome, Status
from tests.support.labeled import mask_rows, video_row

# A video of one row, one without rows, one that is larger than a part, and runs of the length at which cuts begin.
NUM_FRAMES = {"d": 1, "a": 9, "empty": 0, "c": 200, "b": 130, "e": 128, "f": 40}


def segments() -> list[pa.Table]:
    """Rows as three segments hold them: sorted within, and the videos of each between those of the others."""
    rows = {name: mask_rows(name, (1,), num).sort_by("frame_index") for name, num in NUM_FRAMES.items()}
    return [pa.concat_tables([rows[name] for name in names]) for names in ("bd", "ae", "cf")]


def encoded(rows: pa.Table) -> pa.Table:
    return rows.set_column(0, "video_id", rows["video_id"].dictionary_encode())


def regrouped(folder: Path, parts: list[pa.Table], collected_bytes: int, most_rows: int) -> pa.Table:
    video_ids = sorted(NUM_FRAMES)
    ends = part_ends([NUM_FRAMES[name] for name in video_ids], most_rows)
    with RowsByVideo("masks", video_ids, ends, folder, collected_bytes) as rows:
        for part in parts:
            rows.put(encoded(part))
        found = list(rows.batches())
    assert not list(folder.iterdir())
    return pa.Table.from_batches(found, MASKS)


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("collected_bytes", [1, 20_000, 1 << 30], ids=["a run a segment", "some runs", "in memory"])
@pytest.mark.parametrize("most_rows", [1, 100, 10_000])
@pytest.mark.parametrize("group_rows", [7, 1_000])
def test_rows_come_by_video_as_a_sort_would_give_them(
    tmp_path: Path, collected_bytes: int, most_rows: int, group_rows: int
) -> None:
    groups = [
        segment.slice(start, group_rows) for segment in segments() for start in range(0, segment.num_rows, group_rows)
    ]
    expected = pa.concat_tables(segments()).sort_by([(key, "ascending") for key in SORT_KEYS["masks"]])
    found = regrouped(tmp_path, groups, collected_bytes, most_rows)
    found.validate(full=True)
    assert found.equals(expected)


@pytest.mark.parametrize("sorted_bytes", [1, 1_500, 4_000])
def test_a_part_of_large_rows_is_put_in_order_a_share_at_a_time(tmp_path: Path, sorted_bytes: int) -> None:
    """A share is one video, or of its size but for the last video in it."""
    ids = [f"v{number:02d}" for number in range(20)]
    rows = {name: mask_rows(name, (1,), 2 + number % 5) for number, name in enumerate(ids)}
    largest = max(one.nbytes for one in rows.values())
    shuffled = np.random.default_rng(0).permutation(20).tolist()
    with RowsByVideo(
        "masks", ids, part_ends([5] * 20, 1_000), tmp_path, collected_bytes=1, sorted_bytes=sorted_bytes
    ) as table:
        for number in shuffled:
            table.put(encoded(rows[ids[number]]))
        found = list(table.batches())
    assert pa.Table.from_batches(found, MASKS).equals(pa.concat_tables(rows.values()))
    together = [batch.nbytes for batch in found if batch["video_id"][0] != batch["video_id"][-1]]
    assert all(num_bytes <= sorted_bytes + largest for num_bytes in together)
    assert len(together) > 1 or sorted_bytes == 1


@pytest.mark.slow
def test_short_runs_are_ordered_as_well(tmp_path: Path) -> None:
    ids = [f"v{number:03d}" for number in range(300)]
    rows = pa.concat_tables([video_row(Outcome(name, Status.OK, name, 1, 1), 1) for name in ids])
    shuffled = np.random.default_rng(0).permutation(300)
    with RowsByVideo("videos", ids, part_ends([1] * 300, 16), tmp_path, collected_bytes=4_000) as table:
        for places in np.array_split(shuffled, 5):
            table.put(encoded(rows.take(pa.array(np.sort(places)))))
        found = pa.Table.from_batches(table.batches(), VIDEOS)
    assert found.equals(rows)


def test_rows_of_an_earlier_version_get_the_columns_of_today(tmp_path: Path) -> None:
    rows = video_row(Outcome("a", Status.OK, "p", 1, 1), 1)
    with RowsByVideo("videos", ["a"], part_ends([1], 16), tmp_path) as table:
        table.put(encoded(rows.drop_columns(["source_bytes", "source_version", "kept"])))
        found = pa.Table.from_batches(table.batches(), VIDEOS)
    assert found.equals(rows)


def test_a_video_that_its_segment_does_not_name_is_an_error(tmp_path: Path) -> None:
    with RowsByVideo("masks", ["a"], part_ends([1], 16), tmp_path) as table, pytest.raises(ValueError, match="'b'"):
        table.put(encoded(mask_rows("b", (1,), 2)))


def test_a_part_holds_one_video_or_as_many_as_fit() -> None:
    assert part_ends([5, 0, 5, 6, 100, 1, 1], 10).tolist() == [3, 4, 5, 7]
    assert part_ends([], 10).tolist() == [0]

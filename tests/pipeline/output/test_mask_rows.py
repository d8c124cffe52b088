"""Rows of one video, few or many, put in order."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.output.mask_rows import Mask, MaskRows, RowLimits, without_frames
from pipeline.output.schema import MASKS


def mask(object_id: int, frame_index: int) -> Mask:
    return Mask(object_id, frame_index, frame_index / 8, f"0{object_id}{frame_index}", 1, (0, 1, 2, 3), 1.0, 0.5, False)


def walk(direction: str, num_frames: int) -> list[tuple[int, int]]:
    """Objects and frames in the order of a session: object 5 starts at frame 3, object 2 at frame 6."""
    first = {5: 3, 2: 6}
    forward = [(o, f) for f in range(num_frames) for o in first if f >= first[o]]
    before = [(o, f) for f in reversed(range(num_frames)) for o in first if f < first[o]]
    backward = [(o, f) for f in reversed(range(num_frames)) for o in first if f <= first[o]]
    return {"forward": forward, "backward": backward, "both": forward + before}[direction]


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("chunk_rows", [1, 3, 7, 1000])
def test_rows_come_out_sorted(direction: str, on_disk: bool, chunk_rows: int, tmp_path: Path) -> None:
    keys = walk(direction, 20)
    limits = RowLimits(chunk_rows=chunk_rows, memory_bytes=0 if on_disk else 1 << 30)
    rows = MaskRows("video", (12, 16), tmp_path, limits=limits)
    for key in keys:
        rows.add(mask(*key))
    table = rows.table()
    rows.close()
    assert not list(tmp_path.iterdir())
    assert table.schema == MASKS
    found = list(zip(table["object_id"].to_pylist(), table["frame_index"].to_pylist(), strict=True))
    assert found == sorted(keys)
    assert table["rle"].to_pylist() == [{"size": [12, 16], "counts": f"0{o}{f}"} for o, f in sorted(keys)]


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_rows_of_several_shots_come_out_sorted(seed: int, on_disk: bool, tmp_path: Path) -> None:
    generator = random.Random(seed)
    keys: list[tuple[int, int]] = []
    for shot in range(5):
        start, stop = 10 * shot, 10 * shot + generator.randint(1, 10)
        first = {object_id: generator.randrange(start, stop) for object_id in (5, 2)}
        keys += [(one, frame) for frame in range(start, stop) for one in first if frame >= first[one]]
        keys += [(one, frame) for frame in reversed(range(start, stop)) for one in first if frame < first[one]]
    limits = RowLimits(generator.choice([1, 3, 7, 1000]), memory_bytes=0 if on_disk else 1 << 30)
    with contextlib.closing(MaskRows("video", (12, 16), tmp_path, limits=limits)) as rows:
        for key in keys:
            rows.add(mask(*key))
        table = rows.table()
    assert list(zip(table["object_id"].to_pylist(), table["frame_index"].to_pylist(), strict=True)) == sorted(keys)


def test_rows_that_were_saved_and_put_back_are_the_same(tmp_path: Path) -> None:
    limits = RowLimits(chunk_rows=5)
    keys = walk("both", 20)
    whole = MaskRows("video", (12, 16), tmp_path, keep_new=True, limits=limits)
    saved: list[pa.RecordBatch] = []
    generator = random.Random(0)
    for key in keys[:30]:
        whole.add(mask(*key))
        if generator.random() < 0.3:
            saved += whole.take_new()
    saved += whole.take_new()
    assert whole.take_new() == []
    resumed = MaskRows("video", (12, 16), tmp_path, limits=limits)
    resumed.put(saved)
    for key in keys[30:]:
        whole.add(mask(*key))
        resumed.add(mask(*key))
    assert resumed.table().equals(whole.table())


def test_no_rows() -> None:
    assert MaskRows("video", (1, 1)).table().num_rows == 0


def test_new_rows_must_be_asked_for() -> None:
    with pytest.raises(ValueError, match="keep_new"):
        MaskRows("video", (1, 1)).take_new()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    rows = MaskRows("video", (12, 16), tmp_path, limits=RowLimits(memory_bytes=1 << 20))
    template = mask(1, 0)
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    highest = 0
    for frame_index in range(60_000):
        rows.add(Mask(1, frame_index, None, "x" * 100, *([getattr(template, name) for name in (
            "area", "bbox_xywh", "object_score", "predicted_iou", "is_prompt")])))  # fmt: skip
        if frame_index % 8192 == 0:
            highest = max(highest, pool.bytes_allocated() - before)
    table = rows.table()
    assert table.num_rows == 60_000
    assert table.nbytes > 8 << 20
    assert highest < 4 << 20
    assert pool.bytes_allocated() - before < 4 << 20


@pytest.mark.slow
@pytest.mark.parametrize("on_disk", [False, True])
def test_rows_of_many_objects_are_kept_together(tmp_path: Path, on_disk: bool) -> None:
    """A batch for each object and chunk would take a hundred times the memory of its rows."""
    rows = MaskRows("video", (12, 16), tmp_path, limits=RowLimits(memory_bytes=0 if on_disk else 1 << 30))
    for frame_index in range(5):
        for object_id in range(2000):
            rows.add(mask(object_id, frame_index))
    table = rows.table()
    rows.close()
    assert table["frame_index"].to_pylist() == [*range(5)] * 2000
    assert table["rle"].num_chunks <= 5


@pytest.mark.slow
def test_rows_of_large_masks_do_not_wait_for_many_more(tmp_path: Path) -> None:
    rows = MaskRows("video", (12, 16), tmp_path, limits=RowLimits(memory_bytes=1 << 20))
    tracemalloc.start()
    for frame_index in range(2000):
        rows.add(dataclasses.replace(mask(1, frame_index), rle_counts=f"{frame_index}" + "x" * 10_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows.table().num_rows == 2000
    rows.close()
    assert peak < 8 << 20


def test_rows_have_the_category_of_their_object_also_those_saved_by_a_program_that_knew_none() -> None:
    old = MaskRows("video", (12, 16), keep_new=True)
    for frame in range(3):
        old.add(mask(5, frame))
    saved = old.take_new()
    assert saved[0]["category"].null_count == 3
    rows = MaskRows("video", (12, 16), categories={5: "cat", 7: None})
    rows.put(saved)
    for key in ((5, 3), (7, 3)):
        rows.add(mask(*key))
    assert rows.table()["category"].to_pylist() == ["cat"] * 4 + [None]


def test_frames_of_an_object_are_cut_out_and_nothing_else() -> None:
    rows = MaskRows("video", (12, 16))
    for frame_index in range(6):
        for object_id in (1, 2, 3):
            rows.add(mask(object_id, frame_index))
    found = without_frames(rows.table(), {1: [(2, None)], 3: [(4, 5), (0, 2)], 9: [(0, None)]})
    frames: dict[int, list[int]] = {}
    for row in found.to_pylist():
        frames.setdefault(row["object_id"], []).append(row["frame_index"])
    assert frames == {1: [0, 1], 2: [0, 1, 2, 3, 4, 5], 3: [2, 3, 5]}

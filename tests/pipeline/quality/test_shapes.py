"""What masks say of their neighbors: as counted on pixels, and the same however codes are cut into parts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pycocotools import mask as coco

from pipeline.output.schema import RLE
from pipeline.quality.shapes import with_shapes

SIZE_HW = (40, 60)


def box(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask_HW = np.zeros(SIZE_HW, bool)
    mask_HW[top : top + height, left : left + width] = True
    return mask_HW


def rows(masks: dict[tuple[int, int], np.ndarray]) -> pa.Table:
    """Rows of one video from masks by object and frame."""
    found = []
    for (object_id, frame_index), mask_HW in sorted(masks.items()):
        code = coco.encode(np.asfortranarray(mask_HW, np.uint8))
        x, y, w, h = (int(value) for value in coco.toBbox(code))
        found.append({
            "object_id": object_id, "frame_index": frame_index, "area": int(mask_HW.sum()),
            "bbox_x": x, "bbox_y": y, "bbox_w": w, "bbox_h": h,
            "rle": {"size": list(SIZE_HW), "counts": code["counts"].decode()},
        })  # fmt: skip
    plain = pa.Table.from_pylist([{name: row[name] for name in row if name != "rle"} for row in found])
    return plain.append_column("rle", pa.array([row["rle"] for row in found], RLE))


def test_a_mask_that_only_moves_keeps_its_shape_and_one_that_grows_does_not() -> None:
    moved = {(1, frame): box(5 + 2 * frame, 4 + 7 * frame, 10, 8) for frame in range(4)}
    grown = {(2, 0): box(10, 10, 10, 10), (2, 1): box(10, 10, 10, 20), (2, 2): box(9, 20, 10, 20)}
    found = with_shapes(rows(moved | grown), SIZE_HW)["shape_iou"].to_pylist()
    assert found[1:4] == [1.0, 1.0, 1.0]
    assert found[5:] == [pytest.approx(0.5, abs=0.03), 1.0]
    assert np.isnan(found[0])
    assert np.isnan(found[4]), "another object comes before it"


def test_masks_at_the_border_and_hidden_ones_have_no_shape() -> None:
    masks = {(1, 0): box(0, 10, 8, 8), (1, 1): box(5, 10, 8, 8), (1, 2): box(5, 10, 0, 0), (1, 3): box(5, 10, 8, 8)}
    assert np.isnan(with_shapes(rows(masks), SIZE_HW)["shape_iou"].to_numpy()).all()


@pytest.mark.parametrize("most_bytes", [1, 1 << 20])
def test_overlaps_are_those_of_pixels(most_bytes: int) -> None:
    rng = np.random.default_rng(3)
    masks = {
        (object_id, frame): box(*rng.integers(0, 25, 2), *rng.integers(0, 25, 2))
        for object_id in (1, 2, 5)
        for frame in range(12)
    }
    found = with_shapes(rows(masks), SIZE_HW, most_bytes).to_pylist()
    num_partners = 0
    for row in found:
        mine = masks[row["object_id"], row["frame_index"]]
        if not mine.any():
            assert np.isnan(row["overlap_iou"])
            continue
        others = {o: m for (o, f), m in masks.items() if f == row["frame_index"] and o != row["object_id"]}
        ious = {o: (mine & m).sum() / (mine | m).sum() for o, m in others.items()}
        shares = [(mine & m).sum() / max(min(mine.sum(), m.sum()), 1) for m in others.values()]
        near = {o: iou for o, iou in ious.items() if iou >= 0.05}
        if near:
            num_partners += 1
            assert row["overlap_iou"] == pytest.approx(max(near.values()))
            assert row["partner"] == max(near, key=near.__getitem__)
            assert row["overlap_share"] == pytest.approx(max(shares), abs=0.05)
    assert num_partners > 10


def test_of_many_frames_some_are_looked_at_evenly() -> None:
    masks = {(object_id, frame): box(5, 5, 10, 10) for object_id in range(3) for frame in range(200)}
    found = with_shapes(rows(masks), SIZE_HW)
    iou = found["overlap_iou"].to_numpy().reshape(3, 200)
    assert (iou[:, ::4] == 1).all()
    assert np.isnan(np.delete(iou, np.arange(0, 200, 4), axis=1)).all()
    assert set(found["partner"].to_pylist()) <= set(range(-1, 3))


@pytest.mark.parametrize("chunk_rows", [1, 7, 1000])
def test_of_a_long_track_the_jump_is_found_wherever_it_is(chunk_rows: int) -> None:
    masks = {(1, frame): box(10, 5 + frame % 20, 10, 10) for frame in range(300)}
    masks[1, 222] = box(10, 5, 10, 20)
    table = pa.Table.from_batches(rows(masks).combine_chunks().to_batches(chunk_rows))
    iou = with_shapes(table, SIZE_HW)["shape_iou"].to_numpy()
    assert np.nanargmin(iou) == 222
    assert 16 <= (~np.isnan(iou)).sum() < 60, "others are not read"

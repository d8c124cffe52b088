"""Where two walks over the same frames part, on drawn masks: IoUs are pycocotools'."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pytest
from pycocotools import mask as coco

from pipeline.output.schema import RLE
from pipeline.verify.agreement import agreement

SIZE_HW = (20, 30)


def code(left: int, width: int = 8) -> dict[str, object]:
    mask = np.zeros(SIZE_HW, np.uint8, order="F")
    mask[4:14, left : left + width] = 1
    found = coco.encode(mask)
    return {"size": list(SIZE_HW), "counts": found["counts"].decode()}


EMPTY = code(0, 0)


def rows(masks: Mapping[int, dict[str, object]]) -> pa.Table:
    schema = pa.schema([pa.field("frame_index", pa.int32()), pa.field("rle", RLE)])
    return pa.Table.from_pylist([{"frame_index": frame, "rle": rle} for frame, rle in masks.items()], schema)


def test_a_track_that_went_over_to_another_object_parts_from_its_walk_where_it_did() -> None:
    """Labeled, it is on the left up to frame 4 and on the right from frame 6 on; the walk comes from the right."""
    labeled = {frame: code(2) if frame <= 4 else code(19) for frame in range(0, 12, 2)}
    walked = {0: code(20), 2: code(20), 4: EMPTY, 6: code(20), 8: code(19), 10: code(19)}
    found = agreement(rows(labeled), rows(walked), 10, SIZE_HW)
    ious = [float(coco.iou([labeled[frame]], [walked[frame]], [0])[0, 0]) for frame in (0, 2, 4, 6, 8)]
    assert ious == [0, 0, 0, pytest.approx(7 / 9), 1]
    assert found is not None
    assert (found.iou, found.parting_frame) == (pytest.approx(np.mean(ious)), 6)


def test_walks_that_agree_never_part_and_frames_where_both_see_nothing_agree() -> None:
    labeled = {0: code(2), 1: EMPTY, 2: code(3), 3: code(4)}
    found = agreement(rows(labeled), rows(labeled), 3, SIZE_HW)
    assert found is not None
    assert (found.iou, found.parting_frame) == (1.0, None)


def test_walks_that_part_at_once_part_where_the_walk_began() -> None:
    found = agreement(rows({0: code(2), 1: code(2), 2: code(19)}), rows({0: code(19), 1: code(19)}), 2, SIZE_HW)
    assert found is not None
    assert (found.iou, found.parting_frame) == (0.0, 2)


def test_frames_that_one_walk_has_not_seen_do_not_count() -> None:
    found = agreement(rows({0: code(2), 5: code(2), 9: code(2)}), rows({5: code(2), 7: code(2)}), 9, SIZE_HW)
    assert found is not None
    assert found.iou == 1.0
    assert agreement(rows({9: code(2)}), rows({9: code(2)}), 9, SIZE_HW) is None
    assert agreement(rows({}), rows({1: code(2)}), 9, SIZE_HW) is None

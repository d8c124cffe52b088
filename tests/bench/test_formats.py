"""What an export does to a mask takes a fraction of what the same takes on whole frames. Processor time, in turn."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from pipeline.formats.overlap import paint
from pipeline.formats.polygons import outline
from pipeline.formats.rows import MaskRow
from pipeline.masks.crop import box_pixels
from tests.bench.measure import medians_in_turn

SIZE_HW = 1080, 1920


def row_of(object_id: int) -> MaskRow:
    """An ellipse with a hole, 200 by 360 pixels."""
    mask = np.zeros(SIZE_HW, np.uint8)
    cv2.ellipse(mask, (300 + 150 * object_id, 500), (100, 180), 20 * object_id, 0, 360, 1, -1)
    cv2.circle(mask, (300 + 150 * object_id, 520), 25, 0, -1)
    rle = coco.encode(np.asfortranarray(mask))
    left, top, width, height = (int(value) for value in coco.toBbox(rle))
    code = {"size": list(SIZE_HW), "counts": rle["counts"].decode()}
    return MaskRow(object_id, 0, None, code, int(mask.sum()), (left, top, width, height), float(object_id), 0.9, False)


@pytest.mark.slow
def test_painting_and_outlining_on_boxes_take_less_time_than_on_whole_frames() -> None:
    rows = [row_of(object_id) for object_id in range(5)]
    numbers = {row.object_id: row.object_id + 1 for row in rows}

    def painted_whole() -> np.ndarray:
        labels = np.zeros(SIZE_HW, np.uint16)
        for row in rows:
            labels[coco.decode(row.rle).astype(bool)] = numbers[row.object_id]
        return labels

    def outlined_whole() -> list[object]:
        masks = [coco.decode(row.rle) for row in rows]
        return [cv2.findContours(np.ascontiguousarray(mask), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE) for mask in masks]

    np.testing.assert_array_equal(paint(rows, numbers, SIZE_HW, "score")[0], painted_whole())
    found = medians_in_turn(
        {
            "paint": lambda: paint(rows, numbers, SIZE_HW, "score"),
            "paint whole": painted_whole,
            "outline": lambda: [outline(box_pixels(row.rle, row.bbox_xywh), joined=True) for row in rows],
            "outline whole": outlined_whole,
        },
        rounds=5,
    )
    for name in ("paint", "outline"):
        ratio = found[f"{name} whole"]["cpu_seconds"] / found[name]["cpu_seconds"]
        assert ratio > 1.2, (name, found)  # 2 to 4 on a quiet machine

"""One object a pixel: painted on boxes, held against whole frames."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from pipeline.errors import ConfigError
from pipeline.formats.overlap import paint, without_overlaps
from pipeline.formats.rows import MaskRow


def row_of(object_id: int, mask_HW: np.ndarray, score: float) -> MaskRow:
    rle = coco.encode(np.asfortranarray(mask_HW, np.uint8))
    box = tuple(int(value) for value in coco.toBbox(rle))
    code = {"size": list(mask_HW.shape), "counts": rle["counts"].decode()}
    return MaskRow(object_id, 5, None, code, int(mask_HW.sum()), box, score, 0.9, False)  # type: ignore[arg-type]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["score", "id"]))
def test_every_pixel_is_that_of_the_first_in_the_order(seed: int, order: Literal["score", "id"]) -> None:
    random = np.random.default_rng(seed)
    height, width, num = (int(value) for value in random.integers(1, (13, 17, 6)))
    masks = random.random((num, height, width)) < random.choice([0.0, 0.1, 0.5, 1.0], (num, 1, 1))
    ids = (random.permutation(9)[:num] - 3).tolist()
    scores = random.integers(0, 3, num).tolist()
    rows = [row_of(*one) for one in zip(ids, masks, scores, strict=True)]
    first = sorted(range(num), key=lambda place: (-scores[place] if order == "score" else 0, ids[place]))
    owner = np.full((height, width), -1)
    for place in reversed(first):
        owner[masks[place]] = place
    labels, lost = paint(rows, {ids[place]: place + 1 for place in range(num)}, (height, width), order)
    np.testing.assert_array_equal(labels, owner + 1)
    expected = {ids[place]: int((masks[place] & (owner != place)).sum()) for place in range(num)}
    assert lost == {object_id: count for object_id, count in expected.items() if count}
    left = {
        row.object_id: coco.decode(shown.rle).astype(bool) for row, shown in without_overlaps(rows, owner.shape, order)
    }
    assert left.keys() == {ids[place] for place in range(num) if masks[place].any()}
    for object_id, mask in left.items():
        np.testing.assert_array_equal(mask, owner == ids.index(object_id))


def test_an_overlap_is_refused_on_demand_and_touching_boxes_are_none() -> None:
    masks = np.zeros((3, 8, 8), bool)
    masks[0, :4, :4] = masks[1, 4:, :4] = masks[2, 3:6, 3:6] = True
    rows = [row_of(number, mask, 1.0) for number, mask in enumerate(masks)]
    apart = [shown for _, shown in without_overlaps(rows[:2], (8, 8), "refuse")]
    assert apart == rows[:2]
    with pytest.raises(ConfigError, match=r"frame 5: the masks of objects . and 2 overlap on . pixels"):
        list(without_overlaps(rows, (8, 8), "refuse"))

"""A click beside the object takes a part of the mask away, and never what is most of it."""

from __future__ import annotations

import torch

from pipeline.mending.mask_parts import without_part


def test_a_part_is_taken_away_and_most_of_a_mask_is_not() -> None:
    logits = torch.full((1, 16, 16), -5.0)
    logits[0, 2:8, 1:6] = 4.0  # 30 cells, and 24 apart from them
    logits[0, 2:8, 9:13] = 4.0
    without = without_part(logits, (21.0, 10.0), (32, 32))  # pixels: cells of 2 x 2
    assert int((without > 0).sum()) == 30
    logits[0, 4:8, 9:13] = -5.0  # 8 are left of the second part
    assert torch.equal(without_part(logits, (5.0, 10.0), (32, 32)), logits)  # on the large one
    assert torch.equal(without_part(logits, (31.0, 31.0), (32, 32)), logits)  # on none
    assert int((without_part(logits, (20.0, 6.0), (32, 32)) > 0).sum()) == 30

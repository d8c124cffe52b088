"""Masks of prompts in the forms in which tools store them; pycocotools makes the codes."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from pycocotools import mask as coco

from pipeline.inputs.mask_prompts import mask_prompt

MASK = np.zeros((20, 30), bool)
MASK[5:9, 4:20] = True
RLE = coco.encode(np.asfortranarray(MASK.astype(np.uint8)))
CODE: bytes = RLE["counts"]
EDGES = np.flatnonzero(np.diff(np.concatenate([[0], MASK.T.reshape(-1), [0]]).astype(int)))
RUNS = np.diff(np.concatenate([[0], EDGES, [MASK.size]])).tolist()

FORMS = {
    "struct": {"size": [20, 30], "counts": CODE.decode()},
    "code": CODE,
    "text": CODE.decode(),
    "json": json.dumps({"size": [20, 30], "counts": CODE.decode()}),
    "json as bytes": json.dumps({"counts": CODE.decode(), "size": [20, 30]}).encode(),
    "json of runs": json.dumps({"size": [20, 30], "counts": RUNS}),
    "base64": base64.b64encode(CODE).decode(),
    "struct of base64": {"size": [20, 30], "counts": base64.b64encode(CODE)},
}


@pytest.mark.parametrize("value", FORMS.values(), ids=FORMS)
def test_each_form_gives_the_same_mask(value: object) -> None:
    prompt = mask_prompt(value)  # type: ignore[arg-type]
    assert prompt is not None
    assert (prompt.fit((20, 30)).mask_HW == MASK).all()


@pytest.mark.parametrize("value", [None, "", b"", {"size": None, "counts": None}, {"size": [], "counts": ""}])
def test_no_mask_is_none(value: object) -> None:
    assert mask_prompt(value) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON with size and counts"),
        ('{"size": [20, 30]}', "no JSON with size and counts"),
        ('{"size": [20, 30], "counts": [1.5]}', "counts as a text or as whole numbers"),
        ('{"size": [20, 30], "counts": [-1]}', "counts as a text or as whole numbers"),
        ('{"size": "big", "counts": "x"}', r"needs size \[height, width\]"),
        ('{"size": [20, 30], "counts": [600, 1]}', "counts covers more than the 600 pixels"),
        ('{"size": [1, 2, 3], "counts": "x"}', r"size must be \[height, width\]"),
        (base64.b64encode(b"\xff\xfe").decode(), "negative|not of COCO|cut off"),
    ],
)
def test_a_text_that_is_no_mask_is_told(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mask_prompt(text).fit((20, 30))  # type: ignore[union-attr]

"""Corrected frames as prompts: they take the place of the table's, and an empty mask says that nothing is there."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from model import BoxPrompt, HiddenPrompt
from pipeline.inputs.prompts import ObjectPrompts, VideoPrompts
from pipeline.inputs.reviewed_prompts import CorrectedMask, with_corrections, without
from pipeline.records import FramePosition
from pipeline.reviews.corrections import Correction
from tests.support.rounds import square

SIZE_HW = (24, 32)
BOX = BoxPrompt((1, 2, 9, 9))


def said(object_id: int, frame_index: int, *, hidden: bool = False, category: str | None = None) -> Correction:
    rle = None if hidden else square(SIZE_HW, 4, 5)
    return Correction(object_id, frame_index, rle, "ann", datetime.now(UTC), category)


def table(*objects: ObjectPrompts) -> VideoPrompts:
    return VideoPrompts(objects)


def at(frame_index: int) -> FramePosition:
    return FramePosition(frame_index, None)


def test_corrected_frames_replace_those_of_the_table_and_add_objects() -> None:
    one = ObjectPrompts(1, "cat", ((at(0), BOX), (at(4), BOX)))
    other = ObjectPrompts(2, None, ((at(0), BOX),))
    found = with_corrections(
        table(one, other), {1: [said(1, 4), said(1, 6, hidden=True)], 3: [said(3, 2, category="dog")]}
    )
    first, second, third = found.objects
    assert [position for position, _ in first.prompts] == [at(0), at(4), at(6)]
    assert first.prompts[0][1] == BOX
    assert isinstance(first.prompts[1][1], CorrectedMask)
    assert second == other
    assert (third.object_id, third.category, third.error) == (3, "dog", "")
    assert [one.object_id for one in without(found, {1, 3}).objects] == [2]


def test_a_correction_mends_an_object_whose_rows_are_wrong() -> None:
    wrong = ObjectPrompts(1, None, (), "object 1, frame 0: two boxes")
    (mended,) = with_corrections(table(wrong), {1: [said(1, 2)]}).objects
    assert (mended.error, len(mended.prompts)) == ("", 1)
    (still,) = with_corrections(table(wrong), {1: [said(1, 2, hidden=True)]}).objects
    assert still.error.startswith("object 1, frame 0: two boxes; object 1, frame 2: reviewers say only where it is not")


def test_an_empty_mask_is_hidden_and_one_of_another_size_is_refused() -> None:
    (hidden,) = with_corrections(table(), {1: [said(1, 0), said(1, 1, hidden=True)]}).objects[0].prompts[1:]
    prompt = hidden[1].fit(SIZE_HW)
    assert isinstance(prompt, HiddenPrompt)
    assert prompt.mask_HW.shape == SIZE_HW
    drawn = square(SIZE_HW, 4, 5, 0)
    assert isinstance(CorrectedMask(SIZE_HW, drawn["counts"].encode()).fit(SIZE_HW), HiddenPrompt)
    mask = CorrectedMask(SIZE_HW, square(SIZE_HW, 4, 5)["counts"].encode())
    assert mask.fit(SIZE_HW).mask_HW.sum() == 144
    with pytest.raises(ValueError, match=r"size is \[24, 32\] \(height, width\), but the video is \[48, 64\]"):
        mask.fit((48, 64))
    with pytest.raises(ValueError, match="without pixels, got 1 pixels"):
        HiddenPrompt(np.eye(1, dtype=bool))


def test_an_object_that_is_hidden_on_a_frame_keeps_the_prompts_of_the_table_on_others() -> None:
    one = ObjectPrompts(1, "cat", ((at(0), BOX),))
    (found,) = with_corrections(table(one), {1: [said(1, 4, hidden=True)]}).objects
    assert (found.error, [position for position, _ in found.prompts]) == ("", [at(0), at(4)])


def test_the_category_of_the_table_counts_and_else_the_first_that_a_reviewer_gave() -> None:
    one = ObjectPrompts(1, "cat", ((at(0), BOX),))
    corrections = {1: [said(1, 4, category="dog")], 3: [said(3, 2), said(3, 5, category="bird")]}
    found = with_corrections(table(one), corrections)
    assert [one.category for one in found.objects] == ["cat", "bird"]

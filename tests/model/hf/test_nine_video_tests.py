"""What transformers' own nine tests of its video model do, on ours and on `transformers` with mini's weights.

Both compute in float64 and keep memories in float64. Where ours is meant to differ, the test says so and shows that the
difference is that one alone (`docs/differences.md`).
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch

from tests.reference.kits import CLIP, FRAMES, Masks, ours, theirs
from tests.reference.mini import box_of, click_on
from tests.reference.transformers_runner import _masks_as_sam2
from tests.support.clips import iou

pytestmark = pytest.mark.slow


GAP = 1e-4


CLICK, OTHER = (list(click_on(CLIP.mask(object_id, 0))) for object_id in (1, 2))
BOX, OTHER_BOX = (list(box_of(CLIP.mask(object_id, 0))) for object_id in (1, 2))
NEAR = [CLICK[0] + 6, CLICK[1]]


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    assert first.shape == second.shape
    assert bool((first > 0).any())
    return float((first - second).abs().max()) < GAP


def assert_equal_walks(object_ids: Any, *, looks_first: bool = True, **inputs: Any) -> None:
    """Frame 0, then a walk of two frames. Meant: there the last one is included, so that they are three."""
    walks = []
    for kit, num_frames in ((ours(), 3), (theirs(), 2)):
        session = kit.session()
        kit.say(session, object_ids, **inputs)
        looked = kit.look(session, frame_idx=0) if looks_first else None
        walks.append(kit.walk(session, start_frame_idx=0, max_frame_num_to_track=num_frames))
        assert looked is None or torch.equal(looked, walks[-1][0])
    assert list(walks[0]) == list(walks[1]) == [0, 1, 2]
    assert all(same(walks[0][index], walks[1][index]) for index in range(3))


CASES: dict[str, dict[str, Any]] = {
    "one click": {"input_points": [[[CLICK]]], "input_labels": [[[1]]]},
    "several clicks": {"input_points": [[[CLICK, NEAR, OTHER]]], "input_labels": [[[1, 1, 0]]]},
    "one box": {"input_boxes": [[BOX]]},
    "a click and a box": {"input_boxes": [[BOX]], "input_points": [[[NEAR]]], "input_labels": [[[1]]]},
}


@pytest.mark.parametrize("case", CASES)
def test_one_object(case: str) -> None:
    assert_equal_walks(1, **CASES[case])


def test_one_click_without_a_call_of_the_model_before_the_walk() -> None:
    assert_equal_walks(1, looks_first=False, **CASES["one click"])


def test_boxes_of_two_objects() -> None:
    assert_equal_walks([2, 3], input_boxes=[[BOX, OTHER_BOX]])


def test_two_objects_with_different_numbers_of_clicks() -> None:
    """Meant: there, points that only fill up the batch count. What each object gets alone is the same in both."""
    points, labels = [[[CLICK, NEAR, OTHER], [OTHER]]], [[[1, 1, 0], [1]]]
    together = []
    for kit in (ours(), theirs()):
        session = kit.session()
        kit.say(session, [2, 3], input_points=points, input_labels=labels)
        together.append(kit.look(session, frame_idx=0))
    assert same(together[0][0], together[1][0])
    assert not same(together[0][1], together[1][1])
    alone = theirs().session()
    theirs().say(alone, 3, input_points=[[points[0][1]]], input_labels=[[labels[0][1]]])
    assert same(together[0][1:], theirs().look(alone, frame_idx=0))


def test_a_mask_that_the_model_gave_as_prompt() -> None:
    """Logits are refused, as the message says; the mask is the output of its frame in both.

    Meant: the object's pointer and its memory are those of `sam2`. With these two put right there, all is the same.
    """
    logits = logits_on_frame_0()
    with pytest.raises(ValueError, match=r"object 1, frame 0: mask: .*post_process_masks\(…, binarize=True\)"):
        ours().say(ours().session(), 1, input_masks=logits[0, 0])
    walks = []
    for kit, corrected in (
        (ours(), nullcontext),
        (theirs(), nullcontext),
        (theirs(), lambda: _masks_as_sam2(theirs().model)),
    ):
        session = kit.session()
        kit.say(session, 1, input_masks=(logits > 0)[0, 0])
        with corrected(), kit.formats():
            walks.append({0: kit.look(session, frame_idx=0)} | kit.walk(session, start_frame_idx=0))
    mine, as_it_is, as_sam2 = walks
    assert list(mine) == list(as_it_is) == list(range(FRAMES))
    assert iou((mine[0] > 0).numpy(), (logits > 0).numpy()) > 0.95
    assert all(same(mine[index], as_sam2[index]) for index in mine)
    assert [same(mine[index], as_it_is[index]) for index in (0, 1)] == [True, False]


def logits_on_frame_0() -> torch.Tensor:
    """What `transformers` sees on frame 0, at the size of the video."""
    session = theirs().session()
    theirs().say(session, 1, **CASES["one click"])
    return theirs().look(session, frame_idx=0)


def test_a_stream() -> None:
    streamed: list[Masks] = []
    for kit in (ours(), theirs()):
        session, masks = kit.session(is_stream=True), {}
        for index in range(3):
            inputs = kit.processor(images=CLIP.frames_THW3[index], return_tensors="pt")
            if index == 0:
                kit.say(session, 1, **CASES["one click"], original_size=inputs.original_sizes[0])
            masks[index] = kit.look(session, frame=inputs.pixel_values[0])
        streamed.append(masks)
    assert all(same(streamed[0][index], streamed[1][index]) for index in range(3))

"""Differences to `transformers` that are meant, beside those of `test_promises`; and the page that has them all."""

from __future__ import annotations

import ast
import functools
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.reference.kits import CLIP, FRAMES, Kit, ours, theirs
from tests.reference.mini import box_of, click_on
from tests.support.clips import iou

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "differences.md").read_text()
GAP = 1e-4


def clicked(kit: Kit, frame_idx: int = 0, **options: Any) -> Any:
    """A session with a click on the first object."""
    session = kit.session(**options)
    with kit.formats():
        kit.processor.add_inputs_to_inference_session(
            session, frame_idx, 1, input_points=[[[list(click_on(CLIP.mask(1, frame_idx)))]]], input_labels=[[[1]]]
        )
    kit.look(session, frame_idx=frame_idx)
    return session


@pytest.mark.slow
def test_reverse_after_forward_is_a_fresh_pass() -> None:
    """Alone, a reverse pass is the same in both. After a forward pass it is another one in `transformers`."""
    gaps = []
    for kit in (ours(), theirs()):
        last = FRAMES - 2
        alone, after = clicked(kit, last), clicked(kit, last)
        expected = kit.walk(alone, start_frame_idx=last, reverse=True)
        kit.walk(after, start_frame_idx=last)
        found = kit.walk(after, start_frame_idx=last, reverse=True)
        assert list(found) == list(expected) == [2, 1, 0]
        gaps.append(max(float((found[index] - expected[index]).abs().max()) for index in (0, 1)))
    assert gaps[0] == 0
    assert gaps[1] > 1


@pytest.mark.slow
def test_a_reverse_pass_from_frame_0_has_frame_0_and_a_pass_of_no_frames_has_none() -> None:
    walks = []
    for kit in (ours(), theirs()):
        session = clicked(kit)
        options = ({"reverse": True}, {"max_frame_num_to_track": 0})
        walks.append([list(kit.walk(session, start_frame_idx=0, **one)) for one in options])
    assert walks == [[[0], []], [[], [0]]]
    session = clicked(ours())
    with pytest.raises(ValueError, match=f"start_frame_idx: is 9, the video has {FRAMES} frames"):
        ours().walk(session, start_frame_idx=9)
    assert theirs().walk(clicked(theirs()), start_frame_idx=9) == {}


@pytest.mark.slow
def test_soft_masks_in_arrays_are_cut_at_one_half() -> None:
    soft = np.where(CLIP.mask(1, 0), 0.9, 0.1).astype(np.float32)
    areas = []
    for kit in (ours(), theirs()):
        session = kit.session()
        with kit.formats():
            kit.processor.add_inputs_to_inference_session(session, 0, 1, input_masks=soft)
        areas.append(float((kit.look(session, frame_idx=0) > 0).float().mean()))
    assert areas[0] == pytest.approx(CLIP.mask(1, 0).mean(), abs=0.01)
    assert areas[1] == 1, "there, all that is not 0 is the object"


@pytest.mark.slow
def test_a_mask_of_another_size_is_refused() -> None:
    small = CLIP.mask(1, 0)[::2, ::2]
    with pytest.raises(ValueError, match=r"mask: is \[128, 128\] \(height, width\), the video \[256, 256\]"):
        ours().say(ours().session(), 1, input_masks=small)
    session = theirs().session()
    theirs().say(session, 1, input_masks=small)
    assert iou((theirs().look(session, frame_idx=0)[0, 0] > 0).numpy(), CLIP.mask(1, 0)) > 0.9, "there it is enlarged"


@pytest.mark.slow
def test_a_box_that_sticks_out_is_clamped(caplog: pytest.LogCaptureFixture) -> None:
    x0, y0, _, y1 = box_of(CLIP.mask(1, 0))
    looked = []
    with caplog.at_level(logging.WARNING, logger="model"):
        for kit, right in ((ours(), 260.0), (ours(), 256.0), (theirs(), 260.0)):
            session = kit.session()
            kit.say(session, 1, input_boxes=[[[x0, y0, right, y1]]])
            looked.append(kit.look(session, frame_idx=0))
    assert torch.equal(looked[0], looked[1])
    assert not torch.equal(looked[0], looked[2])
    assert len([record for record in caplog.records if "sticks out of the frame" in record.message]) == 1


@pytest.mark.slow
def test_a_model_is_made_for_inference() -> None:
    assert [kit.model.training for kit in (ours(), theirs())] == [False, False]
    assert not any(weight.requires_grad for weight in ours().model.parameters())
    assert any(weight.requires_grad for weight in theirs().model.parameters())


@pytest.mark.slow
def test_the_video_processor_enlarges_logits_once() -> None:
    logits, size = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)), [[100, 90]]
    (mine,), (there,) = (
        kit.processor.video_processor.post_process_masks([logits.clone()], size, [[256, 256]], binarize=False)
        for kit in (ours(), theirs())
    )
    (once,) = theirs().processor.post_process_masks([logits.clone()], size, binarize=False)
    assert torch.equal(mine, once)
    assert not torch.equal(mine, there)


def stream_of(kit: Kit, num_frames: int = 0) -> Any:
    """A stream with a click on its first frame, and so many frames that the model has seen."""
    session = kit.session(is_stream=True)
    x, y = click_on(CLIP.mask(1, 0))
    kit.say(session, 1, input_points=[[[[x, y]]]], input_labels=[[[1]]], original_size=CLIP.frames_THW3.shape[1:3])
    for index in range(num_frames):
        kit.look(session, frame=pixels_of(kit, index))
    return session


def pixels_of(kit: Kit, index: int) -> torch.Tensor:
    with kit.formats():
        pixels: torch.Tensor = kit.processor(images=CLIP.frames_THW3[index], return_tensors="pt").pixel_values[0]
    return pixels


@pytest.mark.slow
def test_ids_of_objects_are_whole_numbers() -> None:
    click = {"input_points": [[[[9.0, 9.0]]]], "input_labels": [[[1]]]}
    with pytest.raises(ValueError, match="obj_ids: expected numbers"):
        ours().say(ours().session(), ["cat"], **click)
    session = theirs().session()
    theirs().say(session, ["cat"], **click)
    assert session.obj_ids == ["cat"]


@pytest.mark.slow
def test_of_a_stream_the_newest_frame_and_those_to_come_are_asked_for() -> None:
    click = {"input_points": [[[[9.0, 9.0]]]], "input_labels": [[[1]]]}
    theirs().look(stream_of(theirs(), 3), frame_idx=1)
    theirs().say(stream_of(theirs(), 3), 2, **click)
    stream = stream_of(ours(), 3)
    with pytest.raises(ValueError, match="frame_idx: is 1, but a stream has its newest frame only"):
        ours().look(stream, frame_idx=1)
    with pytest.raises(ValueError, match="the stream is at frame 2, prompts are for that or later ones"):
        ours().say(stream, 2, **click)


@pytest.mark.slow
def test_frames_are_added_in_their_order_and_to_no_video() -> None:
    kit, pixels = ours(), pixels_of(ours(), 0).double()
    with theirs().formats():
        assert theirs().session().add_new_frame(pixels) == FRAMES
        assert theirs().session(is_stream=True).add_new_frame(pixels, 5) == 5
    with pytest.raises(ValueError, match="add_new_frame: the session has a video"):
        kit.session().add_new_frame(pixels)
    with pytest.raises(ValueError, match="frame: the session has a video"):
        kit.look(clicked(kit), frame=pixels)
    with pytest.raises(ValueError, match="frame_idx: is 5, but the next frame is 0"):
        kit.session(is_stream=True).add_new_frame(pixels, 5)


@pytest.mark.slow
def test_a_stream_may_begin_without_objects() -> None:
    assert ours().look(ours().session(is_stream=True), frame=pixels_of(ours(), 0).double()).shape[0] == 0
    with pytest.raises(ValueError, match="No objects are provided"):
        theirs().look(theirs().session(is_stream=True), frame=pixels_of(theirs(), 0))


@pytest.mark.slow
def test_the_size_of_a_stream_stays_once_a_prompt_refers_to_it() -> None:
    box = {"input_boxes": [[[1.0, 1.0, 9.0, 9.0]]], "original_size": (64, 64)}
    session = stream_of(theirs())
    theirs().say(session, 2, **box)
    assert session.video_height == 64
    with pytest.raises(ValueError, match=r"original_size: is \[64, 64\], but the session has \[256, 256\]"):
        ours().say(stream_of(ours()), 2, **box)


@pytest.mark.slow
def test_a_session_has_the_dtype_of_its_model() -> None:
    click = {"input_points": [[[[9.0, 9.0]]]], "input_labels": [[[1]]]}
    session = theirs().processor.init_video_session(video=list(CLIP.frames_THW3), dtype=torch.float16)
    theirs().say(session, 1, **click)
    theirs().look(session, frame_idx=0)
    session = ours().processor.init_video_session(video=list(CLIP.frames_THW3), dtype=torch.float16)
    ours().say(session, 1, **click)
    with pytest.raises(ValueError, match=r"the session is in torch\.float16, the model in torch\.float64"):
        ours().look(session, frame_idx=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["floating point", "four channels", "lists of lists"])
def test_pictures_are_bytes_of_three_channels(kind: str) -> None:
    image = CLIP.frames_THW3[0]
    given: Any = {
        "floating point": image.astype(np.float32),
        "four channels": np.dstack([image, image[..., :1]]),
        "lists of lists": [[image]],
    }[kind]
    assert theirs().processor(images=given, return_tensors="pt").pixel_values.shape == (1, 3, 256, 256)
    with pytest.raises(ValueError, match="image 0: expected "):
        ours().processor(images=given)


@functools.cache
def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


ROWS = [line for line in PAGE.splitlines() if re.match(r"\| *\d+ *\|", line)]


def test_the_page_numbers_its_differences() -> None:
    numbers = [int(row.split("|")[1]) for row in ROWS]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 30


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "difference " + row.split("|")[1].strip())
def test_each_difference_on_the_page_is_held_by_a_test(row: str) -> None:
    held_by = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row.split("|")[-2])
    assert held_by, row
    for path, name in held_by:
        assert name in functions_of(path), f"{path} has no {name}"
        assert name.startswith(("test_", "promise_"))


def test_every_promise_is_on_the_page() -> None:
    promises = {name for name in functions_of("tests/model/tracking/test_promises.py") if name.startswith("promise_")}
    named = set(re.findall(r"::(promise_\w+)`", PAGE))
    assert {name.split("_")[1] for name in promises} == {name.split("_")[1] for name in named}

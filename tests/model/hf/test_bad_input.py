"""Input that makes no sense: a `ValueError` naming object, frame and value, and a session as it was before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from model.hf.inference_session import Sam2VideoInferenceSession
from model.tracking.frames import ArrayFrames
from pipeline.demo.clips import Clip
from tests.support.sessions import box, clip, small_model, small_processor

NAN, INF = float("nan"), float("inf")
MASK = np.zeros((48, 64), np.bool_)
MASK[10:20, 10:20] = True


class Lazy:
    """A source that does not say its length before its end has been seen."""

    def __init__(self, drawn: Clip) -> None:
        whole = ArrayFrames(drawn.frames_THW3)
        self.size_hw = whole.size_hw
        self.length_up_to, self.forward, self.backward, self.at = (
            whole.length_up_to,
            whole.forward,
            whole.backward,
            whole.at,
        )


def new_session() -> Sam2VideoInferenceSession:
    session = small_processor().init_video_session(video=clip(4).frames_THW3)
    x0, y0, x1, y1 = box(clip(4), 1, 0).box_xyxy
    return small_processor().add_inputs_to_inference_session(session, 0, 1, input_boxes=[[[x0, y0, x1, y1]]])


def state(session: Sam2VideoInferenceSession) -> list[torch.Tensor]:
    assert session.obj_ids == [1]
    return [output.pred_masks for output in small_model().propagate_in_video_iterator(session)]


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "NaN coordinate": (
        {"input_points": [[[[NAN, 3]]]], "input_labels": [[[1]]]},
        r"object 7, frame 2: points: expected finite x and y, got \(nan, 3.0\)",
    ),
    "infinite coordinate": (
        {"input_points": [[[[3, INF]]]], "input_labels": [[[1]]]},
        "object 7, frame 2: points: .*inf",
    ),
    "point outside": (
        {"input_points": [[[[65, 3]]]], "input_labels": [[[1]]]},
        r"object 7, frame 2: points: \(65, 3\) lies outside of the frame \(64 wide, 48 high\)",
    ),
    "negative point": (
        {"input_points": [[[[-1, 3]]]], "input_labels": [[[1]]]},
        r"object 7, frame 2: points: \(-1, 3\) lies outside",
    ),
    "unknown label": (
        {"input_points": [[[[3, 3]]]], "input_labels": [[[2]]]},
        r"object 7, frame 2: labels: expected 1 .* or 0 .*got 2",
    ),
    "label of a padding point of older models": (
        {"input_points": [[[[3, 3]]]], "input_labels": [[[-1]]]},
        "object 7, frame 2: labels: .*got -1",
    ),
    "half a label": (
        {"input_points": [[[[3, 3]]]], "input_labels": [[[0.5]]]},
        "object 7, frame 2: labels: .*got 0.5",
    ),
    "more points than labels": (
        {"input_points": [[[[3, 3], [4, 4]]]], "input_labels": [[[1]]]},
        "object 7, frame 2: points: 2 points need as many labels, got 1",
    ),
    "no points": ({"input_points": [[[]]], "input_labels": [[[]]]}, "object 7, frame 2: .*at least one point"),
    "only padding": (
        {"input_points": [[[[1, 1]]]], "input_labels": [[[-10]]]},
        "object 7, frame 2: .*at least one point",
    ),
    "points in three dimensions": (
        {"input_points": [[[[1, 2, 3]]]], "input_labels": [[[1]]]},
        r"object 7, frame 2: points: expected a list of \[x, y\], got \[\[1, 2, 3\]\]",
    ),
    "points nested too little": (
        {"input_points": [[[3, 3]]], "input_labels": [[[1]]]},
        r"object 7, frame 2: points: expected a list of \[x, y\]",
    ),
    "points of two images": (
        {"input_points": [[[[3, 3]]], [[[3, 3]]]], "input_labels": [[[1]]]},
        r"object 7, frame 2: input_points must be nested \[image\]\[object\]\[point\]\[x, y\] with one image, got 2",
    ),
    "points of two objects for one id": (
        {"input_points": [[[[3, 3]], [[4, 4]]]], "input_labels": [[[1], [1]]]},
        "object 7, frame 2: input_points: 1 objects need as many entries, got 2",
    ),
    "points that are no numbers": (
        {"input_points": [[[["a", 3]]]], "input_labels": [[[1]]]},
        "object 7, frame 2: input_points: expected numbers in lists, tuples, arrays or tensors, got str",
    ),
    "numbers as text": (
        {"input_points": np.array([[[["3", "3"]]]]), "input_labels": [[[1]]]},
        "object 7, frame 2: input_points: expected numbers in lists, tuples, arrays or tensors, got str",
    ),
    "complex numbers": (
        {"input_points": np.array([[[[3j, 3]]]]), "input_labels": [[[1]]]},
        "object 7, frame 2: input_points: expected numbers .* got complex",
    ),
    "no number": (
        {"input_boxes": [[[1, 1, 9, None]]]},
        "object 7, frame 2: input_boxes: expected numbers .* got NoneType",
    ),
    "points without labels": (
        {"input_points": [[[[3, 3]]]]},
        "object 7, frame 2: points and labels must be given together",
    ),
    "box the wrong way round": (
        {"input_boxes": [[[20, 20, 10, 30]]]},
        r"object 7, frame 2: box: expected x0 < x1 and y0 < y1, got \(20.0, 20.0, 10.0, 30.0\)",
    ),
    "box without area": ({"input_boxes": [[[20, 20, 20, 30]]]}, "object 7, frame 2: box: expected x0 < x1"),
    "box of three numbers": (
        {"input_boxes": [[[20, 20, 10]]]},
        r"object 7, frame 2: box: expected \[x0, y0, x1, y1\], got \[20, 20, 10\]",
    ),
    "box with NaN": ({"input_boxes": [[[0, 0, NAN, 9]]]}, "object 7, frame 2: box: expected four finite numbers"),
    "box outside": (
        {"input_boxes": [[[70, 50, 90, 80]]]},
        r"object 7, frame 2: box: \(70.0, 50.0, 90.0, 80.0\) lies outside of the frame",
    ),
    "empty mask": ({"input_masks": np.zeros((48, 64), np.bool_)}, "object 7, frame 2: mask: is empty"),
    "mask of another size": (
        {"input_masks": np.ones((10, 10), np.bool_)},
        r"object 7, frame 2: mask: is \[10, 10\] \(height, width\), the video \[48, 64\]",
    ),
    "logits as mask": (
        {"input_masks": np.where(MASK, 5.0, -5.0)},
        r"object 7, frame 2: mask: .*negative values .*post_process_masks\(…, binarize=True\)",
    ),
    "soft mask that is nowhere 0.5": (
        {"input_masks": np.where(MASK, 0.4, 0.0)},
        "object 7, frame 2: mask: no value reaches 0.5",
    ),
    "mask with NaN": ({"input_masks": np.where(MASK, NAN, 0.0)}, "object 7, frame 2: mask: "),
    "text as mask": ({"input_masks": "mask.png"}, "object 7, frame 2: mask: expected an array or tensor .*got str"),
    "number as mask": ({"input_masks": 1}, "object 7, frame 2: mask: expected a bool array"),
    "two masks for one object": (
        {"input_masks": [MASK, MASK]},
        "object 7, frame 2: 1 objects need as many masks, got 2",
    ),
    "mask and points": (
        {"input_masks": MASK, "input_points": [[[[3, 3]]]], "input_labels": [[[1]]]},
        "object 7, frame 2: a mask cannot be given together with points or boxes",
    ),
    "nothing": ({}, "object 7, frame 2: at least one of points, boxes and masks must be given"),
    "frame beyond the end": (
        {"frame_idx": 4, "input_masks": MASK},
        "object 7, frame 4: the video has 4 frames, 0 to 3",
    ),
    "negative frame": ({"frame_idx": -1, "input_masks": MASK}, "frame_idx must be at least 0, got -1"),
    "frame between frames": ({"frame_idx": 1.5, "input_masks": MASK}, "frame_idx: expected a whole number, got 1.5"),
    "frame as truth value": ({"frame_idx": True, "input_masks": MASK}, "frame_idx: expected a whole number, got True"),
    "object id as text": ({"obj_ids": "7", "input_masks": MASK}, "obj_ids: expected numbers .* got str"),
    "object id between ids": ({"obj_ids": 1.5, "input_masks": MASK}, "obj_ids: expected a whole number, got 1.5"),
    "no object ids": ({"obj_ids": [], "input_masks": MASK}, "obj_ids: expected at least one object id"),
    "an object twice": ({"obj_ids": [7, 7], "input_masks": [MASK, MASK]}, r"each object may come once, got \[7, 7\]"),
    "another size than the video's": (
        {"input_masks": MASK, "original_size": (10, 10)},
        r"original_size: is \[10, 10\], but the session has \[48, 64\]",
    ),
    "a size of one number": ({"input_masks": MASK, "original_size": [48]}, "original_size: expected height and width"),
    "a box added to clicks": (
        {"input_boxes": [[[1, 1, 9, 9]]], "clear_old_inputs": False},
        "object 7, frame 2: box: cannot be added to earlier clicks",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_is_refused_and_changes_nothing(case: str) -> None:
    inputs, message = CASES[case]
    session = new_session()
    with pytest.raises(ValueError, match=message):
        small_processor().add_inputs_to_inference_session(session, **{"frame_idx": 2, "obj_ids": 7, **inputs})
    assert session.obj_ids == [1]
    assert session.prompt_of(7, 2) is None


@pytest.mark.parametrize("is_tracked", [False, True])
def test_one_bad_prompt_of_several_keeps_all_out(is_tracked: bool) -> None:
    session, untouched = new_session(), new_session()
    if is_tracked:
        state(session)
    with pytest.raises(ValueError, match="object 8, frame 2: points: "):
        small_processor().add_inputs_to_inference_session(
            session, 2, [1, 7, 8], input_points=[[[[3, 3]], [[4, 4]], [[NAN, 5]]]], input_labels=[[[1], [1], [1]]]
        )
    assert all(torch.equal(*both) for both in zip(state(session), state(untouched), strict=True))


def test_bad_calls_of_the_model_say_what_to_do() -> None:
    model, session = small_model(), new_session()
    stream, empty = (
        small_processor().init_video_session(),
        small_processor().init_video_session(video=clip(4).frames_THW3),
    )
    pixels = small_processor()(images=clip(4).frames_THW3[0]).pixel_values[0]
    with pytest.raises(ValueError, match="frame_idx: must be given"):
        model(inference_session=session)
    with pytest.raises(ValueError, match="frame 9: the video has no such frame"):
        model(inference_session=session, frame_idx=9)
    with pytest.raises(ValueError, match="the session has a video"):
        model(inference_session=session, frame=pixels)
    with pytest.raises(ValueError, match="there are no objects"):
        model(inference_session=empty, frame_idx=0)
    with pytest.raises(ValueError, match="there are no objects"):
        list(model.propagate_in_video_iterator(empty))
    with pytest.raises(ValueError, match="start_frame_idx: is 4, the video has 4 frames"):
        list(model.propagate_in_video_iterator(session, start_frame_idx=4))
    lazy = small_processor().init_video_session(video=Lazy(clip(4)))
    small_processor().add_inputs_to_inference_session(lazy, 0, 1, input_boxes=[[list(box(clip(4), 1, 0).box_xyxy)]])
    for reverse in (False, True):
        with pytest.raises(ValueError, match="start_frame_idx: is 9, the video has 4 frames"):
            list(model.propagate_in_video_iterator(lazy, start_frame_idx=9, reverse=reverse))
    for reverse in (False, True):
        with pytest.raises(ValueError, match="frame_idx must be at least 0, got -1"):
            model(inference_session=session, frame_idx=-1, reverse=reverse)
    for name in ("start_frame_idx", "max_frame_num_to_track"):
        for value, message in ((-1, " must be at least 0, got -1"), (1.5, ": expected a whole number, got 1.5")):
            with pytest.raises(ValueError, match=f"{name}{message}"):
                list(model.propagate_in_video_iterator(session, **{name: value}))
    with pytest.raises(ValueError, match="the session is a stream"):
        list(model.propagate_in_video_iterator(stream))
    with pytest.raises(ValueError, match=r"a stream has its newest frame only \(-1\)"):
        model(inference_session=stream, frame_idx=0)
    with pytest.raises(ValueError, match="frame_idx: is 3, but the next frame is 0"):
        model(inference_session=stream, frame=pixels, frame_idx=3)
    for bad in (torch.zeros(3, 10, 10), torch.zeros(3, 64, 64, dtype=torch.uint8)):
        with pytest.raises(
            ValueError, match=r"expected normalized pixels \[3, 64, 64\], got .*processor\(images=frame\)"
        ):
            model(inference_session=stream, frame=bad)


def test_a_streams_first_prompt_needs_its_size() -> None:
    stream = small_processor().init_video_session()
    with pytest.raises(ValueError, match="object 7, frame 0: original_size must be given with the first prompt"):
        small_processor().add_inputs_to_inference_session(stream, 0, 7, input_boxes=[[[1, 1, 9, 9]]])
    small_processor().add_inputs_to_inference_session(stream, 0, 7, input_masks=MASK, original_size=(48, 64))
    with pytest.raises(ValueError, match=r"original_size: is \[64, 48\], but the session has \[48, 64\]"):
        small_processor().add_inputs_to_inference_session(stream, 0, 8, input_masks=MASK, original_size=(64, 48))
    assert stream.obj_ids == [7]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_vision_features_cache_size": -1}, "max_vision_features_cache_size must be at least 0, got -1"),
        ({"num_frames": -1}, "num_frames must be at least 0, got -1"),
        ({"dtype": None}, "dtype: None is no dtype"),
        ({"dtype": torch.int32}, "dtype: torch.int32 is no dtype of torch for floating-point numbers"),
    ],
)
def test_settings_of_a_session_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_processor().init_video_session(**options)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        ([], "at least one frame"),
        (3, "video: expected frames, a path or a URI, got int"),
        ([np.zeros((4, 4, 3), np.float32)], "frame 0: expected uint8 pixels of 0 to 255, got torch.float32"),
        ([np.zeros((4, 4), np.uint8)], r"frame 0: expected RGB of shape \[H, W, 3\] or \[3, H, W\], got \[4, 4\]"),
        (
            [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)],
            r"frame 1: is \[4, 5\] .*the first frame \[4, 4\]",
        ),
        (np.zeros((2, 0, 4, 3), np.uint8), r"frame 0: has no pixels, its shape is \[0, 4, 3\]"),
        ([np.zeros((4, 4, 3), np.uint8), "a.png"], "frame 1: expected a PIL image, an array or a tensor, got str"),
        (["a.mp4", "b.mp4"], "video: a session has one video, got a batch of 2"),
    ],
)
def test_videos_that_are_none_are_refused(video: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_processor().init_video_session(video=video)

"""What else the calls of the documentation page take and do: every argument, with its documented meaning."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from model.hf.inference_session import Sam2VideoInferenceSession
from model.hf.model import Sam2VideoModel
from model.hf.pictures import load_video
from model.hf.processing import Sam2VideoProcessor
from pipeline.video.encode import encode_mp4
from tests.reference.mini import square_clip
from tests.support.clips import iou
from tests.support.sessions import (
    OTHER_BATCH,
    WatchedSam2,
    box,
    center,
    clip,
    frames_of,
    mask,
    small_model,
    small_processor,
)

FRAMES = 6
Masks = dict[int, torch.Tensor]


def new_session(**options: Any) -> Sam2VideoInferenceSession:
    return small_processor().init_video_session(video=clip(FRAMES).frames_THW3, **options)


def add_box(session: Sam2VideoInferenceSession, frame_idx: int, obj_ids: Any, **options: Any) -> None:
    """Boxes of the drawn objects 1 and 2, for the session's objects of these ids in turn."""
    ids = obj_ids if isinstance(obj_ids, list) else [obj_ids]
    boxes = [[list(box(clip(FRAMES), 1 + row % 2, frame_idx).box_xyxy) for row in range(len(ids))]]
    small_processor().add_inputs_to_inference_session(session, frame_idx, obj_ids, input_boxes=boxes, **options)


def propagate(session: Sam2VideoInferenceSession, **options: Any) -> Masks:
    return {r.frame_idx: r.pred_masks for r in small_model().propagate_in_video_iterator(session, **options)}


def same(first: Masks, second: Masks) -> bool:
    return list(first) == list(second) and all(torch.equal(first[index], second[index]) for index in first)


@pytest.fixture(scope="module")
def expected() -> Masks:
    session = new_session()
    add_box(session, 0, [1, 2])
    return propagate(session)


POINTS = [[list(center(clip(FRAMES), 1, 0)), [60.0, 3.0]]]


@pytest.mark.parametrize(
    ("points", "labels"),
    [
        ([POINTS], [[[1, 0]]]),
        (tuple(tuple(tuple(tuple(p) for p in o) for o in i) for i in [POINTS]), (((1, 0),),)),
        (np.array([POINTS]), np.array([[[1, 0]]])),
        (np.array([POINTS], np.float32), np.array([[[True, False]]])),
        (torch.tensor([POINTS]), torch.tensor([[[1, 0]]])),
        (torch.tensor([POINTS], dtype=torch.float64), torch.tensor([[[1.0, 0.0]]])),
        ([[[torch.tensor(POINTS[0][0]), np.array(POINTS[0][1])]]], [[[np.int64(1), torch.tensor(0)]]]),
        (torch.tensor([[[*POINTS[0], [-10, -10]]]]), torch.tensor([[[1, 0, -10]]])),
    ],
    ids=["lists", "tuples", "array", "float32 array", "tensor", "float64 tensor", "mixed", "filled up"],
)
def test_prompts_may_be_lists_tuples_arrays_or_tensors(points: Any, labels: Any) -> None:
    session, as_lists = new_session(), new_session()
    small_processor().add_inputs_to_inference_session(session, 0, 1, input_points=points, input_labels=labels)
    small_processor().add_inputs_to_inference_session(as_lists, 0, 1, input_points=[POINTS], input_labels=[[[1, 0]]])
    assert session.prompt_of(1, 0) == as_lists.prompt_of(1, 0)


@pytest.mark.parametrize(
    "obj_ids", [5, [5], (5,), range(5, 6), np.int64(5), np.array([5]), torch.tensor(5), torch.tensor([5])]
)
def test_ids_may_be_one_or_several_of_any_kind(obj_ids: Any) -> None:
    session = new_session()
    small_processor().add_inputs_to_inference_session(session, 0, obj_ids, input_masks=mask(clip(FRAMES), 1, 0).mask_HW)
    assert session.obj_ids == [5]


def as_picture(mask_HW: np.ndarray[Any, np.dtype[np.bool_]]) -> Image.Image:
    return Image.fromarray(mask_HW.astype(np.uint8) * 255)


@pytest.mark.parametrize(
    "kind",
    [
        *(np.uint8, np.uint16, np.uint32, np.uint64, np.float32, np.bool_),
        *(torch.bool, torch.uint8, torch.uint16, torch.bfloat16, "4 dims", "picture", "picture of 16 bits"),
    ],
)
def test_masks_may_be_arrays_or_tensors_of_zeros_and_ones(kind: Any) -> None:
    drawn = mask(clip(FRAMES), 1, 0).mask_HW
    given: Any = drawn.astype(kind) if isinstance(kind, type) else torch.from_numpy(drawn)
    if isinstance(kind, torch.dtype):
        given = given.to(kind)
    given = given[None, None] if kind == "4 dims" else as_picture(drawn) if kind == "picture" else given
    if kind == "picture of 16 bits":
        given = Image.fromarray(drawn.astype(np.uint16) * 300)
        assert given.mode == "I;16"
    session = new_session()
    small_processor().add_inputs_to_inference_session(session, 0, 1, input_masks=given)
    prompt = session.prompt_of(1, 0)
    assert prompt is not None
    assert np.array_equal(prompt.mask_HW, drawn)  # type: ignore[union-attr]


@pytest.mark.slow
def test_several_masks_may_be_a_list_or_one_array() -> None:
    masks = [mask(clip(FRAMES), object_id, 0).mask_HW for object_id in (1, 2)]
    outputs = []
    whole = torch.from_numpy(np.stack(masks))
    for given in (masks, tuple(masks), np.stack(masks), whole[:, None], whole[None], [as_picture(m) for m in masks]):
        session = new_session()
        small_processor().add_inputs_to_inference_session(session, 0, [1, 2], input_masks=given)
        outputs.append(small_model()(inference_session=session, frame_idx=0).pred_masks)
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    (whole,) = small_processor().post_process_masks([outputs[0]], [[48, 64]])
    for row, drawn in enumerate(masks):
        assert iou(whole[row, 0].numpy(), drawn) > 0.8, "a mask is taken as it is"


def test_a_box_with_points_is_one_prompt() -> None:
    session = new_session()
    drawn = list(box(clip(FRAMES), 1, 0).box_xyxy)
    small_processor().add_inputs_to_inference_session(
        session, 0, 1, input_boxes=[[drawn]], input_points=[POINTS], input_labels=[[[1, 0]]]
    )
    prompt = session.prompt_of(1, 0)
    assert prompt is not None
    assert prompt.box_xyxy == tuple(drawn)  # type: ignore[union-attr]
    assert prompt.labels == (1, 0)  # type: ignore[union-attr]


@pytest.mark.slow
def test_clear_old_inputs_decides_whether_clicks_add_up() -> None:
    at_once, adding, replacing, last = (new_session() for _ in range(4))
    processor = small_processor()
    processor.add_inputs_to_inference_session(at_once, 0, 1, input_points=[POINTS], input_labels=[[[1, 0]]])
    for session, clears in ((adding, False), (replacing, True)):
        for point, label in zip(POINTS[0], (1, 0), strict=True):
            processor.add_inputs_to_inference_session(
                session, 0, 1, input_points=[[[point]]], input_labels=[[[label]]], clear_old_inputs=clears
            )
    processor.add_inputs_to_inference_session(last, 0, 1, input_points=[[[POINTS[0][1]]]], input_labels=[[[0]]])
    assert same(propagate(adding), propagate(at_once))
    assert same(propagate(replacing), propagate(last))


@pytest.mark.parametrize("clears", [True, False])
def test_clicks_after_a_call_of_the_model_refine_the_mask_that_it_gave(clears: bool) -> None:
    """With the earlier clicks or without. After the prompts were taken back they begin anew."""
    refining, together, anew, new = (new_session() for _ in range(4))
    first, second = (
        {"input_points": [[[point]]], "input_labels": [[[label]]]}
        for point, label in zip(POINTS[0], (1, 0), strict=True)
    )
    add = small_processor().add_inputs_to_inference_session
    for session in (refining, anew):
        add(session, 0, 1, **first)
        small_model()(inference_session=session, frame_idx=0)
    anew.clear_all_prompts_in_frame(0, 1)
    for session in (refining, together, anew, new):
        if session is together:
            add(session, 0, 1, **first)
        add(session, 0, 1, **second, clear_old_inputs=clears)
    assert refining.prompt_of(1, 0) == together.prompt_of(1, 0)
    masks = {id(s): small_model()(inference_session=s, frame_idx=0).pred_masks for s in (refining, together, anew, new)}
    assert not torch.equal(masks[id(refining)], masks[id(together)])
    assert torch.equal(masks[id(anew)], masks[id(new)])
    assert torch.equal(propagate(refining)[0], masks[id(refining)])


def test_clicks_are_added_to_a_box_and_replace_a_mask() -> None:
    session, processor = new_session(), small_processor()
    add_box(session, 0, 1)
    processor.add_inputs_to_inference_session(
        session, 0, 1, input_points=[POINTS], input_labels=[[[1, 0]]], clear_old_inputs=False
    )
    prompt = session.prompt_of(1, 0)
    assert prompt is not None
    assert (prompt.box_xyxy, prompt.labels) == (box(clip(FRAMES), 1, 0).box_xyxy, (1, 0))  # type: ignore[union-attr]
    processor.add_inputs_to_inference_session(session, 0, 1, input_masks=mask(clip(FRAMES), 1, 0).mask_HW)
    processor.add_inputs_to_inference_session(
        session, 0, 1, input_points=[POINTS], input_labels=[[[1, 0]]], clear_old_inputs=False
    )
    assert session.prompt_of(1, 0).labels == (1, 0)  # type: ignore[union-attr]


@pytest.mark.slow
def test_rows_are_in_the_order_of_adding_and_hidden_before_an_objects_start() -> None:
    session = new_session()
    add_box(session, 3, 9)
    add_box(session, 1, [4, 2])
    masks = propagate(session)
    assert session.obj_ids == [9, 4, 2]
    assert [session.obj_id_to_idx(object_id) for object_id in session.obj_ids] == [0, 1, 2]
    assert [session.obj_idx_to_id(row) for row in range(session.get_obj_num())] == session.obj_ids
    assert list(masks) == [1, 2, 3, 4, 5]
    assert [bool((masks[index][0] == -1024).all()) for index in masks] == [True, True, False, False, False]
    output = small_model()(inference_session=session, frame_idx=0)
    assert bool((output.pred_masks == -1024).all())
    assert (output.object_score_logits.tolist(), output.iou_scores.tolist()) == ([[-1024.0]] * 3, [0.0] * 3)


def test_outputs_carry_scores() -> None:
    session = new_session()
    add_box(session, 0, [1, 2])
    for output in small_model().propagate_in_video_iterator(session):
        assert (output.object_score_logits.shape, output.iou_scores.shape) == ((2, 1), (2,))
        assert bool((output.object_score_logits > 0).all())
        assert bool(((output.iou_scores > 0) & (output.iou_scores <= 1)).all())


def test_ranges_are_half_open() -> None:
    session = new_session()
    add_box(session, 2, 1)
    assert list(propagate(session)) == [2, 3, 4, 5]
    assert list(propagate(session, start_frame_idx=0)) == [0, 1, 2, 3, 4, 5]
    assert list(propagate(session, start_frame_idx=3, max_frame_num_to_track=2)) == [3, 4]
    assert list(propagate(session, max_frame_num_to_track=0)) == []
    assert list(propagate(session, reverse=True)) == [2, 1, 0]
    assert list(propagate(session, start_frame_idx=2, max_frame_num_to_track=2, reverse=True)) == [2, 1]


def test_propagating_in_two_pieces_is_propagating_at_once(expected: Masks) -> None:
    session = new_session()
    add_box(session, 0, [1, 2])
    first = propagate(session, max_frame_num_to_track=3)
    assert same({**first, **propagate(session, start_frame_idx=3)}, expected)


def test_reverse_is_tracking_back_from_the_prompts() -> None:
    backward, mirrored = (
        new_session(),
        small_processor().init_video_session(video=clip(FRAMES).frames_THW3[::-1].copy()),
    )
    for session, frame_idx in ((backward, FRAMES - 1), (mirrored, 0)):
        small_processor().add_inputs_to_inference_session(
            session, frame_idx, 1, input_boxes=[[list(box(clip(FRAMES), 1, FRAMES - 1).box_xyxy)]]
        )
    masks, mirror = propagate(backward, reverse=True), propagate(mirrored)
    assert all(torch.equal(masks[FRAMES - 1 - index], mirror[index]) for index in range(FRAMES))
    session = new_session()
    add_box(session, FRAMES - 1, 1)
    by_hand = {
        index: small_model()(inference_session=session, frame_idx=index, reverse=True).pred_masks
        for index in range(FRAMES - 1, -1, -1)
    }
    assert same(by_hand, masks)


def test_frame_by_frame_is_propagating(expected: Masks) -> None:
    session = new_session()
    add_box(session, 0, [1, 2])
    model = small_model()
    by_hand = {index: model(inference_session=session, frame_idx=index).pred_masks for index in range(FRAMES)}
    assert same(by_hand, expected)


@pytest.mark.slow
def test_a_frame_not_remembered_leaves_no_memory() -> None:
    session = new_session()
    add_box(session, 0, 1)
    forgotten = {
        index: small_model()(inference_session=session, frame_idx=index, run_mem_encoder=index != 2).pred_masks
        for index in range(FRAMES)
    }
    remembered = new_session()
    add_box(remembered, 0, 1)
    masks = propagate(remembered)
    assert torch.equal(forgotten[2], masks[2])
    assert not torch.equal(forgotten[3], masks[3])


def test_the_progress_bar_is_shown_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    session = new_session()
    add_box(session, 0, 1)
    propagate(session)
    assert capsys.readouterr().err == ""
    propagate(session, show_progress_bar=True, max_frame_num_to_track=4)
    assert "propagate in video" in (shown := capsys.readouterr().err)
    assert "4/4" in shown


@pytest.mark.parametrize("reset", ["reset_inference_session", "reset_tracking_data"])
def test_a_reset_session_is_as_new(reset: str, expected: Masks) -> None:
    session = new_session()
    add_box(session, 3, 7)
    propagate(session)
    getattr(session, reset)()
    assert (session.obj_ids, session.num_frames) == ([], FRAMES)
    add_box(session, 0, [1, 2])
    assert same(propagate(session), expected)


@pytest.mark.parametrize("is_tracked", [False, True])
def test_a_removed_object_leaves_no_trace(is_tracked: bool, expected: Masks) -> None:
    session = new_session()
    add_box(session, 0, [1, 2])
    add_box(session, 2, 3)
    if is_tracked:
        propagate(session)
    session.remove_object(3)
    assert session.obj_ids == [1, 2]
    assert same(propagate(session), expected)
    with pytest.raises(ValueError, match=r"object 3: is not in the session, which has \[1, 2\]"):
        session.remove_object(3)


@pytest.mark.parametrize("kind", [int, np.int64, np.array, torch.tensor])
def test_objects_and_frames_are_taken_back_by_numbers_of_any_kind(kind: Any) -> None:
    session = new_session()
    add_box(session, 0, [1, 2, 3])
    assert session.obj_idx_to_id(kind(2)) == 3
    session.remove_object(kind(3))
    session.clear_all_prompts_in_frame(kind(0), kind(2))
    session.remove_point_inputs(kind(0), kind(0))
    assert session.obj_ids == []


def test_what_is_no_id_or_row_is_named_where_it_is_taken_back() -> None:
    session = new_session()
    add_box(session, 0, 1)
    with pytest.raises(ValueError, match=r"obj_id: expected numbers .* got str"):
        session.remove_object("1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"obj_id: expected a whole number, got 1\.5"):
        session.clear_all_prompts_in_frame(0, 1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"obj_idx: is 1, the session has 1 objects: \[1\]"):
        session.obj_idx_to_id(1)
    with pytest.raises(ValueError, match="obj_idx must be at least 0, got -1"):
        session.obj_idx_to_id(-1)
    assert session.obj_ids == [1]


@pytest.mark.parametrize("is_tracked", [False, True])
def test_clearing_a_frames_prompts_takes_them_back(is_tracked: bool, expected: Masks) -> None:
    session = new_session()
    add_box(session, 0, [1, 2])
    add_box(session, 3, [2, 8])
    if is_tracked:
        propagate(session)
    session.clear_all_prompts_in_frame(3, 2)
    session.clear_all_prompts_in_frame(3, 8)
    assert session.obj_ids == [1, 2], "an object without any prompt is gone"
    assert same(propagate(session), expected)
    with pytest.raises(ValueError, match="object 2, frame 3: there is no prompt to clear"):
        session.clear_all_prompts_in_frame(3, 2)


def as_iterator(frames: Any) -> Iterator[Any]:
    yield from frames


VIDEOS = {
    "array": lambda frames: frames,
    "array with channels first": lambda frames: frames.transpose(0, 3, 1, 2),
    "tensor": torch.from_numpy,
    "tensor with channels first": lambda frames: torch.from_numpy(frames).permute(0, 3, 1, 2),
    "list of arrays": list,
    "list of tensors": lambda frames: [torch.from_numpy(frame) for frame in frames],
    "PIL images": lambda frames: [Image.fromarray(frame) for frame in frames],
    "iterator": as_iterator,
    "batch of one array": lambda frames: frames[None],
    "batch of one list": lambda frames: [list(frames)],
    "batch of one tensor": lambda frames: [torch.from_numpy(frames)],
    "frame source": lambda frames: frames_of(clip(FRAMES)),
}


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("kind", VIDEOS)
def test_videos_of_every_kind_are_the_same(kind: str, expected: Masks) -> None:
    session = small_processor().init_video_session(video=VIDEOS[kind](clip(FRAMES).frames_THW3))
    add_box(session, 0, [1, 2])
    assert (session.video_height, session.video_width) == (48, 64)
    assert same(propagate(session), expected)


def test_a_video_may_be_a_path_or_a_uri(tmp_path: Any) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(encode_mp4(clip(FRAMES).frames_THW3, 10))
    outputs = []
    for video in (load_video(path)[0], path, str(path), path.as_uri(), [str(path)]):
        session = small_processor().init_video_session(video=video)
        assert (session.num_frames, session.video_height, session.video_width) == (FRAMES, 48, 64)
        add_box(session, 0, 1)
        outputs.append(propagate(session, max_frame_num_to_track=2))
    assert all(same(output, outputs[0]) for output in outputs)


def test_a_normalized_video_may_be_given_to_the_session_itself(expected: Masks) -> None:
    pixels = small_processor().video_processor(clip(FRAMES).frames_THW3).pixel_values_videos[0]
    session = Sam2VideoInferenceSession(video=pixels, video_height=48, video_width=64)
    add_box(session, 0, [1, 2])
    assert same(propagate(session), expected)
    with pytest.raises(ValueError, match="video_height and video_width must be given with normalized frames"):
        Sam2VideoInferenceSession(video=pixels)


def test_frames_and_inputs_can_be_asked_for_and_taken_back_by_their_documented_names() -> None:
    session = new_session(dtype=torch.bfloat16)
    pixels = small_processor()(images=clip(FRAMES).frames_THW3[2]).pixel_values[0]
    assert torch.equal(session.get_frame(2), pixels.bfloat16())
    with pytest.raises(ValueError, match="frame 6: is not in the session"):
        session.get_frame(6)
    add_box(session, 0, [7, 8])
    small_processor().add_inputs_to_inference_session(session, 2, 8, input_masks=mask(clip(FRAMES), 2, 2).mask_HW)
    row = session.obj_id_to_idx(8)
    session.remove_mask_inputs(row, 0)  # what is there is a box
    session.remove_point_inputs(row, 2)
    assert session.prompt_of(8, 0) is not None
    assert session.prompt_of(8, 2) is not None
    session.remove_mask_inputs(row, 2)
    session.remove_point_inputs(row, 0)
    assert session.obj_ids == [7]


def test_a_newest_frame_of_a_stream_can_be_asked_for() -> None:
    stream = small_processor().init_video_session()
    with pytest.raises(ValueError, match="frame 0: is not in the session"):
        stream.get_frame(0)
    pixels = small_processor()(images=clip(FRAMES).frames_THW3[0]).pixel_values[0]
    small_processor().add_inputs_to_inference_session(
        stream, 0, 1, input_masks=mask(clip(FRAMES), 1, 0).mask_HW, original_size=[48.0, 64.0]
    )
    output = small_model()(inference_session=stream, frame=pixels)
    assert torch.equal(stream.get_frame(0), pixels)
    assert output["pred_masks"] is output.pred_masks
    with pytest.raises(KeyError):
        output["no_such_field"]


@pytest.mark.parametrize("picture", [lambda frame: frame, Image.fromarray, lambda frame: [frame], torch.from_numpy])
def test_a_still_image_is_a_video_of_one_frame(picture: Any, expected: Masks) -> None:
    session = small_processor().init_video_session(video=picture(clip(FRAMES).frames_THW3[0]))
    add_box(session, 0, [1, 2])
    assert session.num_frames == 1
    assert torch.equal(propagate(session)[0], expected[0])


def test_dtype_and_device_of_session_and_model_must_agree() -> None:
    model = Sam2VideoModel(small_model().config, copy.deepcopy(small_model().network)).to(dtype=torch.bfloat16)
    session = small_processor().init_video_session(video=clip(FRAMES).frames_THW3)
    add_box(session, 0, 1)
    with pytest.raises(
        ValueError, match=r"session is in torch.float32, the model in torch.bfloat16: .*dtype=model.dtype"
    ):
        model(inference_session=session, frame_idx=0)
    elsewhere = new_session(inference_device="meta", video_storage_device="cpu", processing_device="cpu")
    add_box(elsewhere, 0, 1)
    with pytest.raises(ValueError, match=r"session is on meta, the model on cpu: .*inference_device=model.device"):
        small_model()(inference_session=elsewhere, frame_idx=0)
    with pytest.raises(ValueError, match="'float33' is no dtype"):
        new_session(dtype="float33")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_a_model_is_loaded_in_a_dtype_onto_a_device(name: str) -> None:
    model = Sam2VideoModel.from_pretrained("mini", **{name: "float16"}, device_map="cpu")
    assert (model.dtype, model.device) == (torch.float16, torch.device("cpu"))
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert Sam2VideoModel.from_pretrained("mini", device_map="auto").device.type == expected


def test_a_session_of_one_model_is_refused_by_another() -> None:
    session = new_session()
    add_box(session, 0, 1)
    propagate(session)
    with pytest.raises(ValueError, match="memories of another model"):
        Sam2VideoModel(small_model().config, copy.deepcopy(small_model().network))(
            inference_session=session, frame_idx=0
        )


def test_a_processor_of_another_size_is_refused() -> None:
    session = new_session()
    add_box(session, 0, 1)
    with pytest.raises(ValueError, match="frames of 64 pixels, the model takes 256: load both from one place"):
        Sam2VideoModel.from_pretrained("mini")(inference_session=session, frame_idx=0)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, "bfloat16"])
def test_half_precision_gives_nearly_the_same_masks(dtype: Any) -> None:
    drawn = square_clip("drifting", 4)
    masks = []
    for kind in (torch.float32, dtype):
        model, processor = (
            Sam2VideoModel.from_pretrained("mini", dtype=kind),
            Sam2VideoProcessor.from_pretrained("mini"),
        )
        session = processor.init_video_session(video=drawn.frames_THW3, dtype=kind)
        x, y = center(drawn, 1, 0)
        processor.add_inputs_to_inference_session(session, 0, 1, [[[[x, y]]]], [[[1]]])
        results = model.propagate_in_video_iterator(session)
        masks.append([(result.pred_masks > 0)[0, 0].numpy() for result in results])
    assert model.dtype == session.dtype
    assert all(iou(half, single) > 0.93 for single, half in zip(*masks, strict=True))


def test_image_features_of_the_frames_used_last_are_kept() -> None:
    steps: list[str] = []
    model = Sam2VideoModel(small_model().config, WatchedSam2(lambda step, _: steps.append(step)))
    for size, times in ((0, 3), (1, 1)):
        session = new_session(max_vision_features_cache_size=size)
        for object_id in (1, 2, 3):
            add_box(session, 2, object_id)
            model(inference_session=session, frame_idx=2)
        assert steps.count("encode_image") == times
        steps.clear()


def test_frames_are_kept_at_the_size_of_the_input_as_bytes_on_their_device() -> None:
    session = new_session()
    kept = [one for one in gc.get_referents(session._video._frames) if isinstance(one, torch.Tensor)]  # type: ignore[union-attr]
    assert {(tuple(one.shape), one.dtype) for one in kept} == {((64, 64, 3), torch.uint8)}


@pytest.mark.usefixtures("gpu")
@pytest.mark.slow
def test_state_and_frames_may_stay_on_the_host_while_the_model_runs_on_a_gpu(expected: Masks) -> None:
    model = Sam2VideoModel(small_model().config, copy.deepcopy(small_model().network)).to("cuda")
    session = new_session(inference_device="cuda", inference_state_device="cpu", video_storage_device="cpu")
    add_box(session, 0, [1, 2])
    masks = {r.frame_idx: r.pred_masks.cpu() for r in model.propagate_in_video_iterator(session)}
    assert all(float((masks[index] - expected[index]).abs().max()) < 50 * OTHER_BATCH for index in masks)
    tracker = session.tracker(model.network)
    assert all(m.spatial.device.type == "cpu" for m in tracker.objects[1].bank.prompted.values())  # type: ignore[union-attr]

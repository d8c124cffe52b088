"""What public scripts do with sessions and outputs beyond the documented calls: it works as in `transformers`."""

from __future__ import annotations

import copy
import logging
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from model.hf import image_config
from model.hf.image_model import Sam2Model
from model.hf.inference_session import Sam2VideoInferenceSession
from model.hf.kept_frames import KeptFrames
from model.hf.model import Sam2VideoModel, _tell_of_half_open_ranges
from model.hf.outputs import Sam2VideoSegmentationOutput
from model.network.config import Sam2Config
from model.network.sam2 import Sam2
from model.tracking.history import HistoryRule
from model.tracking.session import VideoSession
from model.tracking.stream import VideoStream
from tests.reference.mini import mini_processor, mini_transformers
from tests.support.sessions import (
    OTHER_BATCH,
    box,
    clip,
    frames_of,
    mask,
    same_bits,
    small,
    small_model,
    small_processor,
)

pytestmark = pytest.mark.slow

FRAMES = 6
SIZE = (48, 64)
DISC = np.hypot(*np.mgrid[-128:128, -128:128]) / 40 - 1  # negative inside a disc


def new_session(**options: Any) -> Sam2VideoInferenceSession:
    return small_processor().init_video_session(video=clip(FRAMES).frames_THW3, **options)


def pixels(index: int) -> torch.Tensor:
    return small_processor()(images=clip(20).frames_THW3[index]).pixel_values[0]


def say(session: Sam2VideoInferenceSession, frame_idx: int, object_id: int = 1, **options: Any) -> None:
    boxes = [[list(box(clip(20), object_id, frame_idx).box_xyxy)]]
    small_processor().add_inputs_to_inference_session(session, frame_idx, object_id, input_boxes=boxes, **options)


def walk(session: Sam2VideoInferenceSession, **options: Any) -> list[torch.Tensor]:
    return [r.pred_masks for r in small_model().propagate_in_video_iterator(session, **options)]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) > 0 and all(torch.equal(*pair) for pair in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16, torch.bfloat16, "array", "16-bit array"])
def test_soft_masks_are_cut_at_one_half(kind: Any) -> None:
    """`transformers` cuts tensors so; of arrays it takes all that is not 0, and nobody means that."""
    soft = torch.from_numpy(DISC).mul(-4).sigmoid()
    given = soft.to(kind) if isinstance(kind, torch.dtype) else soft.numpy()
    given = given.astype(np.float16) if kind == "16-bit array" else given
    theirs = mini_processor().init_video_session(video=np.zeros((1, 256, 256, 3), np.uint8))
    as_tensor = given if isinstance(given, torch.Tensor) else torch.from_numpy(given)
    mini_processor().process_new_mask_for_video_frame(theirs, 0, [1], [as_tensor.float()])
    ours = small_processor().init_video_session(video=np.zeros((1, 256, 256, 3), np.uint8))
    small_processor().add_inputs_to_inference_session(ours, 0, 1, input_masks=given)
    prompt = ours.prompt_of(1, 0)
    assert prompt is not None
    expected = theirs.mask_inputs_per_obj[0][0][0, 0] >= 0.5  # nothing was resized there, and so nothing cut yet
    assert np.array_equal(prompt.mask_HW, expected.numpy())  # type: ignore[union-attr]
    assert 4000 < int(expected.sum()) < 6000


def test_pictures_of_masks_are_cut_at_0() -> None:
    """Numbers of classes and 0 or 255: any whole number but 0 is the object, as in `transformers`."""
    session = new_session()
    drawn = mask(clip(FRAMES), 1, 0).mask_HW
    for value in (1, 38, 255):
        small_processor().add_inputs_to_inference_session(session, 0, 1, input_masks=drawn.astype(np.uint8) * value)
        assert np.array_equal(session.prompt_of(1, 0).mask_HW, drawn)  # type: ignore[union-attr]


def test_an_output_is_the_mapping_that_it_is_in_transformers() -> None:
    session = new_session()
    say(session, 0)
    output = small_model()(inference_session=session, frame_idx=0)
    theirs = transformers.models.sam2_video.modeling_sam2_video.Sam2VideoSegmentationOutput(
        object_ids=output.object_ids,
        pred_masks=output.pred_masks,
        object_score_logits=output.object_score_logits,
        frame_idx=output.frame_idx,
    )
    assert [*theirs, "iou_scores"] == list(output) == list(output.keys())
    assert all(output[name] is theirs[name] for name in theirs)
    assert all(output[index] is theirs[index] for index in range(4))
    assert output[:2] == theirs[:2]
    assert len(output.to_tuple()) == len(output) == 5
    assert dict(output)["pred_masks"] is output.pred_masks
    assert [name for name, _ in output.items()] == list(output)
    for there in ("pred_masks" in output, output.get("no_such_field") is None, "no_such_field" not in output):
        assert there
    with pytest.raises(KeyError):
        output["no_such_field"]
    with pytest.raises(IndexError):
        output[5]
    assert output == output  # by itself, not by its tensors
    assert output != small_model()(inference_session=session, frame_idx=0)


def copied(one: Any) -> Any:
    return copy.deepcopy(one)


def pickled(one: Any) -> Any:
    data = pickle.dumps(one)
    weights = sum(weight.nbytes for weight in small().state_dict().values())
    assert len(data) < weights / 10, "the network is left out"
    return pickle.loads(data)


@pytest.mark.parametrize("duplicate", [copied, pickled])
def test_a_session_that_has_tracked_is_copied_and_goes_on_with_the_same_bits(duplicate: Any) -> None:
    session = new_session()
    say(session, 0)
    say(session, 0, 2)
    walk(session, max_frame_num_to_track=4)
    other = duplicate(session)
    again = duplicate(other)
    say(session, 3, 2)  # a correction, which needs what the session remembers
    expected = walk(session, start_frame_idx=2)
    for each in (other, again):
        say(each, 3, 2)
        assert same(walk(each, start_frame_idx=2), expected)
    assert not same(walk(other, start_frame_idx=0), expected)
    assert same(walk(session, start_frame_idx=2), expected), "the copies leave the first one alone"


@pytest.mark.parametrize("duplicate", [copied, pickled])
def test_a_stream_is_copied_and_goes_on_with_the_same_bits(duplicate: Any) -> None:
    stream, model = small_processor().init_video_session(), small_model()
    say(stream, 0, original_size=SIZE)
    for index in range(3):
        model(inference_session=stream, frame=pixels(index))
    other = duplicate(stream)
    say(other, 2, 2)
    say(stream, 2, 2)
    outputs = [[model(inference_session=one, frame=pixels(i)).pred_masks for i in (3, 4)] for one in (stream, other)]
    assert same(*outputs)


def test_a_pickled_session_is_refused_by_a_model_of_another_configuration() -> None:
    session = new_session()
    say(session, 0)
    walk(session)
    other = Sam2VideoModel.from_pretrained("mini")
    unpickled = pickled(session)
    unpickled._video = None
    with pytest.raises(ValueError, match="the session was tracked by another model"):
        other(inference_session=unpickled, frame_idx=0)


def test_sessions_below_the_documented_calls_are_copied_without_their_network_too() -> None:
    session = VideoSession(small(), frames_of(clip(FRAMES)), history=HistoryRule(2))
    session.add_prompt(1, 0, box(clip(FRAMES), 1, 0))
    expected = list(session.propagate())
    for duplicate in (copied, pickled):
        other = duplicate(session)
        if duplicate is pickled:
            with pytest.raises(AttributeError, match=r"leaves its network out: call bind\(model\)"):
                list(other.propagate())
            with pytest.raises(ValueError, match="tracked by another model"):
                other.bind(Sam2(Sam2Config()).to("meta"))
            other.bind(small())
        assert other.model is small()
        assert same_bits(other.propagate(), expected)
    stream = pickled(VideoStream(small(), SIZE))
    stream.bind(small())
    assert stream.push(torch.from_numpy(clip(FRAMES).frames_THW3[0])).object_ids == ()


@pytest.mark.parametrize("num_frames", [FRAMES, 19])
def test_a_session_that_is_filled_frame_by_frame_is_walked_as_a_video(num_frames: int) -> None:
    filled = small_processor().init_video_session()
    for index in range(num_frames):
        assert filled.add_new_frame(pixels(index)[None] if index == 1 else pixels(index)) == index
    say(filled, 0, original_size=SIZE)
    video = small_processor().init_video_session(video=clip(20).frames_THW3[:num_frames])
    say(video, 0)
    assert (filled.num_frames, filled.is_stream) == (num_frames, False)
    assert same(walk(filled), walk(video))
    assert torch.equal(filled.get_frame(2), pixels(2))


def test_frames_may_be_added_while_a_session_tracks() -> None:
    """One by one with `forward` on each, the frame given to either of the two."""
    filled = small_processor().init_video_session()
    video, two_frames = (small_processor().init_video_session(video=clip(20).frames_THW3[:n]) for n in (FRAMES, 2))
    filled.add_new_frame(pixels(0))
    say(filled, 0, original_size=SIZE)
    say(video, 0)
    model = small_model()
    masks = [model(inference_session=filled, frame_idx=0).pred_masks]
    for index in range(1, FRAMES):
        if index % 2:
            assert filled.add_new_frame(pixels(index), index) == index
            masks.append(model(inference_session=filled, frame_idx=index).pred_masks)
        else:
            masks.append(model(inference_session=filled, frame=pixels(index), frame_idx=index).pred_masks)
    say(two_frames, 0)
    assert same(masks[:2], walk(two_frames)), "the video had two frames then, and a short one has fewer pointers"
    assert same(walk(filled), walk(video))


def test_frames_that_cannot_be_added_are_named() -> None:
    filled, stream = small_processor().init_video_session(), small_processor().init_video_session()
    filled.add_new_frame(pixels(0))
    with pytest.raises(ValueError, match="frame_idx: is 5, but the next frame is 1"):
        filled.add_new_frame(pixels(1), 5)
    with pytest.raises(ValueError, match=r"frame 1: expected normalized pixels \[3, 64, 64\], got .*\[3, 32, 32\]"):
        filled.add_new_frame(torch.zeros(3, 32, 32))
    with pytest.raises(ValueError, match=r"frame 1: expected normalized pixels .*uint8"):
        filled.add_new_frame(torch.zeros(3, 64, 64, dtype=torch.uint8))
    with pytest.raises(ValueError, match="frames are added to sessions without one"):
        new_session().add_new_frame(pixels(0))
    say(stream, 0, original_size=SIZE)
    small_model()(inference_session=stream, frame=pixels(0))
    with pytest.raises(ValueError, match="the frames of this stream went to the model"):
        stream.add_new_frame(pixels(1))
    kept = KeptFrames(SIZE, max_bytes=2 * pixels(0).nbytes)
    for index in (0, 1):
        kept.add(pixels(index))
    with pytest.raises(ValueError, match=r"frame 2: a session keeps .* GiB of added frames. Give the whole video"):
        kept.add(pixels(2))
    assert len(kept) == 2


def test_the_size_of_a_stream_may_be_set_and_a_mask_says_it() -> None:
    told, by_mask, by_argument = (small_processor().init_video_session() for _ in range(3))
    told.video_height = SIZE[0]
    assert (told.video_height, told.video_width) == (48, None)
    told.video_width = torch.tensor(SIZE[1])
    given = mask(clip(20), 1, 0).mask_HW
    outputs = []
    for session, options in ((told, {}), (by_mask, {}), (by_argument, {"original_size": SIZE})):
        small_processor().add_inputs_to_inference_session(session, 0, 1, input_masks=[given], **options)
        assert (session.video_height, session.video_width) == SIZE
        outputs.append([small_model()(inference_session=session, frame=pixels(0)).pred_masks])
    assert same(outputs[0], outputs[1])
    assert same(outputs[0], outputs[2])
    told.video_height = 48
    with pytest.raises(ValueError, match=r"video_height: is 50, but the session has \[48, 64\]"):
        told.video_height = 50
    with pytest.raises(ValueError, match=r"video_width: is 50, but the session has \[48, 64\]"):
        new_session().video_width = 50


def test_a_size_that_is_set_before_a_box_counts() -> None:
    told, expected = small_processor().init_video_session(), small_processor().init_video_session()
    told.video_height, told.video_width = SIZE
    say(told, 0)
    say(expected, 0, original_size=SIZE)
    assert same(*[[small_model()(inference_session=one, frame=pixels(0)).pred_masks] for one in (told, expected)])


def test_scripts_that_prune_old_outputs_and_frames_find_nothing_to_prune() -> None:
    stream = small_processor().init_video_session()
    say(stream, 0, original_size=SIZE)
    for index in range(4):
        small_model()(inference_session=stream, frame=pixels(index))
        while len(stream.processed_frames) > 2:
            stream.processed_frames.pop(min(stream.processed_frames))
        for row in range(len(stream.obj_ids)):
            for kind in ("cond_frame_outputs", "non_cond_frame_outputs"):
                for old in [key for key in stream.output_dict_per_obj[row][kind] if key < index - 2]:
                    stream.output_dict_per_obj[row][kind].pop(old)
    assert stream.num_frames == 4


def test_a_session_by_hand_is_that_of_the_processor() -> None:
    """As scripts that export models fill sessions: clicks and boxes in pixels of the model's input."""
    scale = torch.tensor([64 / SIZE[1], 64 / SIZE[0]])
    x0, y0, x1, y1 = box(clip(FRAMES), 1, 0).box_xyxy
    by_hand, expected = new_session(), new_session()
    assert by_hand.obj_id_to_idx(7) == 0
    assert (by_hand.obj_ids, by_hand.get_obj_num()) == ([7], 1)
    coordinates = torch.tensor([[x0, y0], [x1, y1], [(x0 + x1) / 2, (y0 + y1) / 2], [-10, -10]]) * scale
    inputs = {"point_coords": coordinates[None, None], "point_labels": torch.tensor([[[2, 3, 1, -10]]])}
    by_hand.add_point_inputs(0, 0, inputs)
    by_hand.obj_with_new_inputs = [7]
    small_processor().add_inputs_to_inference_session(
        expected, 0, 7, [[[[(x0 + x1) / 2, (y0 + y1) / 2]]]], [[[1]]], [[[x0, y0, x1, y1]]]
    )
    first, second = walk(by_hand), walk(expected)
    assert max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True)) < OTHER_BATCH
    clicks = {"point_coords": coordinates[None, None, 2:3], "point_labels": torch.tensor([[[1]]])}
    by_hand.add_point_inputs(by_hand.obj_id_to_idx(8), 1, clicks)
    assert by_hand.prompt_of(8, 1).labels == (1,)  # type: ignore[union-attr]
    given = torch.zeros(1, 1, 64, 64)
    given[..., 16:32, 8:24] = 1
    by_hand.add_mask_inputs(1, 2, given)
    assert by_hand.prompt_of(8, 2).mask_HW.sum() == 12 * 16  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="point_coords: expected one image with one object"):
        by_hand.add_point_inputs(0, 0, {**inputs, "point_coords": coordinates})


def test_an_object_that_has_only_an_id_is_hidden_and_can_be_removed() -> None:
    session = new_session()
    session.obj_id_to_idx(5)
    say(session, 0, 1)
    masks = walk(session)
    assert all(bool((one[0] == -1024).all()) and bool((one[1] > 0).any()) for one in masks)
    session.remove_object(5)
    assert session.obj_ids == [1]
    assert all(torch.equal(one[0], both[1]) for one, both in zip(walk(session), masks, strict=True))


def test_the_processors_inner_methods_may_be_called() -> None:
    session, expected, processor = new_session(), new_session(), small_processor()
    drawn = [list(box(clip(FRAMES), 1, 0).box_xyxy)]
    given = mask(clip(FRAMES), 2, 0).mask_HW
    processor.process_new_points_or_boxes_for_video_frame(session, 0, [1], input_boxes=[drawn])
    processor.process_new_mask_for_video_frame(session, 0, [2], [given])
    processor.add_inputs_to_inference_session(expected, 0, [1], input_boxes=[drawn])
    processor.add_inputs_to_inference_session(expected, 0, [2], input_masks=[given])
    assert same(walk(session), walk(expected))


@pytest.mark.slow
def test_image_features_and_embeddings_are_those_of_transformers() -> None:
    given = mini_processor()(images=[clip(FRAMES).frames_THW3[i] for i in (0, 3)], return_tensors="pt").pixel_values
    ours, theirs = Sam2VideoModel.from_pretrained("mini"), mini_transformers()
    for one, other in zip(ours.get_image_embeddings(given), theirs.get_image_embeddings(given), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
    features, expected = ours.get_image_features(given), theirs.get_image_features(given, return_dict=True)
    for name in ("fpn_hidden_states", "fpn_position_encoding"):
        for one, other in zip(features[name], expected[name], strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


def outputs_of_images() -> dict[str, torch.Tensor]:
    """Everything that the models give of a still image."""
    encoded = small_processor()(images=clip(FRAMES).frames_THW3[0], input_boxes=[[[3, 3, 20, 20]]])
    model = small_model()
    image_model = Sam2Model(image_config.Sam2Config.from_dict(model.config.to_dict()))
    features = model.get_image_features(encoded.pixel_values)
    given = {"masks": model.segment_images(**encoded), "image": image_model(**encoded), "features": features}
    tensors = {
        f"{name}, {field}": one
        for name, output in given.items()
        for field, values in output.items()
        for one in (values if isinstance(values, list) else [values])
    }
    return tensors | {"embeddings": model.get_image_embeddings(encoded.pixel_values)[0]}


def test_outputs_may_be_changed_in_place_and_trained_on_as_any_tensor() -> None:
    """A head over the features of images learns; torch refuses both for what is made in its inference mode."""
    outputs = outputs_of_images()
    assert outputs.keys() >= {"masks, pred_masks", "image, image_embeddings", "features, fpn_hidden_states"}
    for name, tensor in outputs.items():
        assert not tensor.is_inference(), name
        tensor[:1] += 1
    maps = outputs["embeddings"]
    head = torch.nn.Linear(maps.shape[1], 1)
    head(maps.flatten(2).transpose(1, 2)).sum().backward()
    assert head.weight.grad is not None
    assert float(head.weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("call", ["get_image_embeddings", "get_image_features", "segment_images"])
@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (
            torch.zeros(3, 64, 64),
            r"pixel_values: expected normalized images \[N, 3, 64, 64\], got torch.float32 \[3, 64",
        ),
        (torch.zeros(1, 3, 32, 32), r"pixel_values: .*\[1, 3, 32, 32\]: give processor"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "pixel_values: .*torch.uint8"),
        (np.zeros((1, 3, 64, 64), np.float32), "pixel_values: expected a tensor, got ndarray"),
    ],
)
def test_what_is_no_image_is_named(call: str, pixels: Any, message: str) -> None:
    prompts = {"input_boxes": torch.tensor([[[3.0, 3.0, 20.0, 20.0]]])} if call == "segment_images" else {}
    with pytest.raises(ValueError, match=message):
        getattr(small_model(), call)(pixels, **prompts)


def test_hooks_on_the_vision_encoder_are_called() -> None:
    calls: list[tuple[int, ...]] = []
    network = Sam2(small().config)  # not the shared one, which keeps what it has encoded
    network.load_state_dict(small().state_dict())
    model = Sam2VideoModel(small_model().config, network)
    hook = model.vision_encoder.register_forward_hook(lambda _, given, __: calls.append(tuple(given[0].shape)))
    session = new_session()
    say(session, 0)
    list(model.propagate_in_video_iterator(session, max_frame_num_to_track=2))
    assert calls == [(1, 3, 64, 64)] * 2
    hook.remove()
    assert not [name for name in model.state_dict() if name.startswith("network")]


def test_a_setting_that_is_fixed_here_is_not_taken_in_silence() -> None:
    model = small_model()
    model.num_maskmem = 7
    with pytest.raises(ValueError, match="num_maskmem: is 7 in every released model and fixed here, got 3"):
        model.num_maskmem = 3


def test_the_meaning_of_max_frame_num_to_track_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    _tell_of_half_open_ranges.cache_clear()
    session = new_session()
    say(session, 0)
    with caplog.at_level(logging.WARNING, logger="model"):
        for frames in (FRAMES, FRAMES + 3):
            walk(session, max_frame_num_to_track=frames)
        walk(session, start_frame_idx=1, max_frame_num_to_track=2, reverse=True)
        assert not caplog.records, "no frame is missing"
        for _ in range(2):
            assert len(walk(session, max_frame_num_to_track=2)) == 2
    (record,) = caplog.records
    assert "max_frame_num_to_track=n gives n frames, the first one included; transformers gives n + 1" in record.message


def test_the_fields_of_an_output_are_those_that_it_names() -> None:
    assert list(Sam2VideoSegmentationOutput.__dataclass_fields__) == [
        *("object_ids", "pred_masks", "object_score_logits", "frame_idx", "iou_scores")
    ]

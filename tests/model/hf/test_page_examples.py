"""The examples of the documentation page "SAM2 Video", call by call: import, checkpoint and video replaced.

Always on a drawn clip; on the page's own kind of video where it is there: `bedroom.mp4` in the folder that
MASKMILL_VIDEOS names, or in `../shared/videos`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.hf.model import Sam2VideoModel
from model.hf.pictures import load_video
from model.hf.processing import Sam2VideoProcessor
from pipeline.video.encode import encode_mp4
from tests.reference.mini import square_clip
from tests.support.clips import iou
from tests.support.sessions import OTHER_BATCH, EncodingOnce, center

pytestmark = pytest.mark.slow

BEDROOM = Path(os.environ.get("MASKMILL_VIDEOS", Path(__file__).parents[4] / "shared" / "videos")) / "bedroom.mp4"
NUM_DRAWN = 7
Point = list[float]


@dataclass(frozen=True)
class Example:
    """A video, where to click for two objects on frame 0, and where and when to refine the first."""

    frames: np.ndarray[Any, np.dtype[np.uint8]]
    first: Point
    second: Point
    negative: Point
    refine_frame_idx: int
    refine: Point


def drawn_example(folder: Path) -> Example:
    clip = square_clip("drifting", NUM_DRAWN)
    path = folder / "drifting.mp4"
    path.write_bytes(encode_mp4(clip.frames_THW3, 8))
    frames, metadata = load_video(path)
    assert (len(frames), metadata.total_num_frames, metadata.fps) == (NUM_DRAWN, NUM_DRAWN, 8)
    first, second = list(center(clip, 1, 0)), list(center(clip, 2, 0))
    x, y = center(clip, 1, 5)
    return Example(frames, first, second, second, 5, [x + 6, y])


def bedroom_example(_: Path) -> Example:
    frames, _ = load_video(str(BEDROOM))
    return Example(frames[:24], [200, 300], [400, 150], [275, 175], 16, [220, 280])


EXAMPLES = [drawn_example, *([pytest.param(bedroom_example, marks=pytest.mark.slow)] if BEDROOM.exists() else [])]


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda make: make.__name__)
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Example:
    made: Example = request.param(tmp_path_factory.mktemp("video"))
    return made


device = torch.device("cpu")
model = Sam2VideoModel.from_pretrained("mini").to(device, dtype=torch.float32)
model = Sam2VideoModel(model.config, EncodingOnce(model.network))  # all examples walk through one clip
processor = Sam2VideoProcessor.from_pretrained("mini")


def video_masks(output: Any, inference_session: Any) -> torch.Tensor:
    """What the page does with each output."""
    return processor.post_process_masks(
        [output.pred_masks],
        original_sizes=[[inference_session.video_height, inference_session.video_width]],
        binarize=False,
    )[0]


def propagate(inference_session: Any) -> dict[int, torch.Tensor]:
    video_segments = {}
    for sam2_video_output in model.propagate_in_video_iterator(inference_session):
        video_segments[sam2_video_output.frame_idx] = video_masks(sam2_video_output, inference_session)
    return video_segments


def add_click(inference_session: Any, frame_idx: int, obj_ids: Any, *points: Point) -> None:
    processor.add_inputs_to_inference_session(
        inference_session=inference_session,
        frame_idx=frame_idx,
        obj_ids=obj_ids,
        input_points=[[[point] for point in points]],
        input_labels=[[[1] for _ in points]],
    )


def test_one_click_then_propagation_through_the_whole_clip(example: Example) -> None:
    inference_session = processor.init_video_session(
        video=example.frames,
        inference_device=device,
        dtype=torch.float32,
    )
    ann_frame_idx = 0
    ann_obj_id = 1
    points = [[[example.first]]]
    labels = [[[1]]]
    processor.add_inputs_to_inference_session(
        inference_session=inference_session,
        frame_idx=ann_frame_idx,
        obj_ids=ann_obj_id,
        input_points=points,
        input_labels=labels,
    )
    outputs = model(
        inference_session=inference_session,
        frame_idx=ann_frame_idx,
    )
    video_res_masks = processor.post_process_masks(
        [outputs.pred_masks],
        original_sizes=[[inference_session.video_height, inference_session.video_width]],
        binarize=False,
    )[0]
    num_frames, height, width, _ = example.frames.shape
    assert video_res_masks.shape == (1, 1, height, width)
    video_segments = propagate(inference_session)
    assert list(video_segments) == list(range(num_frames))
    assert all(masks.shape == (1, 1, height, width) for masks in video_segments.values())
    assert torch.equal(video_segments[0], video_res_masks)
    assert (video_segments[0] > 0).any()


def two_objects(example: Example) -> Any:
    inference_session = processor.init_video_session(video=example.frames, inference_device=device)
    add_click(inference_session, 0, 1, example.first)
    propagate_some = model.propagate_in_video_iterator(inference_session, max_frame_num_to_track=2)
    assert [output.frame_idx for output in propagate_some] == [0, 1]
    inference_session.reset_inference_session()
    assert inference_session.obj_ids == []
    add_click(inference_session, 0, [2, 3], example.first, example.second)
    return inference_session


def test_two_objects_at_once_after_a_reset(example: Example) -> None:
    inference_session = two_objects(example)
    outputs = model(inference_session=inference_session, frame_idx=0)
    assert outputs.object_ids == [2, 3]
    assert outputs.pred_masks.shape[:2] == (2, 1)
    video_segments = {}
    for sam2_video_output in model.propagate_in_video_iterator(inference_session):
        video_res_masks = video_masks(sam2_video_output, inference_session)
        video_segments[sam2_video_output.frame_idx] = {
            obj_id: video_res_masks[i] for i, obj_id in enumerate(inference_session.obj_ids)
        }
    assert len(video_segments) == len(example.frames)
    assert all(list(masks) == [2, 3] for masks in video_segments.values())
    for row, (point, object_id) in enumerate(((example.first, 2), (example.second, 3))):
        x, y = (int(value) for value in point)
        assert video_segments[0][object_id][0, y, x] > 0, "a click lies on its object"
        assert torch.equal(video_segments[0][object_id], video_masks(outputs, inference_session)[row])


def test_a_refinement_click_changes_its_object_and_stays(example: Example) -> None:
    inference_session = two_objects(example)
    before = propagate(inference_session)
    refine_frame_idx = example.refine_frame_idx
    ann_obj_id = 2
    processor.add_inputs_to_inference_session(
        inference_session=inference_session,
        frame_idx=refine_frame_idx,
        obj_ids=ann_obj_id,
        input_points=[[[example.refine]]],
        input_labels=[[[1]]],
    )
    refined, again = propagate(inference_session), propagate(inference_session)
    for frame_idx in range(refine_frame_idx, len(example.frames)):
        assert not torch.equal(refined[frame_idx][0], before[frame_idx][0])
    for frame_idx in before:
        assert float((refined[frame_idx][1] - before[frame_idx][1]).abs().max()) < OTHER_BATCH
        assert torch.equal(refined[frame_idx], again[frame_idx]), "the correction survives"
    x, y = (int(value) for value in example.refine)
    assert refined[refine_frame_idx][0, 0, y, x] > before[refine_frame_idx][0, 0, y, x], "the click was positive"
    outputs = model(inference_session=inference_session, frame_idx=refine_frame_idx)
    assert torch.equal(video_masks(outputs, inference_session)[0], refined[refine_frame_idx][0])


def test_streaming_frame_by_frame(example: Example) -> None:
    inference_session = processor.init_video_session(
        inference_device=device,
        dtype=torch.float32,
    )
    streamed = {}
    video_frames = example.frames
    for frame_idx, frame in enumerate(video_frames[:10]):
        inputs = processor(images=frame, device=device, return_tensors="pt")
        if frame_idx == 0:
            processor.add_inputs_to_inference_session(
                inference_session=inference_session,
                frame_idx=0,
                obj_ids=1,
                input_points=[[[example.first, example.second]]],
                input_labels=[[[1, 0]]],
                original_size=inputs.original_sizes[0],
            )
        sam2_video_output = model(inference_session=inference_session, frame=inputs.pixel_values[0])
        video_res_masks = processor.post_process_masks(
            [sam2_video_output.pred_masks], original_sizes=inputs.original_sizes, binarize=False
        )[0]
        assert sam2_video_output.frame_idx == frame_idx
        assert video_res_masks.shape == (1, 1, *frame.shape[:2])
        streamed[frame_idx] = video_res_masks
    assert len(streamed) == min(10, len(video_frames))
    assert inference_session.num_frames == len(streamed)


def test_objects_with_different_numbers_of_points_are_as_each_alone(example: Example) -> None:
    near = [example.first[0] + 2, example.first[1] + 2]
    input_points = [[[example.first, near, example.negative], [example.second]]]
    input_labels = [[[1, 1, 0], [1]]]
    inference_session = processor.init_video_session(video=example.frames[:6], inference_device=device)
    processor.add_inputs_to_inference_session(
        inference_session=inference_session,
        frame_idx=0,
        obj_ids=[2, 3],
        input_points=input_points,
        input_labels=input_labels,
    )
    outputs = model(inference_session=inference_session, frame_idx=0)
    assert video_masks(outputs, inference_session).shape[0] == 2
    together = propagate(inference_session)
    for row, object_id in enumerate((2, 3)):
        alone = processor.init_video_session(video=example.frames[:6], inference_device=device)
        processor.add_inputs_to_inference_session(
            alone, 0, object_id, input_points=[[input_points[0][row]]], input_labels=[[input_labels[0][row]]]
        )
        for frame_idx, masks in propagate(alone).items():
            assert float((masks[0] - together[frame_idx][row]).abs().max()) < OTHER_BATCH
            if (masks[0] > 0).any():
                assert iou((masks[0] > 0).numpy(), (together[frame_idx][row] > 0).numpy()) >= 0.999

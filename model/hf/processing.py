"""The processor of videos of the documentation page: that of images, and sessions over videos with their prompts."""

from __future__ import annotations

from typing import Any

import torch

from model.hf.image_processing import Sam2Processor, one_size
from model.hf.inference_session import Device, Sam2VideoInferenceSession
from model.hf.part_processors import Sam2ImageProcessor, Sam2VideoVideoProcessor
from model.hf.pictures import to_frames
from model.hf.prompt_inputs import frame_index_of, frame_prompts, merged, object_ids_of, size_hw_of
from model.prompts import errors_naming


class Sam2VideoProcessor(Sam2Processor):
    """Pictures and prompts to what the model takes, and logits to masks.

    It has a part for images and one for videos, both of one size. `target_size` is the side of the model's input, by
    default that of the parts. `point_pad_value` marks, as a label, points that only fill up a tensor; they are left out
    (in `transformers` they count as points, and change what an object gets).
    """

    def __init__(
        self,
        image_processor: Sam2ImageProcessor | None = None,
        video_processor: Sam2VideoVideoProcessor | None = None,
        target_size: int | None = None,
        point_pad_value: int = -10,
    ) -> None:
        super().__init__(image_processor, one_size([image_processor, video_processor], target_size), point_pad_value)
        self.video_processor = video_processor or Sam2VideoVideoProcessor(self.target_size)

    def to_dict(self) -> dict[str, Any]:
        """What `processor_config.json` holds."""
        return {**super().to_dict(), "video_processor": self.video_processor.to_dict()}

    def init_video_session(  # noqa: PLR0913  # the documented arguments
        self,
        video: Any = None,
        inference_device: Device = "cpu",
        inference_state_device: Device | None = None,
        processing_device: Device | None = None,
        video_storage_device: Device | None = None,
        max_vision_features_cache_size: int = 1,
        dtype: torch.dtype | str = torch.float32,
        *,
        num_frames: int | None = None,
        max_prompted_memories: int | None = None,
    ) -> Sam2VideoInferenceSession:
        """A session over a video, or over a stream where no video is given.

        `video`: a path or URI, a list or an iterator of pictures (PIL, arrays, tensors), an array or tensor
        `[T, H, W, 3]` or `[T, 3, H, W]`, one picture, or a `model.FrameSource`, which is read as it is walked. The
        model runs on `inference_device`; memories and masks are kept on `inference_state_device`, frames are resized on
        `processing_device` and kept on `video_storage_device`, by default all `inference_device`.
        `num_frames` is the length of a stream, if it is known; `max_prompted_memories` bounds a session whose every
        frame has prompts.
        """
        state_device, processing, storage = (
            inference_device if given is None else given
            for given in (inference_state_device, processing_device, video_storage_device)
        )
        frames = None
        if video is not None:
            frames = to_frames(video, self.target_size, processing_device=processing, storage_device=storage)
        return Sam2VideoInferenceSession(
            video=frames,
            inference_device=inference_device,
            inference_state_device=state_device,
            video_storage_device=storage,
            dtype=dtype,
            max_vision_features_cache_size=max_vision_features_cache_size,
            num_frames=num_frames,
            max_prompted_memories=max_prompted_memories,
            image_size=self.target_size,
        )

    def add_inputs_to_inference_session(  # noqa: PLR0913  # the documented arguments
        self,
        inference_session: Sam2VideoInferenceSession,
        frame_idx: int,
        obj_ids: Any,
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        input_masks: Any = None,
        original_size: Any = None,
        clear_old_inputs: bool = True,
    ) -> Sam2VideoInferenceSession:
        """Says where objects are on a frame, in pixels of the video.

        `obj_ids` is one id or several. `input_points` are nested [image][object][point][x, y] with one image,
        `input_labels` [image][object][point] (1 on the object, 0 not on it), `input_boxes` [image][object][x0, y0,
        x1, y1], which may come with points; or `input_masks`, one `[H, W]` for each object. Lists, tuples, arrays and
        tensors all do. With `clear_old_inputs` off, points are added to those of the same object and frame.
        `original_size` (height, width) belongs to the first prompt of a stream; a mask says it itself. Where the model
        was called after an earlier prompt of the object on this frame, clicks refine the mask that it gave: to begin
        anew, take back the prompt first (`clear_all_prompts_in_frame`).

        Raises `ValueError` naming object, frame and value for what does not fit; then nothing has changed.
        """
        index, object_ids = frame_index_of(frame_idx), object_ids_of(obj_ids)
        inputs = {
            "input_points": input_points,
            "input_labels": input_labels,
            "input_boxes": input_boxes,
            "input_masks": input_masks,
        }
        prompts = dict(zip(object_ids, frame_prompts(object_ids, index, inputs, self.point_pad_value), strict=True))
        if not clear_old_inputs:
            for object_id, prompt in prompts.items():
                with errors_naming(f"object {object_id}, frame {index}"):
                    prompts[object_id] = merged(inference_session.prompt_of(object_id, index), prompt)
        size_hw = None if original_size is None else size_hw_of(original_size)
        inference_session.add_prompts(index, prompts, size_hw)
        return inference_session

    def process_new_points_or_boxes_for_video_frame(
        self,
        inference_session: Sam2VideoInferenceSession,
        frame_idx: int,
        obj_ids: Any,
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        original_size: Any = None,
        clear_old_inputs: bool = True,
    ) -> Sam2VideoInferenceSession:
        """`add_inputs_to_inference_session` for clicks and boxes."""
        return self.add_inputs_to_inference_session(
            inference_session,
            frame_idx,
            obj_ids,
            input_points,
            input_labels,
            input_boxes,
            original_size=original_size,
            clear_old_inputs=clear_old_inputs,
        )

    def process_new_mask_for_video_frame(
        self, inference_session: Sam2VideoInferenceSession, frame_idx: int, obj_ids: Any, input_masks: Any
    ) -> Sam2VideoInferenceSession:
        """`add_inputs_to_inference_session` for masks."""
        return self.add_inputs_to_inference_session(inference_session, frame_idx, obj_ids, input_masks=input_masks)

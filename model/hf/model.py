"""`Sam2VideoModel` of the documentation page: the same calls and arguments, over the sessions of this project.

Where results differ from those of `transformers`, called "there" below, and why (`docs/differences.md` has all
differences; `tests/model/tracking/test_promises.py` shows the eleven that are numbered here on both).

Two are met by scripts that are right there: `max_frame_num_to_track=n` gives n frames, there n + 1; and `reverse=True`
is a fresh pass from the prompts, while there it goes on with what a forward pass before it remembered.

1. every prompt counts, whenever it was added; there, a second prompted frame is ignored unless `forward` ran on it;
2. an object starts at its first prompt, and has logits of -1024 before; there, it is segmented without a prompt on
   frames before, and remembers that as if it had been prompted;
3. a prompt on a frame that has a mask corrects or refines it (the earlier logits are fed, clamped to ±32, as `sam2`
   does), and stays; there, earlier logits are never fed, and the next propagation computes a correction away;
4. `reverse` holds for all objects; there, one object's first frame turns it round for those after it;
5. only an object's own prompt binarizes its memory; there, that of any object on the frame does;
6. a mask prompt's object pointer comes from the single-mask token, as in `sam2`;
7. what an object gets does not depend on the others; there, points that only fill up the batch count;
8. adding an object loses no other, and the caller's list of ids stays as it is;
9. outputs and full-size masks are not kept;
10. holes and specks are removed where asked (`model.hf.postprocess`); there, the arguments are ignored;
11. what makes no sense raises `ValueError` naming object, frame and value; there, tuples are dropped in silence.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from itertools import islice

import torch
from torch import Tensor

from model.hf.config import ModelConfig, Sam2VideoConfig
from model.hf.image_inputs import Sam2VideoImageSegmentationOutput, segment_images
from model.hf.inference_session import Sam2VideoInferenceSession
from model.hf.kept_frames import KeptFrames
from model.hf.outputs import Sam2VideoSegmentationOutput
from model.hf.prompt_inputs import frame_index_of
from model.hf.stored_model import StoredModel, check_images
from model.network.config import CONSTANTS
from model.network.layers import wide
from model.network.sam2 import HIDDEN_LOGIT, Sam2
from model.pixels.transfers import on_device
from model.tracking.memory_bank import BACKWARD, FORWARD
from model.tracking.state import FrameResult, Step
from model.tracking.steps import advance
from model.tracking.stream import VideoStream
from model.weights.checkpoint import StoredWeights

log = logging.getLogger(__name__)


class Sam2VideoModel(StoredModel[Sam2VideoConfig, Sam2]):
    """SAM 2 over videos and streams. In state dicts its weights have their names of `model.safetensors`."""

    config_class = Sam2VideoConfig

    @classmethod
    def new_network(cls, config: ModelConfig) -> Sam2:
        return Sam2(config.network())

    @classmethod
    def loaded_network(cls, stored: StoredWeights) -> Sam2:
        return stored.model()

    @property
    def num_maskmem(self) -> int:
        """How many spatial memories an object has: those of six tracked frames and a prompted one."""
        return int(CONSTANTS["num_maskmem"])

    @num_maskmem.setter
    def num_maskmem(self, number: int) -> None:
        if number != self.num_maskmem:
            raise ValueError(f"num_maskmem: is {self.num_maskmem} in every released model and fixed here, got {number}")

    def forward(
        self,
        inference_session: Sam2VideoInferenceSession,
        frame_idx: int | None = None,
        frame: Tensor | None = None,
        reverse: bool = False,
        run_mem_encoder: bool = True,
    ) -> Sam2VideoSegmentationOutput:
        """The masks on one frame: `frame_idx` of a video, or the next `frame` of a stream, normalized `[3, S, S]`.

        On a frame of a video, objects with a prompt there are segmented and the others tracked, in reverse time if
        `reverse`, with what they remember of the frames before. Where a pass has tracked them, the result of that pass
        is given, if nothing was said of them and no other pass has come to the frames before since.

        On the newest frame of a stream, `frame_idx` gives its masks with what was said of it since it came. With
        `run_mem_encoder` off, tracked objects do not remember the frame. In a session to which frames are added, a
        `frame` is added first.
        """
        if frame is not None and isinstance(inference_session.video, KeptFrames):
            frame_idx, frame = inference_session.add_new_frame(frame, frame_idx), None
        tracker = inference_session.tracker(self.network)
        if frame_idx is not None:
            frame_idx = frame_index_of(frame_idx)
        if isinstance(tracker, VideoStream):
            return self._stream_frame(inference_session, tracker, frame_idx, frame, run_mem_encoder)
        if frame is not None:
            raise ValueError("frame: the session has a video; frames are pushed to sessions without one")
        if frame_idx is None:
            raise ValueError("frame_idx: must be given, or a frame where the session is a stream")
        if not inference_session.obj_ids:
            raise ValueError(f"frame {frame_idx}: there are no objects; add inputs first")
        heading = BACKWARD if reverse else FORWARD
        result = tracker.segment_frame(frame_idx, heading, remember=run_mem_encoder)
        return self._output(result, inference_session.obj_ids)

    def propagate_in_video_iterator(
        self,
        inference_session: Sam2VideoInferenceSession,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
        show_progress_bar: bool = False,
    ) -> Iterator[Sam2VideoSegmentationOutput]:
        """The masks of all objects on one frame after the other, to the end of the video or, `reverse`, to its start.

        The walk starts at `start_frame_idx`, by default the earliest frame with a prompt, and has
        `max_frame_num_to_track` frames, the first one included, by default all (`transformers` gives one more). It is
        a fresh pass from the prompts, unless `start_frame_idx` is given: then objects go on with what they remember of
        the frames before, if the last pass over these had the same direction. `reverse` never uses what a forward pass
        remembered (`transformers` does). Calls of the model and other passes may come between two frames of a pass.
        """
        tracker = inference_session.tracker(self.network)
        if isinstance(tracker, VideoStream):
            raise ValueError(
                "the session is a stream: give its frames to the model one by one, or all of them to "
                "session.add_new_frame before the first call of the model"
            )
        if not tracker.objects:
            raise ValueError("there are no objects to propagate; add inputs first")
        if start_frame_idx is None:
            start = min(tracked.first_prompt for tracked in tracker.objects.values())
        else:
            start = frame_index_of(start_frame_idx, "start_frame_idx")
        if max_frame_num_to_track is not None:
            max_frame_num_to_track = frame_index_of(max_frame_num_to_track, "max_frame_num_to_track")
        length = tracker.frames.length_up_to(start + 1)
        if start >= length:
            raise ValueError(f"start_frame_idx: is {start}, the video has {length} frames")
        num_frames = inference_session.num_frames
        heading = BACKWARD if reverse else FORWARD
        walk = tracker.walk_from(start, heading, fresh=start_frame_idx is None)
        steps: Iterator[Step] = islice(walk, max_frame_num_to_track)
        ahead = start + 1 if reverse else None if num_frames is None else num_frames - start
        if max_frame_num_to_track is not None and ahead is not None and max_frame_num_to_track < ahead:
            _tell_of_half_open_ranges()
        if show_progress_bar:
            counts = [count for count in (ahead, max_frame_num_to_track) if count is not None]
            steps = _with_progress_bar(steps, min(counts, default=None))
        for step in steps:
            yield self._output(advance([step])[0], inference_session.obj_ids)

    def segment_images(
        self,
        pixel_values: Tensor,
        input_points: Tensor | None = None,
        input_labels: Tensor | None = None,
        input_boxes: Tensor | None = None,
        original_sizes: Tensor | None = None,
        point_pad_value: int = -10,
    ) -> Sam2VideoImageSegmentationOutput:
        """Masks of still images with any number of prompts each: `model.segment_images(**processor(images=…, …))`.

        What an object gets does not depend on the other prompts and images. The masks of each image go with its entry
        of `original_sizes` to `post_process_masks`. `point_pad_value` is that of the processor.
        """
        check_images(pixel_values, self.network.config.image_size)
        given = {"input_points": input_points, "input_labels": input_labels, "input_boxes": input_boxes}
        prompts = {name: values for name, values in given.items() if values is not None}
        return segment_images(self.network, pixel_values, prompts, point_pad_value)

    def _stream_frame(
        self,
        session: Sam2VideoInferenceSession,
        stream: VideoStream,
        frame_idx: int | None,
        frame: Tensor | None,
        remember: bool,
    ) -> Sam2VideoSegmentationOutput:
        if frame is None:
            if frame_idx != stream.newest_index or frame_idx == -1:
                raise ValueError(
                    f"frame_idx: is {frame_idx}, but a stream has its newest frame only ({stream.newest_index}): "
                    "give the next one as frame"
                )
            return self._output(stream.newest_result(), session.obj_ids)
        if frame_idx not in (None, stream.newest_index + 1):
            raise ValueError(f"frame_idx: is {frame_idx}, but the next frame is {stream.newest_index + 1}")
        size = self.network.config.image_size
        pixels = frame[0] if frame.ndim == 4 and len(frame) == 1 else frame
        if tuple(pixels.shape) != (3, size, size) or not pixels.is_floating_point():
            raise ValueError(
                f"frame: expected normalized pixels [3, {size}, {size}], got {frame.dtype} {list(frame.shape)}: give "
                "processor(images=frame).pixel_values[0]"
            )
        result = stream.push(pixels.permute(1, 2, 0), remember=remember)
        session.drop_gone_prompts(stream.newest_index)
        return self._output(result, session.obj_ids)

    def _output(self, result: FrameResult, object_ids: list[int]) -> Sam2VideoSegmentationOutput:
        """The result with a row for each object of the session, also those that have not started."""
        side, device, dtype = self.network.config.mask_size, self.device, wide(self.dtype)
        logits = torch.full((len(object_ids), 1, side, side), HIDDEN_LOGIT, device=device, dtype=dtype)
        scores = torch.full((len(object_ids), 1), HIDDEN_LOGIT, device=device, dtype=dtype)
        ious = torch.zeros(len(object_ids), device=device, dtype=dtype)
        rows = on_device([object_ids.index(object_id) for object_id in result.object_ids], device, torch.int64)
        logits[:, 0].index_copy_(0, rows, result.logits_BHW.to(dtype))
        scores[:, 0].index_copy_(0, rows, result.object_scores_B.to(dtype))
        ious.index_copy_(0, rows, result.predicted_ious_B.to(dtype))
        return Sam2VideoSegmentationOutput(list(object_ids), logits, scores, result.frame_index, ious)


@cache
def _tell_of_half_open_ranges() -> None:
    """Said once in a process, where a script that counts on the other meaning lacks a frame."""
    log.warning(
        "max_frame_num_to_track=n gives n frames, the first one included; transformers gives n + 1. Ask for one more "
        "where a script counts on it"
    )


def _with_progress_bar(steps: Iterator[Step], total: int | None) -> Iterator[Step]:
    from tqdm.auto import tqdm

    return iter(tqdm(steps, desc="propagate in video", total=total))

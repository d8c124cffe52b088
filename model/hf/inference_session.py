"""The inference session of the documentation page: the prompts of a video or stream, and the session that tracks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from model.hf.kept_frames import KeptFrames
from model.hf.prompt_inputs import (
    frame_index_of,
    object_id_of,
    prompt_of_mask_inputs,
    prompt_of_point_inputs,
    size_hw_of,
)
from model.network.sam2 import Sam2
from model.pixels.transforms import normalize
from model.prompts import MaskPrompt, Prompt, errors_naming
from model.tracking.frames import ArrayFrames, FrameSource
from model.tracking.history import HistoryRule
from model.tracking.session import VideoSession
from model.tracking.stream import VideoStream

Device = torch.device | str


class Sam2VideoInferenceSession:
    """What was said of the objects of a video, or of a stream where `video` is not given.

    Args:
        video: frames as `processor.init_video_session` prepares them, or normalized ones `[T, 3, S, S]`.
        video_height: height of the video in pixels, which prompts refer to.
        video_width: width of the video in pixels.
        inference_device: where the model runs.
        inference_state_device: where memories and masks are kept.
        video_storage_device: where the frames are kept.
        dtype: what the model computes with; it must be that of the model.
        max_vision_features_cache_size: number of frames whose image features are kept.
        num_frames: the length of a stream, if it is known; it matters below 16.
        max_prompted_memories: bounds how many prompted frames of an object are remembered.
        image_size: side of the model's input, which `add_point_inputs` refers to.

    The session keeps no results. It keeps what corrections need, and of a stream the newest frame. (`transformers`
    keeps every output and a full-size mask for each object and frame.) What scripts empty in order to save memory
    (`processed_frames`, `output_dict_per_obj`) is here and empty. Where frames are added by `add_new_frame`, they are
    kept, up to 8 GiB of them. Copies and pickles leave the network and the image features out: the next call of a model
    with the same configuration goes on with them.
    """

    def __init__(  # noqa: PLR0913  # the documented arguments
        self,
        video: FrameSource | Tensor | None = None,
        video_height: int | None = None,
        video_width: int | None = None,
        inference_device: Device = "cpu",
        inference_state_device: Device = "cpu",
        video_storage_device: Device = "cpu",
        dtype: torch.dtype | str = "float32",
        max_vision_features_cache_size: int = 1,
        *,
        num_frames: int | None = None,
        max_prompted_memories: int | None = None,
        image_size: int | None = None,
    ) -> None:
        self.inference_device = torch.device(inference_device)
        self.inference_state_device = torch.device(inference_state_device)
        self.video_storage_device = torch.device(video_storage_device)
        self.dtype = as_dtype(dtype)
        self.max_vision_features_cache_size = frame_index_of(
            max_vision_features_cache_size, "max_vision_features_cache_size"
        )
        self._height = None if video_height is None else size_hw_of((video_height, 1))[0]
        self._width = None if video_width is None else size_hw_of((1, video_width))[1]
        if isinstance(video, Tensor):
            if self._size_hw is None:
                raise ValueError("video_height and video_width must be given with normalized frames")
            video = ArrayFrames(video.permute(0, 2, 3, 1).to(self.video_storage_device, self.dtype), self._size_hw)
        self._video = video
        if video is not None:
            self._height, self._width = video.size_hw
        self._stream_length = None if num_frames is None else frame_index_of(num_frames, "num_frames")
        self._max_prompted_memories = max_prompted_memories
        self._image_size = image_size
        self._prompts: dict[int, dict[int, Prompt]] = {}
        self._tracker: VideoSession | VideoStream | None = None
        self.processed_frames: dict[int, Tensor] = {}
        self.obj_with_new_inputs: list[int] = []  # set by scripts; prompts count here whenever they were added

    @property
    def video(self) -> FrameSource | None:
        """The frames, None for a stream."""
        return self._video

    @property
    def is_stream(self) -> bool:
        """Whether frames come one by one, and only the newest one is kept."""
        return self._video is None

    @property
    def video_height(self) -> int | None:
        """Height of the video in pixels, `None` for a stream of which nothing has been said. It may be set."""
        return self._height

    @video_height.setter
    def video_height(self, height: int) -> None:
        self._set_size(size_hw_of((height, 1))[0], self._width, f"video_height: is {height}")

    @property
    def video_width(self) -> int | None:
        """Width of the video in pixels, `None` for a stream of which nothing has been said. It may be set."""
        return self._width

    @video_width.setter
    def video_width(self, width: int) -> None:
        self._set_size(self._height, size_hw_of((1, width))[1], f"video_width: is {width}")

    @property
    def num_frames(self) -> int | None:
        """Number of frames, `None` where it is not known; of a stream, those that have come."""
        if self._video is None:
            return self._tracker.newest_index + 1 if isinstance(self._tracker, VideoStream) else None
        return len(self._video) if isinstance(self._video, (ArrayFrames, KeptFrames)) else None

    @property
    def obj_ids(self) -> list[int]:
        """The objects in the order in which they were added, which is the order of the rows of every result."""
        return list(self._prompts)

    def get_obj_num(self) -> int:
        """Number of objects."""
        return len(self._prompts)

    def obj_id_to_idx(self, obj_id: int) -> int:
        """The row of an object in results. An id that is new makes an object, which is hidden until it has a prompt."""
        object_id = object_id_of(obj_id)
        self._prompts.setdefault(object_id, {})
        return self.obj_ids.index(object_id)

    def obj_idx_to_id(self, obj_idx: int) -> int:
        """The object of a row of results. Raises `ValueError` for a row that is not there."""
        row = frame_index_of(obj_idx, "obj_idx")
        if row >= len(self._prompts):
            raise ValueError(f"obj_idx: is {row}, the session has {len(self._prompts)} objects: {self.obj_ids}")
        return self.obj_ids[row]

    def prompt_of(self, object_id: int, frame_index: int) -> Prompt | None:
        """What has been said of an object on a frame."""
        return self._prompts.get(object_id, {}).get(frame_index)

    @property
    def output_dict_per_obj(self) -> dict[int, dict[str, dict[int, Any]]]:
        """Empty dictionaries for each row, for scripts that delete old outputs: none are kept."""
        return {row: {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}} for row in range(len(self._prompts))}

    def add_new_frame(self, pixel_values: Tensor, frame_idx: int | None = None) -> int:
        """Keeps the next normalized frame `[3, S, S]` and returns its index, for a session that was made without video.

        The frames are the video that `forward` and `propagate_in_video_iterator` then see. `frame_idx` may say the
        index again. Raises `ValueError` for a session with a video of its own, for a stream whose frames go to the
        model, for any other index, and where the frames would be more than 8 GiB.
        """
        if isinstance(self._tracker, VideoStream):
            raise ValueError("the frames of this stream went to the model, which keeps none: add all frames, or none")
        if self._video is not None and not isinstance(self._video, KeptFrames):
            raise ValueError("add_new_frame: the session has a video; frames are added to sessions without one")
        video = KeptFrames(self._size_hw) if self._video is None else self._video
        if frame_idx is not None and frame_index_of(frame_idx) != len(video):
            raise ValueError(f"frame_idx: is {frame_idx}, but the next frame is {len(video)}")
        pixels = pixel_values[0] if pixel_values.ndim == 4 and len(pixel_values) == 1 else pixel_values
        is_float = pixels.is_floating_point()  # pixels of bytes are refused
        index = video.add(pixels.to(self.video_storage_device, self.dtype if is_float else None))
        self._video = video
        if self._tracker is not None and self._tracker.is_bound:
            self._tracker.state.video_has_grown()
        return index

    def get_frame(self, frame_idx: int) -> Tensor:
        """A frame of the video, normalized, on the device of inference; of a stream, the newest one.

        `[3, S, S]`, from a `FrameSource` of the user's `[3, h, w]` of its own size. Raises `ValueError` for a frame
        that is not there.
        """
        index = frame_index_of(frame_idx)
        source = self._tracker.session.frames if isinstance(self._tracker, VideoStream) else self._video
        frame = None if source is None else next(source.at([index]), None)
        if frame is None:
            raise ValueError(f"frame {index}: is not in the session")
        pixels = frame.pixels_HW3
        if not pixels.is_floating_point():
            return normalize(pixels.unsqueeze(0), self.inference_device, self.dtype)[0]
        return pixels.permute(2, 0, 1).to(self.inference_device, self.dtype)

    def add_point_inputs(self, obj_idx: int, frame_idx: int, inputs: Mapping[str, Any]) -> None:
        """Sets the clicks of the object of a row as the processor of `transformers` hands them on.

        `inputs` has `point_coords` `[1, 1, P, 2]` in pixels of the model's input and `point_labels` `[1, 1, P]`, where
        2 and 3 are the corners of a box.
        """
        size_hw, side = self._size_of_prompts(), self._input_size()
        prompt = prompt_of_point_inputs(inputs, (size_hw[0] / side, size_hw[1] / side))
        self.add_prompts(frame_index_of(frame_idx), {self.obj_idx_to_id(obj_idx): prompt})

    def add_mask_inputs(self, obj_idx: int, frame_idx: int, inputs: Tensor) -> None:
        """Sets the mask of the object of a row, `[1, 1, S, S]` at the size of the model's input."""
        prompt = prompt_of_mask_inputs(inputs, self._size_of_prompts())
        self.add_prompts(frame_index_of(frame_idx), {self.obj_idx_to_id(obj_idx): prompt})

    def remove_point_inputs(self, obj_idx: int, frame_idx: int) -> None:
        """Takes back the clicks and box of the object of a row on a frame, if there are any."""
        self._clear_if(obj_idx, frame_idx, is_mask=False)

    def remove_mask_inputs(self, obj_idx: int, frame_idx: int) -> None:
        """Takes back the mask of the object of a row on a frame, if there is one."""
        self._clear_if(obj_idx, frame_idx, is_mask=True)

    def _clear_if(self, obj_idx: int, frame_idx: int, *, is_mask: bool) -> None:
        object_id, index = self.obj_idx_to_id(obj_idx), frame_index_of(frame_idx)
        prompt = self.prompt_of(object_id, index)
        if prompt is not None and isinstance(prompt, MaskPrompt) == is_mask:
            self.clear_all_prompts_in_frame(index, object_id)

    def add_prompts(
        self, frame_index: int, prompts: Mapping[int, Prompt], size_hw: tuple[int, int] | None = None
    ) -> None:
        """Sets what is said of objects on a frame; an earlier prompt of an object there is replaced.

        `size_hw` says how large the frames of a stream are; a mask says it, too. All or nothing: raises `ValueError`
        naming object, frame and value for the first one that does not fit.
        """
        masks = [prompt.mask_HW.shape for prompt in prompts.values() if isinstance(prompt, MaskPrompt)]
        if size_hw is None and self._size_hw is None and masks:
            size_hw = (masks[0][0], masks[0][1])
        size = self._size_for(size_hw)
        fitted = {object_id: self._fit(object_id, frame_index, prompt, size) for object_id, prompt in prompts.items()}
        self._tell_size(size)
        for object_id, prompt in fitted.items():
            if self._tracker is not None:
                self._tracker.add_prompt(object_id, frame_index, prompt)
            self._prompts.setdefault(object_id, {})[frame_index] = prompt

    def remove_object(self, obj_id: int) -> None:
        """Forgets an object; the others are as if it had never been there."""
        object_id = object_id_of(obj_id)
        if object_id not in self._prompts:
            raise ValueError(f"object {object_id}: is not in the session, which has {self.obj_ids}")
        del self._prompts[object_id]
        if self._tracker is not None and self._tracker.has_object(object_id):
            self._tracker.remove_object(object_id)

    def clear_all_prompts_in_frame(self, frame_idx: int, obj_id: int) -> None:
        """Takes back what was said of an object on a frame. An object without any prompt is removed."""
        object_id, index = object_id_of(obj_id), frame_index_of(frame_idx)
        if self.prompt_of(object_id, index) is None:
            raise ValueError(f"object {object_id}, frame {index}: there is no prompt to clear")
        del self._prompts[object_id][index]
        if self._tracker is not None:
            self._tracker.clear_prompts(object_id, index)
            has_prompts = self._tracker.has_object(object_id)
        else:
            has_prompts = bool(self._prompts[object_id])
        if not has_prompts:
            del self._prompts[object_id]

    def reset_tracking_data(self) -> None:
        """Forgets all objects; video and image features stay, a stream goes on."""
        self._prompts.clear()
        if self._tracker is not None:
            self._tracker.reset()

    def reset_inference_session(self) -> None:
        """Forgets all objects and image features; the video stays, a stream goes on."""
        self.reset_tracking_data()
        if self._tracker is not None:
            self._tracker.forget_features()

    def tracker(self, network: Sam2) -> VideoSession | VideoStream:
        """The session that tracks, made at the first call.

        Raises `ValueError` where device or dtype of the model are not those of the session, or where the session has
        been tracked by another model.
        """
        if network.dtype != self.dtype:
            raise ValueError(
                f"the session is in {self.dtype}, the model in {network.dtype}: give "
                "init_video_session(dtype=model.dtype)"
            )
        if not _same_device(network.device, self.inference_device):
            raise ValueError(
                f"the session is on {self.inference_device}, the model on {network.device}: give "
                "init_video_session(inference_device=model.device)"
            )
        size = network.config.image_size
        if isinstance(self._video, (ArrayFrames, KeptFrames)) and self._video.prepared_size not in (None, size):
            raise ValueError(
                f"the processor made frames of {self._video.prepared_size} pixels, the model takes {size}: load both "
                "from one place"
            )
        if self._tracker is not None and not self._tracker.is_bound:
            self._tracker.bind(network)
            if isinstance(self._video, KeptFrames) and isinstance(self._tracker, VideoSession):
                self._tracker.state.video_has_grown()
        if self._tracker is None:
            self._tracker = self._new_tracker(network)
            for object_id, prompts in self._prompts.items():
                for frame_index, prompt in prompts.items():
                    self._tracker.add_prompt(object_id, frame_index, prompt)
        if self._tracker.model is not network:
            raise ValueError("the session holds memories of another model: make a new session for this one")
        return self._tracker

    def _new_tracker(self, network: Sam2) -> VideoSession | VideoStream:
        if self._video is None:
            return VideoStream(
                network,
                self._size_hw or (network.config.image_size, network.config.image_size),
                self._max_prompted_memories,
                num_frames=self._stream_length,
                state_device=self.inference_state_device,
            )
        return VideoSession(
            network,
            self._video,
            self._max_prompted_memories,
            history=HistoryRule(),
            state_device=self.inference_state_device,
            num_cached_frames=self.max_vision_features_cache_size,
        )

    def drop_gone_prompts(self, newest_index: int) -> None:
        """Forgets the prompts of frames that a stream has left behind; the memories that they gave are kept."""
        for prompts in self._prompts.values():
            for index in [index for index in prompts if index < newest_index]:
                del prompts[index]

    @property
    def _size_hw(self) -> tuple[int, int] | None:
        return None if self._height is None or self._width is None else (self._height, self._width)

    def _set_size(self, height: int | None, width: int | None, what: str) -> None:
        """Sets height and width, of which one may still be missing."""
        if (height, width) == (self._height, self._width):
            return
        if self._size_hw is not None and not self._may_be_resized:
            raise ValueError(f"{what}, but the session has {[self._height, self._width]}")
        self._height, self._width = height, width
        self._tell_size(self._size_hw)

    def _tell_size(self, size_hw: tuple[int, int] | None) -> None:
        """Makes this the size of the video, everywhere."""
        if size_hw is None:
            return
        self._height, self._width = size_hw
        if isinstance(self._video, KeptFrames):
            self._video.size_hw = size_hw
        if isinstance(self._tracker, VideoStream):
            self._tracker.size_hw = size_hw

    @property
    def _may_be_resized(self) -> bool:
        """Whether nobody but the user knows how large the frames were, and no prompt refers to that size."""
        if self._video is not None and not isinstance(self._video, KeptFrames):
            return False
        session = self._tracker.session if isinstance(self._tracker, VideoStream) else self._tracker
        return not any(self._prompts.values()) and not (session is not None and session.objects)

    def _size_of_prompts(self) -> tuple[int, int]:
        if self._size_hw is None:
            raise ValueError("video_height and video_width must be set before the first prompt of a stream")
        return self._size_hw

    def _input_size(self) -> int:
        """Side of the model's input, as far as a session knows it."""
        size = getattr(self._video, "prepared_size", None) or self._image_size
        if size is None:
            raise ValueError("the session does not know the size of the model's input: make it by init_video_session")
        return int(size)

    def _size_for(self, size_hw: tuple[int, int] | None) -> tuple[int, int] | None:
        if size_hw is None or size_hw == self._size_hw:
            return self._size_hw
        if self._size_hw is not None and not self._may_be_resized:
            raise ValueError(f"original_size: is {list(size_hw)}, but the session has {list(self._size_hw)}")
        return size_hw

    def _fit(self, object_id: int, frame_index: int, prompt: Prompt, size_hw: tuple[int, int] | None) -> Prompt:
        with errors_naming(f"object {object_id}, frame {frame_index}"):
            if size_hw is None:
                raise ValueError("original_size must be given with the first prompt of a stream")
            num_frames = self.num_frames or 0
            if self.is_stream and frame_index < num_frames - 1:
                raise ValueError(f"the stream is at frame {num_frames - 1}, prompts are for that or later ones")
            if isinstance(self._video, ArrayFrames) and frame_index >= num_frames:
                raise ValueError(f"the video has {num_frames} frames, 0 to {num_frames - 1}")
            return prompt.fit(size_hw)


def as_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """A dtype that a model can have, from itself or its name, such as `bfloat16`. Raises `ValueError` for others."""
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point or found.itemsize == 1:
        raise ValueError(f"dtype: {dtype!r} is no dtype of torch for floating-point numbers, such as 'bfloat16'")
    return found


def _same_device(first: torch.device, second: torch.device) -> bool:
    """Whether both are one device; one without an index is the current one, as torch says."""
    if first.type != second.type or first == second:
        return first == second
    return torch.empty(0, device=first).device == torch.empty(0, device=second).device

"""The processors of the documentation page: pictures and prompts to what the model takes, logits to masks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from model.hf.image_inputs import encode_prompts
from model.hf.inference_session import Device, Sam2VideoInferenceSession
from model.hf.pictures import to_frames, to_rgb
from model.hf.postprocess import post_process_masks
from model.hf.prompt_inputs import frame_index_of, frame_prompts, merged, object_ids_of, size_hw_of
from model.pixels.transforms import IMAGE_MEAN, IMAGE_STD, normalize, resize_frame
from model.prompts import errors_naming
from model.weights.checkpoint import has_file, locate, read_json
from model.weights.hub import CONFIG_NAME, HubAccess

PROCESSOR_NAME = "processor_config.json"
VIDEO_PROCESSOR_NAME = "video_preprocessor_config.json"
# The files that name sizes: the first one alone, or all three in repositories of older versions of `transformers`.
_SETTINGS_NAMES = (PROCESSOR_NAME, "preprocessor_config.json", VIDEO_PROCESSOR_NAME)

# The settings of every released processor. This code does nothing else, and refuses other values.
_CONSTANTS: dict[str, Any] = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": list(IMAGE_MEAN),
    "image_std": list(IMAGE_STD),
    "resample": 2,
    "rescale_factor": 1 / 255,
}


class Encoding(dict[str, Any]):
    """What a processor returns: a dictionary whose entries are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error

    def to(self, device: Device | None = None, dtype: torch.dtype | None = None) -> Encoding:
        """The same on another device; `dtype` is for what has floating point."""
        moved = Encoding(self)
        for name, value in self.items():
            if isinstance(value, Tensor):
                moved[name] = value.to(device, dtype if value.is_floating_point() else None)
        return moved


class Sam2VideoVideoProcessor:
    """Videos to normalized frames of the model's size."""

    def __init__(self, image_size: int = 1024) -> None:
        self.image_size = image_size

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, revision: str | None = None, token: str | bool | None = None, **access: Any
    ) -> Self:
        """The video processor that lies beside weights, as `Sam2VideoProcessor.from_pretrained` finds it."""
        processor = Sam2VideoProcessor.from_pretrained(source, revision=revision, token=token, **access)
        return cls(processor.target_size)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes `video_preprocessor_config.json`, which `transformers` reads too."""
        _write_json(folder, VIDEO_PROCESSOR_NAME, self.settings())

    def settings(self) -> dict[str, Any]:
        """What the files beside weights say of this processor."""
        return {
            **_CONSTANTS,
            "size": self.size,
            "video_processor_type": "Sam2VideoVideoProcessor",
            "return_metadata": False,
        }

    @property
    def size(self) -> dict[str, int]:
        """The size of the model's input."""
        return {"height": self.image_size, "width": self.image_size}

    def __call__(self, videos: Any, device: Device = "cpu", return_tensors: str | None = "pt") -> Encoding:
        """One video, as `init_video_session` takes it, to `pixel_values_videos` `[1, T, 3, S, S]` and its size."""
        _check_return_tensors(return_tensors)
        source = to_frames(videos, self.image_size, processing_device=device, storage_device=device)
        frames = torch.stack([resize_frame(frame.pixels_HW3, self.image_size) for frame in source.forward(0)])
        return Encoding(
            pixel_values_videos=normalize(frames, torch.device(device), torch.float32).unsqueeze(0),
            original_sizes=torch.tensor([source.size_hw]),
            reshaped_input_sizes=torch.tensor([[self.image_size, self.image_size]]),
        )

    def post_process_masks(
        self,
        masks: Sequence[Tensor | np.ndarray[Any, Any]],
        original_sizes: Any,
        reshaped_input_sizes: Any = None,
        mask_threshold: float = 0.0,
        binarize: bool = True,
    ) -> list[Tensor]:
        """Masks of each video at its size, see `post_process_masks`; `reshaped_input_sizes` is not needed."""
        return post_process_masks(masks, original_sizes, mask_threshold, binarize)


class Sam2VideoProcessor:
    """Pictures and prompts to what the model takes, and logits to masks.

    `target_size` is the side of the model's input. `point_pad_value` marks, as a label, points that only fill up a
    tensor; they are left out (in `transformers` they count as points, and change what an object gets).
    """

    def __init__(self, target_size: int = 1024, point_pad_value: int = -10) -> None:
        self.target_size = target_size
        self.point_pad_value = point_pad_value
        self.video_processor = Sam2VideoVideoProcessor(target_size)

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, revision: str | None = None, token: str | bool | None = None, **access: Any
    ) -> Self:
        """The processor of a folder, URI or Hub id; `access` may give `cache_dir` and `local_files_only`.

        Raises `ValueError` naming a setting that this code does not support.
        """
        folder = locate(str(source), (*_SETTINGS_NAMES, CONFIG_NAME), HubAccess(revision, token, **access))
        files = {name: read_json(folder, name) for name in _SETTINGS_NAMES if has_file(folder, name)}
        whole = files.get(PROCESSOR_NAME, {})
        parts = [*files.values(), whole.get("image_processor") or {}, whole.get("video_processor") or {}]
        sizes = {size for part in parts for size in _check_settings(part, folder)}
        if not sizes:
            sizes = {int(read_json(folder, CONFIG_NAME).get("image_size", 1024))}
        if len(sizes) > 1:
            raise ValueError(f"processor {source}: its settings name several sizes, {sorted(sizes)}")
        return cls(sizes.pop(), int(whole.get("point_pad_value", -10)))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes `processor_config.json`, which `transformers` reads too."""
        mask_size = {"height": self.target_size // 4, "width": self.target_size // 4}
        images = {**_CONSTANTS, "size": self.video_processor.size, "mask_size": mask_size}
        settings = {
            "processor_class": "Sam2VideoProcessor",
            "target_size": self.target_size,
            "point_pad_value": self.point_pad_value,
            "image_processor": {**images, "image_processor_type": "Sam2ImageProcessor"},
            "video_processor": self.video_processor.settings(),
        }
        _write_json(folder, PROCESSOR_NAME, settings)

    def __call__(
        self,
        images: Any = None,
        segmentation_maps: Any = None,
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        original_sizes: Any = None,
        return_tensors: str | None = "pt",
        *,
        device: Device = "cpu",
    ) -> Encoding:
        """Pictures and prompts of one or several images, as `Sam2VideoModel.segment_images` and streams take them.

        Gives `pixel_values` `[N, 3, S, S]`, `original_sizes` `[N, 2]` (height, width), `labels` of segmentation maps
        `[N, S/4, S/4]`, and prompts in pixels of the model's input, filled up with `point_pad_value`. `input_points`
        are nested [image][object][point][x, y], `input_labels` [image][object][point], `input_boxes` [image][object].
        """
        _check_return_tensors(return_tensors)
        encoding = Encoding()
        if images is not None:
            pictures = [to_rgb(picture, f"image {index}") for index, picture in enumerate(_listed(images))]
            resized = torch.stack([resize_frame(pixels.to(device), self.target_size) for pixels in pictures])
            encoding["pixel_values"] = normalize(resized, torch.device(device), torch.float32)
            sizes = [(pixels.shape[0], pixels.shape[1]) for pixels in pictures]
        elif original_sizes is not None:
            sizes = [size_hw_of(size) for size in _listed(original_sizes, dimensions=1)]
        else:
            raise ValueError("either images or original_sizes must be given")
        encoding["original_sizes"] = torch.tensor(sizes)
        if segmentation_maps is not None:
            encoding["labels"] = self._labels(segmentation_maps)
        if any(value is not None for value in (input_points, input_labels, input_boxes)):
            prompts = input_points, input_labels, input_boxes
            encoding.update(
                encode_prompts(sizes, *prompts, target_size=self.target_size, pad_value=self.point_pad_value)
            )
        return encoding

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
        `original_size` (height, width) belongs to the first prompt of a stream.

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

    def post_process_masks(
        self,
        masks: Sequence[Tensor | np.ndarray[Any, Any]],
        original_sizes: Any,
        mask_threshold: float = 0.0,
        binarize: bool = True,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        apply_non_overlapping_constraints: bool = False,
    ) -> list[Tensor]:
        """Logits to masks of the size of each image or video; see `post_process_masks`."""
        return post_process_masks(
            masks,
            original_sizes,
            mask_threshold,
            binarize,
            max_hole_area=max_hole_area,
            max_sprinkle_area=max_sprinkle_area,
            apply_non_overlapping_constraints=apply_non_overlapping_constraints,
        )

    def _labels(self, segmentation_maps: Any) -> Tensor:
        """Maps of class numbers `[H, W]` at the size of the logits, the nearest pixel of each."""
        side = self.target_size // 4
        maps = [_class_map(one) for one in _listed(segmentation_maps, dimensions=2)]
        size, mode = (side, side), "nearest-exact"
        resized = [torch.nn.functional.interpolate(one[None, None].float(), size=size, mode=mode) for one in maps]
        return torch.cat(resized).squeeze(1).long()


def _check_settings(part: Mapping[str, Any], folder: str) -> set[int]:
    """The sizes that a part of the settings names. Raises `ValueError` for what this code does not do."""
    for key, expected in _CONSTANTS.items():
        if part.get(key, expected) != expected:
            raise ValueError(f"processor {folder}: {key} is {part[key]!r}, this code supports only {expected!r}")
    size = part.get("size")
    if size is not None and (not isinstance(size, Mapping) or size.get("height") != size.get("width")):
        raise ValueError(f"processor {folder}: size is {size!r}, this code supports only squares")
    sizes = {part.get("target_size"), None if size is None else size.get("height")}
    return {int(value) for value in sizes if value is not None}


def _class_map(numbers: Any) -> Tensor:
    """A copy of a map `[H, W]`: torch does not take pictures that cannot be written to."""
    return numbers if isinstance(numbers, Tensor) else torch.from_numpy(np.array(numbers))


def _write_json(folder: str | Path, name: str, settings: Mapping[str, Any]) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / name).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def _check_return_tensors(return_tensors: str | None) -> None:
    if return_tensors not in (None, "pt"):
        raise ValueError(f"return_tensors: only 'pt' (tensors of torch) is supported, got {return_tensors!r}")


def _listed(values: Any, dimensions: int = 3) -> list[Any]:
    """One picture or several as a list; an array of one dimension more than a picture has is several."""
    if isinstance(values, (np.ndarray, Tensor)):
        return list(values) if values.ndim > dimensions else [values]
    if isinstance(values, (list, tuple)):
        return list(values)
    return [values]

"""The two parts of a processor: one for images, one for videos. Each makes normalized tensors of the model's size.

Legend: S side of the model's square input.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from model.hf.arguments import check_saving, hub_access
from model.hf.inference_session import Device
from model.hf.pictures import to_frames, to_rgb
from model.hf.postprocess import post_process_masks
from model.pixels.transfers import on_device
from model.pixels.transforms import IMAGE_MEAN, IMAGE_STD, normalize, resize_frame
from model.weights.checkpoint import folder_and_name, has_file, is_weights_file, locate, network_config, read_json
from model.weights.hub import CONFIG_NAME, snapshot

PROCESSOR_NAME = "processor_config.json"
IMAGE_PROCESSOR_NAME = "preprocessor_config.json"
VIDEO_PROCESSOR_NAME = "video_preprocessor_config.json"
# The files that name sizes: the first one alone, or all three in repositories of older versions of `transformers`.
_SETTINGS_NAMES = (PROCESSOR_NAME, IMAGE_PROCESSOR_NAME, VIDEO_PROCESSOR_NAME)

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

    def to(
        self,
        device: Device | torch.dtype | None = None,
        dtype: torch.dtype | None = None,
        *,
        non_blocking: bool = False,
    ) -> Encoding:
        """Brings its tensors to another device, and returns itself, as in `transformers`.

        `dtype`, which may stand alone, is for what has floating point.
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        for name, value in self.items():
            if isinstance(value, Tensor):
                kept = dtype if value.is_floating_point() else None
                self[name] = value.to(device, kept, non_blocking=non_blocking)
        return self

    def returned_as(self, return_tensors: str | None) -> Encoding:
        """The same with tensors of torch ("pt", or None), or with arrays ("np"). Raises `ValueError` for others."""
        if return_tensors in (None, "pt"):
            return self
        if return_tensors != "np":
            raise ValueError(
                f"return_tensors: expected 'pt' (tensors of torch) or 'np' (arrays), got {return_tensors!r}"
            )
        return Encoding({name: value.numpy(force=True) for name, value in self.items()})


class PartProcessor:
    """What both parts share: settings, which are those of every released processor but for the size.

    `size` is the side of the model's input, or height and width, which are equal. Raises `ValueError` for another
    value of a setting that is fixed.
    """

    model_input_names: ClassVar[list[str]] = ["pixel_values"]
    file_name: ClassVar[str]
    own_settings: ClassVar[dict[str, Any]]

    def __init__(self, size: int | Mapping[str, int] | None = None, **settings: Any) -> None:
        given = {"height": 1024, "width": 1024} if size is None else size
        square = {"height": given, "width": given} if isinstance(given, int) else dict(given)
        (self.image_size,) = check_settings({"size": square, **settings}, type(self).__name__)

    @property
    def size(self) -> dict[str, int]:
        """The size of the model's input."""
        return {"height": self.image_size, "width": self.image_size}

    def __getattr__(self, name: str) -> Any:
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def to_dict(self) -> dict[str, Any]:
        """What the files beside weights say of this processor."""
        return {**_CONSTANTS, "size": self.size, **self.own_settings}

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        **access: Any,
    ) -> Self:
        """The part that lies beside weights, as `Sam2VideoProcessor.from_pretrained` finds it."""
        call = f"{cls.__name__}.from_pretrained"
        size, _ = read_settings(pretrained_model_name_or_path, call, revision, token, access)
        return cls(size)

    def save_pretrained(self, save_directory: str | Path, **others: Any) -> None:
        """Writes a file of its own, which `transformers` reads too.

        Raises `TypeError` for arguments that ask for something else.
        """
        check_saving(f"{type(self).__name__}.save_pretrained", others)
        write_json(save_directory, self.file_name, self.to_dict())


class Sam2ImageProcessor(PartProcessor):
    """Images to normalized tensors of the model's size, and logits to masks. `mask_size` is a quarter of the size."""

    file_name = IMAGE_PROCESSOR_NAME
    own_settings: ClassVar = {"image_processor_type": "Sam2ImageProcessor"}

    @property
    def mask_size(self) -> dict[str, int]:
        """The size of logits, to which segmentation maps are brought."""
        return {"height": self.image_size // 4, "width": self.image_size // 4}

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "mask_size": self.mask_size}

    def __call__(
        self,
        images: Any,
        segmentation_maps: Any = None,
        return_tensors: str | None = "pt",
        *,
        device: Device = "cpu",
    ) -> Encoding:
        """One image or several: `pixel_values` `[N, 3, S, S]`, `original_sizes` `[N, 2]` (height, width), and `labels`.

        `labels` are segmentation maps `[H, W]` of class numbers at the size of the logits, the nearest pixel of each.
        Raises `ValueError` for no images, for what is none, and where they have another number of maps.
        """
        pictures = [to_rgb(picture, f"image {index}") for index, picture in enumerate(listed(images))]
        if not pictures:
            raise ValueError("images: expected at least one, got none")
        resized = torch.stack(
            [resize_frame(on_device(pixels, torch.device(device)), self.image_size) for pixels in pictures]
        )
        encoding = Encoding(
            pixel_values=normalize(resized, torch.device(device), torch.float32),
            original_sizes=torch.tensor([(pixels.shape[0], pixels.shape[1]) for pixels in pictures]),
        )
        if segmentation_maps is not None:
            encoding["labels"] = self._labels(segmentation_maps, len(pictures))
        return encoding.returned_as(return_tensors)

    preprocess = __call__

    def post_process_masks(
        self,
        masks: Sequence[Tensor | np.ndarray[Any, Any]],
        original_sizes: Any,
        mask_threshold: float = 0.0,
        binarize: bool = True,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        apply_non_overlapping_constraints: bool = False,
        *,
        reshaped_input_sizes: Any = None,
    ) -> list[Tensor]:
        """Logits to masks of the size of each image or video; see `model.hf.postprocess`.

        `reshaped_input_sizes` is not needed: nothing is filled up when pictures are resized.
        """
        return post_process_masks(
            masks,
            original_sizes,
            mask_threshold,
            binarize,
            max_hole_area=max_hole_area,
            max_sprinkle_area=max_sprinkle_area,
            apply_non_overlapping_constraints=apply_non_overlapping_constraints,
        )

    def _labels(self, segmentation_maps: Any, num_images: int) -> Tensor:
        side = self.image_size // 4
        maps = [_class_map(one) for one in listed(segmentation_maps, dimensions=2)]
        if len(maps) != num_images or any(one.ndim != 2 for one in maps):
            shapes = [list(one.shape) for one in maps]
            raise ValueError(f"segmentation_maps: {num_images} images need one [H, W] each, got {len(maps)}: {shapes}")
        size, mode = (side, side), "nearest-exact"
        # In float64, because float32 has no numbers of classes beyond 2^24.
        resized = [torch.nn.functional.interpolate(one[None, None].double(), size=size, mode=mode) for one in maps]
        return torch.cat(resized).squeeze(1).long()


class Sam2VideoVideoProcessor(PartProcessor):
    """Videos to normalized frames of the model's size."""

    file_name = VIDEO_PROCESSOR_NAME
    own_settings: ClassVar = {"video_processor_type": "Sam2VideoVideoProcessor", "return_metadata": False}

    def __call__(self, videos: Any, device: Device = "cpu", return_tensors: str | None = "pt") -> Encoding:
        """One video, as `init_video_session` takes it, to `pixel_values_videos` `[1, T, 3, S, S]` and its size."""
        source = to_frames(videos, self.image_size, processing_device=device, storage_device=device)
        frames = torch.stack([resize_frame(frame.pixels_HW3, self.image_size) for frame in source.forward(0)])
        return Encoding(
            pixel_values_videos=normalize(frames, torch.device(device), torch.float32).unsqueeze(0),
            original_sizes=torch.tensor([source.size_hw]),
            reshaped_input_sizes=torch.tensor([[self.image_size, self.image_size]]),
        ).returned_as(return_tensors)

    def post_process_masks(
        self,
        masks: Sequence[Tensor | np.ndarray[Any, Any]],
        original_sizes: Any,
        reshaped_input_sizes: Any = None,
        mask_threshold: float = 0.0,
        binarize: bool = True,
    ) -> list[Tensor]:
        """Masks of each video at its size, see `post_process_masks`; `reshaped_input_sizes` is not needed.

        Logits are enlarged once. (`transformers` enlarges them to the size of the model's input first.)
        """
        return post_process_masks(masks, original_sizes, mask_threshold, binarize)


def read_settings(
    source: str | Path, call: str, revision: str | None, token: str | bool | None, others: Mapping[str, Any]
) -> tuple[int, int]:
    """The side of the model's input and the padding value of points, from a folder, URI, Hub id or file of weights.

    `others` are further arguments of `call`: settings, which may only repeat what this code does, or where to look.
    Raises `ValueError` naming a setting that this code does not support.
    """
    check_settings({name: value for name, value in others.items() if name in _CONSTANTS}, call)
    access = hub_access(call, revision, token, {name: others[name] for name in others if name not in _CONSTANTS})
    place = locate(str(source), partial(snapshot, file_names=(*_SETTINGS_NAMES, CONFIG_NAME), access=access))
    folder = folder_and_name(place)[0] if is_weights_file(place) else place
    files = {name: read_json(folder, name) for name in _SETTINGS_NAMES if has_file(folder, name)}
    whole = files.get(PROCESSOR_NAME, {})
    parts = [*files.values(), whole.get("image_processor") or {}, whole.get("video_processor") or {}]
    sizes = {size for part in parts for size in check_settings(part, f"processor {folder}")}
    if not sizes:
        # A file of weights that stands alone is of a released size, whose input has a side of 1024 pixels.
        stands_alone = folder != place and not has_file(folder, CONFIG_NAME)
        sizes = {1024 if stands_alone else _size_of_model(folder, str(source))}
    if len(sizes) > 1:
        raise ValueError(f"processor {source}: its settings name several sizes, {sorted(sizes)}")
    return sizes.pop(), int(whole.get("point_pad_value", -10))


def _size_of_model(folder: str, source: str) -> int:
    """The side of the input of the model in a folder. A `config.json` may leave out that it is one of SAM 2."""
    return network_config({"model_type": "sam2_video"} | read_json(folder, CONFIG_NAME), source).image_size


def check_settings(part: Mapping[str, Any], where: str) -> set[int]:
    """The sizes that settings name. Raises `ValueError`, beginning with `where`, for what this code does not do."""
    for key, expected in _CONSTANTS.items():
        value = part.get(key, expected)
        if (list(value) if isinstance(value, tuple) else value) != expected:
            raise ValueError(f"{where}: {key} is {value!r}, this code supports only {expected!r}")
    size = part.get("size")
    if size is not None and (not isinstance(size, Mapping) or size.get("height") != size.get("width")):
        raise ValueError(f"{where}: size is {size!r}, this code supports only squares")
    sizes = {part.get("target_size"), None if size is None else size.get("height")}
    return {int(value) for value in sizes if value is not None}


def write_json(folder: str | Path, name: str, settings: Mapping[str, Any]) -> None:
    """Writes settings into a folder, which is made."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / name).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def listed(values: Any, dimensions: int = 3) -> list[Any]:
    """One picture or several as a list; an array of one dimension more than a picture has is several."""
    if isinstance(values, (np.ndarray, Tensor)):
        return list(values) if values.ndim > dimensions else [values]
    if isinstance(values, (list, tuple)):
        return list(values)
    return [values]


def _class_map(numbers: Any) -> Tensor:
    """A copy of a map `[H, W]`: torch does not take pictures that cannot be written to."""
    return numbers if isinstance(numbers, Tensor) else torch.from_numpy(np.array(numbers))

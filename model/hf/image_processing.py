"""The processor of images of the documentation page: pictures and prompts to what the model takes, logits to masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from model.hf.arguments import check_saving
from model.hf.image_inputs import encode_prompts
from model.hf.inference_session import Device
from model.hf.part_processors import (
    PROCESSOR_NAME,
    Encoding,
    PartProcessor,
    Sam2ImageProcessor,
    listed,
    read_settings,
    write_json,
)
from model.hf.prompt_inputs import size_hw_of


class Sam2Processor:
    """Pictures and prompts to what the model takes, and logits to masks.

    `target_size` is the side of the model's input, by default that of the image processor. `point_pad_value` marks, as
    a label, points that only fill up a tensor; they are left out (in `transformers` they count as points, and change
    what an object gets).
    """

    def __init__(
        self,
        image_processor: Sam2ImageProcessor | None = None,
        target_size: int | None = None,
        point_pad_value: int = -10,
    ) -> None:
        self.target_size = one_size([image_processor], target_size)
        self.point_pad_value = point_pad_value
        self.image_processor = image_processor or Sam2ImageProcessor(self.target_size)

    @property
    def model_input_names(self) -> list[str]:
        """What of an encoding a model takes."""
        return [*self.image_processor.model_input_names, "original_sizes"]

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        **access: Any,
    ) -> Self:
        """The processor of a folder, URI, Hub id or file of weights; `access` may give `cache_dir` and more.

        Raises `ValueError` naming a setting that this code does not support.
        """
        call = f"{cls.__name__}.from_pretrained"
        size, point_pad_value = read_settings(pretrained_model_name_or_path, call, revision, token, access)
        return cls(target_size=size, point_pad_value=point_pad_value)

    def to_dict(self) -> dict[str, Any]:
        """What `processor_config.json` holds."""
        return {
            "processor_class": type(self).__name__,
            "target_size": self.target_size,
            "point_pad_value": self.point_pad_value,
            "image_processor": self.image_processor.to_dict(),
        }

    def save_pretrained(self, save_directory: str | Path, **others: Any) -> None:
        """Writes `processor_config.json`, which `transformers` reads too.

        Raises `TypeError` for arguments that ask for something else.
        """
        check_saving(f"{type(self).__name__}.save_pretrained", others)
        write_json(save_directory, PROCESSOR_NAME, self.to_dict())

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
        """Pictures and prompts of one or several images, as the models and streams take them.

        Gives `pixel_values` `[N, 3, S, S]`, `original_sizes` `[N, 2]` (height, width), `labels` of segmentation maps
        `[N, S/4, S/4]`, and prompts in pixels of the model's input, filled up with `point_pad_value`. `input_points`
        are nested [image][object][point][x, y], `input_labels` [image][object][point] (without them, all points are on
        their objects), `input_boxes` [image][object].
        """
        if images is not None:
            encoding = self.image_processor(images, segmentation_maps, device=device)
        elif original_sizes is not None:
            sizes = [size_hw_of(size) for size in listed(original_sizes, dimensions=1)]
            encoding = Encoding(original_sizes=torch.tensor(sizes))
        else:
            raise ValueError("either images or original_sizes must be given")
        if any(value is not None for value in (input_points, input_labels, input_boxes)):
            prompts = input_points, input_labels, input_boxes
            sizes = [size_hw_of(size) for size in encoding.original_sizes]
            encoding.update(
                encode_prompts(sizes, *prompts, target_size=self.target_size, pad_value=self.point_pad_value)
            )
        return encoding.returned_as(return_tensors)

    def post_process_masks(
        self,
        masks: Sequence[Tensor | np.ndarray[Any, Any]],
        original_sizes: Any,
        mask_threshold: float = 0.0,
        binarize: bool = True,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        apply_non_overlapping_constraints: bool = False,
        **unneeded: Any,
    ) -> list[Tensor]:
        """Logits to masks of the size of each image or video; see `Sam2ImageProcessor.post_process_masks`."""
        return self.image_processor.post_process_masks(
            masks,
            original_sizes,
            mask_threshold,
            binarize,
            max_hole_area,
            max_sprinkle_area,
            apply_non_overlapping_constraints,
            **unneeded,
        )


def one_size(parts: Sequence[PartProcessor | None], target_size: int | None) -> int:
    """The side of the model's input, of which all parts of a processor must be. Raises `ValueError` if they differ."""
    given = {part.image_size for part in parts if part is not None}
    sizes = {*given, *([] if target_size is None else [target_size])} or {1024}
    if len(sizes) > 1:
        raise ValueError(f"the parts of a processor and target_size name several sizes, {sorted(sizes)}")
    return sizes.pop()

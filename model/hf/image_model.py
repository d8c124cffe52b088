"""`Sam2Model` of the documentation page: masks of still images, over the network without memory.

Legend: N images, P objects of an image, K masks of an object (3, or 1), S side of the model's input; h = w = S / 4.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.hf.config import ModelConfig
from model.hf.image_config import Sam2Config
from model.hf.image_inputs import decoded_prompts
from model.hf.outputs import NamedOutput
from model.hf.stored_model import StoredModel
from model.network.config import NUM_MULTIMASKS
from model.network.features import Clicks
from model.network.layers import wide
from model.network.mask_decoder import Candidates, chosen
from model.network.sam2 import HIDDEN_LOGIT
from model.network.sam2_image import ImageMaps, Sam2Image
from model.pixels.transfers import on_device
from model.prompts import ClickPrompt, click_sequence
from model.weights.checkpoint import StoredWeights

# The label of points that only fill up a tensor; so in the processor, unless it was made with another one.
_PADDING = -10
# What a processor gives beside what the model needs.
_UNNEEDED = ("original_sizes", "reshaped_input_sizes", "labels")
# What `transformers` takes and this model does not do.
_NOT_DONE = ("attention_similarity", "target_embedding", "output_attentions", "output_hidden_states")
# The number of dimensions of prompts, and the length of the last one.
_SHAPES = {"input_points": (4, 2), "input_labels": (3, None), "input_boxes": (3, 4)}


@dataclass(frozen=True, eq=False)
class Sam2ImageSegmentationOutput(NamedOutput):
    """Masks of N images with P objects each, K masks for every object: three, or one without `multimask_output`.

    `iou_scores` are predicted IoUs `[N, P, K]`, `pred_masks` logits `[N, P, K, h, w]` of low resolution,
    `object_score_logits` `[N, P, 1]`, above 0 = visible; masks of objects that are not are given all the same. Where
    an image has fewer objects than another, the rows behind them have logits and scores of -1024 and IoUs of 0.
    `image_embeddings` are those of `get_image_embeddings`, to be given with further prompts.
    """

    iou_scores: Tensor
    pred_masks: Tensor
    object_score_logits: Tensor
    image_embeddings: list[Tensor]


class Sam2Model(StoredModel[Sam2Config, Sam2Image]):
    """SAM 2 over still images. It loads the released models too, without what only videos need."""

    config_class = Sam2Config

    @classmethod
    def new_network(cls, config: ModelConfig) -> Sam2Image:
        return Sam2Image(config.network())

    @classmethod
    def loaded_network(cls, stored: StoredWeights) -> Sam2Image:
        return stored.image_model()

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_points: Tensor | None = None,
        input_labels: Tensor | None = None,
        input_boxes: Tensor | None = None,
        input_masks: Tensor | None = None,
        image_embeddings: Sequence[Tensor] | None = None,
        multimask_output: bool = True,
        **others: Any,
    ) -> Sam2ImageSegmentationOutput | tuple[Any, ...]:
        """Masks of images, given as `pixel_values` `[N, 3, S, S]` or as `image_embeddings`: `model(**processor(…))`.

        `input_points` `[N, P, points, 2]` with `input_labels` `[N, P, points]` (by default 1) and `input_boxes`
        `[N, P, 4]` are in pixels of the model's input, as the processor gives them. `input_masks` are logits of earlier
        masks, `[N, P, h, w]`, or `[N, 1, h, w]` for all objects of an image; others than `h = w = S / 4` are resized.
        Without points and boxes there is one object for each mask, or one in each image. What an object gets does not
        depend on the other prompts and images.

        With `multimask_output` each object gets three masks to choose from by `iou_scores`, else a single one. With
        `return_dict=False` the result is a tuple. Raises `ValueError` naming what does not fit.
        """
        names_fields = _names_fields(others)
        maps = self._maps(pixel_values, image_embeddings)
        prompts = self._prompts(len(maps[2]), input_points, input_labels, input_boxes)
        masks = None if input_masks is None else self._mask_logits(input_masks, len(maps[2]))
        if prompts is None:
            rows: list[list[ClickPrompt | None]] = [[None] * (1 if masks is None else masks.shape[1])] * len(maps[2])
        else:
            rows = prompts
        output = self._segmented(maps, rows, masks, multimask_output, skips_empty_rows=prompts is not None)
        return output if names_fields else output.to_tuple()

    def _maps(self, pixel_values: Tensor | None, image_embeddings: Sequence[Tensor] | None) -> ImageMaps:
        """What the mask decoder sees of the images."""
        if pixel_values is not None and image_embeddings is None:
            stride4, stride8, stride16 = self.get_image_embeddings(pixel_values)
            return stride4, stride8, stride16
        if pixel_values is not None or image_embeddings is None:
            raise ValueError("exactly one of pixel_values and image_embeddings must be given")
        config = self.network.config
        expected = [
            [config.hidden_dim // 8, config.image_size // 4],
            [config.hidden_dim // 4, config.image_size // 8],
            [config.hidden_dim, config.image_size // 16],
        ]
        shapes = [list(one.shape) for one in image_embeddings]
        if len({shape[0] for shape in shapes}) != 1 or [shape[1:] for shape in shapes] != [
            [channels, side, side] for channels, side in expected
        ]:
            raise ValueError(f"image_embeddings: expected what get_image_embeddings gives, got tensors of {shapes}")
        stride4, stride8, stride16 = (one.to(self.device, self.dtype) for one in image_embeddings)
        return stride4, stride8, stride16

    def _prompts(
        self, num_images: int, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None
    ) -> list[list[ClickPrompt | None]] | None:
        """The prompts of each image in a row for each object, None where a row only fills up; or None without any."""
        if points is None and labels is not None:
            raise ValueError("input_labels: need input_points")
        if points is None and boxes is None:
            return None
        given: dict[str, Tensor] = {}
        if points is not None:
            is_there = (points != _PADDING).any(dim=-1)
            given["input_points"] = points
            given["input_labels"] = torch.where(is_there, 1, _PADDING) if labels is None else labels
        if boxes is not None:
            given["input_boxes"] = boxes
        _check_shapes(given, num_images)
        decoded = [decoded_prompts(given, image, _PADDING) for image in range(num_images)]
        for image, rows in enumerate(decoded):
            if not any(rows):
                raise ValueError(f"image {image}: at least one of points and boxes must be given")
        return decoded

    def _mask_logits(self, masks: Tensor, num_images: int) -> Tensor:
        """Logits of earlier masks at the size that the prompt encoder takes, `[N, P or 1, h, w]`."""
        whole = masks.unsqueeze(1) if masks.ndim == 3 else masks
        if whole.ndim != 4 or len(whole) != num_images:
            raise ValueError(
                f"input_masks: expected [{num_images}, objects, h, w] for {num_images} images, got {list(masks.shape)}"
            )
        whole = whole.to(self.device, wide(self.dtype))
        size = (self.network.config.mask_size,) * 2
        if whole.shape[2:] == size:
            return whole
        return F.interpolate(whole, size=size, mode="bilinear", align_corners=False, antialias=True)

    def _segmented(
        self,
        maps: ImageMaps,
        rows: list[list[ClickPrompt | None]],
        masks: Tensor | None,
        multimask: bool,
        *,
        skips_empty_rows: bool,
    ) -> Sam2ImageSegmentationOutput:
        num_images, num_rows, num_masks = len(rows), len(rows[0]), NUM_MULTIMASKS if multimask else 1
        if masks is not None and masks.shape[1] not in (1, num_rows):
            raise ValueError(
                f"input_masks: {num_rows} objects need one mask each, or one for all, got {masks.shape[1]}"
            )
        side, device, dtype = self.network.config.mask_size, self.device, wide(self.dtype)
        logits = torch.full((num_images, num_rows, num_masks, side, side), HIDDEN_LOGIT, device=device, dtype=dtype)
        ious = torch.zeros(num_images, num_rows, num_masks, device=device, dtype=dtype)
        scores = torch.full((num_images, num_rows, 1), HIDDEN_LOGIT, device=device, dtype=dtype)
        for group in _groups(rows, self.network.objects_per_batch, skips_empty_rows):
            images, objects = (on_device(places, device) for places in zip(*group, strict=True))
            found = self.network.segment_still(
                maps if num_images == 1 else (maps[0][images], maps[1][images], maps[2][images]),
                clicks=self._clicks([rows[image][row] for image, row in group]),
                mask_logits_B1HW=None if masks is None else _masks_of(masks, images, objects),
                num_objects=len(group),
            )
            logits[images, objects], ious[images, objects] = _kept(found, multimask)
            scores[images, objects] = found.object_scores_B.unsqueeze(1)
        return Sam2ImageSegmentationOutput(ious, logits, scores, list(maps))

    def _clicks(self, prompts: Sequence[ClickPrompt | None]) -> Clicks | None:
        sequences = [click_sequence(prompt) for prompt in prompts if prompt is not None]
        if not sequences:
            return None
        return Clicks(
            on_device([points for points, _ in sequences], self.device, wide(self.dtype)),
            on_device([labels for _, labels in sequences], self.device),
        )


def _check_shapes(prompts: dict[str, Tensor], num_images: int) -> None:
    """Raises `ValueError` naming the tensor that does not fit."""
    for name, tensor in prompts.items():
        num_dimensions, last = _SHAPES[name]
        if tensor.ndim != num_dimensions or len(tensor) != num_images or last not in (None, tensor.shape[-1]):
            raise ValueError(
                f"{name}: expected {num_dimensions} dimensions for {num_images} images, as a processor gives them, got "
                f"{list(tensor.shape)}"
            )
    points, boxes = prompts.get("input_points"), prompts.get("input_boxes")
    if points is not None and (labels := prompts["input_labels"]).shape != points.shape[:-1]:
        raise ValueError(
            f"input_labels: expected one for each point, {list(points.shape[:-1])}, got {list(labels.shape)}"
        )
    if points is not None and boxes is not None and points.shape[1] != boxes.shape[1]:
        raise ValueError(f"input_boxes: expected one for each of {points.shape[1]} objects, got {boxes.shape[1]}")


def _groups(
    rows: list[list[ClickPrompt | None]], limit: int, skips_empty_rows: bool
) -> Iterator[list[tuple[int, int]]]:
    """The places (image, row) of prompts with equal numbers of clicks, at most `limit` at a time."""
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for image, prompts in enumerate(rows):
        for row, prompt in enumerate(prompts):
            if prompt is not None:
                places[len(click_sequence(prompt)[1])].append((image, row))
            elif not skips_empty_rows:
                places[0].append((image, row))
    for group in places.values():
        yield from (group[start : start + limit] for start in range(0, len(group), limit))


def _masks_of(masks: Tensor, images: Tensor, objects: Tensor) -> Tensor:
    """The mask of each object of a batch, `[B, 1, h, w]`."""
    return masks[images, objects if masks.shape[1] > 1 else torch.zeros_like(objects)].unsqueeze(1)


def _kept(found: Candidates, multimask: bool) -> tuple[Tensor, Tensor]:
    """Logits and predicted IoUs of the masks that are given: the three, or the single one."""
    if multimask:
        return found.logits_BKHW[:, 1:], found.predicted_ious_BK[:, 1:]
    one = chosen(found, multimask=False)
    return one.logits_BHW.unsqueeze(1), one.predicted_ious_B.unsqueeze(1)


def _names_fields(others: dict[str, Any]) -> bool:
    """Whether further arguments ask for an output with names. Raises an error naming what is not known or not done."""
    for name, value in others.items():
        if name not in (*_NOT_DONE, *_UNNEEDED, "return_dict"):
            raise TypeError(f"Sam2Model: {name} is not known here")
        if name in _NOT_DONE and value is not None and value is not False:
            raise ValueError(f"{name}: is not supported here")
    return others.get("return_dict") is not False

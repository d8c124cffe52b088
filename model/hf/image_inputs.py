"""Prompts of several images: to tensors, filled up where their numbers differ, and from those to masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.hf.outputs import NamedOutput, usable
from model.hf.prompt_inputs import click_prompts, nested
from model.network.features import Segmentation
from model.network.sam2 import Sam2
from model.prompts import BoxPrompt, ClickPrompt, PointPrompt, errors_naming
from model.tracking.prompting import Query, equal_shapes, segment_prompts


@dataclass(frozen=True, eq=False)
class Sam2VideoImageSegmentationOutput(NamedOutput):
    """Masks of still images, one entry for each image with one row for each of its P objects.

    `pred_masks` are logits `[P, 1, h, w]` of low resolution, `iou_scores` predicted IoUs `[P, 1]`,
    `object_score_logits` `[P, 1]`, above 0 = visible.
    """

    pred_masks: list[Tensor]
    iou_scores: list[Tensor]
    object_score_logits: list[Tensor]


def encode_prompts(
    sizes_hw: Sequence[tuple[int, int]], points: Any, labels: Any, boxes: Any, *, target_size: int, pad_value: int
) -> dict[str, Tensor]:
    """Prompts of each image in pixels of the model's input: `input_points` `[N, P, K, 2]`, `input_labels` `[N, P, K]`,
    `input_boxes` `[N, P, 4]`, filled up with `pad_value`. Points without labels are on their objects. Raises
    `ValueError` naming image, object and value.
    """
    if points is None and labels is not None:
        raise ValueError("labels need points: there are labels alone")
    named = {"input_points": points, "input_labels": labels, "input_boxes": boxes}
    given = [None if values is None else nested(values, name) for name, values in named.items()]
    if points is not None and labels is None:
        given[1] = _on_the_object(given[0], levels=3)
    if any(values is not None and len(values) != len(sizes_hw) for values in given):
        raise ValueError(f"{len(sizes_hw)} images need as many entries of points, labels and boxes")
    prompts = [
        _prompts_of_image(f"image {image}", [None if values is None else values[image] for values in given], pad_value)
        for image in range(len(sizes_hw))
    ]
    num_rows = max(len(rows) for rows in prompts)
    num_points = max(len(prompt.labels) for rows in prompts for prompt in rows)
    encoded_points = torch.full((len(sizes_hw), num_rows, num_points, 2), float(pad_value))
    encoded_labels = torch.full((len(sizes_hw), num_rows, num_points), pad_value, dtype=torch.int64)
    encoded_boxes = torch.full((len(sizes_hw), num_rows, 4), float(pad_value))
    for image, size_hw in enumerate(sizes_hw):
        scale = torch.tensor([target_size / size_hw[1], target_size / size_hw[0]])
        for row, prompt in enumerate(prompts[image]):
            with errors_naming(f"image {image}, object {row}"):
                fitted = prompt.fit(size_hw)
            if fitted.labels:
                encoded_points[image, row, : len(fitted.labels)] = torch.tensor(fitted.points_xy) * scale
                encoded_labels[image, row, : len(fitted.labels)] = torch.tensor(fitted.labels)
            if isinstance(fitted, BoxPrompt):
                encoded_boxes[image, row] = torch.tensor(fitted.box_xyxy) * scale.repeat(2)
    encoded = {"input_points": encoded_points, "input_labels": encoded_labels} if points is not None else {}
    return {**encoded, "input_boxes": encoded_boxes} if boxes is not None else encoded


def segment_images(
    network: Sam2, pixels_N3SS: Tensor, prompts: dict[str, Tensor], pad_value: int
) -> Sam2VideoImageSegmentationOutput:
    """Masks of N normalized images with what `encode_prompts` gives; rows that only fill up are left out."""
    if ("input_points" in prompts) != ("input_labels" in prompts):
        raise ValueError("input_points and input_labels must be given together")
    for name, tensor in prompts.items():
        if len(tensor) != len(pixels_N3SS):
            raise ValueError(f"{name}: are of {len(tensor)} images, pixel_values of {len(pixels_N3SS)}")
    features = network.encode_image(pixels_N3SS.to(network.device))
    size_hw = (network.config.image_size, network.config.image_size)
    queries = [
        Query(prompt, size_hw, frame_row=image)
        for image in range(len(pixels_N3SS))
        for prompt in decoded_prompts(prompts, image, pad_value)
        if prompt is not None
    ]
    rows: dict[int, Segmentation] = {}
    for positions in equal_shapes(network, queries):
        batch = features.for_objects([queries[position].frame_row for position in positions])
        segmentation = segment_prompts(network, batch, [queries[position] for position in positions])
        rows |= {position: segmentation.row(row) for row, position in enumerate(positions)}
    images = []
    for image in range(len(pixels_N3SS)):
        of_image = [rows[position] for position, query in enumerate(queries) if query.frame_row == image]
        if not of_image:
            raise ValueError(f"image {image}: at least one of points and boxes must be given")
        images.append(Segmentation.stack(of_image))
    return Sam2VideoImageSegmentationOutput(
        pred_masks=usable(image.logits_BHW.unsqueeze(1) for image in images),
        iou_scores=usable(image.predicted_ious_B.unsqueeze(1) for image in images),
        object_score_logits=usable(image.object_scores_B.unsqueeze(1) for image in images),
    )


def decoded_prompts(prompts: dict[str, Tensor], image: int, pad_value: int) -> list[ClickPrompt | None]:
    """The prompts of one image from what `encode_prompts` gives; None for each row that only fills up.

    Raises `ValueError` naming image, object and value.
    """
    names = ("input_points", "input_labels", "input_boxes")
    points, labels, boxes = (prompts[name][image].tolist() if name in prompts else None for name in names)
    decoded: list[ClickPrompt | None] = []
    for row in range(max(len(rows) for rows in (points, boxes, []) if rows is not None)):
        kept = []
        if points is not None and labels is not None:
            pairs = zip(points[row], labels[row], strict=True)
            kept = [(point, label) for point, label in pairs if label != pad_value]
        points_xy, kept_labels = tuple((x, y) for (x, y), _ in kept), tuple(label for _, label in kept)
        box = None if boxes is None else boxes[row]
        with errors_naming(f"image {image}, object {row}"):
            if box is not None and set(box) != {float(pad_value)}:
                decoded.append(BoxPrompt((box[0], box[1], box[2], box[3]), points_xy, kept_labels))
            else:
                decoded.append(PointPrompt(points_xy, kept_labels) if kept else None)
    return decoded


def _on_the_object(points: Any, levels: int) -> Any:
    """A label of 1 for each point, nested as the points are."""
    return [_on_the_object(one, levels - 1) for one in points] if levels and isinstance(points, list) else 1


def _prompts_of_image(name: str, given: Sequence[Any], pad_value: int) -> list[ClickPrompt]:
    points, labels, boxes = given
    objects = boxes if points is None else points
    if not isinstance(objects, list) or not objects:
        raise ValueError(f"{name}: expected a list with an entry for each object, got {objects!r}")
    where = [f"{name}, object {row}" for row in range(len(objects))]
    return click_prompts(name, where, points, labels, boxes, pad_value=pad_value)

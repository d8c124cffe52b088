"""Prompts as the documentation page passes them, nested by image, object and point, to prompts of this project.

Lists, tuples, arrays and tensors of any device and dtype may be nested in one another. Errors name object and frame.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from model.prompts import BoxPrompt, ClickPrompt, MaskPrompt, Point, PointPrompt, Prompt, errors_naming

# Where masks with values between 0 and 1 are cut: mattes, probabilities, masks that were enlarged.
SOFT_MASK_CUT = 0.5
# Label maps of 16 bits and more: torch compares these with 0, and does little else with them.
_WIDE_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
# The label of points that only fill up a tensor, where no processor says another one.
_PADDING = -10


def object_ids_of(obj_ids: Any) -> list[int]:
    """One id or several, as integers. Raises `ValueError` for anything else, for none and for one that comes twice."""
    values = nested(obj_ids, "obj_ids")
    ids = [_integer(value, "obj_ids") for value in (values if isinstance(values, list) else [values])]
    if not ids:
        raise ValueError("obj_ids: expected at least one object id, got none")
    if len(set(ids)) < len(ids):
        raise ValueError(f"obj_ids: each object may come once, got {ids}")
    return ids


def object_id_of(obj_id: Any) -> int:
    """One id. Raises `ValueError` for anything else."""
    return _integer(nested(obj_id, "obj_id"), "obj_id")


def frame_index_of(frame_idx: Any, name: str = "frame_idx") -> int:
    """A frame index or a number of frames. Raises `ValueError` for anything but a whole number from 0 on."""
    index = _integer(nested(frame_idx, name), name)
    if index < 0:
        raise ValueError(f"{name} must be at least 0, got {index}")
    return index


def size_hw_of(size: Any) -> tuple[int, int]:
    """A size as two whole numbers above 0, height and width. Raises `ValueError` for anything else."""
    values = nested(size, "original_size")
    if not isinstance(values, list) or len(values) != 2:
        raise ValueError(f"original_size: expected height and width, got {values}")
    whole = (int(value) if isinstance(value, float) and value.is_integer() else value for value in values)
    height, width = (_integer(value, "original_size") for value in whole)
    if height < 1 or width < 1:
        raise ValueError(f"original_size: expected height and width above 0, got {values}")
    return height, width


def nested(value: Any, name: str) -> Any:
    """Numbers in nested lists, from lists, tuples, arrays and tensors nested in one another."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).tolist()
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, (list, tuple, range)):
        return [nested(entry, name) for entry in value]
    if isinstance(value, (bool, int, float)):
        return value
    raise ValueError(f"{name}: expected numbers in lists, tuples, arrays or tensors, got {type(value).__name__}")


def frame_prompts(
    object_ids: Sequence[int], frame_index: int, inputs: Mapping[str, Any], pad_value: int
) -> Sequence[Prompt]:
    """The prompts of objects on one frame, from `input_points` with `input_labels`, `input_boxes`, or `input_masks`.

    Raises `ValueError` naming object, frame and value.
    """
    where = [f"object {object_id}, frame {frame_index}" for object_id in object_ids]
    call = where[0] if len(where) == 1 else f"objects {', '.join(map(str, object_ids))}, frame {frame_index}"
    points, labels, boxes, masks = (inputs.get(f"input_{kind}") for kind in ("points", "labels", "boxes", "masks"))
    with errors_naming(call):
        if (points is None) != (labels is None):
            raise ValueError("points and labels must be given together")
        if masks is not None and (points is not None or boxes is not None):
            raise ValueError("a mask cannot be given together with points or boxes")
        if masks is None and points is None and boxes is None:
            raise ValueError("at least one of points, boxes and masks must be given")
        points = _single_image(points, "input_points", "[image][object][point][x, y]")
        labels = _single_image(labels, "input_labels", "[image][object][point]")
        boxes = _single_image(boxes, "input_boxes", "[image][object][x0, y0, x1, y1]")
    if masks is not None:
        return mask_prompts(call, where, masks)
    return click_prompts(call, where, points, labels, boxes, pad_value=pad_value)


def click_prompts(
    call: str, where: Sequence[str], points: Any, labels: Any, boxes: Any, *, pad_value: int
) -> list[ClickPrompt]:
    """The prompts of the objects of one image. Errors begin with `call`, or with the object's entry of `where`.

    `points` are nested [object][point][x, y], `labels` [object][point], `boxes` [object][x0, y0, x1, y1], all as
    `nested` gives them. Points with `pad_value` as label only fill up a tensor and are left out.
    """
    with errors_naming(call):
        points_of = _entries(points, len(where), "input_points")
        labels_of = _entries(labels, len(where), "input_labels")
        boxes_of = _entries(boxes, len(where), "input_boxes")
    prompts: list[ClickPrompt] = []
    for index, name in enumerate(where):
        with errors_naming(name):
            points_xy, kept_labels = _points(points_of[index], labels_of[index], pad_value)
            box = boxes_of[index]
            if box is None:
                prompts.append(PointPrompt(points_xy, kept_labels))
            else:
                prompts.append(BoxPrompt(_box(box), points_xy, kept_labels))
    return prompts


def mask_prompts(call: str, where: Sequence[str], masks: Any) -> list[MaskPrompt]:
    """One mask for each entry of `where`: an array, tensor or PIL image `[H, W]` (leading ones allowed) each, or one
    array for all.

    Soft masks are cut at 0.5; whole numbers are the object where they are not 0. Raises `ValueError` for a mask with
    negative values (logits), with values that are no numbers, or without any pixel.
    """
    if isinstance(masks, (np.ndarray, torch.Tensor)):
        while masks.ndim > 3 and len(masks) == 1 != len(where):
            masks = masks[0]
        masks = [masks] if masks.ndim < 3 or len(where) == 1 else list(masks)
    elif not isinstance(masks, (list, tuple)):
        masks = [masks]
    if len(masks) != len(where):
        raise ValueError(f"{call}: {len(where)} objects need as many masks, got {len(masks)}")
    prompts: list[MaskPrompt] = []
    for name, mask in zip(where, masks, strict=True):
        with errors_naming(name):
            prompts.append(MaskPrompt(_mask(mask)))
    return prompts


def prompt_of_point_inputs(inputs: Mapping[str, Any], scale_hw: tuple[float, float]) -> ClickPrompt:
    """Clicks of one object as `transformers` keeps them, labels 2 and 3 first where there is a box.

    `scale_hw` is the size of a pixel of the model's input in pixels of the video, height and width. Raises `ValueError`
    for anything else than one object's clicks.
    """
    points, labels = (nested(inputs[name], name) for name in ("point_coords", "point_labels"))
    for name in ("point_coords", "point_labels"):
        levels = points if name == "point_coords" else labels
        if not (isinstance(levels, list) and len(levels) == 1 and isinstance(levels[0], list) and len(levels[0]) == 1):
            raise ValueError(f"{name}: expected one image with one object, [1, 1, points, …], got {levels}")
    scaled = [[x * scale_hw[1], y * scale_hw[0]] for x, y in points[0][0]]
    clicks = labels[0][0]
    if clicks[:2] != [2, 3]:
        return click_prompts("clicks", ["clicks"], [scaled], [clicks], None, pad_value=_PADDING)[0]
    box = [*scaled[0], *scaled[1]]
    return click_prompts("clicks", ["clicks"], [scaled[2:]], [clicks[2:]], [box], pad_value=_PADDING)[0]


def prompt_of_mask_inputs(inputs: torch.Tensor, size_hw: tuple[int, int]) -> MaskPrompt:
    """A mask `[1, 1, S, S]` as `transformers` keeps it, at the size of the video."""
    resized = torch.nn.functional.interpolate(
        inputs.detach().float().cpu(), size=size_hw, mode="bilinear", align_corners=False, antialias=True
    )
    return MaskPrompt(_mask(resized))


def merged(earlier: Prompt | None, later: Prompt) -> Prompt:
    """The clicks of both: what is said on one frame is one prompt. A mask cannot be added to and is replaced."""
    if not isinstance(later, PointPrompt):
        raise ValueError("box: cannot be added to earlier clicks, which follow it; give all again, or clear_old_inputs")
    if earlier is None or isinstance(earlier, MaskPrompt):
        return later
    points_xy, labels = earlier.points_xy + later.points_xy, earlier.labels + later.labels
    if isinstance(earlier, BoxPrompt):
        return BoxPrompt(earlier.box_xyxy, points_xy, labels)
    return PointPrompt(points_xy, labels)


def _single_image(values: Any, name: str, levels: str) -> Any:
    """What is said of the one image of nested values whose first level is images."""
    if values is None:
        return None
    entries = nested(values, name)
    if not isinstance(entries, list) or len(entries) != 1:
        raise ValueError(f"{name} must be nested {levels} with one image, got {_describe(entries)}")
    return entries[0]


def _entries(values: Any, count: int, name: str) -> list[Any]:
    if values is None:
        return [None] * count
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{name}: {count} objects need as many entries, got {_describe(values)}")
    return values


def _points(points: Any, labels: Any, pad_value: int) -> tuple[tuple[Point, ...], tuple[int, ...]]:
    if points is None and labels is None:
        return (), ()
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise ValueError(f"points: expected a list of [x, y], got {points}")
    if not isinstance(labels, list) or any(isinstance(label, list) for label in labels):
        raise ValueError(f"labels: expected a list of labels, got {labels}")
    if len(points) != len(labels):
        raise ValueError(f"points: {len(points)} points need as many labels, got {len(labels)}")
    kept = [(point, label) for point, label in zip(points, labels, strict=True) if label != pad_value]
    points_xy = tuple((_number(point[0]), _number(point[1])) for point, _ in kept)
    return points_xy, tuple(int(label) if label in (0, 1) else label for _, label in kept)


def _box(box: Any) -> tuple[float, float, float, float]:
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"box: expected [x0, y0, x1, y1], got {box}")
    x0, y0, x1, y1 = (_number(value) for value in box)
    return x0, y0, x1, y1


def _number(value: Any) -> float:
    if isinstance(value, list):
        raise ValueError(f"expected a number, got {value}")
    return float(value)


def _mask(mask: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if not isinstance(mask, torch.Tensor):
        array = np.array(mask)  # a copy: torch does not take pictures that cannot be written to
        if array.dtype.kind not in "biuf":
            raise ValueError(f"mask: expected an array or tensor of 0 and 1, got {type(mask).__name__}")
        mask = torch.from_numpy(array)
    values = mask.detach().cpu()
    while values.ndim > 2 and len(values) == 1:
        values = values[0]
    if values.dtype in _WIDE_UNSIGNED:
        values = values != 0
    if values.dtype != torch.bool and not bool((values >= 0).all()):
        raise ValueError(
            "mask: expected 0 and 1 (or booleans), got negative values or values that are not numbers; of logits give "
            "`logits > 0`, which is what post_process_masks(…, binarize=True) gives"
        )
    cut = values >= SOFT_MASK_CUT if values.is_floating_point() else values != 0
    if bool(values.any()) and not bool(cut.any()):
        raise ValueError(f"mask: no value reaches {SOFT_MASK_CUT}, where soft masks are cut")
    pixels: np.ndarray[Any, np.dtype[np.bool_]] = cut.numpy()
    return pixels


def _integer(value: Any, name: str) -> int:
    if isinstance(value, bool):
        raise ValueError(f"{name}: expected a whole number, got {value}")
    try:
        return operator.index(value)
    except TypeError as error:
        raise ValueError(f"{name}: expected a whole number, got {value!r}") from error


def _describe(values: Any) -> str:
    return f"{len(values)}" if isinstance(values, list) else repr(values)

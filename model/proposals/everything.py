"""Masks of everything on one image: clicks on a grid, decoded over image features that are computed once.

Legend: B clicks, K candidate masks of a click, M masks, H W pixels of the image or a crop, S side of the model's input.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.network.features import Clicks
from model.network.sam2_image import Sam2Image, StillImage
from model.pixels.transforms import normalize, resize_frame
from model.proposals.choosing import Choice, choose, settle
from model.proposals.duplicates import without_duplicates
from model.proposals.found import FoundMask
from model.proposals.grids import Crop, crops_of, grid
from model.proposals.options import Everything

UInt8Array = npt.NDArray[np.uint8]


@torch.inference_mode()
def segment_everything(network: Sam2Image, image_HW3: UInt8Array, options: Everything | None = None) -> list[FoundMask]:
    """Masks of all things on an image, the best by predicted IoU times stability first.

    `image_HW3` is RGB, uint8 `[H, W, 3]`; `network` comes from `model.load_model`. Each click of a grid gives three
    masks (the whole, a part, a part of that), and of those that are good enough each thing stays once
    (`model.proposals.options`). The algorithm is that of `SAM2AutomaticMaskGenerator` of `sam2`; `everything("sam2")`
    gives its masks. Results repeat. Raises `ValueError` for an image of another kind, `TypeError` for what
    is no network or no array.

    >>> import numpy as np
    >>> from model import everything, load_model, segment_everything
    >>> image = np.zeros((120, 160, 3), np.uint8)
    >>> image[30:70, 40:90] = 255
    >>> found = segment_everything(load_model("mini"), image, everything(points_per_side=8))
    >>> found[0].box_xyxy
    (40, 30, 90, 70)
    """
    options = options or Everything()
    if not isinstance(network, Sam2Image):
        raise TypeError(
            f"network: expected what load_model gives, got a {type(network).__name__}; of a Sam2Model or "
            "Sam2VideoModel give its .network"
        )
    if not isinstance(image_HW3, np.ndarray):
        is_path = isinstance(image_HW3, str | os.PathLike)
        picture = "PIL.Image.open(path).convert('RGB')" if is_path else "image"
        raise TypeError(f"image: expected an array, got a {type(image_HW3).__name__}: give np.asarray({picture})")
    if image_HW3.ndim != 3 or image_HW3.shape[2] != 3 or image_HW3.dtype != np.uint8 or 0 in image_HW3.shape:
        raise ValueError(
            f"image: expected RGB as uint8 [height, width, 3], got {image_HW3.dtype} {list(image_HW3.shape)}"
        )
    size_hw = (image_HW3.shape[0], image_HW3.shape[1])
    found = [mask for crop in crops_of(size_hw, options.grids) for mask in _on_crop(network, image_HW3, crop, options)]
    return _best(_of_all_crops(found, options), options)


def _of_all_crops(found: list[FoundMask], options: Everything) -> list[FoundMask]:
    """Each thing once. Masks of smaller crops are finer, so that they win over those of larger ones, as in `sam2`."""
    if len(options.grids.points_per_side) == 1:
        return found
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (mask.crop_xyxy for mask in found)]
    return without_duplicates(found, [1 / area for area in areas], options.duplicates)


def _best(found: list[FoundMask], options: Everything) -> list[FoundMask]:
    return sorted(found, key=lambda mask: -mask.score)[: options.max_objects]


def propose(
    network: Sam2Image,
    image: StillImage,
    size_hw: tuple[int, int],
    options: Everything,
    image_HW3: UInt8Array | None = None,
) -> list[FoundMask]:
    """Masks of an image of that size that is encoded already (`Sam2Image.prepare_still`).

    The best by predicted IoU times stability comes first. Grids on crops need the image itself, `image_HW3`; they raise
    `ValueError` without it.
    """
    whole, *parts = crops_of(size_hw, options.grids)
    found = _masks_of(network, image, whole, size_hw, options)
    if parts:
        if image_HW3 is None or image_HW3.shape != (*size_hw, 3):
            got = "none" if image_HW3 is None else str(list(image_HW3.shape))
            raise ValueError(
                f"image_HW3: crops are cut from the image of {size_hw[0]} × {size_hw[1]} pixels, got {got}"
            )
        found = [*found, *(mask for crop in parts for mask in _on_crop(network, image_HW3, crop, options))]
    return _best(_of_all_crops(found, options), options)


def _on_crop(network: Sam2Image, image_HW3: UInt8Array, crop: Crop, options: Everything) -> list[FoundMask]:
    image = _prepared(network, image_HW3[crop.y0 : crop.y1, crop.x0 : crop.x1])
    return _masks_of(network, image, crop, (image_HW3.shape[0], image_HW3.shape[1]), options)


def _masks_of(
    network: Sam2Image, image: StillImage, crop: Crop, image_hw: tuple[int, int], options: Everything
) -> list[FoundMask]:
    """Masks of one crop, each thing once."""
    found: list[FoundMask] = []
    for points in grid(crop.points_per_side).split(network.objects_per_batch):
        for choice in _decoded(network, image, points, crop, options):
            found += settle(choice, crop, image_hw, options.kept)
    return without_duplicates(found, [mask.predicted_iou for mask in found], options.duplicates)


def _prepared(network: Sam2Image, pixels_HW3: UInt8Array) -> StillImage:
    resized = resize_frame(torch.from_numpy(np.ascontiguousarray(pixels_HW3)), network.config.image_size)
    pixels = normalize(resized.unsqueeze(0), network.device, network.dtype, network.channel_levels)
    stride4, stride8, stride16 = network.image_maps(pixels)
    return network.prepare_still((stride4, stride8, network.without_memory(stride16)))


def _decoded(
    network: Sam2Image, image: StillImage, points_B2: Tensor, crop: Crop, options: Everything
) -> Iterator[Choice]:
    """Candidates of some clicks that the network believes in; masks are made of those alone."""
    size = network.config.image_size
    clicks = Clicks(
        (points_B2 * size).float().unsqueeze(1).to(network.device),
        torch.ones(len(points_B2), 1, dtype=torch.int64, device=network.device),
    )
    attended = network.attend_still(image, clicks)
    is_believed = attended.predicted_ious_BK[:, 1:] > options.kept.min_predicted_iou
    objects = is_believed.any(dim=1).nonzero().flatten()
    if not len(objects):
        return
    if len(objects) < len(points_B2):
        attended, is_believed = attended.objects(objects), is_believed[objects]
    logits = network.masks_still(image, attended)[:, 1:][is_believed]
    ious = attended.predicted_ious_BK[:, 1:][is_believed]
    clicked = objects[is_believed.nonzero()[:, 0]].tolist()
    height, width = crop.size_hw
    places = [(x * width + crop.x0, y * height + crop.y0) for x, y in points_B2[clicked].tolist()]
    yield from choose(logits, ious, places, crop.size_hw, options.kept)

"""`SAM2AutomaticMaskGenerator` of the original `sam2`, in the process that runs it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tests.reference import sam2_runner
from tests.reference.trio import sam2_process
from tests.reference.variants import ModelSpec


@dataclass(frozen=True, eq=False)
class TheirMask:
    """One mask of the generator, bool `[H, W]`, with what it says of it."""

    mask_HW: npt.NDArray[np.bool_]
    predicted_iou: float
    stability: float
    point_xy: tuple[float, float]
    crop_xywh: tuple[float, float, float, float]


def everything_by_sam2(
    model: ModelSpec, image_HW3: npt.NDArray[np.uint8], arguments: dict[str, Any]
) -> tuple[list[TheirMask], float]:
    """The masks, and the seconds of the processor that they took."""
    return sam2_process()._pool.submit(_generate, model, image_HW3, arguments).result()


def _generate(
    model: ModelSpec, image_HW3: npt.NDArray[np.uint8], arguments: dict[str, Any]
) -> tuple[list[TheirMask], float]:
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

    generator = SAM2AutomaticMaskGenerator(sam2_runner._predictor(model, torch.float32), **arguments)
    # It has the maps of an input of 1024 pixels written in.
    generator.predictor._bb_feat_sizes = [(model.image_size // stride,) * 2 for stride in (4, 8, 16)]
    start = time.process_time()
    found = generator.generate(image_HW3)
    seconds = time.process_time() - start
    return [
        TheirMask(
            one["segmentation"],
            one["predicted_iou"],
            one["stability_score"],
            (one["point_coords"][0][0], one["point_coords"][0][1]),
            tuple(one["crop_box"]),
        )
        for one in found
    ], seconds

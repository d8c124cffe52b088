"""Our model over the same frames and prompts, in the shape in which the references answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch

from model.network.sam2 import Sam2
from model.pixels.transforms import normalize
from model.prompts import BoxPrompt, HiddenPrompt, MaskPrompt, PointPrompt
from model.prompts import Prompt as OurPrompt
from model.tracking.frames import ArrayFrames
from model.tracking.session import VideoSession
from tests.reference.cases import Box, Click, Direction, FloatArray, FrameOutput, Outputs, Prompt, Seed


def ours_features(model: Sam2, frames_TSS3: npt.NDArray[np.uint8]) -> list[FloatArray]:
    """Features `[T, C, H, W]` of strides 4, 8 and 16, as the mask decoder gets them (without memory)."""
    pixels = normalize(torch.from_numpy(frames_TSS3), model.device, model.dtype)
    encoded = [model.encode_image(pixels[frame][None]) for frame in range(len(pixels))]
    levels = zip(*((f.stride4, f.stride8, f.stride16) for f in encoded), strict=True)
    return [_as_array(torch.cat(level)) for level in levels]


def ours_outputs(
    model: Sam2, frames_TSS3: npt.NDArray[np.uint8], seeds: Iterable[Seed], direction: Direction
) -> Outputs:
    """All objects in one session: frames are S×S, so that nothing is resized."""
    return {key: output for frame in our_walk(model, frames_TSS3, seeds, direction) for key, output in frame.items()}


def our_walk(
    model: Sam2, frames_TSS3: npt.NDArray[np.uint8], seeds: Iterable[Seed], direction: Direction
) -> Iterator[Outputs]:
    """`ours_outputs` frame by frame, for those who have seen enough before the walk ends."""
    session = VideoSession(model, ArrayFrames(frames_TSS3))
    for seed in seeds:
        session.add_prompt(seed.object_id, seed.frame_index, _prompt(seed.prompt, frames_TSS3.shape[1]))
    for result in session.propagate(direction):
        yield {
            (object_id, result.frame_index): FrameOutput(
                logits_HW=_as_array(result.logits_BHW[row]),
                object_score=float(result.object_scores_B[row]),
                predicted_iou=float(result.predicted_ious_B[row]),
            )
            for row, object_id in enumerate(result.object_ids)
        }


def _as_array(tensor: torch.Tensor) -> FloatArray:
    """In float32, or in float64 if it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32)).cpu().numpy()


def _prompt(prompt: Prompt, image_size: int) -> OurPrompt:
    if isinstance(prompt, Click):
        return PointPrompt(prompt.points_xy, prompt.labels)
    if isinstance(prompt, Box):
        return BoxPrompt(prompt.box_xyxy, prompt.points_xy, prompt.labels)
    mask_HW = prompt.mask(image_size)
    return MaskPrompt(mask_HW) if mask_HW.any() else HiddenPrompt(mask_HW)

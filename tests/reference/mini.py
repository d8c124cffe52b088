"""Mini's trained weights in `transformers` and in ours, and drawn clips for both."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from pipeline.demo.clips import Clip, draw
from pipeline.demo.scenes import demo_scenes

# In functions otherwise: the fast core takes clips from here, and `transformers` 0.5 s to import.
if TYPE_CHECKING:
    import transformers

MINI_SIZE = 256


def mini_folder() -> Path:
    """The bundled checkpoint."""
    return Path(str(resources.files("model"))) / "checkpoints" / "sam2.1-mini"


@functools.cache
def mini_transformers() -> transformers.Sam2VideoModel:
    import transformers

    return transformers.Sam2VideoModel.from_pretrained(mini_folder()).eval()


@functools.cache
def mini_in(dtype: torch.dtype) -> transformers.Sam2VideoModel:
    """The same in float32 or in float64."""
    import transformers

    from tests.reference.transformers_runner import network_in

    if dtype == torch.float32:
        return mini_transformers()
    return network_in(
        dtype, transformers.Sam2VideoConfig.from_pretrained(mini_folder()), mini_transformers().state_dict()
    )


@functools.cache
def mini_processor() -> transformers.Sam2VideoProcessor:
    import transformers

    return transformers.Sam2VideoProcessor.from_pretrained(mini_folder())


@functools.cache
def square_clip(name: str, num_frames: int) -> Clip:
    """A scene of the demo, drawn at mini's input size so that nothing is resized.

    The scene "blanked" is "drifting" with three grey frames in the middle, on which mini says that it sees nothing.
    """
    if name == "blanked":
        clip = square_clip("drifting", num_frames)
        frames, masks = clip.frames_THW3.copy(), clip.masks_TBHW.copy()
        middle = slice(num_frames // 2 - 1, num_frames // 2 + 2)
        frames[middle], masks[middle] = 128, False
        return Clip(name, frames, masks)
    scenes = {scene.name: scene for scene in demo_scenes((MINI_SIZE, MINI_SIZE), num_frames)}
    return draw(scenes[name])


@functools.cache
def cut_clip(num_frames: int) -> Clip:
    """The scene "drifting", cut hard to another scene and back at thirds of its length."""
    clip, other = square_clip("drifting", num_frames), square_clip("turning", num_frames)
    frames, masks = clip.frames_THW3.copy(), clip.masks_TBHW.copy()
    middle = slice(num_frames // 3, 2 * (num_frames // 3))
    frames[middle], masks[middle] = other.frames_THW3[middle], False
    return Clip("cut", frames, masks)


def box_of(mask_HW: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The box around a mask, `(x0, y0, x1, y1)` in pixels."""
    ys, xs = np.nonzero(mask_HW)
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)


def click_on(mask_HW: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """The pixel of a mask that is nearest to its centre of gravity."""
    ys, xs = np.nonzero(mask_HW)
    nearest = np.hypot(xs - xs.mean(), ys - ys.mean()).argmin()
    return float(xs[nearest]), float(ys[nearest])

"""SAM 2 video in torch: the network, its checkpoints, and sessions that track objects through a video.

The public names are imported when they are first asked for, so that `import model` is cheap and does not need torch.
Objects are followed through frames in memory like this:

>>> import numpy as np
>>> from model import ArrayFrames, PointPrompt, VideoSession, load_model
>>> frames = np.zeros((3, 120, 160, 3), np.uint8)  # RGB: [T, H, W, 3], or a list of [H, W, 3]
>>> frames[:, 30:70, 40:90] = 255
>>> session = VideoSession(load_model("mini"), ArrayFrames(frames))
>>> session.add_prompt(1, 0, PointPrompt(points_xy=((65, 50),), labels=(1,)))
>>> for result in session.propagate("forward"):
...     print(result.frame_index, result.object_ids, list(result.masks().shape))
0 (1,) [1, 120, 160]
1 (1,) [1, 120, 160]
2 (1,) [1, 120, 160]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.checkpoint import load_model
    from model.frames import ArrayFrames, Frame, FrameSource
    from model.hf_config import (
        Sam2HieraDetConfig,
        Sam2VideoConfig,
        Sam2VideoMaskDecoderConfig,
        Sam2VideoPromptEncoderConfig,
        Sam2VisionConfig,
    )
    from model.inference_session import Sam2VideoInferenceSession
    from model.pictures import load_video
    from model.processing import Sam2VideoProcessor, Sam2VideoVideoProcessor
    from model.prompts import BoxPrompt, MaskPrompt, PointPrompt
    from model.stream import VideoStream
    from model.tracking import FrameResult
    from model.transformers_api import Sam2VideoModel
    from model.video import VideoSession

_MODULES = {
    "ArrayFrames": "frames",
    "BoxPrompt": "prompts",
    "Frame": "frames",
    "FrameResult": "tracking",
    "FrameSource": "frames",
    "MaskPrompt": "prompts",
    "PointPrompt": "prompts",
    "Sam2HieraDetConfig": "hf_config",
    "Sam2VideoConfig": "hf_config",
    "Sam2VideoInferenceSession": "inference_session",
    "Sam2VideoMaskDecoderConfig": "hf_config",
    "Sam2VideoModel": "transformers_api",
    "Sam2VideoProcessor": "processing",
    "Sam2VideoPromptEncoderConfig": "hf_config",
    "Sam2VideoVideoProcessor": "processing",
    "Sam2VisionConfig": "hf_config",
    "VideoSession": "video",
    "VideoStream": "stream",
    "load_model": "checkpoint",
    "load_video": "pictures",
}

__all__ = [
    "ArrayFrames",
    "BoxPrompt",
    "Frame",
    "FrameResult",
    "FrameSource",
    "MaskPrompt",
    "PointPrompt",
    "Sam2HieraDetConfig",
    "Sam2VideoConfig",
    "Sam2VideoInferenceSession",
    "Sam2VideoMaskDecoderConfig",
    "Sam2VideoModel",
    "Sam2VideoProcessor",
    "Sam2VideoPromptEncoderConfig",
    "Sam2VideoVideoProcessor",
    "Sam2VisionConfig",
    "VideoSession",
    "VideoStream",
    "load_model",
    "load_video",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'model' has no attribute {name!r}")
    return getattr(import_module(f"model.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

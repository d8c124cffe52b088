"""SAM 2 video in torch: the network, its weights, and sessions that track objects through a video.

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
    from model.hf.config import (
        Sam2HieraDetConfig,
        Sam2VideoConfig,
        Sam2VideoMaskDecoderConfig,
        Sam2VideoPromptEncoderConfig,
        Sam2VisionConfig,
    )
    from model.hf.image_config import Sam2Config
    from model.hf.image_model import Sam2Model
    from model.hf.image_processing import Sam2Processor
    from model.hf.inference_session import Sam2VideoInferenceSession
    from model.hf.model import Sam2VideoModel
    from model.hf.part_processors import Sam2ImageProcessor, Sam2VideoVideoProcessor
    from model.hf.pictures import load_video
    from model.hf.processing import Sam2VideoProcessor
    from model.media.errors import MediaError
    from model.media.file_names import image_names
    from model.media.formats import IMAGE_SUFFIXES, VIDEO_FORMATS, VIDEO_SUFFIXES, can_seek, clock_may_restart
    from model.media.raw_frames import Display, Picture, RawFrame, Reader, VideoInfo
    from model.media.readers import open_reader
    from model.media.sources import Media, OpenFile
    from model.network.compiled import CudaGraphs, compile_model, warm_up
    from model.network.kernels import device_type, frames_per_batch, names_of_kernels
    from model.network.precision import autocast_model
    from model.network.processor import emulates_bfloat16
    from model.network.sam2 import Sam2
    from model.pixels.transfers import Download, FrameBuffers, download
    from model.pixels.transforms import resize_frame, upsample_logits
    from model.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt
    from model.proposals.everything import segment_everything
    from model.proposals.found import FoundMask
    from model.proposals.in_session import boxed_on, propose_on
    from model.proposals.options import Duplicates, Everything, Grids, Kept, everything
    from model.tracking.forgetting import forget_wrong
    from model.tracking.frames import ArrayFrames, Frame, FrameSource
    from model.tracking.session import VideoSession
    from model.tracking.state import FrameResult, Step
    from model.tracking.steps import advance
    from model.tracking.stream import VideoStream
    from model.weights.checkpoint import load_model
    from model.weights.hub import (
        BUNDLED,
        HUB_REMEDY,
        HubAccess,
        bundled_folder,
        cached_weights,
        hub_answer_seconds,
        is_hub_id,
        weight_names,
        weights_snapshot,
    )

_HOMES = {
    "ArrayFrames": "tracking.frames",
    "BUNDLED": "weights.hub",
    "BoxPrompt": "prompts",
    "CudaGraphs": "network.compiled",
    "Display": "media.raw_frames",
    "Download": "pixels.transfers",
    "Duplicates": "proposals.options",
    "Everything": "proposals.options",
    "FoundMask": "proposals.found",
    "Frame": "tracking.frames",
    "FrameBuffers": "pixels.transfers",
    "FrameResult": "tracking.state",
    "FrameSource": "tracking.frames",
    "Grids": "proposals.options",
    "HUB_REMEDY": "weights.hub",
    "HiddenPrompt": "prompts",
    "HubAccess": "weights.hub",
    "IMAGE_SUFFIXES": "media.formats",
    "Kept": "proposals.options",
    "MaskPrompt": "prompts",
    "Media": "media.sources",
    "MediaError": "media.errors",
    "OpenFile": "media.sources",
    "Picture": "media.raw_frames",
    "PointPrompt": "prompts",
    "Prompt": "prompts",
    "RawFrame": "media.raw_frames",
    "Reader": "media.raw_frames",
    "Sam2": "network.sam2",
    "Sam2Config": "hf.image_config",
    "Sam2HieraDetConfig": "hf.config",
    "Sam2ImageProcessor": "hf.part_processors",
    "Sam2Model": "hf.image_model",
    "Sam2Processor": "hf.image_processing",
    "Sam2VideoConfig": "hf.config",
    "Sam2VideoInferenceSession": "hf.inference_session",
    "Sam2VideoMaskDecoderConfig": "hf.config",
    "Sam2VideoModel": "hf.model",
    "Sam2VideoProcessor": "hf.processing",
    "Sam2VideoPromptEncoderConfig": "hf.config",
    "Sam2VideoVideoProcessor": "hf.part_processors",
    "Sam2VisionConfig": "hf.config",
    "Step": "tracking.state",
    "VIDEO_FORMATS": "media.formats",
    "VIDEO_SUFFIXES": "media.formats",
    "VideoInfo": "media.raw_frames",
    "VideoSession": "tracking.session",
    "VideoStream": "tracking.stream",
    "advance": "tracking.steps",
    "autocast_model": "network.precision",
    "boxed_on": "proposals.in_session",
    "bundled_folder": "weights.hub",
    "cached_weights": "weights.hub",
    "can_seek": "media.formats",
    "clock_may_restart": "media.formats",
    "compile_model": "network.compiled",
    "device_type": "network.kernels",
    "download": "pixels.transfers",
    "emulates_bfloat16": "network.processor",
    "everything": "proposals.options",
    "forget_wrong": "tracking.forgetting",
    "frames_per_batch": "network.kernels",
    "hub_answer_seconds": "weights.hub",
    "image_names": "media.file_names",
    "is_hub_id": "weights.hub",
    "load_model": "weights.checkpoint",
    "load_video": "hf.pictures",
    "names_of_kernels": "network.kernels",
    "open_reader": "media.readers",
    "propose_on": "proposals.in_session",
    "resize_frame": "pixels.transforms",
    "segment_everything": "proposals.everything",
    "upsample_logits": "pixels.transforms",
    "warm_up": "network.compiled",
    "weight_names": "weights.hub",
    "weights_snapshot": "weights.hub",
}

__all__ = [
    "ArrayFrames",
    "BUNDLED",
    "BoxPrompt",
    "CudaGraphs",
    "Display",
    "Download",
    "Duplicates",
    "Everything",
    "FoundMask",
    "Frame",
    "FrameBuffers",
    "FrameResult",
    "FrameSource",
    "Grids",
    "HUB_REMEDY",
    "HiddenPrompt",
    "HubAccess",
    "IMAGE_SUFFIXES",
    "Kept",
    "MaskPrompt",
    "Media",
    "MediaError",
    "OpenFile",
    "Picture",
    "PointPrompt",
    "Prompt",
    "RawFrame",
    "Reader",
    "Sam2",
    "Sam2Config",
    "Sam2HieraDetConfig",
    "Sam2ImageProcessor",
    "Sam2Model",
    "Sam2Processor",
    "Sam2VideoConfig",
    "Sam2VideoInferenceSession",
    "Sam2VideoMaskDecoderConfig",
    "Sam2VideoModel",
    "Sam2VideoProcessor",
    "Sam2VideoPromptEncoderConfig",
    "Sam2VideoVideoProcessor",
    "Sam2VisionConfig",
    "Step",
    "VIDEO_FORMATS",
    "VIDEO_SUFFIXES",
    "VideoInfo",
    "VideoSession",
    "VideoStream",
    "advance",
    "autocast_model",
    "boxed_on",
    "bundled_folder",
    "cached_weights",
    "can_seek",
    "clock_may_restart",
    "compile_model",
    "device_type",
    "download",
    "emulates_bfloat16",
    "everything",
    "forget_wrong",
    "frames_per_batch",
    "hub_answer_seconds",
    "image_names",
    "is_hub_id",
    "load_model",
    "load_video",
    "names_of_kernels",
    "open_reader",
    "propose_on",
    "resize_frame",
    "segment_everything",
    "upsample_logits",
    "warm_up",
    "weight_names",
    "weights_snapshot",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'model' has no attribute {name!r}")
    return getattr(import_module(f"model.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""One process for each implementation, which tracks one frame when it is told to.

In processes of their own peak memory belongs to one implementation, and importing `sam2` sets up Hydra for good.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch

from tests.reference.cases import FramesSpec, drawn_frames, normalized
from tests.reference.variants import ModelSpec
from tests.reference.weights import random_pt_weights

Shapes = dict[str, tuple[int, ...]]
NAMES = ("ours", "transformers", "sam2")


@dataclass(frozen=True)
class Setting:
    """What all three run: clicks for `num_objects` on frame 0, then tracking. `dtype` is float32 or bfloat16."""

    model: ModelSpec
    frames: FramesSpec
    num_objects: int
    dtype: str
    threads: int

    @property
    def torch_dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    def click(self, object_id: int) -> tuple[float, float]:
        """One click for each object, on a grid over the frame."""
        size = self.frames.image_size
        return size * (0.15 + 0.2 * (object_id % 4)), size * (0.2 + 0.18 * (object_id // 4))


@dataclass(frozen=True)
class Frame:
    """One frame of one implementation: wall and processor seconds, and the process's peak memory so far."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


class Runner:
    """The process of one implementation."""

    def __init__(self, name: str, setting: Setting, shapes: Shapes | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(name, setting, shapes, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def shapes(self) -> Shapes:
        """Names and shapes of the original's tensors (`sam2` only)."""
        self._pipe.send("shapes")
        shapes: Shapes = self._pipe.recv()
        return shapes

    def step(self) -> Frame:
        """Tracks the next frame."""
        self._pipe.send("step")
        frame = self._pipe.recv()
        if not isinstance(frame, Frame):
            raise RuntimeError(frame)
        return frame

    def close(self) -> None:
        self._pipe.send("stop")
        self._process.join()


def _serve(name: str, setting: Setting, shapes: Shapes | None, pipe: Any) -> None:
    torch.set_num_threads(setting.threads)
    os.environ["TQDM_DISABLE"] = "1"
    warnings.filterwarnings("ignore")
    make = {"ours": _ours, "transformers": _transformers, "sam2": _sam2}[name]
    walk: Iterator[object] | None = None
    while (order := pipe.recv()) != "stop":
        if order == "shapes":
            pipe.send({key: tuple(value.shape) for key, value in _sam2_network(setting).state_dict().items()})
            continue
        try:
            if walk is None:
                walk = make(setting, shapes or {})
            start, cpu = time.perf_counter(), time.process_time()
            with torch.inference_mode(), _regime(name, setting):
                next(walk)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            pipe.send(Frame(time.perf_counter() - start, time.process_time() - cpu, peak))
        except Exception as error:
            pipe.send(f"{name}: {error!r}")


def _regime(name: str, setting: Setting) -> AbstractContextManager[object]:
    """`sam2` runs in bfloat16 by autocast, as its documentation has it; the others by the dtype of their weights."""
    if name == "sam2" and setting.dtype == "bfloat16":
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()


def _weights(setting: Setting, shapes: Shapes) -> dict[str, torch.Tensor]:
    from model.pt_names import rename_pt

    return rename_pt(random_pt_weights(shapes, setting.model.seed, setting.model.object_score_bias))


def _ours(setting: Setting, shapes: Shapes) -> Iterator[object]:
    from model.checkpoint import Checkpoint
    from model.frames import ArrayFrames
    from model.prompts import PointPrompt
    from model.video import VideoSession

    network = Checkpoint("random weights", setting.model.hf_config(), _weights(setting, shapes)).model()
    session = VideoSession(network.to(setting.torch_dtype), ArrayFrames(drawn_frames(setting.frames)))
    for object_id in range(setting.num_objects):
        session.add_prompt(object_id, 0, PointPrompt((setting.click(object_id),), (1,)))
    return session.propagate("forward")


def _transformers(setting: Setting, shapes: Shapes) -> Iterator[object]:
    from transformers import Sam2VideoConfig, Sam2VideoInferenceSession, Sam2VideoModel

    network = Sam2VideoModel(Sam2VideoConfig.from_dict(setting.model.hf_config()))
    network.load_state_dict(_weights(setting, shapes))
    network = network.eval().to(setting.torch_dtype)
    pixels = normalized(drawn_frames(setting.frames)).to(setting.torch_dtype)
    size = setting.frames.image_size
    session = Sam2VideoInferenceSession(video=pixels, video_height=size, video_width=size, dtype=setting.torch_dtype)
    for object_id in range(setting.num_objects):
        point = torch.tensor([[[setting.click(object_id)]]])
        prompt = {"point_coords": point, "point_labels": torch.ones(1, 1, 1, dtype=torch.int32)}
        session.add_point_inputs(session.obj_id_to_idx(object_id), 0, prompt)
    session.obj_with_new_inputs = list(range(setting.num_objects))
    for index in range(setting.frames.num_frames):
        yield network(inference_session=session, frame_idx=index)


def _sam2_network(setting: Setting) -> Any:
    from sam2.build_sam import build_sam2_video_predictor

    return build_sam2_video_predictor(
        setting.model.sam2_config_name,
        ckpt_path=None,
        device="cpu",
        hydra_overrides_extra=[f"++model.image_size={setting.model.image_size}"],
    )


def _sam2(setting: Setting, _: Shapes) -> Iterator[object]:
    predictor = _sam2_network(setting)
    shapes = {name: tuple(tensor.shape) for name, tensor in predictor.state_dict().items()}
    predictor.load_state_dict(random_pt_weights(shapes, setting.model.seed, setting.model.object_score_bias))
    frames, size = normalized(drawn_frames(setting.frames)), setting.frames.image_size
    with mock.patch("sam2.sam2_video_predictor.load_video_frames", return_value=(frames, size, size)):
        state = predictor.init_state(video_path="")
    for object_id in range(setting.num_objects):
        predictor.add_new_points_or_box(state, 0, object_id, points=[setting.click(object_id)], labels=[1])
    yield from predictor.propagate_in_video(state)

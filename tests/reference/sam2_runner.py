"""The original `sam2`, in a process of its own: importing it initialises Hydra's global state.

The process gets cases (plain dataclasses), builds model, weights and frames itself, and sends numpy arrays back. Each
object is run in a session of its own, since `sam2` would start every object of a session on the first prompted frame of
any of them; it loops over objects anyway, so nothing else changes.
"""

from __future__ import annotations

import functools
import math
import multiprocessing
import warnings
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any
from unittest import mock

import numpy as np
import torch

from tests.reference.cases import (
    Case,
    DiscMask,
    FloatArray,
    FrameOutput,
    FramesSpec,
    GivenMask,
    Outputs,
    drawn_frames,
    normalized,
    object_ids,
    points_of,
    seeds_of,
    start_frame,
)
from tests.reference.formats import NothingDrawn, in_formats
from tests.reference.variants import ModelSpec
from tests.reference.weights import Shapes, random_pt_weights


class Sam2Process:
    """Runs cases in one spawned process, which keeps the last model between them."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("spawn"), initializer=_start, initargs=(torch.get_num_threads(),)
        )

    def propagate(self, case: Case) -> Future[Outputs]:
        """Every object from its first prompt to the end, or from its last one to the beginning."""
        return self._pool.submit(_propagate, case)

    def image_features(self, model: ModelSpec, frames: FramesSpec, dtype: torch.dtype) -> Future[list[FloatArray]]:
        """Features `[T, C, H, W]` of strides 4, 8 and 16, as the mask decoder gets them (without memory)."""
        return self._pool.submit(_image_features, model, frames, dtype)

    def state_dict_shapes(self, model: ModelSpec) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the original checkpoint."""
        return self._pool.submit(_shapes, model).result()

    def layout(self, config_name: str) -> dict[str, tuple[int, ...]]:
        """Names and shapes of a checkpoint of one of `sam2`'s own configurations."""
        return self._pool.submit(_layout, config_name).result()

    def close(self) -> None:
        self._pool.shutdown()


def _start(num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    warnings.filterwarnings("ignore")


def _shapes(model: ModelSpec) -> dict[str, tuple[int, ...]]:
    return _tensor_shapes(_predictor(model, torch.float32))


def _layout(config_name: str) -> dict[str, tuple[int, ...]]:
    # Shapes only, without memory or random numbers; but the drop path rates are read back, so they need values.
    linspace = functools.partial(torch.linspace, device="cpu")
    with torch.device("meta"), mock.patch.object(torch, "linspace", linspace):
        return _tensor_shapes(_build(config_name, 1024, "meta"))


def _tensor_shapes(predictor: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in predictor.state_dict().items()}


def _build(config_name: str, image_size: int, device: str = "cpu") -> Any:
    """The predictor with the post-processing settings that its own builder applies."""
    from sam2.build_sam import build_sam2_video_predictor

    return build_sam2_video_predictor(
        config_name, ckpt_path=None, device=device, hydra_overrides_extra=[f"++model.image_size={image_size}"]
    )


@functools.lru_cache(maxsize=1)
def _predictor(model: ModelSpec, dtype: torch.dtype) -> Any:
    with in_formats(dtype, torch.bfloat16), NothingDrawn():
        predictor = _build(model.sam2_config_name, model.image_size)
    predictor.load_state_dict(_weights(model, tuple(_tensor_shapes(predictor).items())))
    return predictor


@functools.lru_cache(maxsize=1)
def _weights(model: ModelSpec, shapes: Shapes) -> dict[str, torch.Tensor]:
    return random_pt_weights(dict(shapes), model.seed, model.object_score_bias)


def _features(model: ModelSpec, frames: FramesSpec, dtype: torch.dtype) -> list[tuple[torch.Tensor, dict[str, Any]]]:
    encoded = _encoded_images(model, frames.images, dtype)
    return [encoded[frames.image_of(frame)] for frame in range(frames.num_frames)]


@functools.lru_cache(maxsize=1)
def _encoded_images(
    model: ModelSpec, images: FramesSpec, dtype: torch.dtype
) -> list[tuple[torch.Tensor, dict[str, Any]]]:
    predictor, pixels = _predictor(model, dtype), normalized(drawn_frames(images)).to(dtype)
    with torch.inference_mode(), in_formats(dtype, torch.bfloat16):
        return [(image, predictor.forward_image(image)) for image in pixels[:, None]]


def _image_features(model: ModelSpec, frames: FramesSpec, dtype: torch.dtype) -> list[FloatArray]:
    outputs = [backbone["backbone_fpn"] for _, backbone in _features(model, frames, dtype)]
    return [torch.cat(level).numpy() for level in zip(*outputs, strict=True)]


def _propagate(case: Case) -> Outputs:
    predictor, frames = _predictor(case.model, case.dtype), normalized(drawn_frames(case.frames)).to(case.dtype)
    features = dict(enumerate(_features(case.model, case.frames, case.dtype)))
    with case.formats():
        return {
            (object_id, frame): output
            for object_id in object_ids(case.seeds)
            for frame, output in _propagate_object(case, object_id, predictor, frames, features).items()
        }


def _propagate_object(
    case: Case, object_id: int, predictor: Any, frames: torch.Tensor, features: dict[int, Any]
) -> dict[int, FrameOutput]:
    size = case.frames.image_size
    seeds = seeds_of(case.seeds, object_id)
    start = start_frame(seeds, case.direction)
    with (
        mock.patch("sam2.sam2_video_predictor.load_video_frames", return_value=(frames, size, size)),
        mock.patch.object(predictor, "_get_image_feature"),  # it would encode frame 0 anew
    ):
        state = predictor.init_state(video_path="")
    state["cached_features"] = dict(features)
    without_bar = mock.patch("sam2.sam2_video_predictor.tqdm", lambda frames, desc: frames)
    with _Recorder(predictor) as recorder, without_bar:
        for seed in seeds:
            if isinstance(seed.prompt, DiscMask | GivenMask):
                predictor.add_new_mask(state, seed.frame_index, object_id, seed.prompt.mask(size))
            else:
                points, labels = points_of(seed.prompt)
                predictor.add_new_points_or_box(state, seed.frame_index, object_id, points=points, labels=labels)
        walk = predictor.propagate_in_video(state, start_frame_idx=start, reverse=case.direction == "backward")
        visited = [frame for frame, _, _ in walk] or [start]
    return {frame: recorder.outputs[frame] for frame in visited}


class _Recorder:
    """Keeps what the predictor computes and then forgets: low-resolution logits, scores, predicted IoU, the choice."""

    def __init__(self, predictor: Any) -> None:
        self._predictor = predictor
        self._patches: list[Any] = []
        self._stability = math.nan
        self.outputs: dict[int, FrameOutput] = {}

    def __enter__(self) -> _Recorder:
        track_step = self._predictor._track_step
        decoder = self._predictor.sam_mask_decoder
        choose = decoder._dynamic_multimask_via_stability

        def recorded_choice(logits: torch.Tensor, ious: torch.Tensor) -> Any:
            stability = decoder._get_stability_scores(logits[:, :1])
            self._stability = float(stability)
            return choose(logits, ious)

        def recorded_step(frame_index: int, *args: Any) -> Any:
            self._stability = math.nan
            result = track_step(frame_index, *args)
            _, _, _, _, _, mask_inputs, *_ = args
            if mask_inputs is not None:  # the decoder is asked for a pointer only, its mask is not used
                self._stability = math.nan
            self._record(frame_index, result[1])
            return result

        self._patches = [
            mock.patch.object(decoder, "_dynamic_multimask_via_stability", recorded_choice),
            mock.patch.object(self._predictor, "_track_step", recorded_step),
        ]
        for patch in self._patches:
            patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        for patch in self._patches:
            patch.stop()

    def _record(self, frame_index: int, sam_outputs: tuple[torch.Tensor, ...]) -> None:
        _, _, ious, low_res_masks, _, _, object_score = sam_outputs
        ranked = ious.flatten().sort(descending=True)
        several = len(ranked.values) > 1
        self.outputs[frame_index] = FrameOutput(
            logits_HW=np.asarray(low_res_masks[0, 0]),
            object_score=float(object_score.reshape(())),
            predicted_iou=float(ranked.values[0]),
            num_candidates=len(ranked.values),
            best_candidate=int(ranked.indices[0]) if several else -1,
            margin=float(ranked.values[0] - ranked.values[1]) if several else math.nan,
            stability=self._stability,
        )

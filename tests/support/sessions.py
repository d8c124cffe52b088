"""What the model's tests share: mini, a quarter of its size for tests of rules, drawn clips and prompts on them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.hf.config import Sam2VideoConfig
from model.hf.model import Sam2VideoModel
from model.hf.processing import Sam2VideoProcessor
from model.network.features import ImageFeatures, Segmentation
from model.network.sam2 import Sam2
from model.prompts import BoxPrompt, MaskPrompt, PointPrompt
from model.tracking.frames import ArrayFrames
from model.tracking.state import FrameResult
from model.weights.checkpoint import load_model, read_json, save_model
from model.weights.hub import bundled_folder
from pipeline.demo.clips import Clip
from tests.support.clips import moving_clip
from tests.support.content import content

SMALL_SIZE = 64

# What another batch may change in logits of about ±10: memories are kept in bfloat16, so that a last bit can grow.
OTHER_BATCH = 0.02
# And what it may change in float64 where memories are not rounded.
LAST_BITS = 1e-8

Logits = dict[tuple[int, int], Tensor]
"""Logits `[h, w]` by object and frame."""


@functools.cache
def mini() -> Sam2:
    return load_model("mini")


class EncodingOnce(Sam2):
    """A network with the weights of another one that encodes a batch of frames once in a process.

    Tests walk through the same few clips again and again, and half of a step is the image encoder. What it gives for
    pixels that it has seen are the very features that it gave before.
    """

    def __init__(self, model: Sam2, image_size: int | None = None) -> None:
        with torch.device("meta"):
            super().__init__(replace(model.config, image_size=image_size or model.config.image_size))
        self.load_state_dict(model.state_dict(), assign=True)
        self.memory_dtype = model.memory_dtype
        self._encoded: dict[tuple[object, ...], ImageFeatures] = {}

    def encode_image(self, pixels_F3SS: Tensor) -> ImageFeatures:
        if self.device.type != "cpu" or pixels_F3SS.device.type != "cpu":
            return super().encode_image(pixels_F3SS)
        digest = hashlib.sha256(pixels_F3SS.contiguous().view(torch.uint8).numpy().data).digest()
        key = (self.dtype, pixels_F3SS.dtype, pixels_F3SS.shape, digest)
        if key not in self._encoded:
            self._encoded[key] = super().encode_image(pixels_F3SS)
        return self._encoded[key]


class EncodingCopies(EncodingOnce):
    """What it encoded once it gives in memory of its own each time, so that features that stay are still noticed.

    On the meta device, where nothing is computed, one encoding serves all frames.
    """

    def encode_image(self, pixels_F3SS: Tensor) -> ImageFeatures:
        if self.device.type == "meta":
            key = (self.dtype, pixels_F3SS.shape)
            known = self._encoded.get(key) or self._encoded.setdefault(key, super().encode_image(pixels_F3SS))
        else:
            known = super().encode_image(pixels_F3SS)
        return ImageFeatures(
            known.stride16.clone(), known.stride8.clone(), known.stride4.clone(), known.looked_FLC.clone()
        )


class Known(dict[tuple[object, ...], Any]):
    """Results that stay with one network: a copy of it begins without."""

    def __deepcopy__(self, memo: dict[int, object]) -> Known:
        return Known()

    def __reduce__(self) -> tuple[type[Known], tuple[()]]:
        return Known, ()


class SmallSam2(EncodingOnce):
    """Mini's weights at an input of 64 × 64: 16 times less to compute, and plain discs are still tracked.

    Each step of the network is computed once for one content of its inputs, because most tests begin with a walk that
    another one has made. Inputs that differ in one bit are computed, so a test of bits still sees what decides them.
    """

    def __init__(self) -> None:
        super().__init__(mini(), SMALL_SIZE)
        self._known = Known()

    def segment(self, features: ImageFeatures, **given: Any) -> Segmentation:
        return self._once("segment", super().segment, features, **given)  # type: ignore[no-any-return]

    def segment_given_masks(self, features: ImageFeatures, masks_BSS: Tensor) -> Segmentation:
        return self._once("given", super().segment_given_masks, features, masks_BSS)  # type: ignore[no-any-return]

    def remember(self, features: ImageFeatures, segmentation: Segmentation, *, binarize: bool) -> Tensor:
        return self._once("remember", super().remember, features, segmentation, binarize=binarize)  # type: ignore[no-any-return]

    def _once(self, step: str, compute: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        if self.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return compute(*inputs, **named)
        key = (step, self.dtype, self.memory_dtype, content(inputs), tuple(named), content(list(named.values())))
        if key not in self._known:
            self._known[key] = compute(*inputs, **named)
        return self._known[key]


@functools.cache
def small() -> Sam2:
    return SmallSam2()


def save_small(folder: Path) -> None:
    """The small network as a checkpoint, for what loads a model by itself."""
    raw_config = read_json(bundled_folder("mini") or "", "config.json")
    save_model(small(), folder, raw_config | {"image_size": SMALL_SIZE})


class WatchedSam2(Sam2):
    """The small network, which tells `on_step` of each step before it is computed; `on_step` may raise.

    Steps are `encode_image` and `segment`, told with the pixels or the features that they are given.
    """

    def __init__(
        self, on_step: Callable[[str, Tensor | ImageFeatures], None] | None = None, max_objects: int | None = None
    ) -> None:
        config = small().config  # loaded before, because the context is that of all that is made inside it
        with torch.device("meta"):
            super().__init__(config)
        self.load_state_dict(small().state_dict(), assign=True)
        self.on_step = on_step
        self.max_objects = max_objects

    @property
    def objects_per_batch(self) -> int:
        return self.max_objects or super().objects_per_batch

    def encode_image(self, pixels_F3SS: Tensor) -> ImageFeatures:
        if self.on_step is not None:
            self.on_step("encode_image", pixels_F3SS)
        return small().encode_image(pixels_F3SS)

    def segment(self, features: ImageFeatures, **given: Any) -> Segmentation:
        if self.on_step is not None:
            self.on_step("segment", features)
        return small().segment(features, **given)


@functools.cache
def small_exact() -> Sam2:
    """The same in float64, with memories that are not rounded, so that rounding decides nothing."""
    network = Sam2(small().config).to(torch.float64)
    network.load_state_dict(small().state_dict())
    network.memory_dtype = torch.float64
    return network


@functools.cache
def small_model() -> Sam2VideoModel:
    config = Sam2VideoConfig.from_pretrained("mini")
    config.image_size = SMALL_SIZE
    return Sam2VideoModel(config, small())


@functools.cache
def small_processor() -> Sam2VideoProcessor:
    return Sam2VideoProcessor(target_size=SMALL_SIZE)


@functools.cache
def clip(num_frames: int = 8, num_objects: int = 2, seed: int = 0) -> Clip:
    return moving_clip(num_frames=num_frames, num_objects=num_objects, size_hw=(48, 64), seed=seed)


def frames_of(one: Clip) -> ArrayFrames:
    return ArrayFrames(one.frames_THW3)


def center(one: Clip, object_id: int, frame_index: int) -> tuple[float, float]:
    """The pixel of an object that is nearest to its center of gravity."""
    ys, xs = np.nonzero(one.mask(object_id, frame_index))
    nearest = np.hypot(xs - xs.mean(), ys - ys.mean()).argmin()
    return float(xs[nearest]), float(ys[nearest])


def click(one: Clip, object_id: int, frame_index: int) -> PointPrompt:
    return PointPrompt((center(one, object_id, frame_index),), (1,))


def box(one: Clip, object_id: int, frame_index: int) -> BoxPrompt:
    ys, xs = np.nonzero(one.mask(object_id, frame_index))
    return BoxPrompt((float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)))


def mask(one: Clip, object_id: int, frame_index: int) -> MaskPrompt:
    return MaskPrompt(one.mask(object_id, frame_index))


def by_object(results: Iterable[FrameResult]) -> Logits:
    """Logits of a propagation, in which each object and frame comes once."""
    logits: Logits = {}
    for result in results:
        for object_id, logits_HW in zip(result.object_ids, result.logits_BHW, strict=True):
            assert (object_id, result.frame_index) not in logits
            logits[object_id, result.frame_index] = logits_HW
    return logits


def gap(first: Logits, second: Logits, object_ids: Sequence[int] | None = None) -> float:
    """The largest difference of logits; both must have the same objects and frames."""
    keys = [key for key in first if object_ids is None or key[0] in object_ids]
    assert keys
    assert set(keys) == {key for key in second if object_ids is None or key[0] in object_ids}
    return max(float((first[key] - second[key]).abs().max()) for key in keys)


def same_bits(first: Iterable[FrameResult], second: Iterable[FrameResult]) -> bool:
    """Whether two propagations gave the same, bit for bit and in the same order."""
    one, other = list(first), list(second)
    return len(one) == len(other) and all(
        (a.frame_index, a.object_ids, a.is_prompt) == (b.frame_index, b.object_ids, b.is_prompt)
        and torch.equal(a.logits_BHW, b.logits_BHW)
        and torch.equal(a.object_scores_B, b.object_scores_B)
        and torch.equal(a.predicted_ious_B, b.predicted_ious_B)
        for a, b in zip(one, other, strict=True)
    )

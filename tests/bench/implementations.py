"""Ours, `transformers` and `sam2` behind one small interface: prompt frame 0, then track frame by frame.

Each gets the same frames, weights, clicks and dtype, and is driven as its documentation has it. The references hold
the whole video as normalised frames, because that is how they take a video.

Legend: B objects, T frames, S side of the model's square input, h w low-resolution logits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol
from unittest import mock

import torch
from torch import Tensor, nn

from tests.bench.measure import held_bytes
from tests.reference.cases import FramesSpec, drawn_frames, normalized
from tests.reference.variants import ModelSpec
from tests.reference.weights import random_pt_weights

Shapes = Mapping[str, tuple[int, ...]]

IMAGE_ENCODER, MEMORY_ATTENTION = "image encoder", "memory attention"
MASK_DECODER, MEMORY_ENCODER = "mask decoder", "memory encoder"
PARTS = (IMAGE_ENCODER, MEMORY_ATTENTION, MASK_DECODER, MEMORY_ENCODER)


@dataclass(frozen=True)
class Setting:
    """What all of them run: a click for each of `num_objects` on frame 0, then tracking.

    `model` None is mini with its trained weights, which `sam2` cannot run. `shapes` are those of the original's
    tensors, from which the random weights follow. `dtype` is float32 or bfloat16.
    """

    model: ModelSpec | None
    frames: FramesSpec
    num_objects: int
    dtype: str
    threads: int
    shapes: Shapes
    device: str = "cpu"

    @property
    def torch_dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    def click(self, object_id: int) -> tuple[float, float]:
        """One click for each object, on a grid over the frame."""
        size = self.frames.image_size
        return size * (0.15 + 0.2 * (object_id % 4)), size * (0.2 + 0.18 * (object_id // 4))

    def pt_weights(self) -> dict[str, Tensor]:
        """The random weights by their names in the original checkpoints."""
        assert self.model is not None
        return random_pt_weights(self.shapes, self.model.seed, self.model.object_score_bias)

    def hf_weights(self) -> dict[str, Tensor]:
        """The same by the names of `transformers`, which are ours too."""
        from model.weights.pt_names import rename_pt

        return rename_pt(self.pt_weights())


class Implementation(Protocol):
    """One network and one clip. `parts` are the functions that are timed one by one: owner and attribute."""

    memory_attention: nn.Module
    parts: Mapping[str, tuple[object, str]]

    def prompt(self) -> Tensor:
        """Opens the clip, clicks, segments frame 0; logits `[B, h, w]`."""

    def track(self, frame_index: int) -> Tensor:
        """The next frame; logits `[B, h, w]`."""

    def fill(self, stop: int) -> None:
        """Copies the memory of frame 1, so that frames 2 … `stop` - 1 count as tracked too; `stop` comes next."""

    def state(self) -> object:
        """What is remembered of the objects."""

    def kept_bytes_per_frame(self) -> int:
        """By how much memory grows with each further frame of the clip, itself included."""

    def memory_shape(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> tuple[int, int]:
        """Memory tokens and objects of one call of the memory attention."""

    def regime(self) -> AbstractContextManager[object]:
        """What has to be open while it runs."""


class Ours:
    """`model.tracking.session.VideoSession`."""

    def __init__(self, setting: Setting) -> None:
        from model.tracking.frames import ArrayFrames
        from model.weights.checkpoint import StoredWeights, load_model

        if setting.model is None:
            network = load_model("mini", dtype=setting.torch_dtype)
        else:
            network = StoredWeights("random weights", setting.model.hf_config(), setting.hf_weights()).model()
        self._network = network.to(setting.device, setting.torch_dtype)
        self._setting = setting
        # Frames come when they are needed, as from a file: only the different images are in memory.
        images = [torch.from_numpy(image) for image in drawn_frames(setting.frames.images)]
        images = [image.pin_memory() for image in images] if setting.device == "cuda" else images
        order = [setting.frames.image_of(index) for index in range(setting.frames.num_frames)]
        self._frames = ArrayFrames([images[number] for number in order])
        self.memory_attention = self._network.memory_attention
        self.parts = {
            IMAGE_ENCODER: (self._network, "encode_image"),
            MEMORY_ATTENTION: (self._network, "_attended"),
            MASK_DECODER: (self._network.mask_decoder, "forward"),
            MEMORY_ENCODER: (self._network, "remember"),
        }

    def prompt(self) -> Tensor:
        from model.network.kernels import frames_per_batch
        from model.prompts import PointPrompt
        from model.tracking.session import VideoSession

        # On a GPU as many frames in a batch of the image encoder as a worker takes; on a CPU that is one at this size.
        encode_ahead = frames_per_batch(self._network.device, self._network.config.grid_size**2)
        encode_ahead = encode_ahead if self._setting.device == "cuda" else 1
        self._session = VideoSession(self._network, self._frames, encode_ahead=encode_ahead)
        for object_id in range(self._setting.num_objects):
            self._session.add_prompt(object_id, 0, PointPrompt((self._setting.click(object_id),), (1,)))
        self._results = self._session.propagate("forward")
        return self.track(0)

    def track(self, frame_index: int) -> Tensor:
        result = next(self._results)
        assert result.frame_index == frame_index
        return result.logits_BHW

    def fill(self, stop: int) -> None:
        from tests.bench.full_memory import fill_memory

        fill_memory(self._session, stop)
        self._results = self._session.propagate("forward", resume=True)

    def state(self) -> object:
        return self._session.objects

    def kept_bytes_per_frame(self) -> int:
        return 0  # what is remembered is bounded, and frames come and go

    def memory_shape(self, arguments: tuple[Any, ...], _: Mapping[str, Any]) -> tuple[int, int]:
        objects, tokens, _channels = arguments[1].memory_BTM.shape
        return tokens, objects

    def regime(self) -> AbstractContextManager[object]:
        return contextlib.nullcontext()


class Transformers:
    """`Sam2VideoModel` frame by frame, in the dtype of its weights."""

    def __init__(self, setting: Setting) -> None:
        from transformers import Sam2VideoConfig, Sam2VideoModel

        if setting.model is None:
            from transformers.utils import logging

            from tests.reference.mini import mini_folder

            logging.disable_progress_bar()
            network = Sam2VideoModel.from_pretrained(mini_folder())
        else:
            network = Sam2VideoModel(Sam2VideoConfig.from_dict(setting.model.hf_config()))
            network.load_state_dict(setting.hf_weights())
        self._network = network.eval().to(setting.device, setting.torch_dtype)
        self._setting = setting
        self._pixels = _whole_clip(setting.frames, setting.torch_dtype).to(setting.device)
        self.memory_attention = self._network.memory_attention
        self.parts = {
            IMAGE_ENCODER: (self._network, "get_image_features"),
            MEMORY_ATTENTION: (self._network.memory_attention, "forward"),
            MASK_DECODER: (self._network.mask_decoder, "forward"),
            MEMORY_ENCODER: (self._network, "_encode_new_memory"),
        }

    def prompt(self) -> Tensor:
        from transformers import Sam2VideoInferenceSession

        setting, size = self._setting, self._setting.frames.image_size
        self._session = Sam2VideoInferenceSession(
            video=self._pixels,
            video_height=size,
            video_width=size,
            inference_device=setting.device,
            dtype=setting.torch_dtype,
        )
        for object_id in range(setting.num_objects):
            click = {
                "point_coords": torch.tensor([[[setting.click(object_id)]]]),
                "point_labels": torch.ones(1, 1, 1, dtype=torch.int32),
            }
            self._session.add_point_inputs(self._session.obj_id_to_idx(object_id), 0, click)
        self._session.obj_with_new_inputs = list(range(setting.num_objects))
        return self.track(0)

    def track(self, frame_index: int) -> Tensor:
        logits: Tensor = self._network(inference_session=self._session, frame_idx=frame_index).pred_masks
        return logits.squeeze(1)

    def fill(self, stop: int) -> None:
        for outputs in self._session.output_dict_per_obj.values():
            _repeat(outputs, stop)

    def state(self) -> object:
        return self._session.output_dict_per_obj

    def kept_bytes_per_frame(self) -> int:
        return self._pixels[0].nbytes + _newest_entry_bytes(self._session.output_dict_per_obj)

    def memory_shape(self, _: tuple[Any, ...], keywords: Mapping[str, Any]) -> tuple[int, int]:
        tokens, objects, _channels = keywords["memory"].shape
        return tokens, objects

    def regime(self) -> AbstractContextManager[object]:
        return contextlib.nullcontext()


class OriginalSam2:
    """The `sam2` package's video predictor; in bfloat16 by autocast, as its documentation has it."""

    is_compiled = False

    def __init__(self, setting: Setting) -> None:
        from sam2 import sam2_video_predictor
        from sam2.build_sam import build_sam2_video_predictor

        if setting.model is None:
            raise ValueError("sam2 cannot run mini: it hard-codes the widths of the mask decoder")
        sam2_video_predictor.tqdm = lambda frames, desc: frames  # no progress bar
        self._predictor = build_sam2_video_predictor(
            setting.model.sam2_config_name,
            ckpt_path=None,
            device=setting.device,
            vos_optimized=self.is_compiled,
            hydra_overrides_extra=[f"++model.image_size={setting.model.image_size}"],
        )
        self._predictor.load_state_dict(setting.pt_weights())
        self._setting = setting
        self._pixels = _whole_clip(setting.frames, torch.float32).to(setting.device)
        self._results: Iterator[tuple[int, Any, Tensor]] = iter(())
        self.memory_attention = self._predictor.memory_attention
        self.parts = {
            IMAGE_ENCODER: (self._predictor, "forward_image"),
            MEMORY_ATTENTION: (self._predictor.memory_attention, "forward"),
            MASK_DECODER: (self._predictor.sam_mask_decoder, "forward"),
            MEMORY_ENCODER: (self._predictor, "_encode_new_memory"),
        }

    def prompt(self) -> Tensor:
        setting, size = self._setting, self._setting.frames.image_size
        with mock.patch("sam2.sam2_video_predictor.load_video_frames", return_value=(self._pixels, size, size)):
            self._state = self._predictor.init_state(video_path="")
        for object_id in range(setting.num_objects):
            self._predictor.add_new_points_or_box(
                self._state, 0, object_id, points=[setting.click(object_id)], labels=[1]
            )
        self._results = self._predictor.propagate_in_video(self._state)
        return self.track(0)

    def track(self, frame_index: int) -> Tensor:
        found, _, logits_B1HW = next(self._results)
        assert found == frame_index
        return logits_B1HW.squeeze(1)

    def fill(self, stop: int) -> None:
        for outputs in self._state["output_dict_per_obj"].values():
            _repeat(outputs, stop)
        self._results = self._predictor.propagate_in_video(self._state, start_frame_idx=stop)

    def state(self) -> object:
        return self._state["output_dict_per_obj"]

    def kept_bytes_per_frame(self) -> int:
        return self._pixels[0].nbytes + _newest_entry_bytes(self._state["output_dict_per_obj"])

    def memory_shape(self, _: tuple[Any, ...], keywords: Mapping[str, Any]) -> tuple[int, int]:
        tokens, objects, _channels = keywords["memory"].shape
        return tokens, objects

    def regime(self) -> AbstractContextManager[object]:
        # Open over the whole clip: casts of the weights are then made once.
        is_half = self._setting.dtype == "bfloat16"
        return torch.autocast(self._setting.device, torch.bfloat16) if is_half else contextlib.nullcontext()


class CompiledSam2(OriginalSam2):
    """The same with `vos_optimized`: it compiles four components when they first run, which takes minutes."""

    is_compiled = True


IMPLEMENTATIONS: Mapping[str, type[Ours] | type[Transformers] | type[OriginalSam2]] = {
    "ours": Ours,
    "transformers": Transformers,
    "sam2": OriginalSam2,
    "sam2 vos": CompiledSam2,
}
NAMES = ("ours", "transformers", "sam2")
"""The implementations that run on every device."""


def _whole_clip(spec: FramesSpec, dtype: torch.dtype) -> Tensor:
    """The normalised clip `[T, 3, S, S]`, made frame by frame so that making it is no peak of memory."""
    images = drawn_frames(spec.images)
    pixels = torch.empty(spec.num_frames, 3, spec.image_size, spec.image_size, dtype=dtype)
    for index in range(spec.num_frames):
        number = spec.image_of(index)
        pixels[index] = normalized(images[number : number + 1])[0]
    return pixels


def _repeat(outputs: Mapping[str, dict[int, dict[str, Any]]], stop: int) -> None:
    """Gives frames 2 … `stop` - 1 copies of what a reference remembers of frame 1; what all frames share stays so."""
    first, tracked = outputs["cond_frame_outputs"][0], outputs["non_cond_frame_outputs"]
    shared = {_storage(value) for value in first.values() if torch.is_tensor(value)}
    for index in range(2, stop):
        tracked[index] = {
            key: value.clone() if torch.is_tensor(value) and _storage(value) not in shared else value
            for key, value in tracked[1].items()
        }


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _newest_entry_bytes(objects: Mapping[int, dict[str, dict[int, Any]]]) -> int:
    """Bytes that a reference remembers of the last frame of all objects, without what frames share."""
    tracked = [list(outputs["non_cond_frame_outputs"].values())[-2:] for outputs in objects.values()]
    return held_bytes(tracked) - held_bytes([entries[:1] for entries in tracked])

"""The implementation of `transformers`, fed tensors instead of videos.

Each object is run in a session of its own and `forward` is called after each prompt: with several objects or prompts at
once it loses some, and lets objects change one another (`shared/semantics.md`, rows 1, 2, 4, 5, 7, 8).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
import torch.nn.functional as F

from model.weights.pt_names import rename_pt
from tests.reference.cases import (
    Direction,
    DiscMask,
    FloatArray,
    FrameOutput,
    GivenMask,
    Outputs,
    Seed,
    object_ids,
    points_of,
    seeds_of,
    start_frame,
)
from tests.reference.formats import NothingDrawn, in_formats
from tests.reference.variants import ModelSpec
from tests.reference.weights import Shapes, random_pt_weights

# In functions otherwise: it takes 0.5 s, and the fast core imports what needs this file, but runs none of it.
if TYPE_CHECKING:
    import transformers


@functools.lru_cache(maxsize=1)
def random_hf_weights(model: ModelSpec, shapes: Shapes) -> dict[str, torch.Tensor]:
    """The random weights of a model under the names of `model.safetensors`, from the `shapes` of the original's."""
    return rename_pt(random_pt_weights(dict(shapes), model.seed, model.object_score_bias))


@functools.lru_cache(maxsize=1)
def random_network(model: ModelSpec, shapes: Shapes, dtype: torch.dtype) -> transformers.Sam2VideoModel:
    """The network with the same random weights as `sam2`'s; strict both ways."""
    import transformers

    return network_in(
        dtype, transformers.Sam2VideoConfig.from_dict(model.hf_config()), random_hf_weights(model, shapes)
    )


def network_in(
    dtype: torch.dtype, config: transformers.Sam2VideoConfig, weights: dict[str, torch.Tensor]
) -> transformers.Sam2VideoModel:
    """A network whose tables, too, are made in float32 or in float64."""
    import transformers

    with in_formats(dtype, torch.bfloat16), NothingDrawn():
        network = transformers.Sam2VideoModel(config)
    network.load_state_dict(weights)
    return network.eval()


class TransformersRunner:
    """Runs one network over one sequence of preprocessed frames `[T, 3, S, S]`; encodes equal frames once.

    `encoded` holds features by the bytes of a frame's pixels and is filled: runners of one network may share it.
    """

    def __init__(
        self,
        network: transformers.Sam2VideoModel,
        pixels_T3SS: torch.Tensor,
        encoded: dict[bytes, dict[str, Any]] | None = None,
    ) -> None:
        self.network = network
        self._pixels = pixels_T3SS
        self._encoded = {} if encoded is None else encoded

    def image_features(self) -> list[FloatArray]:
        """Features `[T, C, H, W]` of strides 4, 8 and 16, as the mask decoder gets them (without memory)."""
        with torch.inference_mode():
            outputs = [self._encode(frame)["vision_feats"] for frame in range(len(self._pixels))]
        return [torch.cat([_as_map(feature) for feature in level]).numpy() for level in zip(*outputs, strict=True)]

    def propagate(self, seeds: Iterable[Seed], direction: Direction, *, masks_as_sam2: bool = True) -> Outputs:
        """Every object from its first prompt to the end, or from its last one to the beginning.

        `masks_as_sam2` corrects the one thing in which a single object's mask prompt is treated unlike in `sam2` (row
        6 of the table).
        """
        seeds = tuple(seeds)
        corrected = _masks_as_sam2(self.network) if masks_as_sam2 else nullcontext()
        with corrected:
            return {
                (object_id, frame): output
                for object_id in object_ids(seeds)
                for frame, output in self._propagate_object(seeds_of(seeds, object_id), direction).items()
            }

    def _propagate_object(self, seeds: list[Seed], direction: Direction) -> dict[int, FrameOutput]:
        session = self.session()
        object_index = session.obj_id_to_idx(seeds[0].object_id)
        outputs: dict[int, FrameOutput] = {}
        with _recorded(self.network, outputs):
            for seed in seeds:
                add_seed(session, object_index, seed, self._pixels.shape[-1])
                self.network(inference_session=session, frame_idx=seed.frame_index)
            start = start_frame(seeds, direction)
            walk = self.network.propagate_in_video_iterator(
                session, start_frame_idx=start, reverse=direction == "backward"
            )
            visited = [result.frame_idx for result in walk] or [start]
        return {frame: outputs[frame] for frame in visited}

    def session(self) -> transformers.Sam2VideoInferenceSession:
        """A new session over the frames, with their features at hand."""
        import transformers

        size = self._pixels.shape[-1]
        session = transformers.Sam2VideoInferenceSession(
            video=self._pixels,
            video_height=size,
            video_width=size,
            dtype=self._pixels.dtype,
            max_vision_features_cache_size=len(self._pixels) + 1,
        )
        with torch.inference_mode():
            session.cache._vision_features = {frame: self._encode(frame) for frame in range(len(self._pixels))}
        return session

    def _encode(self, frame: int) -> dict[str, Any]:
        image = self._pixels[frame].numpy().tobytes()
        if image not in self._encoded:
            output = self.network.get_image_features(self._pixels[frame][None], return_dict=True)
            self._encoded[image] = {
                "vision_feats": output.fpn_hidden_states,
                "vision_pos_embeds": output.fpn_position_encoding,
            }
        return self._encoded[image]


def add_seed(session: transformers.Sam2VideoInferenceSession, object_index: int, seed: Seed, image_size: int) -> None:
    """What the processor does with a prompt of one object, without its resizing."""
    if isinstance(seed.prompt, DiscMask | GivenMask):
        mask = torch.from_numpy(seed.prompt.mask(image_size)).float()[None, None]
        session.add_mask_inputs(object_index, seed.frame_index, mask)
    else:
        points, labels = points_of(seed.prompt)
        inputs = {
            "point_coords": torch.from_numpy(points)[None, None],
            "point_labels": torch.from_numpy(labels)[None, None],
        }
        session.add_point_inputs(object_index, seed.frame_index, inputs)
    session.obj_with_new_inputs = [session.obj_idx_to_id(object_index)]


def _as_map(feature_LBC: torch.Tensor) -> torch.Tensor:
    length, batch, channels = feature_LBC.shape
    side = round(length**0.5)
    return feature_LBC.permute(1, 2, 0).reshape(batch, channels, side, side)


@contextmanager
def _recorded(network: transformers.Sam2VideoModel, outputs: dict[int, FrameOutput]) -> Iterator[None]:
    """Keep what the model computes for a frame of a single object and then forgets: predicted IoU and scores."""
    single_frame_forward = network._single_frame_forward
    run_single_frame = network._run_single_frame_inference
    predicted_ious: list[float] = []

    def recorded_forward(*args: Any, **kwargs: Any) -> Any:
        result = single_frame_forward(*args, **kwargs)
        predicted_ious.append(float(result.iou_scores.max()))
        return result

    def recorded_frame(*args: Any, **kwargs: Any) -> Any:
        result = run_single_frame(*args, **kwargs)
        outputs[kwargs["frame_idx"]] = FrameOutput(
            logits_HW=result["pred_masks"].float().numpy()[0, 0],
            object_score=float(result["object_score_logits"].reshape(())),
            predicted_iou=1.0 if kwargs["mask_inputs"] is not None else predicted_ious[-1],
        )
        return result

    with (
        mock.patch.object(network, "_single_frame_forward", recorded_forward),
        mock.patch.object(network, "_run_single_frame_inference", recorded_frame),
    ):
        yield


@contextmanager
def _masks_as_sam2(network: transformers.Sam2VideoModel) -> Iterator[None]:
    """A mask prompt's pointer from the single-mask token, its memory from the low-resolution mask enlarged."""
    use_mask_as_output = network._use_mask_as_output
    single_frame_forward = network._single_frame_forward

    def single_mask_forward(*args: Any, **kwargs: Any) -> Any:
        return single_frame_forward(*args, **{**kwargs, "multimask_output": False})

    def corrected(*args: Any) -> Any:
        with mock.patch.object(network, "_single_frame_forward", single_mask_forward):
            result = use_mask_as_output(*args)
        result.high_res_masks = F.interpolate(
            result.pred_masks, size=result.high_res_masks.shape[-2:], mode="bilinear", align_corners=False
        )
        return result

    with mock.patch.object(network, "_use_mask_as_output", corrected):
        yield

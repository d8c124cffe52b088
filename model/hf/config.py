"""The configurations of the documentation page, key by key as `config.json` has them.

`Sam2Config.from_hf` reads what the network is built from, and refuses settings that no released model has. The classes
of this module keep every key, so that a file that was read is written again whole. Defaults are those of the released
tiny 2.1; they come from `model.network.config`, and only keys that nothing is computed from have their default here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

from model.hf.arguments import check_saving, hub_access
from model.network.config import CONSTANTS, Sam2Config
from model.weights.checkpoint import (
    folder_and_name,
    has_file,
    is_weights_file,
    locate,
    read_json,
    read_stored_weights,
)
from model.weights.hub import CONFIG_NAME, snapshot

_TINY = Sam2Config()


def _copy_of(values: Sequence[int]) -> Callable[[], list[int]]:
    """Makes a new list of these values for each configuration."""
    return lambda: list(values)


@dataclass
class ConfigSection:
    """A part of `config.json`: its known keys are attributes, `other` has the rest."""

    model_type: ClassVar[str]
    parts: ClassVar[dict[str, type[ConfigSection]]] = {}
    other: dict[str, Any] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        for name, part in self.parts.items():
            value = getattr(self, name)
            if isinstance(value, Mapping):
                setattr(self, name, part.from_dict(value))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Reads a part; keys that are not there have their defaults, and keys that are not known are kept."""
        known = {entry.name for entry in fields(cls)} - {"other"}
        given = {key: value for key, value in values.items() if key in known and value is not None}
        other = {key: value for key, value in values.items() if key not in known and key != "model_type"}
        return cls(**given, other=other)

    def to_dict(self) -> dict[str, Any]:
        """All keys and values, parts as dictionaries."""
        values: dict[str, Any] = dict(self.other)
        for entry in fields(self):
            if entry.name != "other":
                value = getattr(self, entry.name)
                values[entry.name] = value.to_dict() if isinstance(value, ConfigSection) else value
        return {**values, "model_type": self.model_type}

    def to_json_string(self) -> str:
        """What `config.json` holds."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"


@dataclass
class ModelConfig(ConfigSection):
    """A whole `config.json`."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        **access: Any,
    ) -> Self:
        """The configuration of a folder, URI, Hub id or file of weights; `access` may give `cache_dir` and more.

        A file of weights has its configuration beside it; where there is none, its tensors tell a released size.
        """
        hub = hub_access(f"{cls.__name__}.from_pretrained", revision, token, access)
        place = locate(str(pretrained_model_name_or_path), partial(snapshot, file_names=(CONFIG_NAME,), access=hub))
        if not is_weights_file(place):
            return cls.from_dict(read_json(place, CONFIG_NAME))
        folder, _ = folder_and_name(place)
        beside = has_file(folder, CONFIG_NAME)
        return cls.from_dict(read_json(folder, CONFIG_NAME) if beside else read_stored_weights(place).raw_config)

    def save_pretrained(self, save_directory: str | Path, **others: Any) -> None:
        """Writes `config.json`. Raises `TypeError` for arguments that ask for something else."""
        check_saving(f"{type(self).__name__}.save_pretrained", others)
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_NAME).write_text(self.to_json_string())

    def network(self) -> Sam2Config:
        """What of this the network is built from. Raises `ValueError` naming a key that this code does not support."""
        return Sam2Config.from_hf(self.to_dict())


@dataclass
class Sam2HieraDetConfig(ConfigSection):
    """The trunk of the image encoder."""

    model_type = "sam2_hiera_det_model"
    hidden_size: int = _TINY.hiera.embed_dims[0]
    num_attention_heads: int = _TINY.hiera.num_heads[0]
    num_channels: int = 3
    image_size: int | list[int] = field(default_factory=_copy_of((_TINY.image_size,) * 2))
    patch_kernel_size: list[int] = field(
        default_factory=_copy_of(CONSTANTS["vision_config.backbone_config.patch_kernel_size"])
    )
    patch_stride: list[int] = field(default_factory=_copy_of(CONSTANTS["vision_config.backbone_config.patch_stride"]))
    patch_padding: list[int] = field(default_factory=_copy_of(CONSTANTS["vision_config.backbone_config.patch_padding"]))
    query_stride: list[int] = field(default_factory=_copy_of(CONSTANTS["vision_config.backbone_config.query_stride"]))
    window_positional_embedding_background_size: list[int] = field(default_factory=_copy_of(_TINY.hiera.position_grid))
    num_query_pool_stages: int = CONSTANTS["vision_config.backbone_config.num_query_pool_stages"]
    blocks_per_stage: list[int] = field(default_factory=_copy_of(_TINY.hiera.blocks_per_stage))
    embed_dim_per_stage: list[int] = field(default_factory=_copy_of(_TINY.hiera.embed_dims))
    num_attention_heads_per_stage: list[int] = field(default_factory=_copy_of(_TINY.hiera.num_heads))
    window_size_per_stage: list[int] = field(default_factory=_copy_of(_TINY.hiera.window_sizes))
    global_attention_blocks: list[int] = field(default_factory=_copy_of(_TINY.hiera.global_attention_blocks))
    mlp_ratio: float = CONSTANTS["vision_config.backbone_config.mlp_ratio"]
    hidden_act: str = CONSTANTS["vision_config.backbone_config.hidden_act"]
    layer_norm_eps: float = CONSTANTS["vision_config.backbone_config.layer_norm_eps"]
    initializer_range: float = 0.02


@dataclass
class Sam2VisionConfig(ConfigSection):
    """The image encoder: trunk and feature pyramid."""

    model_type = "sam2_vision_model"
    parts: ClassVar = {"backbone_config": Sam2HieraDetConfig}
    backbone_config: Sam2HieraDetConfig = field(default_factory=Sam2HieraDetConfig)
    backbone_channel_list: list[int] = field(default_factory=_copy_of(_TINY.hiera.embed_dims[::-1]))
    backbone_feature_sizes: list[list[int]] = field(
        default_factory=lambda: [[_TINY.image_size // stride] * 2 for stride in (4, 8, 16)]
    )
    fpn_hidden_size: int = _TINY.hidden_dim
    fpn_kernel_size: int = CONSTANTS["vision_config.fpn_kernel_size"]
    fpn_stride: int = 1
    fpn_padding: int = 0
    fpn_top_down_levels: list[int] = field(default_factory=_copy_of(CONSTANTS["vision_config.fpn_top_down_levels"]))
    num_feature_levels: int = CONSTANTS["vision_config.num_feature_levels"]
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02


@dataclass
class Sam2VideoPromptEncoderConfig(ConfigSection):
    """The prompt encoder."""

    model_type = "sam2_video_prompt_encoder"
    hidden_size: int = _TINY.hidden_dim
    image_size: int | list[int] = _TINY.image_size
    patch_size: int | list[int] = CONSTANTS["prompt_encoder_config.patch_size"]
    mask_input_channels: int = _TINY.mask_prompt_channels
    num_point_embeddings: int = CONSTANTS["prompt_encoder_config.num_point_embeddings"]
    hidden_act: str = CONSTANTS["prompt_encoder_config.hidden_act"]
    layer_norm_eps: float = CONSTANTS["prompt_encoder_config.layer_norm_eps"]
    scale: int = 1


@dataclass
class Sam2VideoMaskDecoderConfig(ConfigSection):
    """The mask decoder."""

    model_type = "sam2_video_mask_decoder"
    hidden_size: int = _TINY.hidden_dim
    hidden_act: str = CONSTANTS["mask_decoder_config.hidden_act"]
    mlp_dim: int = _TINY.decoder.mlp_dim
    num_hidden_layers: int = CONSTANTS["mask_decoder_config.num_hidden_layers"]
    num_attention_heads: int = _TINY.decoder.heads
    attention_downsample_rate: int = CONSTANTS["mask_decoder_config.attention_downsample_rate"]
    num_multimask_outputs: int = CONSTANTS["mask_decoder_config.num_multimask_outputs"]
    iou_head_depth: int = CONSTANTS["mask_decoder_config.iou_head_depth"]
    iou_head_hidden_dim: int = _TINY.decoder.iou_head_dim
    dynamic_multimask_via_stability: bool = CONSTANTS["mask_decoder_config.dynamic_multimask_via_stability"]
    dynamic_multimask_stability_delta: float = CONSTANTS["mask_decoder_config.dynamic_multimask_stability_delta"]
    dynamic_multimask_stability_thresh: float = CONSTANTS["mask_decoder_config.dynamic_multimask_stability_thresh"]


@dataclass
class Sam2VideoConfig(ModelConfig):
    """A SAM 2 video model; the defaults are those of the released tiny 2.1."""

    model_type = "sam2_video"
    parts: ClassVar = {
        "vision_config": Sam2VisionConfig,
        "prompt_encoder_config": Sam2VideoPromptEncoderConfig,
        "mask_decoder_config": Sam2VideoMaskDecoderConfig,
    }
    vision_config: Sam2VisionConfig = field(default_factory=Sam2VisionConfig)
    prompt_encoder_config: Sam2VideoPromptEncoderConfig = field(default_factory=Sam2VideoPromptEncoderConfig)
    mask_decoder_config: Sam2VideoMaskDecoderConfig = field(default_factory=Sam2VideoMaskDecoderConfig)
    initializer_range: float = 0.02
    num_maskmem: int = CONSTANTS["num_maskmem"]
    image_size: int | list[int] = _TINY.image_size
    sigmoid_scale_for_mem_enc: float = CONSTANTS["sigmoid_scale_for_mem_enc"]
    sigmoid_bias_for_mem_enc: float = CONSTANTS["sigmoid_bias_for_mem_enc"]
    enable_occlusion_spatial_embedding: bool = _TINY.is_2_1
    multimask_output_in_sam: bool = CONSTANTS["multimask_output_in_sam"]
    multimask_min_pt_num: int = CONSTANTS["multimask_min_pt_num"]
    multimask_max_pt_num: int = CONSTANTS["multimask_max_pt_num"]
    multimask_output_for_tracking: bool = CONSTANTS["multimask_output_for_tracking"]
    max_object_pointers_in_encoder: int = CONSTANTS["max_object_pointers_in_encoder"]
    max_cond_frame_num: int = -1
    enable_temporal_pos_encoding_for_object_pointers: bool = _TINY.is_2_1
    memory_attention_hidden_size: int = _TINY.hidden_dim
    memory_attention_num_layers: int = _TINY.memory.attention_layers
    memory_attention_num_attention_heads: int = CONSTANTS["memory_attention_num_attention_heads"]
    memory_attention_downsample_rate: int = CONSTANTS["memory_attention_downsample_rate"]
    memory_attention_feed_forward_hidden_size: int = _TINY.memory.attention_mlp_dim
    memory_attention_feed_forward_hidden_act: str = CONSTANTS["memory_attention_feed_forward_hidden_act"]
    memory_attention_dropout: float = 0.1
    memory_attention_rope_feat_sizes: list[int] = field(default_factory=_copy_of((_TINY.grid_size,) * 2))
    memory_attention_rope_dropout: float = 0.1
    memory_encoder_hidden_size: int = _TINY.hidden_dim
    memory_encoder_output_channels: int = CONSTANTS["memory_encoder_output_channels"]
    rope_parameters: dict[str, Any] = field(
        default_factory=lambda: {"rope_theta": CONSTANTS["rope_parameters.rope_theta"], "rope_type": "axial"}
    )
    mask_downsampler_embed_dim: int = _TINY.hidden_dim
    mask_downsampler_kernel_size: int = CONSTANTS["mask_downsampler_kernel_size"]
    mask_downsampler_stride: int = CONSTANTS["mask_downsampler_stride"]
    mask_downsampler_padding: int = CONSTANTS["mask_downsampler_padding"]
    mask_downsampler_total_stride: int = CONSTANTS["mask_downsampler_total_stride"]
    mask_downsampler_hidden_act: str = CONSTANTS["mask_downsampler_hidden_act"]
    memory_fuser_num_layers: int = CONSTANTS["memory_fuser_num_layers"]
    memory_fuser_embed_dim: int = _TINY.hidden_dim
    memory_fuser_intermediate_dim: int = _TINY.memory.fuser_dim
    memory_fuser_kernel_size: int = CONSTANTS["memory_fuser_kernel_size"]
    memory_fuser_padding: int = CONSTANTS["memory_fuser_padding"]
    memory_fuser_layer_scale_init_value: float = 1e-6
    memory_fuser_hidden_act: str = CONSTANTS["memory_fuser_hidden_act"]

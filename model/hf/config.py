"""The configurations of the documentation page, key by key as `config.json` has them.

What they say is read by `Sam2Config.from_hf`, which refuses the settings that no released checkpoint has; here they are
carried, so that a file that was read is written again with all that it said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from model.network.config import Sam2Config
from model.weights.checkpoint import CONFIG_NAME, locate, read_json
from model.weights.hub import HubAccess


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
class Sam2HieraDetConfig(ConfigSection):
    """The trunk of the image encoder."""

    model_type = "sam2_hiera_det_model"
    hidden_size: int = 96
    num_attention_heads: int = 1
    num_channels: int = 3
    image_size: int | list[int] = field(default_factory=lambda: [1024, 1024])
    patch_kernel_size: list[int] = field(default_factory=lambda: [7, 7])
    patch_stride: list[int] = field(default_factory=lambda: [4, 4])
    patch_padding: list[int] = field(default_factory=lambda: [3, 3])
    query_stride: list[int] = field(default_factory=lambda: [2, 2])
    window_positional_embedding_background_size: list[int] = field(default_factory=lambda: [7, 7])
    num_query_pool_stages: int = 3
    blocks_per_stage: list[int] = field(default_factory=lambda: [1, 2, 7, 2])
    embed_dim_per_stage: list[int] = field(default_factory=lambda: [96, 192, 384, 768])
    num_attention_heads_per_stage: list[int] = field(default_factory=lambda: [1, 2, 4, 8])
    window_size_per_stage: list[int] = field(default_factory=lambda: [8, 4, 14, 7])
    global_attention_blocks: list[int] = field(default_factory=lambda: [5, 7, 9])
    mlp_ratio: float = 4.0
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02


@dataclass
class Sam2VisionConfig(ConfigSection):
    """The image encoder: trunk and feature pyramid."""

    model_type = "sam2_vision_model"
    parts: ClassVar = {"backbone_config": Sam2HieraDetConfig}
    backbone_config: Sam2HieraDetConfig = field(default_factory=Sam2HieraDetConfig)
    backbone_channel_list: list[int] = field(default_factory=lambda: [768, 384, 192, 96])
    backbone_feature_sizes: list[list[int]] = field(default_factory=lambda: [[256, 256], [128, 128], [64, 64]])
    fpn_hidden_size: int = 256
    fpn_kernel_size: int = 1
    fpn_stride: int = 1
    fpn_padding: int = 0
    fpn_top_down_levels: list[int] = field(default_factory=lambda: [2, 3])
    num_feature_levels: int = 3
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02


@dataclass
class Sam2VideoPromptEncoderConfig(ConfigSection):
    """The prompt encoder."""

    model_type = "sam2_video_prompt_encoder"
    hidden_size: int = 256
    image_size: int | list[int] = 1024
    patch_size: int | list[int] = 16
    mask_input_channels: int = 16
    num_point_embeddings: int = 4
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    scale: int = 1


@dataclass
class Sam2VideoMaskDecoderConfig(ConfigSection):
    """The mask decoder."""

    model_type = "sam2_video_mask_decoder"
    hidden_size: int = 256
    hidden_act: str = "gelu"
    mlp_dim: int = 2048
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    attention_downsample_rate: int = 2
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    dynamic_multimask_via_stability: bool = True
    dynamic_multimask_stability_delta: float = 0.05
    dynamic_multimask_stability_thresh: float = 0.98


@dataclass
class Sam2VideoConfig(ConfigSection):
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
    num_maskmem: int = 7
    image_size: int | list[int] = 1024
    sigmoid_scale_for_mem_enc: float = 20.0
    sigmoid_bias_for_mem_enc: float = -10.0
    enable_occlusion_spatial_embedding: bool = True
    multimask_output_in_sam: bool = True
    multimask_min_pt_num: int = 0
    multimask_max_pt_num: int = 1
    multimask_output_for_tracking: bool = True
    max_object_pointers_in_encoder: int = 16
    max_cond_frame_num: int = -1
    enable_temporal_pos_encoding_for_object_pointers: bool = True
    memory_attention_hidden_size: int = 256
    memory_attention_num_layers: int = 4
    memory_attention_num_attention_heads: int = 1
    memory_attention_downsample_rate: int = 1
    memory_attention_feed_forward_hidden_size: int = 2048
    memory_attention_feed_forward_hidden_act: str = "relu"
    memory_attention_dropout: float = 0.1
    memory_attention_rope_feat_sizes: list[int] = field(default_factory=lambda: [64, 64])
    memory_attention_rope_dropout: float = 0.1
    memory_encoder_hidden_size: int = 256
    memory_encoder_output_channels: int = 64
    rope_parameters: dict[str, Any] = field(default_factory=lambda: {"rope_theta": 10000.0, "rope_type": "axial"})
    mask_downsampler_embed_dim: int = 256
    mask_downsampler_kernel_size: int = 3
    mask_downsampler_stride: int = 2
    mask_downsampler_padding: int = 1
    mask_downsampler_total_stride: int = 16
    mask_downsampler_hidden_act: str = "gelu"
    memory_fuser_num_layers: int = 2
    memory_fuser_embed_dim: int = 256
    memory_fuser_intermediate_dim: int = 1024
    memory_fuser_kernel_size: int = 7
    memory_fuser_padding: int = 3
    memory_fuser_layer_scale_init_value: float = 1e-6
    memory_fuser_hidden_act: str = "gelu"

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, revision: str | None = None, token: str | bool | None = None, **access: Any
    ) -> Self:
        """The configuration of a folder, URI or Hub id; `access` may give `cache_dir` and `local_files_only`."""
        folder = locate(str(source), (CONFIG_NAME,), HubAccess(revision, token, **access))
        return cls.from_dict(read_json(folder, CONFIG_NAME))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes `config.json`."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / CONFIG_NAME).write_text(self.to_json_string())

    def network(self) -> Sam2Config:
        """What of this the network is built from. Raises `ValueError` naming a key that this code does not support."""
        return Sam2Config.from_hf(self.to_dict())

"""The released checkpoints' networks: their `config.json` as a dictionary and the name of sam2's own configuration.

The dictionaries are written in the layout of the Hub repositories. `image_size` scales down what depends on it, so that
the real trunks run in a test; weights do not depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from model.network.config import Sam2Config

Size = Literal["tiny", "small", "base_plus", "large"]
Version = Literal["2.0", "2.1"]
ConfigStyle = Literal["rope_parameters", "memory_attention_rope_theta"]

SIZES: tuple[Size, ...] = ("tiny", "small", "base_plus", "large")

# Only the trunk differs between the sizes.
_TRUNKS: dict[Size, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 96,
        "num_attention_heads": 1,
        "embed_dim_per_stage": [96, 192, 384, 768],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "blocks_per_stage": [1, 2, 7, 2],
        "global_attention_blocks": [5, 7, 9],
        "window_size_per_stage": [8, 4, 14, 7],
        "window_positional_embedding_background_size": [7, 7],
    },
    "small": {
        "hidden_size": 96,
        "num_attention_heads": 1,
        "embed_dim_per_stage": [96, 192, 384, 768],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "blocks_per_stage": [1, 2, 11, 2],
        "global_attention_blocks": [7, 10, 13],
        "window_size_per_stage": [8, 4, 14, 7],
        "window_positional_embedding_background_size": [7, 7],
    },
    "base_plus": {
        "hidden_size": 112,
        "num_attention_heads": 2,
        "embed_dim_per_stage": [112, 224, 448, 896],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 3, 16, 3],
        "global_attention_blocks": [12, 16, 20],
        "window_size_per_stage": [8, 4, 14, 7],
        "window_positional_embedding_background_size": [14, 14],
    },
    "large": {
        "hidden_size": 144,
        "num_attention_heads": 2,
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 6, 36, 4],
        "global_attention_blocks": [23, 33, 43],
        "window_size_per_stage": [8, 4, 16, 8],
        "window_positional_embedding_background_size": [7, 7],
    },
}

_SAM2_LETTERS: dict[Size, str] = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}


@dataclass(frozen=True)
class ModelSpec:
    """A network with random weights, which follow from `seed` and the bias of the object score."""

    size: Size
    version: Version
    image_size: int
    seed: int = 0
    object_score_bias: float = 0.0

    @property
    def config(self) -> Sam2Config:
        """As ours reads it."""
        return Sam2Config.from_hf(self.hf_config())

    @property
    def sam2_config_name(self) -> str:
        letter = _SAM2_LETTERS[self.size]
        folder, prefix = ("sam2.1", "sam2.1") if self.version == "2.1" else ("sam2", "sam2")
        return f"configs/{folder}/{prefix}_hiera_{letter}.yaml"

    def hf_config(self, style: ConfigStyle = "rope_parameters") -> dict[str, Any]:
        """A `config.json` of the Hub repository of this model, as newer or as older `transformers` wrote it."""
        return hf_config(self.size, self.version, self.image_size, style)


def hf_config(size: Size, version: Version, image_size: int, style: ConfigStyle) -> dict[str, Any]:
    """The `config.json` of a released checkpoint; `style` names the key that carries RoPE's base."""
    trunk = _TRUNKS[size]
    config: dict[str, Any] = {
        "architectures": ["Sam2VideoModel"],
        "model_type": "sam2_video",
        "dtype": "float32",
        "image_size": image_size,
        "initializer_range": 0.02,
        "enable_occlusion_spatial_embedding": version == "2.1",
        "enable_temporal_pos_encoding_for_object_pointers": version == "2.1",
        "mask_decoder_config": _mask_decoder_config(),
        "prompt_encoder_config": _prompt_encoder_config(image_size),
        "vision_config": _vision_config(trunk, image_size),
        **_memory_config(image_size),
    }
    if style == "rope_parameters":
        config["rope_parameters"] = {"rope_theta": 10000.0, "rope_type": "axial"}
    else:
        config["memory_attention_rope_theta"] = 10000
    return config


def _mask_decoder_config() -> dict[str, Any]:
    return {
        "attention_downsample_rate": 2,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
        "dynamic_multimask_via_stability": True,
        "hidden_act": "gelu",
        "hidden_size": 256,
        "iou_head_depth": 3,
        "iou_head_hidden_dim": 256,
        "mlp_dim": 2048,
        "model_type": "sam2_video_mask_decoder",
        "num_attention_heads": 8,
        "num_hidden_layers": 2,
        "num_multimask_outputs": 3,
    }


def _prompt_encoder_config(image_size: int) -> dict[str, Any]:
    return {
        "hidden_act": "gelu",
        "hidden_size": 256,
        "image_size": image_size,
        "layer_norm_eps": 1e-06,
        "mask_input_channels": 16,
        "model_type": "sam2_video_prompt_encoder",
        "num_point_embeddings": 4,
        "patch_size": 16,
        "scale": 1,
    }


def _vision_config(trunk: dict[str, Any], image_size: int) -> dict[str, Any]:
    return {
        "backbone_channel_list": trunk["embed_dim_per_stage"][::-1],
        "backbone_config": {
            "hidden_act": "gelu",
            "image_size": [image_size, image_size],
            "initializer_range": 0.02,
            "layer_norm_eps": 1e-06,
            "mlp_ratio": 4.0,
            "model_type": "sam2_hiera_det_model",
            "num_channels": 3,
            "num_query_pool_stages": 3,
            "patch_kernel_size": [7, 7],
            "patch_padding": [3, 3],
            "patch_stride": [4, 4],
            "query_stride": [2, 2],
            **trunk,
        },
        "backbone_feature_sizes": [[image_size // stride, image_size // stride] for stride in (4, 8, 16)],
        "fpn_hidden_size": 256,
        "fpn_kernel_size": 1,
        "fpn_padding": 0,
        "fpn_stride": 1,
        "fpn_top_down_levels": [2, 3],
        "hidden_act": "gelu",
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-06,
        "model_type": "sam2_vision_model",
        "num_feature_levels": 3,
    }


def _memory_config(image_size: int) -> dict[str, Any]:
    return {
        "mask_downsampler_embed_dim": 256,
        "mask_downsampler_hidden_act": "gelu",
        "mask_downsampler_kernel_size": 3,
        "mask_downsampler_padding": 1,
        "mask_downsampler_stride": 2,
        "mask_downsampler_total_stride": 16,
        "max_cond_frame_num": -1,
        "max_object_pointers_in_encoder": 16,
        "memory_attention_downsample_rate": 1,
        "memory_attention_dropout": 0.1,
        "memory_attention_feed_forward_hidden_act": "relu",
        "memory_attention_feed_forward_hidden_size": 2048,
        "memory_attention_hidden_size": 256,
        "memory_attention_num_attention_heads": 1,
        "memory_attention_num_layers": 4,
        "memory_attention_rope_dropout": 0.1,
        "memory_attention_rope_feat_sizes": [image_size // 16, image_size // 16],
        "memory_encoder_hidden_size": 256,
        "memory_encoder_output_channels": 64,
        "memory_fuser_embed_dim": 256,
        "memory_fuser_hidden_act": "gelu",
        "memory_fuser_intermediate_dim": 1024,
        "memory_fuser_kernel_size": 7,
        "memory_fuser_layer_scale_init_value": 1e-06,
        "memory_fuser_num_layers": 2,
        "memory_fuser_padding": 3,
        "multimask_max_pt_num": 1,
        "multimask_min_pt_num": 0,
        "multimask_output_for_tracking": True,
        "multimask_output_in_sam": True,
        "num_maskmem": 7,
        "sigmoid_bias_for_mem_enc": -10.0,
        "sigmoid_scale_for_mem_enc": 20.0,
    }

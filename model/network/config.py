"""The numbers of SAM 2, each in one place: what varies between models, and what is the same in all of them.

`Sam2Config` has what varies; its defaults are those of the released tiny 2.1. Of the originals' 24 settings of a whole
model 20 are the same in all released ones, and the other four amount to the switch `is_2_1`. The trunk (`HieraConfig`)
varies with the size. The further fields are those in which the mini model differs.

`CONSTANTS` has what is the same in all released models and in mini, under the keys of `config.json`. The documented
configurations (`model.hf.config`) take their defaults from both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

Json = Mapping[str, Any]

# What the network computes with, and what a `config.json` must therefore say.
MASK_SCALE, MASK_BIAS = 20.0, -10.0  # masks as logits: +10 on the object, -10 beside it
ROPE_THETA = 10000.0
STABILITY_DELTA, STABILITY_THRESHOLD = 0.05, 0.98
NUM_MULTIMASKS = 3


@dataclass(frozen=True)
class HieraConfig:
    """The trunk of the image encoder (arXiv 2306.00989), four stages; the fields default to tiny's."""

    embed_dims: tuple[int, ...] = (96, 192, 384, 768)
    num_heads: tuple[int, ...] = (1, 2, 4, 8)
    blocks_per_stage: tuple[int, ...] = (1, 2, 7, 2)
    global_attention_blocks: tuple[int, ...] = (5, 7, 9)
    window_sizes: tuple[int, ...] = (8, 4, 14, 7)
    position_grid: tuple[int, int] = (7, 7)

    @property
    def num_blocks(self) -> int:
        """Blocks of all stages."""
        return sum(self.blocks_per_stage)


@dataclass(frozen=True)
class DecoderConfig:
    """The mask decoder: heads of its attention, inner widths of its transformer and of the head that predicts IoUs."""

    heads: int = 8
    mlp_dim: int = 2048
    iou_head_dim: int = 256


@dataclass(frozen=True)
class MemoryConfig:
    """The memory attention (layers, inner width) and the memory encoder (inner width of its fuser)."""

    attention_layers: int = 4
    attention_mlp_dim: int = 2048
    fuser_dim: int = 1024


@dataclass(frozen=True)
class Sam2Config:
    """A SAM 2 or 2.1 video model; the fields default to those of the released tiny 2.1. Sizes in pixels or channels."""

    hiera: HieraConfig = field(default_factory=HieraConfig)
    image_size: int = 1024
    hidden_dim: int = 256
    is_2_1: bool = True
    mask_prompt_channels: int = 16
    decoder: DecoderConfig = DecoderConfig()
    memory: MemoryConfig = MemoryConfig()
    max_prompted_memories: int | None = None

    # The same in every model that this code knows; `from_hf` refuses others.
    memory_dim: ClassVar[int] = 64
    num_memories: ClassVar[int] = 7
    max_pointers: ClassVar[int] = 16

    def __post_init__(self) -> None:
        if self.image_size <= 0 or self.image_size % 64:
            raise ValueError(f"image_size must be a positive multiple of 64, got {self.image_size}")

    @property
    def grid_size(self) -> int:
        """Side of the feature map that memories and attention work on: stride 16."""
        return self.image_size // 16

    @property
    def mask_size(self) -> int:
        """Side of the low-resolution mask logits: stride 4."""
        return self.image_size // 4

    @classmethod
    def from_hf(cls, config: Json) -> Sam2Config:
        """Reads a `config.json` of the Hub repositories; keys that a file leaves out have tiny's values.

        Raises `ValueError` naming the key for a setting that no released model has and this code does not support.
        """
        if config.get("model_type") not in ("sam2_video", "sam2"):
            raise ValueError(f"model_type is {config.get('model_type')!r}, expected 'sam2_video': not a SAM 2 model")
        _check_constants(config)
        vision, prompt, decoder = (
            config.get(key) or {} for key in ("vision_config", "prompt_encoder_config", "mask_decoder_config")
        )
        default = cls()
        pointers_timed = config.get("enable_temporal_pos_encoding_for_object_pointers", default.is_2_1)
        occlusion_embedded = config.get("enable_occlusion_spatial_embedding", default.is_2_1)
        if pointers_timed != occlusion_embedded:
            raise ValueError(
                "enable_temporal_pos_encoding_for_object_pointers and enable_occlusion_spatial_embedding differ: "
                "SAM 2.1 has both, SAM 2.0 neither"
            )
        max_prompted = config.get("max_cond_frame_num", -1)
        return cls(
            hiera=_hiera_from_hf(vision.get("backbone_config") or {}),
            # The configuration of an image model says it for the prompt encoder alone.
            image_size=_square(config.get("image_size", prompt.get("image_size", default.image_size)), "image_size"),
            hidden_dim=vision.get("fpn_hidden_size", default.hidden_dim),
            is_2_1=bool(pointers_timed),
            mask_prompt_channels=prompt.get("mask_input_channels", default.mask_prompt_channels),
            decoder=DecoderConfig(
                heads=decoder.get("num_attention_heads", default.decoder.heads),
                mlp_dim=decoder.get("mlp_dim", default.decoder.mlp_dim),
                iou_head_dim=decoder.get("iou_head_hidden_dim", default.decoder.iou_head_dim),
            ),
            memory=MemoryConfig(
                attention_layers=config.get("memory_attention_num_layers", default.memory.attention_layers),
                attention_mlp_dim=config.get(
                    "memory_attention_feed_forward_hidden_size", default.memory.attention_mlp_dim
                ),
                fuser_dim=config.get("memory_fuser_intermediate_dim", default.memory.fuser_dim),
            ),
            max_prompted_memories=None if max_prompted in (-1, None) else int(max_prompted),
        )

    def to_hf(self) -> dict[str, Any]:
        """A `config.json` of a released size, which `from_hf` reads as this; keys that have tiny's values are left out.

        Only the trunk and the version of the released models differ.
        """
        hiera = self.hiera
        return {
            "architectures": ["Sam2VideoModel"],
            "model_type": "sam2_video",
            "enable_occlusion_spatial_embedding": self.is_2_1,
            "enable_temporal_pos_encoding_for_object_pointers": self.is_2_1,
            "vision_config": {
                "model_type": "sam2_vision_model",
                "backbone_channel_list": list(hiera.embed_dims[::-1]),
                "backbone_config": {
                    "model_type": "sam2_hiera_det_model",
                    "hidden_size": hiera.embed_dims[0],
                    "num_attention_heads": hiera.num_heads[0],
                    "embed_dim_per_stage": list(hiera.embed_dims),
                    "num_attention_heads_per_stage": list(hiera.num_heads),
                    "blocks_per_stage": list(hiera.blocks_per_stage),
                    "global_attention_blocks": list(hiera.global_attention_blocks),
                    "window_size_per_stage": list(hiera.window_sizes),
                    "window_positional_embedding_background_size": list(hiera.position_grid),
                },
            },
        }


_TRUNKS = {
    "tiny": HieraConfig(),
    "small": HieraConfig(blocks_per_stage=(1, 2, 11, 2), global_attention_blocks=(7, 10, 13)),
    "base_plus": HieraConfig(
        embed_dims=(112, 224, 448, 896),
        num_heads=(2, 4, 8, 16),
        blocks_per_stage=(2, 3, 16, 3),
        global_attention_blocks=(12, 16, 20),
        position_grid=(14, 14),
    ),
    "large": HieraConfig(
        embed_dims=(144, 288, 576, 1152),
        num_heads=(2, 4, 8, 16),
        blocks_per_stage=(2, 6, 36, 4),
        global_attention_blocks=(23, 33, 43),
        window_sizes=(8, 4, 16, 8),
    ),
}


SIZES = tuple(_TRUNKS)


def named_config(name: str, *, is_2_1: bool = True, image_size: int = Sam2Config.image_size) -> Sam2Config:
    """The architecture of a released size: `tiny`, `small`, `base_plus` or `large`."""
    if name not in _TRUNKS:
        raise ValueError(f"unknown model size {name!r}, expected one of {', '.join(_TRUNKS)}")
    return replace(Sam2Config(hiera=_TRUNKS[name]), is_2_1=is_2_1, image_size=image_size)


# Settings of `config.json` that this code has as constants: the only values of all eight released models and of mini.
CONSTANTS: dict[str, Any] = {
    "num_maskmem": Sam2Config.num_memories,
    "max_object_pointers_in_encoder": Sam2Config.max_pointers,
    "sigmoid_scale_for_mem_enc": MASK_SCALE,
    "sigmoid_bias_for_mem_enc": MASK_BIAS,
    "multimask_output_in_sam": True,
    "multimask_min_pt_num": 0,
    "multimask_max_pt_num": 1,
    "multimask_output_for_tracking": True,
    "memory_attention_num_attention_heads": 1,
    "memory_attention_downsample_rate": 1,
    "memory_attention_feed_forward_hidden_act": "relu",
    "memory_attention_rope_theta": ROPE_THETA,
    "memory_encoder_output_channels": Sam2Config.memory_dim,
    "mask_downsampler_kernel_size": 3,
    "mask_downsampler_stride": 2,
    "mask_downsampler_padding": 1,
    "mask_downsampler_total_stride": 16,
    "mask_downsampler_hidden_act": "gelu",
    "memory_fuser_num_layers": 2,
    "memory_fuser_kernel_size": 7,
    "memory_fuser_padding": 3,
    "memory_fuser_hidden_act": "gelu",
    "rope_parameters.rope_theta": ROPE_THETA,
    "mask_decoder_config.attention_downsample_rate": 2,
    "mask_decoder_config.dynamic_multimask_via_stability": True,
    "mask_decoder_config.dynamic_multimask_stability_delta": STABILITY_DELTA,
    "mask_decoder_config.dynamic_multimask_stability_thresh": STABILITY_THRESHOLD,
    "mask_decoder_config.iou_head_depth": 3,
    "mask_decoder_config.num_hidden_layers": 2,
    "mask_decoder_config.num_multimask_outputs": NUM_MULTIMASKS,
    "mask_decoder_config.hidden_act": "gelu",
    "prompt_encoder_config.num_point_embeddings": 4,
    "prompt_encoder_config.patch_size": 16,
    "prompt_encoder_config.hidden_act": "gelu",
    "prompt_encoder_config.layer_norm_eps": 1e-6,
    "vision_config.backbone_config.hidden_act": "gelu",
    "vision_config.backbone_config.layer_norm_eps": 1e-6,
    "vision_config.num_feature_levels": 3,
    "vision_config.fpn_kernel_size": 1,
    "vision_config.fpn_top_down_levels": [2, 3],
    "vision_config.backbone_config.mlp_ratio": 4.0,
    "vision_config.backbone_config.num_query_pool_stages": 3,
    "vision_config.backbone_config.query_stride": [2, 2],
    "vision_config.backbone_config.patch_kernel_size": [7, 7],
    "vision_config.backbone_config.patch_stride": [4, 4],
    "vision_config.backbone_config.patch_padding": [3, 3],
}


def _check_constants(config: Json) -> None:
    for path, expected in CONSTANTS.items():
        value: Any = config
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None and value != expected:
            raise ValueError(f"config.json: {path} is {value!r}, this code supports only {expected!r}")


def _hiera_from_hf(backbone: Json) -> HieraConfig:
    default = HieraConfig()
    return HieraConfig(
        embed_dims=tuple(backbone.get("embed_dim_per_stage") or default.embed_dims),
        num_heads=tuple(backbone.get("num_attention_heads_per_stage") or default.num_heads),
        blocks_per_stage=tuple(backbone.get("blocks_per_stage") or default.blocks_per_stage),
        global_attention_blocks=tuple(backbone.get("global_attention_blocks") or default.global_attention_blocks),
        window_sizes=tuple(backbone.get("window_size_per_stage") or default.window_sizes),
        position_grid=_pair(backbone.get("window_positional_embedding_background_size") or default.position_grid),
    )


def _pair(values: Any) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)


def _square(value: Any, name: str) -> int:
    if isinstance(value, int):
        return value
    height, width = value if isinstance(value, (list, tuple)) and len(value) == 2 else (None, value)
    if not isinstance(height, int) or height != width:
        raise ValueError(f"config.json: {name} is {value}, this code supports only squares")
    return int(height)

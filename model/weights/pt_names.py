"""The original `.pt` files: from their tensor names to the names of the Hub's `model.safetensors`.

The originals are pickled dictionaries `{"model": {name: tensor}}` written by the code that trained SAM 2 and 2.1. The
network is the same; the names differ, the four point embeddings are four tensors instead of one, and the matrix of the
positional code is stored once instead of twice. `PT_NAMES` is the whole contract, a literal table of modules and bare
parameters: nothing is renamed by rule. `*` stands for the index of a repeated block and is carried over, `.weight` and
`.bias` of a module are carried over too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

# Old name of a module or bare parameter -> new names (two for the matrix that the new layout stores twice). The new
# layout keeps every tensor, even those that inference does not read.
PT_NAMES: dict[str, str | tuple[str, ...]] = {
    # image encoder: Hiera trunk
    "image_encoder.trunk.pos_embed": "vision_encoder.backbone.pos_embed",
    "image_encoder.trunk.pos_embed_window": "vision_encoder.backbone.pos_embed_window",
    "image_encoder.trunk.patch_embed.proj": "vision_encoder.backbone.patch_embed.projection",
    "image_encoder.trunk.blocks.*.norm1": "vision_encoder.backbone.blocks.*.layer_norm1",
    "image_encoder.trunk.blocks.*.attn.qkv": "vision_encoder.backbone.blocks.*.attn.qkv",
    "image_encoder.trunk.blocks.*.attn.proj": "vision_encoder.backbone.blocks.*.attn.proj",
    "image_encoder.trunk.blocks.*.norm2": "vision_encoder.backbone.blocks.*.layer_norm2",
    "image_encoder.trunk.blocks.*.mlp.layers.0": "vision_encoder.backbone.blocks.*.mlp.proj_in",
    "image_encoder.trunk.blocks.*.mlp.layers.1": "vision_encoder.backbone.blocks.*.mlp.proj_out",
    "image_encoder.trunk.blocks.*.proj": "vision_encoder.backbone.blocks.*.proj",
    # image encoder: feature pyramid
    "image_encoder.neck.convs.*.conv": "vision_encoder.neck.convs.*",
    # prompt encoder
    "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (
        "prompt_encoder.shared_embedding.positional_embedding",
        "shared_image_embedding.positional_embedding",
    ),
    "sam_prompt_encoder.not_a_point_embed": "prompt_encoder.not_a_point_embed",
    "sam_prompt_encoder.no_mask_embed": "prompt_encoder.no_mask_embed",
    "sam_prompt_encoder.mask_downscaling.0": "prompt_encoder.mask_embed.conv1",
    "sam_prompt_encoder.mask_downscaling.1": "prompt_encoder.mask_embed.layer_norm1",
    "sam_prompt_encoder.mask_downscaling.3": "prompt_encoder.mask_embed.conv2",
    "sam_prompt_encoder.mask_downscaling.4": "prompt_encoder.mask_embed.layer_norm2",
    "sam_prompt_encoder.mask_downscaling.6": "prompt_encoder.mask_embed.conv3",
    # mask decoder: tokens, upscaling, heads
    "sam_mask_decoder.iou_token": "mask_decoder.iou_token",
    "sam_mask_decoder.mask_tokens": "mask_decoder.mask_tokens",
    "sam_mask_decoder.obj_score_token": "mask_decoder.obj_score_token",
    "sam_mask_decoder.output_upscaling.0": "mask_decoder.upscale_conv1",
    "sam_mask_decoder.output_upscaling.1": "mask_decoder.upscale_layer_norm",
    "sam_mask_decoder.output_upscaling.3": "mask_decoder.upscale_conv2",
    "sam_mask_decoder.conv_s0": "mask_decoder.conv_s0",
    "sam_mask_decoder.conv_s1": "mask_decoder.conv_s1",
    "sam_mask_decoder.output_hypernetworks_mlps.*.layers.0": "mask_decoder.output_hypernetworks_mlps.*.proj_in",
    "sam_mask_decoder.output_hypernetworks_mlps.*.layers.1": "mask_decoder.output_hypernetworks_mlps.*.layers.0",
    "sam_mask_decoder.output_hypernetworks_mlps.*.layers.2": "mask_decoder.output_hypernetworks_mlps.*.proj_out",
    "sam_mask_decoder.iou_prediction_head.layers.0": "mask_decoder.iou_prediction_head.proj_in",
    "sam_mask_decoder.iou_prediction_head.layers.1": "mask_decoder.iou_prediction_head.layers.0",
    "sam_mask_decoder.iou_prediction_head.layers.2": "mask_decoder.iou_prediction_head.proj_out",
    "sam_mask_decoder.pred_obj_score_head.layers.0": "mask_decoder.pred_obj_score_head.proj_in",
    "sam_mask_decoder.pred_obj_score_head.layers.1": "mask_decoder.pred_obj_score_head.layers.0",
    "sam_mask_decoder.pred_obj_score_head.layers.2": "mask_decoder.pred_obj_score_head.proj_out",
    # mask decoder: two-way transformer
    "sam_mask_decoder.transformer.layers.*.self_attn.q_proj": "mask_decoder.transformer.layers.*.self_attn.q_proj",
    "sam_mask_decoder.transformer.layers.*.self_attn.k_proj": "mask_decoder.transformer.layers.*.self_attn.k_proj",
    "sam_mask_decoder.transformer.layers.*.self_attn.v_proj": "mask_decoder.transformer.layers.*.self_attn.v_proj",
    "sam_mask_decoder.transformer.layers.*.self_attn.out_proj": "mask_decoder.transformer.layers.*.self_attn.o_proj",
    "sam_mask_decoder.transformer.layers.*.norm1": "mask_decoder.transformer.layers.*.layer_norm1",
    "sam_mask_decoder.transformer.layers.*.cross_attn_token_to_image.q_proj": (
        "mask_decoder.transformer.layers.*.cross_attn_token_to_image.q_proj"
    ),
    "sam_mask_decoder.transformer.layers.*.cross_attn_token_to_image.k_proj": (
        "mask_decoder.transformer.layers.*.cross_attn_token_to_image.k_proj"
    ),
    "sam_mask_decoder.transformer.layers.*.cross_attn_token_to_image.v_proj": (
        "mask_decoder.transformer.layers.*.cross_attn_token_to_image.v_proj"
    ),
    "sam_mask_decoder.transformer.layers.*.cross_attn_token_to_image.out_proj": (
        "mask_decoder.transformer.layers.*.cross_attn_token_to_image.o_proj"
    ),
    "sam_mask_decoder.transformer.layers.*.norm2": "mask_decoder.transformer.layers.*.layer_norm2",
    "sam_mask_decoder.transformer.layers.*.mlp.layers.0": "mask_decoder.transformer.layers.*.mlp.proj_in",
    "sam_mask_decoder.transformer.layers.*.mlp.layers.1": "mask_decoder.transformer.layers.*.mlp.proj_out",
    "sam_mask_decoder.transformer.layers.*.norm3": "mask_decoder.transformer.layers.*.layer_norm3",
    "sam_mask_decoder.transformer.layers.*.norm4": "mask_decoder.transformer.layers.*.layer_norm4",
    "sam_mask_decoder.transformer.layers.*.cross_attn_image_to_token.q_proj": (
        "mask_decoder.transformer.layers.*.cross_attn_image_to_token.q_proj"
    ),
    "sam_mask_decoder.transformer.layers.*.cross_attn_image_to_token.k_proj": (
        "mask_decoder.transformer.layers.*.cross_attn_image_to_token.k_proj"
    ),
    "sam_mask_decoder.transformer.layers.*.cross_attn_image_to_token.v_proj": (
        "mask_decoder.transformer.layers.*.cross_attn_image_to_token.v_proj"
    ),
    "sam_mask_decoder.transformer.layers.*.cross_attn_image_to_token.out_proj": (
        "mask_decoder.transformer.layers.*.cross_attn_image_to_token.o_proj"
    ),
    "sam_mask_decoder.transformer.final_attn_token_to_image.q_proj": (
        "mask_decoder.transformer.final_attn_token_to_image.q_proj"
    ),
    "sam_mask_decoder.transformer.final_attn_token_to_image.k_proj": (
        "mask_decoder.transformer.final_attn_token_to_image.k_proj"
    ),
    "sam_mask_decoder.transformer.final_attn_token_to_image.v_proj": (
        "mask_decoder.transformer.final_attn_token_to_image.v_proj"
    ),
    "sam_mask_decoder.transformer.final_attn_token_to_image.out_proj": (
        "mask_decoder.transformer.final_attn_token_to_image.o_proj"
    ),
    "sam_mask_decoder.transformer.norm_final_attn": "mask_decoder.transformer.layer_norm_final_attn",
    # memory attention
    "memory_attention.layers.*.self_attn.q_proj": "memory_attention.layers.*.self_attn.q_proj",
    "memory_attention.layers.*.self_attn.k_proj": "memory_attention.layers.*.self_attn.k_proj",
    "memory_attention.layers.*.self_attn.v_proj": "memory_attention.layers.*.self_attn.v_proj",
    "memory_attention.layers.*.self_attn.out_proj": "memory_attention.layers.*.self_attn.o_proj",
    "memory_attention.layers.*.cross_attn_image.q_proj": "memory_attention.layers.*.cross_attn_image.q_proj",
    "memory_attention.layers.*.cross_attn_image.k_proj": "memory_attention.layers.*.cross_attn_image.k_proj",
    "memory_attention.layers.*.cross_attn_image.v_proj": "memory_attention.layers.*.cross_attn_image.v_proj",
    "memory_attention.layers.*.cross_attn_image.out_proj": "memory_attention.layers.*.cross_attn_image.o_proj",
    "memory_attention.layers.*.linear1": "memory_attention.layers.*.linear1",
    "memory_attention.layers.*.linear2": "memory_attention.layers.*.linear2",
    "memory_attention.layers.*.norm1": "memory_attention.layers.*.layer_norm1",
    "memory_attention.layers.*.norm2": "memory_attention.layers.*.layer_norm2",
    "memory_attention.layers.*.norm3": "memory_attention.layers.*.layer_norm3",
    "memory_attention.norm": "memory_attention.layer_norm",
    # memory encoder
    "memory_encoder.mask_downsampler.encoder.0": "memory_encoder.mask_downsampler.layers.0.conv",
    "memory_encoder.mask_downsampler.encoder.1": "memory_encoder.mask_downsampler.layers.0.layer_norm",
    "memory_encoder.mask_downsampler.encoder.3": "memory_encoder.mask_downsampler.layers.1.conv",
    "memory_encoder.mask_downsampler.encoder.4": "memory_encoder.mask_downsampler.layers.1.layer_norm",
    "memory_encoder.mask_downsampler.encoder.6": "memory_encoder.mask_downsampler.layers.2.conv",
    "memory_encoder.mask_downsampler.encoder.7": "memory_encoder.mask_downsampler.layers.2.layer_norm",
    "memory_encoder.mask_downsampler.encoder.9": "memory_encoder.mask_downsampler.layers.3.conv",
    "memory_encoder.mask_downsampler.encoder.10": "memory_encoder.mask_downsampler.layers.3.layer_norm",
    "memory_encoder.mask_downsampler.encoder.12": "memory_encoder.mask_downsampler.final_conv",
    "memory_encoder.pix_feat_proj": "memory_encoder.feature_projection",
    "memory_encoder.fuser.layers.*.gamma": "memory_encoder.memory_fuser.layers.*.scale",
    "memory_encoder.fuser.layers.*.dwconv": "memory_encoder.memory_fuser.layers.*.depthwise_conv",
    "memory_encoder.fuser.layers.*.norm": "memory_encoder.memory_fuser.layers.*.layer_norm",
    "memory_encoder.fuser.layers.*.pwconv1": "memory_encoder.memory_fuser.layers.*.pointwise_conv1",
    "memory_encoder.fuser.layers.*.pwconv2": "memory_encoder.memory_fuser.layers.*.pointwise_conv2",
    "memory_encoder.out_proj": "memory_encoder.projection",
    # memory: embeddings, object pointers
    "maskmem_tpos_enc": "memory_temporal_positional_encoding",
    "no_mem_embed": "no_memory_embedding",
    "no_mem_pos_enc": "no_memory_positional_encoding",
    "no_obj_ptr": "no_object_pointer",
    "no_obj_embed_spatial": "occlusion_spatial_embedding_parameter",
    "mask_downsample": "mask_downsample",
    "obj_ptr_proj.layers.0": "object_pointer_proj.proj_in",
    "obj_ptr_proj.layers.1": "object_pointer_proj.layers.0",
    "obj_ptr_proj.layers.2": "object_pointer_proj.proj_out",
    "obj_ptr_tpos_proj": "temporal_positional_encoding_projection_layer",
}

# One embedding per kind of point (negative, positive, box corner, other corner): rows of one tensor in the new layout.
POINT_EMBEDDINGS = tuple(f"sam_prompt_encoder.point_embeddings.{row}.weight" for row in range(4))
POINT_EMBED = "prompt_encoder.point_embed.weight"

_LISTED = 8  # names shown in an error before "and n more"


def rename_pt(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of an original file (`{"model": tensors}`) under the names of `model.safetensors`.

    Tensors are passed on as they are, not copied, except the four point embeddings, which become rows of one. What a
    model needs and the file lacks is found by the strict load that follows.

    Raises ValueError that lists the names when some are not of a SAM 2 or 2.1 video model, or point embeddings are
    missing.
    """
    missing = [name for name in POINT_EMBEDDINGS if name not in tensors]
    unknown: list[str] = []
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if name in POINT_EMBEDDINGS:
            continue
        new_names = _new_names(name)
        if new_names is None:
            unknown.append(name)
            continue
        renamed.update(dict.fromkeys(new_names, tensor))
    if unknown or missing:
        problems = [f"unknown: {_listed(unknown)}"] * bool(unknown) + [f"missing: {_listed(missing)}"] * bool(missing)
        raise ValueError(
            f"not the tensors of an original SAM 2 or 2.1 file ({'; '.join(problems)}); expected the value of "
            '"model" of a released or fine-tuned .pt file'
        )
    renamed[POINT_EMBED] = torch.cat([tensors[name] for name in POINT_EMBEDDINGS])
    return renamed


def _new_names(name: str) -> tuple[str, ...] | None:
    """New names of a tensor, `None` when the table does not know it."""
    owner, _, kind = name.rpartition(".")
    suffix = f".{kind}" if kind in ("weight", "bias") else ""
    old = owner if suffix else name
    for pattern, new in _PATTERNS:
        match = pattern.fullmatch(old)
        if match is not None:
            index = match.group(1) if pattern.groups else ""
            return tuple(target.replace("*", index) + suffix for target in new)
    return None


def _compiled(old: str) -> re.Pattern[str]:
    return re.compile(re.escape(old).replace(r"\*", r"(\d+)"))


def _targets(new: str | tuple[str, ...]) -> tuple[str, ...]:
    return (new,) if isinstance(new, str) else new


_PATTERNS = tuple((_compiled(old), _targets(new)) for old, new in PT_NAMES.items())


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more

"""Random weights that make a comparison worth something: every part of the network has a say in the masks.

The initial weights of either package would not do: layer scales and embeddings start at (almost) zero, so that whole
branches could be wrong unseen. Here each tensor is drawn from a generator of its own (seeded by its name), scaled so
that activations keep about the same size through the network.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping

import torch

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""Names and shapes of a checkpoint, as a key of caches."""

_MATRIX = "positional_encoding_gaussian_matrix"
_EMBEDDINGS = re.compile(
    r".*(_token|_tokens|point_embeddings\.\d|not_a_point_embed|no_mask_embed)\.weight"
    r"|.*(pos_embed|pos_embed_window|_tpos_enc|_pos_enc|no_mem_embed|no_obj_ptr|no_obj_embed_spatial)"
)

# Without these gains memory would hardly matter (attention averages many independent values), all objects would have
# about the same score, and single masks would always be stable.
_GAINS: dict[str, float] = {
    r"memory_attention\.layers\.\d\.cross_attn_image\.out_proj\.weight": 4.0,
    r"sam_mask_decoder\.pred_obj_score_head\.layers\.2\.weight": 8.0,
    r"sam_mask_decoder\.iou_prediction_head\.layers\.2\.weight": 2.0,
    r"sam_mask_decoder\.output_hypernetworks_mlps\.0\.layers\.2\.weight": 0.7,
}


def random_pt_weights(
    shapes: Mapping[str, tuple[int, ...]], seed: int, object_score_bias: float
) -> dict[str, torch.Tensor]:
    """Weights by their names in the original `.pt` files. The bias decides how often an object counts as visible."""
    weights = {name: _random_tensor(name, shape, seed) for name, shape in shapes.items()}
    weights["sam_mask_decoder.pred_obj_score_head.layers.2.bias"] = torch.tensor([object_score_bias])
    return weights


def _random_tensor(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
    noise = torch.randn(shape, generator=generator)
    kind = name.rpartition(".")[2]
    if kind == _MATRIX:
        return noise
    if name == "memory_encoder.mask_downsampler.encoder.0.bias":
        # The mask comes in as -10 … 10, and a norm follows: a small bias would make it a step at every mask's edge.
        return 8 * noise
    if kind == "bias":
        return 0.1 * noise
    if kind == "gamma":  # layer scale of a residual branch
        return 0.3 * noise
    if kind == "weight" and len(shape) == 1:  # norms
        return 1 + 0.1 * noise
    if _EMBEDDINGS.fullmatch(name):
        return 0.5 * noise
    gain = next((gain for pattern, gain in _GAINS.items() if re.fullmatch(pattern, name)), 1.0)
    transposed = "output_upscaling" in name
    fan_in = shape[0] if transposed else math.prod(shape[1:])
    return gain * noise / math.sqrt(fan_in)

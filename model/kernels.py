"""Attention for long sequences, by a fixed table of device, dtype and shape: never by timing, so that bits repeat.

Legend: B batch, N heads, L queries, T keys, D channels of queries and keys, V channels of values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Queries taken at a time by `attention_by_blocks`: bounds its memory to 512 rows of scores.
BLOCK = 512


def uses_blocks(query: Tensor, num_keys: int) -> bool:
    """The table: on a CPU, products by blocks beat the fused kernel as soon as the keys are many."""
    return query.device.type == "cpu" and num_keys >= BLOCK


def attention(q_BNLD: Tensor, k_BNTD: Tensor, v_BNTV: Tensor) -> Tensor:
    """`softmax(q kᵀ / √D) v`, `[B, N, L, V]`."""
    if uses_blocks(q_BNLD, k_BNTD.shape[2]):
        return attention_by_blocks(q_BNLD, k_BNTD, v_BNTV)
    return F.scaled_dot_product_attention(q_BNLD, k_BNTD, v_BNTV)


def attention_by_blocks(q_BNLD: Tensor, k_BNTD: Tensor, v_BNTV: Tensor) -> Tensor:
    """The same by plain matrix products, a block of queries at a time; softmax in float32."""
    scale = q_BNLD.shape[-1] ** -0.5
    keys = k_BNTD.transpose(-1, -2)
    blocks = []
    for q in (q_BNLD * scale).split(BLOCK, dim=2):
        weights = torch.softmax(q @ keys, dim=-1, dtype=torch.float32).to(v_BNTV.dtype)
        blocks.append(weights @ v_BNTV)
    return torch.cat(blocks, dim=2)

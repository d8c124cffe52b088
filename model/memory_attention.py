"""Memory attention: the features of a frame look at what is remembered of an object.

Legend: B objects, L tokens of the frame's map, T memory tokens (spatial ones, then pointers), C channels, M memory
channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import Sam2Config
from model.kernels import attention, uses_blocks

ROPE_THETA = 10000.0


Rope = tuple[Tensor, Tensor]


def rope_table(size: int, channels: int) -> Rope:
    """Cosine and sine of the axial rotary code of a square map, fp32 `[size², channels / 2]`: x half, then y half."""
    frequency = 1 / ROPE_THETA ** (torch.arange(0, channels, 4, dtype=torch.float32) / channels)
    cell = torch.arange(size * size)
    x = torch.outer((cell % size).float(), frequency)
    y = torch.outer(torch.div(cell, size, rounding_mode="floor").float(), frequency)
    angle = torch.cat((x, y), dim=-1)
    return angle.cos(), angle.sin()


def rotate(tokens: Tensor, rope: Rope) -> Tensor:
    """Turns neighbouring pairs of channels of `[…, L, C]` by the angles of the table; computed in float32."""
    cos, sin = rope
    even, odd = tokens.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return turned.flatten(-2).to(tokens.dtype)


class SelfAttention(nn.Module):
    """The frame's tokens among themselves, with rotary code."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.o_proj = nn.Linear(dim, dim)

    def forward(self, x_BLC: Tensor, rope: Rope) -> Tensor:
        q = rotate(self.q_proj(x_BLC), rope)
        k = rotate(self.k_proj(x_BLC), rope)
        v = self.v_proj(x_BLC)
        out: Tensor = self.o_proj(attention(q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1)).squeeze(1))
        return out


class CrossAttention(nn.Module):
    """The frame's tokens to the memory tokens; the rotary code is for spatial memories, not for pointers."""

    def __init__(self, dim: int, memory_dim: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(memory_dim, dim)
        self.v_proj = nn.Linear(memory_dim, dim)
        self.o_proj = nn.Linear(dim, dim)

    def forward(
        self, x_BLC: Tensor, memory_BTM: Tensor, placed_BTM: Tensor, num_pointer_tokens: int, rope: Rope
    ) -> Tensor:
        """`placed_BTM` is the memory plus its position codes: what the keys are made of."""
        q = rotate(self.q_proj(x_BLC), rope).unsqueeze(1)
        k = self.k_proj(placed_BTM)
        num_spatial = k.shape[1] - num_pointer_tokens
        if num_spatial:
            spatial, pointers = k.split((num_spatial, num_pointer_tokens), dim=1)
            spatial = rotate(spatial.unflatten(1, (-1, x_BLC.shape[1])), rope).flatten(1, 2)
            k = torch.cat((spatial, pointers), dim=1)
        k = k.unsqueeze(1)
        if uses_blocks(q, k.shape[2]):
            # softmax(q kᵀ) (M Wᵀ + b) = (softmax(q kᵀ) M) Wᵀ + b, as rows of softmax sum to one: the values are
            # attended to while they are narrow, at a quarter of the multiplications.
            mixed = self.v_proj(attention(q, k, memory_BTM.unsqueeze(1)).squeeze(1))
        else:
            mixed = attention(q, k, self.v_proj(memory_BTM).unsqueeze(1)).squeeze(1)
        out: Tensor = self.o_proj(mixed)
        return out


class MemoryAttentionLayer(nn.Module):
    """Self-attention, cross-attention, MLP; norms first."""

    def __init__(self, dim: int, memory_dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(dim)
        self.self_attn = SelfAttention(dim)
        self.layer_norm2 = nn.LayerNorm(dim)
        self.cross_attn_image = CrossAttention(dim, memory_dim)
        self.layer_norm3 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, mlp_dim)
        self.linear2 = nn.Linear(mlp_dim, dim)

    def forward(
        self, x_BLC: Tensor, memory_BTM: Tensor, placed_BTM: Tensor, num_pointer_tokens: int, rope: Rope
    ) -> Tensor:
        x = x_BLC + self.self_attn(self.layer_norm1(x_BLC), rope)
        x = x + self.cross_attn_image(self.layer_norm2(x), memory_BTM, placed_BTM, num_pointer_tokens, rope)
        out: Tensor = x + self.linear2(F.relu(self.linear1(self.layer_norm3(x))))
        return out


class MemoryAttention(nn.Module):
    """A stack of layers over the features of a frame."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MemoryAttentionLayer(config.hidden_dim, config.memory_dim, config.memory_attention_mlp_dim)
            for _ in range(config.memory_attention_layers)
        )
        self.layer_norm = nn.LayerNorm(config.hidden_dim)

    def forward(
        self,
        image_BLC: Tensor,
        image_position_LC: Tensor,
        memory_BTM: Tensor,
        memory_position_BTM: Tensor,
        num_pointer_tokens: int,
        rope: Rope,
    ) -> Tensor:
        """Features that know the object, `[B, L, C]`. The last `num_pointer_tokens` memory tokens are pointers."""
        x = image_BLC + 0.1 * image_position_LC
        placed = memory_BTM + memory_position_BTM
        for layer in self.layers:
            x = layer(x, memory_BTM, placed, num_pointer_tokens, rope)
        out: Tensor = self.layer_norm(x)
        return out

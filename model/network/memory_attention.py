"""Memory attention: the features of a frame look at the memories of an object.

Legend: B objects, L tokens of the frame's map, T memory tokens (spatial ones, then pointers), C channels, M memory
channels.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from model.network.config import ROPE_THETA, Sam2Config
from model.network.kernels import attention, rows_at_a_time, uses_blocks
from model.network.layers import Linear, wide


def rope_table(size: int, channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The axial rotary code of a square map as unit complex numbers, `[size², channels / 2]`: x half, then y half."""
    frequency = 1 / ROPE_THETA ** (torch.arange(0, channels, 4, dtype=dtype) / channels)
    cell = torch.arange(size * size)
    x = torch.outer((cell % size).to(dtype), frequency)
    y = torch.outer(torch.div(cell, size, rounding_mode="floor").to(dtype), frequency)
    angle = torch.cat((x, y), dim=-1)
    return torch.complex(angle.cos(), angle.sin())


def rotate(tokens: Tensor, rope: Tensor) -> Tensor:
    """Turns neighboring pairs of channels of `[…, L, C]` by the angles of the table; never computed in 16 bits.

    (even, odd) → (even cos - odd sin, even sin + odd cos): one product of complex numbers.
    """
    pairs = torch.view_as_complex(tokens.to(wide(tokens.dtype)).unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rope).flatten(-2).to(tokens.dtype)


class SelfAttention(nn.Module):
    """The frame's tokens among themselves, with rotary code."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q_proj = Linear(dim, dim)
        self.k_proj = Linear(dim, dim)
        self.v_proj = Linear(dim, dim)
        self.o_proj = Linear(dim, dim)

    def forward(self, x_BLC: Tensor, rope: Tensor) -> Tensor:
        q = rotate(self.q_proj(x_BLC), rope)
        k = rotate(self.k_proj(x_BLC), rope)
        v = self.v_proj(x_BLC)
        out: Tensor = self.o_proj(attention(q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1)).squeeze(1))
        return out


class Memories(NamedTuple):
    """The memory tokens of B objects; the last `num_pointer_tokens` of each are pointers.

    `placed_BTM` are the tokens plus their position codes, of which the keys are made. Where some tokens only fill up a
    shape, `is_key_BT` says which are real.
    """

    memory_BTM: Tensor
    placed_BTM: Tensor
    num_pointer_tokens: int
    is_key_BT: Tensor | None = None


class CrossAttention(nn.Module):
    """The frame's tokens to the memory tokens; the rotary code is for spatial memories, not for pointers."""

    def __init__(self, dim: int, memory_dim: int) -> None:
        super().__init__()
        self.q_proj = Linear(dim, dim)
        self.k_proj = Linear(memory_dim, dim)
        self.v_proj = Linear(memory_dim, dim)
        self.o_proj = Linear(dim, dim)

    def forward(self, x_BLC: Tensor, memories: Memories, rope: Tensor) -> Tensor:
        """Queries may be of batch 1."""
        memory_BTM, placed_BTM, num_pointer_tokens, is_key_BT = memories
        q = rotate(self.q_proj(x_BLC), rope).unsqueeze(1)
        k = self.keys(placed_BTM, num_pointer_tokens, rope).unsqueeze(1)
        if uses_blocks(q, k.shape[2]):
            # softmax(q kᵀ) (M Wᵀ + b) = (softmax(q kᵀ) M) Wᵀ + b, as rows of softmax sum to one: the values are
            # attended to while they are narrow, at a quarter of the multiplications.
            mixed = self.v_proj(attention(q, k, memory_BTM.unsqueeze(1), is_key_BT).squeeze(1))
        else:
            mixed = attention(q, k, self.v_proj(memory_BTM).unsqueeze(1), is_key_BT).squeeze(1)
        out: Tensor = self.o_proj(mixed)
        return out

    def keys(self, placed_BTM: Tensor, num_pointer_tokens: int, rope: Tensor) -> Tensor:
        """Keys `[B, T, C]`: spatial memories turned, each by the same table, and the pointers after them as they are.

        On a CPU some memories at a time, so that what lies between the steps stays in its caches.
        """
        batch, length, _ = placed_BTM.shape
        num_spatial = length - num_pointer_tokens
        size = len(rope) * max(1, (rows_at_a_time(placed_BTM) or num_spatial) // len(rope))
        keys = placed_BTM.new_empty(batch, length, self.k_proj.out_features)
        for start in range(0, num_spatial, size):
            part = self.k_proj(placed_BTM[:, start : min(start + size, num_spatial)]).unflatten(1, (-1, len(rope)))
            keys[:, start : start + part.shape[1] * len(rope)].unflatten(1, (-1, len(rope)))[:] = rotate(part, rope)
        keys[:, num_spatial:] = self.k_proj(placed_BTM[:, num_spatial:])
        return keys


class MemoryAttentionLayer(nn.Module):
    """Self-attention, cross-attention, MLP; norms first."""

    def __init__(self, dim: int, memory_dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(dim)
        self.self_attn = SelfAttention(dim)
        self.layer_norm2 = nn.LayerNorm(dim)
        self.cross_attn_image = CrossAttention(dim, memory_dim)
        self.layer_norm3 = nn.LayerNorm(dim)
        self.linear1 = Linear(dim, mlp_dim)
        self.linear2 = Linear(mlp_dim, dim)

    def look_at_frame(self, x_BLC: Tensor, rope: Tensor) -> Tensor:
        """The first third of the layer: the frame's tokens among themselves."""
        out: Tensor = x_BLC + self.self_attn(self.layer_norm1(x_BLC), rope)
        return out

    def look_at_memory(self, x_BLC: Tensor, memories: Memories, rope: Tensor) -> Tensor:
        """The rest of the layer. An `x` of batch 1 serves all objects."""
        x = x_BLC + self.cross_attn_image(self.layer_norm2(x_BLC), memories, rope)
        out: Tensor = x + self.linear2(self.linear1(self.layer_norm3(x), "relu"))
        return out


class MemoryAttention(nn.Module):
    """A stack of layers over the features of a frame."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MemoryAttentionLayer(config.hidden_dim, config.memory_dim, config.memory.attention_mlp_dim)
            for _ in range(config.memory.attention_layers)
        )
        self.layer_norm = nn.LayerNorm(config.hidden_dim)

    def _layers(self) -> list[MemoryAttentionLayer]:
        return [cast("MemoryAttentionLayer", layer) for layer in self.layers]

    def look_at_frame(self, image_FLC: Tensor, image_position_LC: Tensor, rope: Tensor) -> Tensor:
        """What the stack does before it sees a memory, `[F, L, C]`: the same for all objects of a frame."""
        return self._layers()[0].look_at_frame(image_FLC + 0.1 * image_position_LC, rope)

    def forward(self, looked_BLC: Tensor, memories: Memories, rope: Tensor) -> Tensor:
        """Features that know the object, `[B, L, C]`, from what `look_at_frame` gave (batch 1: one frame for all)."""
        x = looked_BLC
        for index, layer in enumerate(self._layers()):
            if index > 0:
                x = layer.look_at_frame(x, rope)
            x = layer.look_at_memory(x, memories, rope)
        out: Tensor = self.layer_norm(x)
        return out

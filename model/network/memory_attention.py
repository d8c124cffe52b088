"""Memory attention: the features of a frame look at the memories of an object.

Legend: B objects, L tokens of the frame's map, T memory tokens (spatial ones, then pointers), C channels, M memory
channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from model.network.config import Sam2Config
from model.network.kernels import attention, rows_at_a_time, uses_blocks
from model.network.layers import Constants, Linear, Product, wide
from model.network.rotary import Order, turn, turn_pairs, turnable


def values_to_output(v_proj: nn.Linear, o_proj: nn.Linear) -> Product:
    """`o_proj(v_proj(x))` as one projection.

    In an attention of one head it may stand before the weights or after them, as they sum to one for each query.
    """
    dtype = wide(v_proj.weight.dtype)
    v, v_bias, o, o_bias = (x.to(dtype) for layer in (v_proj, o_proj) for x in (layer.weight, layer.bias))
    return Product((o @ v).to(v_proj.weight.dtype), (o @ v_bias + o_bias).to(v_proj.weight.dtype))


class SelfAttention(nn.Module):
    """The frame's tokens among themselves, with rotary code."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q_proj = Linear(dim, dim)
        self.k_proj = Linear(dim, dim)
        self.v_proj = Linear(dim, dim)
        self.o_proj = Linear(dim, dim)

    def joined(self, order: Order) -> Product:
        """The projections as one: queries and keys as `turnable` has them, then the values as the output has them."""
        q, k = (turnable(layer, order) for layer in (self.q_proj, self.k_proj))
        v = values_to_output(self.v_proj, self.o_proj)
        assert v.bias is not None
        return Product(torch.cat((q[0], k[0], v.weight)), torch.cat((q[1], k[1], v.bias)))

    def forward(self, x_BLC: Tensor, rope: Tensor, qkv_proj: Product) -> Tensor:
        qkv, dim = qkv_proj(x_BLC), x_BLC.shape[-1]
        q, k = turn(qkv[..., :-dim].unflatten(-1, (2, -1)).transpose(1, 2), rope).unbind(1)
        v = qkv[..., -dim:]
        return attention(q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1)).squeeze(1)


class Memories(NamedTuple):
    """The memory tokens of B objects; the last `num_pointer_tokens` of each are pointers.

    `placed_BTM` are the tokens plus their position codes, of which the keys are made. Where some tokens only fill up a
    shape, `is_key_BT` says which are real.
    """

    memory_BTM: Tensor
    placed_BTM: Tensor
    num_pointer_tokens: int
    is_key_BT: Tensor | None = None


class CrossProducts(NamedTuple):
    """The projections of a cross-attention: `turnable` queries and keys, and `values_to_output`."""

    q: Product
    k: Product
    out: Product


class CrossAttention(nn.Module):
    """The frame's tokens to the memory tokens; the rotary code is for spatial memories, not for pointers."""

    def __init__(self, dim: int, memory_dim: int) -> None:
        super().__init__()
        self.q_proj = Linear(dim, dim)
        self.k_proj = Linear(memory_dim, dim)
        self.v_proj = Linear(memory_dim, dim)
        self.o_proj = Linear(dim, dim)

    def products(self, order: Order) -> CrossProducts:
        """The projections as `forward` takes them."""
        q, k = (Product(*turnable(layer, order)) for layer in (self.q_proj, self.k_proj))
        return CrossProducts(q, k, values_to_output(self.v_proj, self.o_proj))

    def forward(self, x_BLC: Tensor, memories: Memories, rope: Tensor, products: CrossProducts) -> Tensor:
        """Queries may be of batch 1."""
        memory_BTM, placed_BTM, num_pointer_tokens, is_key_BT = memories
        q = turn(products.q(x_BLC), rope).unsqueeze(1)
        k = keys(placed_BTM, num_pointer_tokens, rope, products.k).unsqueeze(1)
        if uses_blocks(q, k.shape[2]):
            # The values are attended to while they are narrow, at a quarter of the multiplications.
            return products.out(attention(q, k, memory_BTM.unsqueeze(1), is_key_BT).squeeze(1))
        return attention(q, k, products.out(memory_BTM).unsqueeze(1), is_key_BT).squeeze(1)


def keys(placed_BTM: Tensor, num_pointer_tokens: int, rope: Tensor, k_proj: Product) -> Tensor:
    """Keys `[B, T, C]`: spatial memories turned, each by the same table, and the pointers after them as they are.

    The channels are in the order of the projection. On a CPU some memories are taken at a time, so that what lies
    between the steps stays in its caches.
    """
    if rope.is_complex():
        return _keys_in_parts(placed_BTM, num_pointer_tokens, rope, k_proj)
    projected, dim = k_proj(placed_BTM), 2 * rope.shape[-1]
    num_spatial = placed_BTM.shape[1] - num_pointer_tokens
    turned = turn(projected[:, :num_spatial].unflatten(1, (-1, rope.shape[1])), rope)
    if projected.shape[-1] > dim and not torch.compiler.is_compiling():
        return projected[..., :dim]  # turned in place
    return torch.cat((turned.flatten(1, 2), projected[:, num_spatial:, :dim]), dim=1)


def _keys_in_parts(placed_BTM: Tensor, num_pointer_tokens: int, rope: Tensor, k_proj: Product) -> Tensor:
    batch, length, _ = placed_BTM.shape
    num_spatial, size = length - num_pointer_tokens, len(rope)
    step = size * max(1, (rows_at_a_time(placed_BTM) or num_spatial) // size)
    pointers = k_proj(placed_BTM[:, num_spatial:])
    out = pointers.new_empty(batch, length, pointers.shape[-1])
    for start in range(0, num_spatial, step):
        part = slice(start, min(start + step, num_spatial))
        turn_pairs(k_proj(placed_BTM[:, part]).unflatten(1, (-1, size)), rope, out[:, part].unflatten(1, (-1, size)))
    out[:, num_spatial:] = pointers
    return out


class LayerProducts(NamedTuple):
    """The projections of one layer that are made of its weights."""

    qkv: Product
    cross: CrossProducts


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

    def products(self, order: Order) -> LayerProducts:
        """What `look_at_frame` and `look_at_memory` take."""
        return LayerProducts(self.self_attn.joined(order), self.cross_attn_image.products(order))

    def look_at_frame(self, x_BLC: Tensor, rope: Tensor, products: LayerProducts) -> Tensor:
        """The first third of the layer: the frame's tokens among themselves."""
        out: Tensor = x_BLC + self.self_attn(self.layer_norm1(x_BLC), rope, products.qkv)
        return out

    def look_at_memory(self, x_BLC: Tensor, memories: Memories, rope: Tensor, products: LayerProducts) -> Tensor:
        """The rest of the layer. An `x` of batch 1 serves all objects."""
        x = x_BLC + self.cross_attn_image(self.layer_norm2(x_BLC), memories, rope, products.cross)
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
        self._constants = Constants()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MemoryAttention:
        self._constants.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _layers(self) -> list[MemoryAttentionLayer]:
        return [cast("MemoryAttentionLayer", layer) for layer in self.layers]

    def products(self, order: Order) -> list[LayerProducts]:
        """The projections of all layers that are made of weights: `look_at_frame` and `forward` take them."""
        weights = [
            w
            for layer in self._layers()
            for part in (layer.self_attn, layer.cross_attn_image)
            for w in part.parameters()
        ]
        return self._constants.get(
            f"products {order}", weights, lambda: [layer.products(order) for layer in self._layers()]
        )

    def look_at_frame(
        self, image_FLC: Tensor, image_position_LC: Tensor, rope: Tensor, products: Sequence[LayerProducts]
    ) -> Tensor:
        """What the stack does before it sees a memory, `[F, L, C]`: the same for all objects of a frame."""
        return self._layers()[0].look_at_frame(image_FLC + image_position_LC, rope, products[0])

    def forward(
        self, looked_BLC: Tensor, memories: Memories, rope: Tensor, products: Sequence[LayerProducts]
    ) -> Tensor:
        """Features that know the object, `[B, L, C]`, from what `look_at_frame` gave (batch 1: one frame for all)."""
        x = looked_BLC
        for index, layer in enumerate(self._layers()):
            if index > 0:
                x = layer.look_at_frame(x, rope, products[index])
            x = layer.look_at_memory(x, memories, rope, products[index])
        out: Tensor = self.layer_norm(x)
        return out

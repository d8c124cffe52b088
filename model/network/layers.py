"""Norm, MLP, attention and position codes, shared by the parts of the network.

Legend: B batch, L tokens, N heads, C channels, D channels of a head, H W map. Submodules carry the tensor names of the
released `model.safetensors`, so that no weight is renamed when they are loaded.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.kernels import Activation, linear, pack, without_autocast

T = TypeVar("T")


def wide(dtype: torch.dtype) -> torch.dtype:
    """What a network of this dtype computes position codes, scores and logits in: float32, or float64 in float64."""
    return torch.promote_types(dtype, torch.float32)


class Constants:
    """What follows from weights: computed once, and again when one of those weights has changed.

    At most `limit` entries are kept, those made last.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._entries: OrderedDict[str, tuple[tuple[object, ...], object]] = OrderedDict()

    def get(self, name: str, weights: Sequence[Tensor], compute: Callable[[], T]) -> T:
        """The entry of that name; `weights` are all the weights that `compute` reads.

        It is computed again after the weights were loaded or moved: a tensor that was written in place has another
        version, and a module that was moved has called `clear`.
        """
        state = tuple(
            (w.data_ptr(), 0 if w.is_inference() else w._version, w.dtype, w.device) for w in weights if not w.is_meta
        )
        entry = self._entries.get(name)
        if entry is None or entry[0] != state:
            with without_autocast(), torch.no_grad():
                entry = (state, compute())
            self._entries[name] = entry
            while self._limit is not None and len(self._entries) > self._limit:
                self._entries.popitem(last=False)
        return entry[1]  # type: ignore[return-value]  # a name stands for one kind of entry

    def clear(self) -> None:
        """Forgets everything: to be called where a module's weights are replaced (`_apply`)."""
        self._entries.clear()

    def __deepcopy__(self, memo: dict[int, object]) -> Constants:
        return Constants(self._limit)  # a copy of the module has other weights, and some layouts cannot be copied

    def __reduce__(self) -> tuple[type[Constants], tuple[int | None]]:
        return Constants, (self._limit,)


class Linear(nn.Linear):
    """A linear layer and the activation after it, by the table of `model.network.kernels`.

    Where oneDNN computes the layer, the weight is kept a second time, in the layout that oneDNN reads.
    """

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__(input_dim, output_dim)
        self._constants = Constants()

    def reset_parameters(self) -> None:
        """Draws weights, but not on the meta device: there the network waits for those of a checkpoint."""
        if not self.weight.is_meta:
            super().reset_parameters()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Linear:
        self._constants.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def forward(self, x: Tensor, activation: Activation = "none") -> Tensor:
        return linear(x, self.weight, self.bias, activation, self._packed)

    def _packed(self) -> Tensor:
        return self._constants.get("packed", [self.weight], lambda: pack(self.weight))


class Product:
    """A linear layer whose weights were made of those of others; on a CPU oneDNN's layout is made when first needed."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias
        self._packed: Tensor | None = None

    def __call__(self, x: Tensor, activation: Activation = "none") -> Tensor:
        return linear(x, self.weight, self.bias, activation, self._pack)

    def _pack(self) -> Tensor:
        if self._packed is None:
            self._packed = pack(self.weight)
        return self._packed


def side_by_side(*layers: nn.Linear) -> Product:
    """Linear layers of one input as one product; their outputs lie side by side."""
    return Product(torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers]))


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of `[B, C, H, W]`."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        normed: Tensor = super().forward(x_BCHW.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """`depth` linear layers with an activation between them."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, depth: int, activation: Activation) -> None:
        super().__init__()
        self.proj_in = Linear(input_dim, hidden_dim)
        self.layers = nn.ModuleList(Linear(hidden_dim, hidden_dim) for _ in range(depth - 2))
        self.proj_out = Linear(hidden_dim, output_dim)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj_in(x, self.activation)
        for layer in self.layers:
            x = layer(x, self.activation)
        out: Tensor = self.proj_out(x)
        return out


def split_heads(x_BLC: Tensor, num_heads: int) -> Tensor:
    """`[B, L, N·D]` to `[B, N, L, D]`."""
    heads: Tensor = x_BLC.unflatten(2, (num_heads, -1))
    return heads.transpose(1, 2)


def merge_heads(x_BNLD: Tensor) -> Tensor:
    """`[B, N, L, D]` to `[B, L, N·D]`."""
    return x_BNLD.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Multi-head attention of the mask decoder; inside it is `hidden_dim / downsample` wide."""

    def __init__(self, hidden_dim: int, num_heads: int, downsample: int = 1) -> None:
        super().__init__()
        inner_dim = hidden_dim // downsample
        self.num_heads = num_heads
        self.q_proj = Linear(hidden_dim, inner_dim)
        self.k_proj = Linear(hidden_dim, inner_dim)
        self.v_proj = Linear(hidden_dim, inner_dim)
        self.o_proj = Linear(inner_dim, hidden_dim)

    def forward(self, q_BLC: Tensor, k_BLC: Tensor, v_BLC: Tensor) -> Tensor:
        """From projected queries, keys and values."""
        q, k, v = (split_heads(x, self.num_heads) for x in (q_BLC, k_BLC, v_BLC))
        out: Tensor = self.o_proj(merge_heads(F.scaled_dot_product_attention(q, k, v)))
        return out


def sine_position_2d(size: int, channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Sine code of a square map, `[channels, size, size]`: the y half first, positions scaled to 0…2π (DETR)."""
    position = torch.arange(1, size + 1, dtype=dtype) / (size + 1e-6) * 2 * math.pi
    half = channels // 2
    period = 10000 ** (2 * torch.div(torch.arange(half, dtype=dtype), 2, rounding_mode="floor") / half)
    angle = position[:, None] / period
    code = torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)
    y = code[:, None, :].expand(size, size, half)
    x = code[None, :, :].expand(size, size, half)
    return torch.cat((y, x), dim=2).permute(2, 0, 1).contiguous()


def sine_position_1d(position: Tensor, channels: int) -> Tensor:
    """Sine code of positions in time, `[…]` to `[…, channels]`: all sines, then all cosines."""
    half = channels // 2
    index = torch.arange(half, device=position.device, dtype=position.dtype)
    period = 10000 ** (2 * torch.div(index, 2, rounding_mode="floor") / half)
    angle = position[..., None] / period
    return torch.cat((angle.sin(), angle.cos()), dim=-1)


class RandomPosition(nn.Module):
    """Position code of points by random Fourier features (arXiv 2006.10739), the matrix being one of the weights.

    The matrix is never narrower than float32: in bfloat16 it would move clicks by several pixels.
    """

    positional_embedding: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("positional_embedding", torch.zeros(2, channels // 2))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RandomPosition:
        moved = fn(self.positional_embedding)
        self.positional_embedding = self.positional_embedding.to(moved.device, wide(moved.dtype))
        return self

    def forward(self, xy: Tensor) -> Tensor:
        """Code of points, `[…, 2]` in 0…1 to `[…, channels]`, in the dtype of the matrix."""
        matrix = self.positional_embedding
        with without_autocast():
            angle = 2 * math.pi * ((2 * xy.to(matrix.dtype) - 1) @ matrix)
        return torch.cat((angle.sin(), angle.cos()), dim=-1)

    def grid(self, size: int) -> Tensor:
        """Code of the centers of a square map's cells, `[channels, size, size]`."""
        matrix = self.positional_embedding
        center = (torch.arange(size, device=matrix.device, dtype=matrix.dtype) + 0.5) / size
        y, x = torch.meshgrid(center, center, indexing="ij")
        code: Tensor = self(torch.stack((x, y), dim=-1))
        return code.permute(2, 0, 1)

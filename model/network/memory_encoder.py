"""The memory encoder: what a frame showed and where the object was, as a map of few channels.

Legend: B objects, C channels, M memory channels, H W map of stride 16, S side of the model's square input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.config import Sam2Config
from model.network.kernels import linear
from model.network.layers import Constants, LayerNorm2d, Linear, Product, wide


def pointwise(conv: nn.Conv2d, x_BCHW: Tensor) -> Tensor:
    """A 1×1 convolution as a product of a channels-last map, whose weight needs no other layout."""
    return linear(x_BCHW.permute(0, 2, 3, 1), conv.weight.flatten(1), conv.bias).permute(0, 3, 1, 2)


class MaskDownsampleLayer(nn.Module):
    """Halves a map and quadruples its channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * channels, kernel_size=3, stride=2, padding=1)
        self.layer_norm = LayerNorm2d(4 * channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = F.gelu(self.layer_norm(self.conv(x_BCHW)))
        return out


class MaskDownsampler(nn.Module):
    """A mask of stride 1 to a map of stride 16."""

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MaskDownsampleLayer(4**depth) for depth in range(4))
        self.final_conv = nn.Conv2d(4**4, hidden_dim, kernel_size=1)

    def forward(self, mask_B1SS: Tensor) -> Tensor:
        x = mask_B1SS
        for layer in self.layers:
            x = layer(x)
        return pointwise(self.final_conv, x)


class FuserBlock(nn.Module):
    """A ConvNeXt block (arXiv 2201.03545)."""

    def __init__(self, dim: int, inner_dim: int) -> None:
        super().__init__()
        self.depthwise_conv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.layer_norm = LayerNorm2d(dim)
        self.pointwise_conv1 = Linear(dim, inner_dim)
        self.pointwise_conv2 = Linear(inner_dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), 1e-6))

    def scaled(self) -> Product:
        """`pointwise_conv2` and the scale behind it as one."""
        last, scale = self.pointwise_conv2, self.scale.to(wide(self.scale.dtype))
        weight, bias = (scale[:, None] * last.weight).to(last.weight.dtype), (scale * last.bias).to(last.bias.dtype)
        return Product(weight, bias)

    def forward(self, x_BCHW: Tensor, scaled: Product) -> Tensor:
        """`scaled` is that of `self.scaled`."""
        x = self.layer_norm(self.depthwise_conv(x_BCHW)).permute(0, 2, 3, 1)
        x = scaled(self.pointwise_conv1(x, "gelu"))
        out: Tensor = x_BCHW + x.permute(0, 3, 1, 2)
        return out


class MemoryFuser(nn.Module):
    """Two blocks over the sum of image and mask."""

    def __init__(self, dim: int, inner_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FuserBlock(dim, inner_dim) for _ in range(2))

    def forward(self, x_BCHW: Tensor, products: Sequence[Product]) -> Tensor:
        x = x_BCHW
        for layer, scaled in zip(self.layers, products, strict=True):
            x = layer(x, scaled)
        return x


class MemoryEncoder(nn.Module):
    """Fuses the features of a frame with one mask for each object."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.mask_downsampler = MaskDownsampler(config.hidden_dim)
        self.feature_projection = nn.Conv2d(config.hidden_dim, config.hidden_dim, kernel_size=1)
        self.memory_fuser = MemoryFuser(config.hidden_dim, config.memory.fuser_dim)
        self.projection = nn.Conv2d(config.hidden_dim, config.memory_dim, kernel_size=1)
        self._constants = Constants()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MemoryEncoder:
        self._constants.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def products(self) -> list[Product]:
        """What `forward` takes: the last layer of each block of the fuser, with its scale."""
        blocks = [cast("FuserBlock", layer) for layer in self.memory_fuser.layers]
        weights = [w for block in blocks for w in (block.scale, *block.pointwise_conv2.parameters())]
        return self._constants.get("products", weights, lambda: [block.scaled() for block in blocks])

    def forward(self, image_BCHW: Tensor, mask_B1SS: Tensor, products: Sequence[Product]) -> Tensor:
        """`[B, M, H, W]`; the mask comes scaled to -10 … 10. A single image may serve all objects (B = 1)."""
        x = pointwise(self.feature_projection, image_BCHW) + self.mask_downsampler(mask_B1SS)
        return pointwise(self.projection, self.memory_fuser(x, products))

"""The memory encoder: what a frame showed and where the object was, as a map of few channels.

Legend: B objects, C channels, M memory channels, H W map of stride 16, S side of the model's square input.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.config import Sam2Config
from model.network.layers import LayerNorm2d, Linear


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
        out: Tensor = self.final_conv(x)
        return out


class FuserBlock(nn.Module):
    """A ConvNeXt block (arXiv 2201.03545)."""

    def __init__(self, dim: int, inner_dim: int) -> None:
        super().__init__()
        self.depthwise_conv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.layer_norm = LayerNorm2d(dim)
        self.pointwise_conv1 = Linear(dim, inner_dim)
        self.pointwise_conv2 = Linear(inner_dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), 1e-6))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = self.layer_norm(self.depthwise_conv(x_BCHW)).permute(0, 2, 3, 1)
        x = self.scale * self.pointwise_conv2(self.pointwise_conv1(x, "gelu"))
        out: Tensor = x_BCHW + x.permute(0, 3, 1, 2)
        return out


class MemoryFuser(nn.Module):
    """Two blocks over the sum of image and mask."""

    def __init__(self, dim: int, inner_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FuserBlock(dim, inner_dim) for _ in range(2))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = x_BCHW
        for layer in self.layers:
            x = layer(x)
        return x


class MemoryEncoder(nn.Module):
    """Fuses the features of a frame with one mask for each object."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.mask_downsampler = MaskDownsampler(config.hidden_dim)
        self.feature_projection = nn.Conv2d(config.hidden_dim, config.hidden_dim, kernel_size=1)
        self.memory_fuser = MemoryFuser(config.hidden_dim, config.memory.fuser_dim)
        self.projection = nn.Conv2d(config.hidden_dim, config.memory_dim, kernel_size=1)

    def forward(self, image_BCHW: Tensor, mask_B1SS: Tensor) -> Tensor:
        """`[B, M, H, W]`; the mask comes scaled to -10 … 10. A single image may serve all objects (B = 1)."""
        x = self.feature_projection(image_BCHW) + self.mask_downsampler(mask_B1SS)
        out: Tensor = self.projection(self.memory_fuser(x))
        return out

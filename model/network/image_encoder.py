"""The image encoder: a Hiera trunk (arXiv 2306.00989) under a feature pyramid.

Legend: B frames, C channels, H W map, N windows, S side of a window.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.config import HieraConfig, Sam2Config
from model.network.kernels import attention, linear, rows_at_a_time
from model.network.layers import Constants, Linear, Mlp, split_heads


class PatchEmbed(nn.Module):
    """Overlapping patches of stride 4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, channels, kernel_size=7, stride=4, padding=3)

    def forward(self, pixels_B3HW: Tensor) -> Tensor:
        # Channels last throughout: the map that comes out is contiguous as the blocks read it.
        out: Tensor = self.projection(pixels_B3HW.contiguous(memory_format=torch.channels_last))
        return out.permute(0, 2, 3, 1)


class WindowAttention(nn.Module):
    """Attention inside windows, queries max-pooled by two where a stage begins."""

    def __init__(self, input_dim: int, output_dim: int, num_heads: int, pool: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.pool = pool
        self.qkv = Linear(input_dim, 3 * output_dim)
        self.proj = Linear(output_dim, output_dim)

    def forward(self, x_NSSC: Tensor) -> Tensor:
        num_windows, height, width, _ = x_NSSC.shape
        q, k, v = self.qkv(x_NSSC).chunk(3, dim=-1)
        if self.pool:
            q = pool_by_two(q)
            height, width = height // 2, width // 2
        q, k, v = (split_heads(t.flatten(1, 2), self.num_heads) for t in (q, k, v))
        x = attention(q, k, v)
        x = x.transpose(1, 2).reshape(num_windows, height, width, -1)
        out: Tensor = self.proj(x)
        return out


def pool_by_two(x_BHWC: Tensor) -> Tensor:
    """Max-pools a channels-last map by two."""
    return F.max_pool2d(x_BHWC.permute(0, 3, 1, 2), kernel_size=2, stride=2).permute(0, 2, 3, 1)


def partition(x_BHWC: Tensor, side: int) -> Tensor:
    """Cuts a map into windows `[N, side, side, C]`; the map is padded with zeros up to whole windows."""
    batch, height, width, channels = x_BHWC.shape
    x = F.pad(x_BHWC, (0, 0, 0, -width % side, 0, -height % side))
    rows, columns = x.shape[1] // side, x.shape[2] // side
    x = x.view(batch, rows, side, columns, side, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, side, side, channels)


def unpartition(x_NSSC: Tensor, batch: int, height: int, width: int) -> Tensor:
    """The inverse of `partition`: windows back to a map `[B, height, width, C]`, padding cut off."""
    _, side, _, channels = x_NSSC.shape
    rows, columns = -(-height // side), -(-width // side)
    x = x_NSSC.view(batch, rows, columns, side, side, channels).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, rows * side, columns * side, channels)[:, :height, :width]


class HieraBlock(nn.Module):
    """One transformer block; `window` 0 means attention over the whole map."""

    def __init__(self, input_dim: int, output_dim: int, num_heads: int, window: int, pool: bool) -> None:
        super().__init__()
        self.window = window
        self.pool = pool
        self.layer_norm1 = nn.LayerNorm(input_dim, eps=1e-6)
        self.attn = WindowAttention(input_dim, output_dim, num_heads, pool)
        self.layer_norm2 = nn.LayerNorm(output_dim, eps=1e-6)
        self.mlp = Mlp(output_dim, 4 * output_dim, output_dim, depth=2, activation="gelu")
        self.proj = Linear(input_dim, output_dim) if input_dim != output_dim else None

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """`x = shortcut(x) + attend(norm(x))`, then `x + mlp(norm(x))`; on a CPU by bands and rows of the map."""
        bands = x_BHWC.split(self._band_height(x_BHWC), dim=1)
        x = self._attend(bands[0]) if len(bands) == 1 else torch.cat([self._attend(band) for band in bands], dim=1)
        rows = x.view(-1, x.shape[-1])
        for part in rows.split(rows_at_a_time(x) or len(rows)):
            part += self.mlp(self.layer_norm2(part))
        return x

    def _attend(self, x_BHWC: Tensor) -> Tensor:
        normed = self.layer_norm1(x_BHWC)
        shortcut = x_BHWC
        if self.proj is not None:
            shortcut = pool_by_two(self.proj(normed)) if self.pool else self.proj(normed)
        batch, height, width, _ = shortcut.shape
        if self.window:
            x = unpartition(self.attn(partition(normed, self.window)), batch, height, width)
        else:
            x = self.attn(normed)
        return (shortcut + x).contiguous()

    def _band_height(self, x_BHWC: Tensor) -> int:
        """Rows of the map taken at a time: whole windows, which do not see one another."""
        _, height, width, _ = x_BHWC.shape
        limit = rows_at_a_time(x_BHWC)
        if limit is None or not self.window:
            return height
        return max(limit // (width * self.window), 1) * self.window


class Hiera(nn.Module):
    """The trunk: four stages at strides 4, 8, 16 and 32."""

    def __init__(self, config: HieraConfig, image_size: int) -> None:
        super().__init__()
        self.grid_size = image_size // 4
        first_dim, first_window = config.embed_dims[0], config.window_sizes[0]
        self.patch_embed = PatchEmbed(first_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, first_dim, *config.position_grid))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, first_dim, first_window, first_window))
        self._constants = Constants()
        self.blocks = nn.ModuleList()
        self.stage_ends: list[int] = []
        for stage, num_blocks in enumerate(config.blocks_per_stage):
            for index in range(num_blocks):
                begins = stage > 0 and index == 0
                # The first block of a stage still works on the windows of the stage before: it pools inside them.
                source = stage - 1 if begins else stage
                is_global = len(self.blocks) in config.global_attention_blocks
                self.blocks.append(
                    HieraBlock(
                        input_dim=config.embed_dims[source],
                        output_dim=config.embed_dims[stage],
                        num_heads=config.num_heads[stage],
                        window=0 if is_global else config.window_sizes[source],
                        pool=begins,
                    )
                )
            self.stage_ends.append(len(self.blocks) - 1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Hiera:
        self._constants.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def position(self) -> Tensor:
        """Position code of the patches, channels last `[1, H, W, C]`: a coarse code enlarged, plus one per window."""
        return self._constants.get("position", [self.pos_embed, self.pos_embed_window], self._compute_position)

    def _compute_position(self) -> Tensor:
        size = self.grid_size
        coarse = F.interpolate(self.pos_embed, size=(size, size), mode="bicubic")
        repeats = size // self.pos_embed_window.shape[-1]
        return (coarse + self.pos_embed_window.repeat(1, 1, repeats, repeats)).permute(0, 2, 3, 1).contiguous()

    def forward(self, pixels_B3HW: Tensor, position: Tensor) -> list[Tensor]:
        """The maps of the stages. `position` is what `self.position` gives."""
        x = self.patch_embed(pixels_B3HW) + position
        stages = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.stage_ends:
                stages.append(x)
        return stages


class FeaturePyramid(nn.Module):
    """Lateral 1×1 convolutions; only the stride-16 level takes from the level above it."""

    def __init__(self, stage_dims: tuple[int, ...], hidden_dim: int) -> None:
        super().__init__()
        # Listed from the coarsest stage to the finest, as the files of weights have them.
        self.convs = nn.ModuleList(nn.Conv2d(dim, hidden_dim, kernel_size=1) for dim in reversed(stage_dims))

    def lateral(self, stage: int) -> nn.Conv2d:
        """The convolution of a stage, counted from the finest, 0."""
        conv: nn.Conv2d = self.convs[len(self.convs) - 1 - stage]  # type: ignore[assignment]
        return conv

    def forward(self, stages: list[Tensor]) -> Tensor:
        """The map of stride 16, `[B, C, H, W]`. The finer levels are `lateral(stage)` alone."""
        top, level_16 = (self._project(stages[stage], stage) for stage in (3, 2))
        return level_16 + F.interpolate(top, scale_factor=2.0, mode="nearest")

    def _project(self, stage_BHWC: Tensor, stage: int) -> Tensor:
        conv = self.lateral(stage)
        return linear(stage_BHWC, conv.weight.flatten(1), conv.bias).permute(0, 3, 1, 2)


class ImageEncoder(nn.Module):
    """The trunk and the pyramid; `Sam2.encode_image` runs them."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.backbone = Hiera(config.hiera, config.image_size)
        self.neck = FeaturePyramid(config.hiera.embed_dims, config.hidden_dim)

    def forward(self, pixels_F3SS: Tensor, position: Tensor) -> tuple[list[Tensor], Tensor]:
        """The maps of the trunk's stages, `[F, H, W, C]`, and the pyramid's map of stride 16, `[F, C, H, W]`."""
        stages = self.backbone(pixels_F3SS, position)
        return stages, self.neck(stages)

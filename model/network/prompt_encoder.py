"""The prompt encoder: clicks to tokens, a mask to a map that is added to the image's.

Legend: B objects, P prompt tokens, C channels, H W map of stride 16; points are in pixels of the model's square input.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.config import Sam2Config
from model.network.layers import LayerNorm2d, RandomPosition


class MaskEmbed(nn.Module):
    """Mask logits of stride 4 to a map of stride 16."""

    def __init__(self, channels: int, hidden_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels // 4, kernel_size=2, stride=2)
        self.layer_norm1 = LayerNorm2d(channels // 4)
        self.conv2 = nn.Conv2d(channels // 4, channels, kernel_size=2, stride=2)
        self.layer_norm2 = LayerNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, hidden_dim, kernel_size=1)

    def forward(self, logits_B1HW: Tensor) -> Tensor:
        x = F.gelu(self.layer_norm1(self.conv1(logits_B1HW)))
        x = F.gelu(self.layer_norm2(self.conv2(x)))
        out: Tensor = self.conv3(x)
        return out


class PromptEncoder(nn.Module):
    """Embeds the prompts of B objects, each with the same number of points."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.image_size = config.image_size
        self.shared_embedding = RandomPosition(config.hidden_dim)
        # Zeros until weights are loaded: drawing random numbers for a model without storage imports much of torch.
        self.point_embed: nn.Embedding = nn.Embedding.from_pretrained(torch.zeros(4, config.hidden_dim))
        self.not_a_point_embed: nn.Embedding = nn.Embedding.from_pretrained(torch.zeros(1, config.hidden_dim))
        self.mask_embed = MaskEmbed(config.mask_prompt_channels, config.hidden_dim)
        self.no_mask_embed: nn.Embedding = nn.Embedding.from_pretrained(torch.zeros(1, config.hidden_dim))

    def embed_points(self, points_BP2: Tensor, labels_BP: Tensor) -> Tensor:
        """Tokens of the points, and one more that says "not a point", `[B, P + 1, C]`.

        Labels: 0 not on the object, 1 on it, 2 and 3 the corners of a box.
        """
        position = self.shared_embedding((points_BP2 + 0.5) / self.image_size)
        kind = self.point_embed(labels_BP)
        tokens = position.to(kind.dtype) + kind
        padding = self.not_a_point_embed.weight
        return torch.cat((tokens, padding.expand(len(tokens), 1, -1)), dim=1)

    def embed_masks(self, logits_B1HW: Tensor | None) -> Tensor:
        """The map to add to the image's: `[B, C, H, W]` of the mask logits, or `[1, C, 1, 1]` where there are none."""
        if logits_B1HW is None:
            return self.no_mask_embed.weight[..., None, None]
        out: Tensor = self.mask_embed(logits_B1HW)
        return out

"""The mask decoder: image features and prompt tokens to candidate masks, predicted IoU and an object score.

Legend: B objects, C channels, H W map of stride 16, P tokens, L = H·W, K candidate masks (4: one single, three multi).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.config import NUM_MULTIMASKS, STABILITY_DELTA, STABILITY_THRESHOLD, Sam2Config
from model.network.layers import Attention, LayerNorm2d, Mlp, wide

NUM_CANDIDATES = 1 + NUM_MULTIMASKS


class TwoWayBlock(nn.Module):
    """Tokens attend to themselves and to the image, then the image to the tokens."""

    def __init__(self, hidden_dim: int, num_heads: int, mlp_dim: int, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first
        self.self_attn = Attention(hidden_dim, num_heads)
        self.layer_norm1 = nn.LayerNorm(hidden_dim)
        self.cross_attn_token_to_image = Attention(hidden_dim, num_heads, downsample=2)
        self.layer_norm2 = nn.LayerNorm(hidden_dim)
        self.mlp = Mlp(hidden_dim, mlp_dim, hidden_dim, depth=2, activation="relu")
        self.layer_norm3 = nn.LayerNorm(hidden_dim)
        self.cross_attn_image_to_token = Attention(hidden_dim, num_heads, downsample=2)
        self.layer_norm4 = nn.LayerNorm(hidden_dim)

    def forward(
        self,
        tokens_BPC: Tensor,
        image_BLC: Tensor,
        token_position: Tensor,
        image_position: Tensor,
        is_token_P: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        if self.is_first:
            tokens = self.self_attn(tokens_BPC, tokens_BPC, tokens_BPC, is_token_P)
        else:
            query = tokens_BPC + token_position
            tokens = tokens_BPC + self.self_attn(query, query, tokens_BPC, is_token_P)
        tokens = self.layer_norm1(tokens)
        key = image_BLC + image_position
        tokens = tokens + self.cross_attn_token_to_image(tokens + token_position, key, image_BLC)
        tokens = self.layer_norm2(tokens)
        tokens = self.layer_norm3(tokens + self.mlp(tokens))
        image = image_BLC + self.cross_attn_image_to_token(key, tokens + token_position, tokens, is_token_P)
        return tokens, self.layer_norm4(image)


class TwoWayTransformer(nn.Module):
    """Two blocks and a last look of the tokens at the image."""

    def __init__(self, hidden_dim: int, num_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(hidden_dim, num_heads, mlp_dim, is_first=index == 0) for index in range(2)
        )
        self.final_attn_token_to_image = Attention(hidden_dim, num_heads, downsample=2)
        self.layer_norm_final_attn = nn.LayerNorm(hidden_dim)

    def forward(
        self, tokens_BPC: Tensor, image_BLC: Tensor, image_position: Tensor, is_token_P: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`is_token_P`: which tokens are there. To those that only fill up the shape nothing attends."""
        token_position = tokens_BPC
        tokens, image = tokens_BPC, image_BLC
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_position, image_position, is_token_P)
        tokens = tokens + self.final_attn_token_to_image(tokens + token_position, image + image_position, image)
        return self.layer_norm_final_attn(tokens), image


@dataclass(frozen=True)
class Candidates:
    """All K masks that the decoder has for each of B objects, the single one first."""

    logits_BKHW: Tensor
    predicted_ious_BK: Tensor
    object_scores_B: Tensor
    tokens_BKC: Tensor


@dataclass(frozen=True)
class DecodedMasks:
    """What the decoder says of B objects, one mask each."""

    logits_BHW: Tensor
    predicted_ious_B: Tensor
    object_scores_B: Tensor
    tokens_BC: Tensor


class MaskDecoder(nn.Module):
    """Decodes one mask for each object, chosen among the candidates."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.obj_score_token: nn.Embedding = nn.Embedding.from_pretrained(torch.zeros(1, dim))
        self.iou_token: nn.Embedding = nn.Embedding.from_pretrained(torch.zeros(1, dim))
        self.mask_tokens: nn.Embedding = nn.Embedding.from_pretrained(torch.zeros(NUM_CANDIDATES, dim))
        self.transformer = TwoWayTransformer(dim, config.decoder.heads, config.decoder.mlp_dim)
        self.upscale_conv1 = nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2)
        self.upscale_layer_norm = LayerNorm2d(dim // 4)
        self.upscale_conv2 = nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2)
        self.output_hypernetworks_mlps = nn.ModuleList(
            Mlp(dim, dim, dim // 8, depth=3, activation="relu") for _ in range(NUM_CANDIDATES)
        )
        self.iou_prediction_head = Mlp(dim, config.decoder.iou_head_dim, NUM_CANDIDATES, depth=3, activation="relu")
        self.pred_obj_score_head = Mlp(dim, dim, 1, depth=3, activation="relu")
        # Applied to the finer maps of the image encoder, once for each frame (`Sam2.encode_image`).
        self.conv_s0 = nn.Conv2d(dim, dim // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(dim, dim // 4, kernel_size=1)

    def forward(
        self,
        image_BCHW: Tensor,
        image_position_CHW: Tensor,
        prompt_tokens_BPC: Tensor,
        stride8_BCHW: Tensor,
        stride4_BCHW: Tensor,
        multimask: bool,
        num_prompt_tokens: int | None = None,
    ) -> DecodedMasks:
        """Masks of stride 4. `multimask`: the best of three by predicted IoU; else the single one if it is stable.

        The arguments are those of `candidates`.
        """
        found = self.candidates(
            image_BCHW, image_position_CHW, prompt_tokens_BPC, stride8_BCHW, stride4_BCHW, num_prompt_tokens
        )
        return chosen(found, multimask)

    def candidates(
        self,
        image_BCHW: Tensor,
        image_position_CHW: Tensor,
        prompt_tokens_BPC: Tensor,
        stride8_BCHW: Tensor,
        stride4_BCHW: Tensor,
        num_prompt_tokens: int | None = None,
    ) -> Candidates:
        """All masks of stride 4. Prompt tokens behind the first `num_prompt_tokens` only fill up a shape."""
        own = torch.cat((self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight))
        tokens = torch.cat((own.expand(len(prompt_tokens_BPC), -1, -1), prompt_tokens_BPC), dim=1)
        image_BLC = image_BCHW.flatten(2).transpose(1, 2)
        position_LC = image_position_CHW.flatten(1).transpose(0, 1)
        is_token_P = None
        if num_prompt_tokens is not None and num_prompt_tokens < prompt_tokens_BPC.shape[1]:
            is_token_P = torch.arange(tokens.shape[1], device=tokens.device) < len(own) + num_prompt_tokens
        tokens, image_BLC = self.transformer(tokens, image_BLC, position_LC, is_token_P)
        mask_tokens = tokens[:, 2 : 2 + NUM_CANDIDATES]

        image = image_BLC.transpose(1, 2).unflatten(2, image_BCHW.shape[2:])
        dtype = wide(tokens.dtype)
        logits_BKHW = self._mask_logits(image, mask_tokens, stride8_BCHW, stride4_BCHW).to(dtype)
        ious_BK = self.iou_prediction_head(tokens[:, 1]).sigmoid().to(dtype)
        scores_B = self.pred_obj_score_head(tokens[:, 0]).squeeze(-1).to(dtype)
        return Candidates(logits_BKHW, ious_BK, scores_B, mask_tokens)

    def _mask_logits(self, image: Tensor, mask_tokens: Tensor, stride8: Tensor, stride4: Tensor) -> Tensor:
        x = F.gelu(self.upscale_layer_norm(self.upscale_conv1(image) + stride8))
        x = F.gelu(self.upscale_conv2(x) + stride4)
        kernels = [mlp(mask_tokens[:, index]) for index, mlp in enumerate(self.output_hypernetworks_mlps)]
        kernels_BKC = torch.stack(kernels, dim=1)
        logits: Tensor = (kernels_BKC @ x.flatten(2)).unflatten(2, x.shape[2:])
        return logits


def chosen(found: Candidates, multimask: bool) -> DecodedMasks:
    """One mask for each object. `multimask`: the best of three by predicted IoU; else the single one if it is stable.

    Where the single one is not stable it is replaced by the best of the three.
    """
    best_B, token_B = _choose_candidates(found.logits_BKHW, found.predicted_ious_BK, multimask)
    row_B = torch.arange(len(best_B), device=best_B.device)
    return DecodedMasks(
        logits_BHW=found.logits_BKHW[row_B, best_B],
        predicted_ious_B=found.predicted_ious_BK[row_B, best_B],
        object_scores_B=found.object_scores_B,
        tokens_BC=found.tokens_BKC[row_B, token_B],
    )


def _choose_candidates(logits_BKHW: Tensor, ious_BK: Tensor, multimask: bool) -> tuple[Tensor, Tensor]:
    """Index of the chosen mask, and of the token that makes the object pointer, `[B]` each.

    The two differ when an unstable single mask is replaced by the best of the three: the pointer stays token 0, as in
    `sam2` (`MaskDecoder._dynamic_multimask_via_stability`).
    """
    best_of_three = ious_BK[:, 1:].argmax(dim=1) + 1
    if multimask:
        return best_of_three, best_of_three
    single = torch.zeros_like(best_of_three)
    return torch.where(_is_stable(logits_BKHW[:, 0]), single, best_of_three), single


def _is_stable(logits_BHW: Tensor) -> Tensor:
    """Whether a mask hardly changes when its threshold moves, bool `[B]`: IoU of the masks at ±`STABILITY_DELTA`."""
    inner = (logits_BHW > STABILITY_DELTA).sum(dim=(1, 2))
    outer = (logits_BHW > -STABILITY_DELTA).sum(dim=(1, 2))
    share: Tensor = torch.where(outer > 0, inner / outer, 1.0)
    return share >= STABILITY_THRESHOLD

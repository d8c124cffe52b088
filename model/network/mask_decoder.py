"""The mask decoder: image features and prompt tokens to candidate masks, predicted IoU and an object score.

Legend: B objects, C channels, H W map of stride 16, P tokens, L = H·W, K candidate masks (4: one single, three multi),
E heads (object score, predicted IoU, and one for each candidate).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.config import NUM_MULTIMASKS, STABILITY_DELTA, STABILITY_THRESHOLD, Sam2Config
from model.network.layers import Attention, LayerNorm2d, Linear, Mlp, Product, side_by_side, wide

NUM_CANDIDATES = 1 + NUM_MULTIMASKS


class ImageProduct(NamedTuple):
    """Several projections of the image as one, where some of them also see its position code.

    W (x + p) + b = W x + (W p + b): `product` has no bias, and `place`, `[L, …]`, holds what is in the brackets.
    """

    product: Product
    place: Tensor

    @classmethod
    def of(cls, position_LC: Tensor, placed: Sequence[Linear], plain: Sequence[Linear]) -> ImageProduct:
        """Of layers that see the position code, and behind them layers that do not."""
        weight, dtype = torch.cat([layer.weight for layer in (*placed, *plain)]), wide(position_LC.dtype)
        codes = [F.linear(position_LC.to(dtype), layer.weight.to(dtype), layer.bias.to(dtype)) for layer in placed]
        codes += [layer.bias.to(dtype).expand(len(position_LC), -1) for layer in plain]
        return cls(Product(weight, None), torch.cat(codes, dim=1).to(weight.dtype))

    def __call__(self, image_BLC: Tensor) -> Tensor:
        """The projections side by side."""
        return self.product(image_BLC).add_(self.place)


class BlockProducts(NamedTuple):
    """The projections of one block: those that see the tokens, and those that see the image."""

    tokens: Product
    image: ImageProduct


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

    def attentions(self) -> tuple[Attention, Attention, Attention]:
        """The three attentions in the order in which they are computed."""
        return self.self_attn, self.cross_attn_token_to_image, self.cross_attn_image_to_token

    def products(self, image_position_LC: Tensor) -> BlockProducts:
        """What `forward` takes."""
        own, to_image, to_tokens = self.attentions()
        # The first block's values come from the same tokens as its queries and keys.
        last = (own.v_proj,) if self.is_first else ()
        placed = (to_image.k_proj, to_tokens.q_proj)
        return BlockProducts(
            side_by_side(own.q_proj, own.k_proj, *last),
            ImageProduct.of(image_position_LC, placed, (to_image.v_proj,)),
        )

    def forward(
        self,
        tokens_BPC: Tensor,
        image_BLC: Tensor,
        token_position: Tensor,
        products: BlockProducts,
        projected: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """`projected` is `products.image(image_BLC)` where it is known already."""
        own, to_image, to_tokens = self.attentions()
        if self.is_first:
            tokens = own(*products.tokens(tokens_BPC).chunk(3, dim=-1))
        else:
            q, k = products.tokens(tokens_BPC + token_position).chunk(2, dim=-1)
            tokens = tokens_BPC + own(q, k, own.v_proj(tokens_BPC))
        tokens = self.layer_norm1(tokens)
        projected = products.image(image_BLC) if projected is None else projected
        image_k, image_q, image_v = projected.chunk(3, dim=-1)
        tokens = tokens + to_image(to_image.q_proj(tokens + token_position), image_k, image_v)
        tokens = self.layer_norm2(tokens)
        tokens = self.layer_norm3(tokens + self.mlp(tokens))
        looked = to_tokens(image_q, to_tokens.k_proj(tokens + token_position), to_tokens.v_proj(tokens))
        return tokens, self.layer_norm4(image_BLC + looked)


class TwoWayTransformer(nn.Module):
    """Two blocks and a last look of the tokens at the image."""

    def __init__(self, hidden_dim: int, num_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(hidden_dim, num_heads, mlp_dim, is_first=index == 0) for index in range(2)
        )
        self.final_attn_token_to_image = Attention(hidden_dim, num_heads, downsample=2)
        self.layer_norm_final_attn = nn.LayerNorm(hidden_dim)

    def products(self, image_position_LC: Tensor) -> tuple[list[BlockProducts], ImageProduct]:
        """What `forward` takes."""
        last = self.final_attn_token_to_image
        blocks = [cast("TwoWayBlock", layer).products(image_position_LC) for layer in self.layers]
        return blocks, ImageProduct.of(image_position_LC, (last.k_proj,), (last.v_proj,))

    def forward(
        self,
        tokens_BPC: Tensor,
        image_BLC: Tensor,
        products: tuple[list[BlockProducts], ImageProduct],
        projected: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """`projected` is what the first block makes of the image alone, where it is known already."""
        blocks, last_image = products
        tokens, image = tokens_BPC, image_BLC
        for index, (layer, block) in enumerate(zip(self.layers, blocks, strict=True)):
            tokens, image = layer(tokens, image, tokens_BPC, block, projected if index == 0 else None)
        last = self.final_attn_token_to_image
        looked = last(last.q_proj(tokens + tokens_BPC), *last_image(image).chunk(2, dim=-1))
        return self.layer_norm_final_attn(tokens + looked), image


class Heads(NamedTuple):
    """Several MLPs of equal depth as batched products, one token for each.

    Weights are `[E, in, out]`, biases `[E, 1, out]`. Widths that differ are filled up with zeros, which change nothing.
    """

    weights: list[Tensor]
    biases: list[Tensor]

    @classmethod
    def of(cls, mlps: Sequence[Mlp]) -> Heads:
        """Of MLPs that all have a ReLU between their layers."""
        depths = zip(*([mlp.proj_in, *mlp.layers, mlp.proj_out] for mlp in mlps), strict=True)
        weights, biases = [], []
        for layers in depths:
            rows, columns = (max(layer.weight.shape[dim] for layer in layers) for dim in (0, 1))
            padded = [F.pad(w, (0, columns - w.shape[1], 0, rows - w.shape[0])) for w in (x.weight for x in layers)]
            weights.append(torch.stack(padded).transpose(1, 2).contiguous())
            biases.append(torch.stack([F.pad(x.bias, (0, rows - len(x.bias))) for x in layers]).unsqueeze(1))
        return cls(weights, biases)

    def __call__(self, tokens_EBC: Tensor) -> Tensor:
        """`[E, B, out]`."""
        x = tokens_EBC
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x if depth == 0 else F.relu(x), weight)
        return x


class DecoderProducts(NamedTuple):
    """What the decoder computes with beside its weights, and what follows from them."""

    own_tokens: Tensor
    transformer: tuple[list[BlockProducts], ImageProduct]
    heads: Heads


class Attended(NamedTuple):
    """What prompts and image made of each other, before the masks: image `[B, C, H, W]`, tokens, kernels, numbers."""

    image_BCHW: Tensor
    tokens_BPC: Tensor
    kernels_KBC: Tensor
    predicted_ious_BK: Tensor
    object_scores_B: Tensor

    def objects(self, index: Tensor) -> Attended:
        """The part of some objects."""
        return Attended(
            self.image_BCHW[index],
            self.tokens_BPC[index],
            self.kernels_KBC[:, index],
            self.predicted_ious_BK[index],
            self.object_scores_B[index],
        )


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

    def joined_weights(self) -> list[Tensor]:
        """The weights of which `products` are made."""
        blocks = [cast("TwoWayBlock", layer) for layer in self.transformer.layers]
        attentions = [part for block in blocks for part in block.attentions()]
        attentions.append(self.transformer.final_attn_token_to_image)
        layers = [layer for part in attentions for layer in (part.q_proj, part.k_proj, part.v_proj)]
        for mlp in self._heads():
            layers += [mlp.proj_in, *(cast("Linear", layer) for layer in mlp.layers), mlp.proj_out]
        tokens = (self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight)
        return [*tokens, *(tensor for layer in layers for tensor in (layer.weight, layer.bias))]

    def _heads(self) -> list[Mlp]:
        """The MLPs behind the decoder's own tokens, in the order of those."""
        kernels = [cast("Mlp", mlp) for mlp in self.output_hypernetworks_mlps]
        return [self.pred_obj_score_head, self.iou_prediction_head, *kernels]

    def products(self, image_position_CHW: Tensor) -> DecoderProducts:
        """What `forward` and `candidates` take, for images whose position code this is."""
        return DecoderProducts(
            torch.cat((self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight)),
            self.transformer.products(image_position_CHW.flatten(1).transpose(0, 1)),
            Heads.of(self._heads()),
        )

    def forward(
        self,
        image_BCHW: Tensor,
        prompt_tokens_BPC: Tensor,
        stride8_BCHW: Tensor,
        stride4_BCHW: Tensor,
        products: DecoderProducts,
        *,
        multimask: bool,
    ) -> DecodedMasks:
        """Masks of stride 4. `multimask`: the best of three by predicted IoU; else the single one if it is stable.

        The other arguments are those of `candidates`.
        """
        return chosen(self.candidates(image_BCHW, prompt_tokens_BPC, stride8_BCHW, stride4_BCHW, products), multimask)

    def candidates(
        self,
        image_BCHW: Tensor,
        prompt_tokens_BPC: Tensor,
        stride8_BCHW: Tensor,
        stride4_BCHW: Tensor,
        products: DecoderProducts,
    ) -> Candidates:
        """All masks of stride 4. `products` are those of `self.products`."""
        attended = self.attend(image_BCHW, prompt_tokens_BPC, products)
        logits = self.masks(attended, stride8_BCHW, stride4_BCHW)
        return Candidates(
            logits, attended.predicted_ious_BK, attended.object_scores_B, attended.tokens_BPC[:, 2 : 2 + NUM_CANDIDATES]
        )

    def attend(
        self,
        image_BCHW: Tensor,
        prompt_tokens_BPC: Tensor,
        products: DecoderProducts,
        projected: Tensor | None = None,
    ) -> Attended:
        """What prompts and image make of each other: all but the masks, which cost about as much again.

        `projected` is that of `project` for the same image, or for one image that all objects see.
        """
        own = products.own_tokens
        tokens = torch.cat((own.expand(len(prompt_tokens_BPC), -1, -1), prompt_tokens_BPC), dim=1)
        image_BLC = image_BCHW.flatten(2).transpose(1, 2)
        if projected is not None:
            projected = projected.expand(len(tokens), -1, -1)
        tokens, image_BLC = self.transformer(tokens, image_BLC, products.transformer, projected)
        found_EBC = products.heads(tokens[:, : len(own)].transpose(0, 1))
        numbers_EBK = found_EBC[:2, :, :NUM_CANDIDATES].to(wide(tokens.dtype))
        image = image_BLC.transpose(1, 2).unflatten(2, image_BCHW.shape[2:])
        return Attended(image, tokens, found_EBC[2:], numbers_EBK[1].sigmoid(), numbers_EBK[0, :, :1].flatten())

    def project(self, image_BCHW: Tensor, products: DecoderProducts) -> Tensor:
        """What the first block makes of an image alone, `[B, L, …]`: equal for all prompts on it."""
        return products.transformer[0][0].image(image_BCHW.flatten(2).transpose(1, 2))

    def masks(self, attended: Attended, stride8_BCHW: Tensor, stride4_BCHW: Tensor) -> Tensor:
        """Logits of all candidates at stride 4, `[B, K, H, W]`."""
        x = F.gelu(self.upscale_layer_norm(self.upscale_conv1(attended.image_BCHW) + stride8_BCHW))
        x = F.gelu(self.upscale_conv2(x) + stride4_BCHW)
        kernels_BKC = attended.kernels_KBC[:, :, : x.shape[1]].transpose(0, 1)
        logits: Tensor = (kernels_BKC @ x.flatten(2)).unflatten(2, x.shape[2:]).to(attended.predicted_ious_BK.dtype)
        return logits


def chosen(found: Candidates, multimask: bool) -> DecodedMasks:
    """One mask for each object. `multimask`: the best of three by predicted IoU; else the single one if it is stable.

    Where the single one is not stable it is replaced by the best of the three.
    """
    best_B = found.predicted_ious_BK[:, 1:].argmax(dim=1) + 1
    # The pointer's token and the mask differ where an unstable single mask is replaced by the best of the three: the
    # pointer stays token 0, as in `sam2` (`MaskDecoder._dynamic_multimask_via_stability`).
    token_B = best_B
    if not multimask:
        token_B = torch.zeros_like(best_B)
        best_B = torch.where(_is_stable(found.logits_BKHW[:, 0]), token_B, best_B)
    return DecodedMasks(
        logits_BHW=_row_of_each(found.logits_BKHW, best_B),
        predicted_ious_B=_row_of_each(found.predicted_ious_BK, best_B),
        object_scores_B=found.object_scores_B,
        tokens_BC=_row_of_each(found.tokens_BKC, token_B),
    )


def _row_of_each(rows_BK: Tensor, index_B: Tensor) -> Tensor:
    """`rows[b, index[b]]` for each object."""
    inner = rows_BK.shape[2:]
    index = index_B.view(-1, 1, *(1 for _ in inner)).expand(-1, 1, *inner)
    return rows_BK.gather(1, index).squeeze(1)


def _is_stable(logits_BHW: Tensor) -> Tensor:
    """Whether a mask hardly changes when its threshold moves, bool `[B]`: IoU of the masks at ±`STABILITY_DELTA`."""
    inner = (logits_BHW > STABILITY_DELTA).sum(dim=(1, 2))
    outer = (logits_BHW > -STABILITY_DELTA).sum(dim=(1, 2))
    share: Tensor = torch.where(outer > 0, inner / outer, 1.0)
    return share >= STABILITY_THRESHOLD

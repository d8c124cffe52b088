"""The part of SAM 2 that segments a still image: image encoder, prompt encoder and mask decoder, without any memory.

Legend: N images, B objects, C channels, H W map of stride 16, P points, K candidate masks, S side of the model's square
input; low-resolution logits are `[B, S/4, S/4]`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from model.network.config import Sam2Config
from model.network.features import Clicks
from model.network.image_encoder import ImageEncoder
from model.network.kernels import device_type, memory_tokens_per_batch, objects_per_batch, with_our_kernels
from model.network.layers import Constants, Product, wide
from model.network.mask_decoder import Attended, Candidates, DecoderProducts, MaskDecoder
from model.network.prompt_encoder import PromptEncoder
from model.network.regions import Regions
from model.pixels.transforms import channel_levels

ImageMaps = tuple[Tensor, Tensor, Tensor]
"""Maps of strides 4, 8 and 16, `[N, C, h, w]`; the finer two as the mask decoder wants them."""


class MapConstants(NamedTuple):
    """What the image encoder computes with beside its weights: the position code, and the two finer maps' products."""

    position: Tensor
    stride4: Product
    stride8: Product


class StillImage(NamedTuple):
    """What one image gives the mask decoder, `[1, C, …]`, and what its first block makes of it, for any prompt."""

    stride4: Tensor
    stride8: Tensor
    stride16: Tensor
    projected: Tensor


class Sam2Image(nn.Module):
    """The network without memory. Its weights are its only state; inference only (`eval`, no gradients)."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.config = config
        self.vision_encoder = ImageEncoder(config)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)
        self.no_memory_embedding = nn.Parameter(torch.zeros(1, 1, config.hidden_dim))
        self._constants = Constants()
        # What runs whole components in another way than as they are (`model.network.compiled`).
        self.regions: Regions | None = None
        # Less than the table says once a batch was too large for this device.
        self.memory_tokens_per_batch = memory_tokens_per_batch()
        self.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.no_memory_embedding.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights, and so of the computation."""
        return self.no_memory_embedding.dtype

    @property
    def objects_per_batch(self) -> int:
        """How many objects share a batch: more would not be faster on this device, only larger."""
        return objects_per_batch(self.device, self.config.grid_size**2)

    @property
    def channel_levels(self) -> Tensor:
        """What frames are normalized with, on the device of the weights (`model.pixels.transforms.channel_levels`)."""
        return self._constants.get("channel_levels", [], lambda: channel_levels(self.device))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._constants.clear()
        if self.regions is not None:
            self.regions.forget()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if device_type(self.no_memory_embedding) == "cuda":
            _lay_channels_last(self)
        return self

    @torch.inference_mode()
    def image_maps(self, pixels_N3SS: Tensor) -> ImageMaps:
        """Maps of N normalized images (`model.pixels.transforms.normalize`)."""
        with with_our_kernels(self.device):
            return self._maps(self._map_constants(), pixels_N3SS.to(self.dtype))

    @torch.inference_mode()
    def without_memory(self, stride16: Tensor) -> Tensor:
        """The map of stride 16 as the mask decoder sees it where there is no memory."""
        return stride16 + self.no_memory_embedding.view(1, -1, 1, 1)

    @torch.inference_mode()
    def segment_still(
        self,
        maps: ImageMaps,
        num_objects: int,
        *,
        clicks: Clicks | None = None,
        mask_logits_B1HW: Tensor | None = None,
    ) -> Candidates:
        """All candidate masks of B objects, hidden or not; `maps` have one row for each object, or a single one.

        The map of stride 16 is that of `without_memory`. Clicks and the logits of an earlier mask are optional.
        """
        stride4, stride8, stride16 = maps
        tokens = self._prompt_tokens(clicks, num_objects)
        prior = None if mask_logits_B1HW is None else mask_logits_B1HW.to(self.dtype)
        image = stride16.expand(num_objects, -1, -1, -1) + self.prompt_encoder.embed_masks(prior)
        with with_our_kernels(self.device):
            return self.mask_decoder.candidates(image, tokens, stride8, stride4, self._decoder_products())

    @torch.inference_mode()
    def prepare_still(self, maps: ImageMaps) -> StillImage:
        """One image made ready for many prompts (`model.proposals`); `maps` as for `segment_still`, N = 1."""
        stride4, stride8, stride16 = maps
        image = stride16 + self.prompt_encoder.embed_masks(None)
        with with_our_kernels(self.device):
            return StillImage(stride4, stride8, image, self.mask_decoder.project(image, self._decoder_products()))

    @torch.inference_mode()
    def attend_still(self, image: StillImage, clicks: Clicks) -> Attended:
        """What B objects with clicks and one image make of each other, without their masks."""
        tokens = self._prompt_tokens(clicks, len(clicks.points_BP2))
        whole = image.stride16.expand(len(tokens), -1, -1, -1)
        with with_our_kernels(self.device):
            return self.mask_decoder.attend(whole, tokens, self._decoder_products(), image.projected)

    @torch.inference_mode()
    def masks_still(self, image: StillImage, attended: Attended) -> Tensor:
        """Logits of all candidates of these objects, float `[B, K, S/4, S/4]`, the single one first."""
        with with_our_kernels(self.device):
            return self.mask_decoder.masks(attended, image.stride8, image.stride4)

    def _maps(self, constants: MapConstants, pixels_N3SS: Tensor) -> ImageMaps:
        stages, stride16 = self.vision_encoder(pixels_N3SS, constants.position)
        stride4, stride8 = constants.stride4(stages[0]), constants.stride8(stages[1])
        return stride4.permute(0, 3, 1, 2), stride8.permute(0, 3, 1, 2), stride16

    def _map_constants(self) -> MapConstants:
        finer = self._finer_product(0, self.mask_decoder.conv_s0), self._finer_product(1, self.mask_decoder.conv_s1)
        return MapConstants(self.vision_encoder.backbone.position(), *finer)

    def _finer_product(self, stage: int, decoder_conv: nn.Conv2d) -> Product:
        """`decoder_conv(lateral(x))`: two 1×1 convolutions with nothing between them are one, and far narrower."""
        lateral = self.vision_encoder.neck.lateral(stage)
        weights = (lateral.weight, _bias(lateral), decoder_conv.weight, _bias(decoder_conv))
        return self._constants.get(f"finer{stage}", weights, lambda: Product(*_join_convs(*weights)))

    def _prompt_tokens(self, clicks: Clicks | None, num_objects: int) -> Tensor:
        if clicks is None:
            # The network was trained to see one padding point where there is no click, besides the usual one.
            return self.prompt_encoder.not_a_point_embed.weight.expand(num_objects, 2, -1)
        return self.prompt_encoder.embed_points(clicks.points_BP2, clicks.labels_BP)

    def _decoder_products(self) -> DecoderProducts:
        """What the mask decoder computes with beside its weights."""
        decoder, image_code = self.mask_decoder, self._constant("image_code")
        return self._constants.get(
            "decoder", [image_code, *decoder.joined_weights()], lambda: decoder.products(image_code)
        )

    def _constant(self, name: str) -> Tensor:
        """A position code, computed once for the device and dtype of the weights."""
        return self._constants.get(name, self._weights_of(name), lambda: self._compute_constant(name).to(self.device))

    def _weights_of(self, name: str) -> Sequence[Tensor]:
        """The weights of which a constant is made."""
        return [self.prompt_encoder.shared_embedding.positional_embedding] if name == "image_code" else []

    def _compute_constant(self, name: str) -> Tensor:
        if name != "image_code":
            raise KeyError(name)
        return self.prompt_encoder.shared_embedding.grid(self.config.grid_size).to(self.dtype)


def _lay_channels_last(module: nn.Module) -> None:
    """Lays the weights of convolutions out as maps are, once instead of at each frame."""
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d | nn.ConvTranspose2d):
            laid_out = conv.weight.detach().contiguous(memory_format=torch.channels_last)
            conv.weight = nn.Parameter(laid_out, requires_grad=False)


def _bias(conv: nn.Conv2d) -> Tensor:
    if conv.bias is None:
        raise TypeError("every convolution of this network has a bias")
    return conv.bias


def _join_convs(weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> tuple[Tensor, Tensor]:
    """Weight `[C_out, C_in]` and bias of one 1×1 convolution that does what two do; never computed in 16 bits."""
    dtype = wide(weight1.dtype)
    first, second = weight1.flatten(1).to(dtype), weight2.flatten(1).to(dtype)
    return (second @ first).to(weight1.dtype), (second @ bias1.to(dtype) + bias2.to(dtype)).to(weight1.dtype)

"""SAM 2 as stateless steps: `encode_image`, `segment`, `segment_given_masks`, `remember` and `memory_tokens`.

The memories that these steps make and take are kept by the caller (`model.tracking`).

Legend: F frames, B objects, C channels, M memory channels, H W map of stride 16, L = H·W, P points, T memory tokens,
S side of the model's square input; low-resolution logits are `[B, S/4, S/4]`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.config import MASK_BIAS, MASK_SCALE, Sam2Config
from model.network.features import Clicks, ImageFeatures, MemoryTokens, Segmentation
from model.network.layers import Linear, Mlp, sine_position_1d, sine_position_2d, wide
from model.network.memory_attention import Memories, MemoryAttention, rope_table
from model.network.memory_encoder import MemoryEncoder
from model.network.sam2_image import Sam2Image
from model.pixels.transfers import on_device

# What the logits of an object become on a frame where it is not seen.
HIDDEN_LOGIT = -1024.0


class Sam2(Sam2Image):
    """The network. Its weights are its only state; inference only (`eval`, no gradients)."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__(config)
        dim, memory_dim = config.hidden_dim, config.memory_dim
        self.memory_attention = MemoryAttention(config)
        self.memory_encoder = MemoryEncoder(config)
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.object_pointer_proj = Mlp(dim, dim, dim, depth=3, activation="relu")
        self.memory_temporal_positional_encoding = nn.Parameter(torch.zeros(config.num_memories, 1, 1, memory_dim))
        # Part of all released weights though no released model uses it; kept so that saving loses nothing.
        self.no_memory_positional_encoding = nn.Parameter(torch.zeros(1, 1, dim))
        self.no_object_pointer = nn.Parameter(torch.zeros(1, dim))
        if config.is_2_1:
            self.temporal_positional_encoding_projection_layer = Linear(dim, memory_dim)
            self.occlusion_spatial_embedding_parameter = nn.Parameter(torch.zeros(1, memory_dim))
        # What spatial memories are kept in. The network was trained with bfloat16; wider ones are for comparisons.
        self.memory_dtype = torch.bfloat16
        self.eval().requires_grad_(False)

    @torch.inference_mode()
    def encode_image(self, pixels_F3SS: Tensor) -> ImageFeatures:
        """Features of F normalized frames (`model.pixels.transforms.normalize`)."""
        stride4, stride8, stride16 = self.image_maps(pixels_F3SS)
        looked_FLC = self.memory_attention.look_at_frame(
            stride16.flatten(2).transpose(1, 2), self._constant("frame_code"), self._constant("rope")
        )
        return ImageFeatures(stride16, stride8, stride4, looked_FLC)

    @torch.inference_mode()
    def segment(
        self,
        features: ImageFeatures,
        *,
        memory: Memories | None = None,
        clicks: Clicks | None = None,
        prior_logits_BHW: Tensor | None = None,
    ) -> Segmentation:
        """Masks of B objects; `features` have one row for each, or a single one.

        Without `memory` the frame is segmented on its own. Clicks and the logits of an earlier mask are optional.
        """
        num_objects = max(
            len(features.stride16),
            0 if memory is None else len(memory.memory_BTM),
            0 if clicks is None else len(clicks.labels_BP),
            0 if prior_logits_BHW is None else len(prior_logits_BHW),
        )
        if memory is None:
            image = self.without_memory(features.stride16).expand(num_objects, -1, -1, -1)
        else:
            image = self._attend_memory(features, memory)
        num_points = 0 if clicks is None else clicks.labels_BP.shape[1]
        prompt_tokens = self._prompt_tokens(clicks, num_objects)
        prior = None if prior_logits_BHW is None else prior_logits_BHW.unsqueeze(1).to(self.dtype)
        decoded = self.mask_decoder(
            image + self.prompt_encoder.embed_masks(prior),
            self._constant("image_code"),
            prompt_tokens if self.padding is None else self.padding.pad_prompt_tokens(prompt_tokens),
            features.stride8,
            features.stride4,
            # Three candidates where the prompt is ambiguous: one click, or none at all while tracking.
            multimask=num_points <= 1,
            num_prompt_tokens=prompt_tokens.shape[1],
        )
        is_visible = decoded.object_scores_B > 0
        return Segmentation(
            logits_BHW=torch.where(is_visible[:, None, None], decoded.logits_BHW, HIDDEN_LOGIT),
            object_scores_B=decoded.object_scores_B,
            predicted_ious_B=decoded.predicted_ious_B,
            pointers_BC=self._pointers(decoded.tokens_BC, is_visible),
        )

    @torch.inference_mode()
    def segment_given_masks(self, features: ImageFeatures, masks_BSS: Tensor) -> Segmentation:
        """The masks themselves as logits ±10, score ±10 and IoU 1; only the object pointers come from the decoder.

        The pointer is that of the single mask, token 0 (`sam2`, `_use_mask_as_output`; `transformers` differs).
        """
        masks_B1SS = masks_BSS.unsqueeze(1).to(wide(self.dtype))
        logits = masks_B1SS * MASK_SCALE + MASK_BIAS
        size = (self.config.mask_size, self.config.mask_size)
        low = F.interpolate(logits, size=size, mode="bilinear", align_corners=False, antialias=True)
        decoded = self.mask_decoder(
            features.stride16 + self.prompt_encoder.embed_masks(self.mask_downsample(masks_B1SS.to(self.dtype))),
            self._constant("image_code"),
            self._prompt_tokens(None, len(masks_BSS)),
            features.stride8,
            features.stride4,
            multimask=False,
        )
        is_visible = masks_BSS.flatten(1).any(dim=1)
        # `no_object_pointer` comes in twice, as in `sam2`: where the decoder sees no object, and for an empty mask.
        pointers = self._pointers(decoded.tokens_BC, decoded.object_scores_B > 0)
        return Segmentation(
            logits_BHW=low.squeeze(1),
            object_scores_B=is_visible.to(low.dtype) * MASK_SCALE + MASK_BIAS,
            predicted_ious_B=torch.ones(len(masks_BSS), device=low.device, dtype=low.dtype),
            pointers_BC=torch.where(is_visible[:, None], pointers, self.no_object_pointer),
        )

    @torch.inference_mode()
    def remember(self, features: ImageFeatures, segmentation: Segmentation, *, binarize: bool) -> Tensor:
        """Spatial memories of B objects, `[B, L, M]`, in `memory_dtype`. `binarize` on frames with prompts."""
        size = (self.config.image_size, self.config.image_size)
        logits = segmentation.logits_BHW.unsqueeze(1)
        high = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        mask = (high > 0).to(high.dtype) if binarize else high.sigmoid()
        memory = self.memory_encoder(features.stride16, (mask * MASK_SCALE + MASK_BIAS).to(self.dtype))
        if self.config.is_2_1:
            hidden = (segmentation.object_scores_B <= 0).to(self.dtype).view(-1, 1, 1, 1)
            memory = memory + hidden * self.occlusion_spatial_embedding_parameter.view(1, -1, 1, 1)
        return memory.to(self.memory_dtype).flatten(2).transpose(1, 2).contiguous()  # type: ignore[no-any-return]

    @torch.inference_mode()
    def memory_tokens(self, objects: Sequence[MemoryTokens]) -> Memories:
        """Packs the memories of B objects for the memory attention; all have as many memories and as many pointers.

        A pointer of C channels becomes C / M tokens. With `padding` the numbers may differ.
        """
        memory_dim = self.config.memory_dim
        is_token_BT = None
        if self.padding is not None:
            objects, is_memory_BT, is_pointer_BT = self.padding.pad_memory_tokens(objects)
            if not all(map(all, (*is_memory_BT, *is_pointer_BT))):
                parts = (
                    (is_memory_BT, self.config.grid_size**2),
                    (is_pointer_BT, self.config.hidden_dim // memory_dim),
                )
                is_token_BT = torch.cat(
                    [on_device(there, self.device).repeat_interleave(length, dim=1) for there, length in parts], dim=1
                )
        num_objects = len(objects)
        # One copy for all objects: a memory is `[L, M]`, a pointer `[1, C]`.
        spatial = torch.cat([memory for one in objects for memory in one.spatial]).view(num_objects, -1, memory_dim)
        pointers = torch.cat([pointer for one in objects for pointer in one.pointers]).view(num_objects, -1, memory_dim)
        # One position code serves all objects that started together.
        places = {(one.temporal_rows, one.pointer_distances, one.distance_unit): None for one in objects}
        if len(places) > 1:
            places_B = [(one.temporal_rows, one.pointer_distances, one.distance_unit) for one in objects]
        else:
            places_B = list(places)
        position = torch.cat(
            (
                self._spatial_position([rows for rows, _, _ in places_B]),
                self._pointer_position([[d / unit for d in distances] for _, distances, unit in places_B]),
            ),
            dim=1,
        )
        tokens_BTM = torch.cat((spatial.to(self.dtype), pointers), dim=1)
        return Memories(tokens_BTM, tokens_BTM + position, pointers.shape[1], is_token_BT)

    def _spatial_position(self, temporal_rows: Sequence[Sequence[int]]) -> Tensor:
        rows = on_device(temporal_rows, self.device)
        time_code = self.memory_temporal_positional_encoding.view(-1, 1, self.config.memory_dim)
        return (self._constant("memory_code") + time_code[rows]).flatten(1, 2)

    def _pointer_position(self, times: Sequence[Sequence[float]]) -> Tensor:
        splits = self.config.hidden_dim // self.config.memory_dim
        if not self.config.is_2_1:
            return self.no_object_pointer.new_zeros(len(times), len(times[0]) * splits, self.config.memory_dim)
        code = sine_position_1d(on_device(times, self.device, wide(self.dtype)), self.config.hidden_dim)
        position: Tensor = self.temporal_positional_encoding_projection_layer(code.to(self.dtype))
        return position.repeat_interleave(splits, dim=1)

    def _attend_memory(self, features: ImageFeatures, memory: Memories) -> Tensor:
        x = self.memory_attention(features.looked_FLC, memory, self._constant("rope"))
        return x.transpose(1, 2).unflatten(2, features.stride16.shape[2:])  # type: ignore[no-any-return]

    def _pointers(self, tokens_BC: Tensor, is_visible_B: Tensor) -> Tensor:
        return torch.where(is_visible_B[:, None], self.object_pointer_proj(tokens_BC), self.no_object_pointer)

    def _compute_constant(self, name: str) -> Tensor:
        """The rotary table has complex numbers of float32, or of float64, whatever the dtype of the weights."""
        size, config, dtype = self.config.grid_size, self.config, wide(self.dtype)
        if name == "frame_code":
            return sine_position_2d(size, config.hidden_dim, dtype).flatten(1).transpose(0, 1).to(self.dtype)
        if name == "memory_code":
            return sine_position_2d(size, config.memory_dim, dtype).flatten(1).transpose(0, 1).to(self.dtype)
        if name == "rope":
            return rope_table(size, config.hidden_dim, dtype)
        return super()._compute_constant(name)

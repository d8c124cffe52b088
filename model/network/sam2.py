"""SAM 2 as stateless steps: `encode_image`, `segment`, `segment_given_masks`, `remember` and `memory_tokens`.

The memories that these steps make and take are kept by the caller (`model.tracking`).

Legend: F frames, B objects, C channels, M memory channels, H W map of stride 16, L = H·W, P points, T memory tokens,
S side of the model's square input; low-resolution logits are `[B, S/4, S/4]`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.network.config import MASK_BIAS, MASK_SCALE, Sam2Config
from model.network.features import Clicks, ImageFeatures, MemoryTokens, Segmentation
from model.network.kernels import MEMORIES_OF_THE_REST, device_type, with_our_kernels
from model.network.layers import Constants, Linear, Mlp, Product, sine_position_1d, sine_position_2d, wide
from model.network.mask_decoder import DecoderProducts
from model.network.memory_attention import LayerProducts, Memories, MemoryAttention
from model.network.memory_encoder import MemoryEncoder
from model.network.padding import FILLING, FRAMES, FULL, OBJECTS, filled_up, memory_shape, rows_filled_up, size_of
from model.network.regions import Outputs, Region
from model.network.rotary import Order, rope_table
from model.network.sam2_image import MapConstants, Sam2Image
from model.pixels.transfers import on_device

# What the logits of an object become on a frame where it is not seen.
HIDDEN_LOGIT = -1024.0
# Numbers that lie on the device, so that no kernel is launched to put them there.
_NUMBERS = {"hidden_logit": HIDDEN_LOGIT, "mask_bias": MASK_BIAS}
# So many distances in time have their position codes computed together, and so many such tables are kept.
DISTANCES_PER_TABLE = 256
_NUM_TABLES = 64


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
        self._tables = Constants(_NUM_TABLES)
        self.eval().requires_grad_(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._tables.clear()
        return super()._apply(fn, recurse)

    def objects_with_memories(self, num_memories: int, num_pointers: int) -> int:
        """How many objects that each have so many memories and pointers share a batch."""
        return max(
            1, min(self.objects_per_batch, self.memory_tokens_per_batch // self._length(num_memories, num_pointers))
        )

    def halve_batches(self, num_objects: int, num_memories: int, num_pointers: int) -> None:
        """From now on takes half as many objects at a time: so many with such memories did not fit the device."""
        self.memory_tokens_per_batch = num_objects // 2 * self._length(num_memories, num_pointers)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _length(self, num_memories: int, num_pointers: int) -> int:
        """Memory tokens of one object, and those that stand for the rest of the network."""
        num_maps = num_memories + MEMORIES_OF_THE_REST
        return num_maps * self.config.grid_size**2 + num_pointers * self.config.hidden_dim // self.config.memory_dim

    @torch.inference_mode()
    def encode_image(self, pixels_F3SS: Tensor) -> ImageFeatures:
        """Features of F normalized frames (`model.pixels.transforms.normalize`)."""
        pixels, memory_attention = pixels_F3SS.to(self.dtype), self.memory_attention
        places = self._constant("frame_code"), self._rope()
        constants = (self._map_constants(), *places, memory_attention.products(self._order)[0])
        with with_our_kernels(self.device):
            if self.regions is None:
                return ImageFeatures(*self._encode(constants, pixels))
            parts = [self._run(self._encode, constants, len(x), FRAMES, x) for x in pixels.split(FRAMES[-1])]
        return ImageFeatures.stack([ImageFeatures(*part) for part in parts])

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
        with with_our_kernels(self.device):
            return Segmentation(*self._segmented(features, num_objects, memory, clicks, prior_logits_BHW))

    def _segmented(
        self,
        features: ImageFeatures,
        num_objects: int,
        memory: Memories | None,
        clicks: Clicks | None,
        prior_logits_BHW: Tensor | None,
    ) -> Outputs:
        if memory is None:
            image = self.without_memory(features.stride16).expand(num_objects, -1, -1, -1)
        else:
            image = self._attended(features, memory, num_objects)
        constants, maps = self._decode_constants(), (features.stride8, features.stride4)
        if memory is not None and clicks is None and prior_logits_BHW is None:
            return self._run(self._decode, constants, num_objects, OBJECTS, image, *maps)
        prior = None if prior_logits_BHW is None else prior_logits_BHW.unsqueeze(1).to(self.dtype)
        tokens = None if clicks is None else self._prompt_tokens(clicks, num_objects)
        # Three candidates where the prompt is ambiguous: one click, or none at all while tracking.
        multimask = clicks is None or clicks.labels_BP.shape[1] <= 1
        return self._decode(constants, image, *maps, tokens, prior, multimask)

    @torch.inference_mode()
    def segment_given_masks(self, features: ImageFeatures, masks_BSS: Tensor) -> Segmentation:
        """The masks themselves as logits ±10, score ±10 and IoU 1; only the object pointers come from the decoder.

        The pointer is that of the single mask, token 0 (`sam2`, `_use_mask_as_output`; `transformers` differs).
        """
        masks_B1SS = masks_BSS.unsqueeze(1).to(wide(self.dtype))
        logits = masks_B1SS * MASK_SCALE + MASK_BIAS
        size = (self.config.mask_size, self.config.mask_size)
        low = F.interpolate(logits, size=size, mode="bilinear", align_corners=False, antialias=True)
        with with_our_kernels(self.device):
            decoded = self.mask_decoder(
                features.stride16 + self.prompt_encoder.embed_masks(self.mask_downsample(masks_B1SS.to(self.dtype))),
                self._prompt_tokens(None, len(masks_BSS)),
                features.stride8,
                features.stride4,
                self._decoder_products(),
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
        constants = (self._constant("mask_bias"), self.memory_encoder.products())
        inputs = (features.stride16, segmentation.logits_BHW, segmentation.object_scores_B)
        if binarize:
            return self._memorize(constants, *inputs, binarize=True)[0]
        return self._run(self._memorize, constants, len(segmentation.object_scores_B), OBJECTS, *inputs)[0]

    def _memorize(
        self,
        constants: tuple[Tensor, Sequence[Product]],
        stride16: Tensor,
        logits_BHW: Tensor,
        object_scores_B: Tensor,
        binarize: bool = False,
    ) -> tuple[Tensor]:
        size = (self.config.image_size, self.config.image_size)
        logits = logits_BHW.unsqueeze(1)
        high = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        mask = (high > 0).to(high.dtype) if binarize else high.sigmoid()
        mask_bias, products = constants
        scaled = torch.add(mask_bias, mask, alpha=MASK_SCALE).to(self.dtype)
        memory = self.memory_encoder(stride16, scaled, products)
        memory_BLM = memory.flatten(2).transpose(1, 2)
        if self.config.is_2_1:
            is_hidden = (object_scores_B <= 0).view(-1, 1, 1)
            memory_BLM = torch.addcmul(memory_BLM, is_hidden, self.occlusion_spatial_embedding_parameter)
        return (memory_BLM.to(self.memory_dtype).contiguous(),)

    @torch.inference_mode()
    def memory_tokens(self, objects: Sequence[MemoryTokens]) -> Memories:
        """Packs the memories of B objects for the memory attention; all have as many memories and as many pointers.

        A pointer of C channels becomes C / M tokens.
        """
        memory_dim, is_key_1T = self.config.memory_dim, None
        shape = objects[0].shape if self.regions is None else memory_shape(*objects[0].shape) or objects[0].shape
        if shape != objects[0].shape or (self.regions is not None and shape in FILLING and shape not in FULL):
            is_key_1T = self._is_key(objects[0].shape, shape)
            objects = [filled_up(one, shape) for one in objects]
        num_objects, pointer_length = len(objects), self.config.hidden_dim // memory_dim
        num_pointer_tokens = len(objects[0].pointers) * pointer_length
        pointers = torch.cat([pointer for one in objects for pointer in one.pointers]).view(num_objects, -1, memory_dim)
        parts = ((*one.spatial, own) for one, own in zip(objects, pointers.unbind(), strict=True))
        tokens_BTM = torch.cat(list(chain.from_iterable(parts))).to(self.dtype).view(num_objects, -1, memory_dim)
        # One position code serves all objects that started together.
        places = {(one.temporal_rows, one.pointer_distances, one.distance_unit): None for one in objects}
        placed = objects if len(places) > 1 else objects[:1]
        codes = torch.cat([code for one in placed for code in self._position_codes(one)])
        return Memories(tokens_BTM, tokens_BTM + codes.view(len(placed), -1, memory_dim), num_pointer_tokens, is_key_1T)

    def _is_key(self, there: tuple[int, int], shape: tuple[int, int]) -> Tensor:
        """Which tokens are there of a memory that was filled up to a shape, bool `[1, T]`."""
        lengths = self.config.grid_size**2, self.config.hidden_dim // self.config.memory_dim

        def compute() -> Tensor:
            counts = zip(there, shape, lengths, strict=True)
            parts = [torch.arange(length * wanted) < length * real for real, wanted, length in counts]
            return on_device(torch.cat(parts).unsqueeze(0), self.device)

        return self._tables.get(f"is key {there} {shape}", [], compute)

    def _position_codes(self, one: MemoryTokens) -> list[Tensor]:
        """The position codes of an object's memories, `[L, M]` each, then of its pointers, `[C / M, M]` each."""
        memory_codes = self._constants.get(
            "memory_codes", [self.memory_temporal_positional_encoding], self._compute_memory_codes
        )
        codes = [memory_codes[row] for row in one.temporal_rows]
        for distance in one.pointer_distances:
            table, row = divmod(distance, DISTANCES_PER_TABLE)
            codes.append(self._pointer_codes(one.distance_unit, table)[row])
        return codes

    def _compute_memory_codes(self) -> tuple[Tensor, ...]:
        """The code of a memory by its row of the time code."""
        time_codes = self.memory_temporal_positional_encoding.view(-1, 1, self.config.memory_dim)
        return (self._constant("memory_code") + time_codes).unbind()

    def _pointer_codes(self, unit: int, table: int) -> tuple[Tensor, ...]:
        """The codes of pointers by their distance in frames, counted from `table * DISTANCES_PER_TABLE` on."""
        weights = [*self.temporal_positional_encoding_projection_layer.parameters()] if self.config.is_2_1 else []
        return self._tables.get(f"{unit} {table}", weights, lambda: self._compute_pointer_codes(unit, table))

    def _compute_pointer_codes(self, unit: int, table: int) -> tuple[Tensor, ...]:
        num_parts = self.config.hidden_dim // self.config.memory_dim
        if not self.config.is_2_1:
            none = self.no_object_pointer.new_zeros(num_parts, self.config.memory_dim)
            return (none,) * DISTANCES_PER_TABLE
        start = table * DISTANCES_PER_TABLE
        frames = torch.arange(start, start + DISTANCES_PER_TABLE, device=self.device, dtype=torch.float64)
        code = sine_position_1d((frames / unit).to(wide(self.dtype)), self.config.hidden_dim)
        projection = self.temporal_positional_encoding_projection_layer
        places: Tensor = projection(code.to(self.dtype).to(projection.weight.dtype)).to(self.dtype)
        return places.unsqueeze(1).repeat(1, num_parts, 1).unbind()

    def _run(
        self,
        region: Region,
        constants: tuple[object, ...],
        count: int,
        sizes: Sequence[int],
        *inputs: Tensor | int | None,
    ) -> Outputs:
        """A region for `count` rows; where regions are made for shapes, the rows are filled up to one of the sizes."""
        size = None if self.regions is None else size_of(count, sizes)
        if self.regions is None or size is None:
            return region(constants, *inputs)
        filled = (rows_filled_up(x, count, size) if isinstance(x, Tensor) else x for x in inputs)
        outputs = self.regions.run(region, constants, *filled)
        return outputs if count == size else tuple(x[:count] for x in outputs)

    def _encode(
        self, constants: tuple[MapConstants, Tensor, Tensor, LayerProducts], pixels_F3SS: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        maps, frame_code, rope, products = constants
        stride4, stride8, stride16 = self._maps(maps, pixels_F3SS)
        tokens_FLC = stride16.flatten(2).transpose(1, 2)
        return stride16, stride8, stride4, self.memory_attention.look_at_frame(tokens_FLC, frame_code, rope, [products])

    def _attended(self, features: ImageFeatures, memory: Memories, num_objects: int) -> Tensor:
        """The maps of stride 16 of B objects that know their memories."""
        constants = self._rope(), tuple(self.memory_attention.products(self._order))
        inputs = (
            features.looked_FLC,
            memory.memory_BTM,
            memory.placed_BTM,
            memory.is_key_BT,
            memory.num_pointer_tokens,
        )
        return self._run(self._attend, constants, num_objects, OBJECTS, *inputs)[0]

    def _attend(
        self,
        constants: tuple[Tensor, Sequence[LayerProducts]],
        looked_FLC: Tensor,
        memory_BTM: Tensor,
        placed_BTM: Tensor,
        is_key_BT: Tensor | None,
        num_pointer_tokens: int,
    ) -> tuple[Tensor]:
        rope, products = constants
        memories = Memories(memory_BTM, placed_BTM, num_pointer_tokens, is_key_BT)
        x = self.memory_attention(looked_FLC, memories, rope, products)
        return (x.transpose(1, 2).unflatten(2, (self.config.grid_size, -1)),)

    def _decode_constants(self) -> tuple[DecoderProducts, Tensor]:
        return self._decoder_products(), self._constant("hidden_logit")

    def _decode(
        self,
        constants: tuple[DecoderProducts, Tensor],
        image: Tensor,
        stride8: Tensor,
        stride4: Tensor,
        prompt_tokens: Tensor | None = None,
        prior_logits_B1HW: Tensor | None = None,
        multimask: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits, object scores, predicted IoUs and pointers, for a tracked frame or with a prompt."""
        products, hidden_logit = constants
        tokens = self._prompt_tokens(None, len(image)) if prompt_tokens is None else prompt_tokens
        image = image + self.prompt_encoder.embed_masks(prior_logits_B1HW)
        decoded = self.mask_decoder(image, tokens, stride8, stride4, products, multimask=multimask)
        is_visible = decoded.object_scores_B > 0
        logits = torch.where(is_visible[:, None, None], decoded.logits_BHW, hidden_logit)
        pointers = self._pointers(decoded.tokens_BC, is_visible)
        return logits, decoded.object_scores_B, decoded.predicted_ious_B, pointers

    @property
    def _order(self) -> Order:
        if device_type(self.no_object_pointer) != "cpu":
            return "halves twice"
        return "pairs" if self.regions is None else "halves"

    def _rope(self) -> Tensor:
        return self._constant(f"rope in {self._order}")

    def _pointers(self, tokens_BC: Tensor, is_visible_B: Tensor) -> Tensor:
        return torch.where(is_visible_B[:, None], self.object_pointer_proj(tokens_BC), self.no_object_pointer)

    def _compute_constant(self, name: str) -> Tensor:
        """The rotary table and single numbers are in float32, or in float64, whatever the dtype of the weights."""
        size, config, dtype = self.config.grid_size, self.config, wide(self.dtype)
        if name == "frame_code":
            return 0.1 * sine_position_2d(size, config.hidden_dim, dtype).flatten(1).transpose(0, 1).to(self.dtype)
        if name == "memory_code":
            return sine_position_2d(size, config.memory_dim, dtype).flatten(1).transpose(0, 1).to(self.dtype)
        if name.startswith("rope in "):
            return rope_table(size, config.hidden_dim, self._order, dtype)
        if name in _NUMBERS:
            return torch.tensor(_NUMBERS[name], dtype=dtype)
        return super()._compute_constant(name)

"""Fast exact forms of linear layers and attention, by a fixed table of device, processor, dtype and shape.

The table never asks for timings, so that bits repeat. Each function names its plain formula, and
`tests/model/network/test_kernels.py` compares the two.

Legend: B batch, N heads, L queries, T keys, D channels of queries and keys, V channels of values, R rows, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from model.network.processor import Processor
from model.network.processor import processor as this_processor
from model.network.tiles import attend_by_tiles

Activation = Literal["none", "relu", "gelu"]
Blocks = Literal["in place", "packed", "tiles"]

# Asked for once, here: torch.compile cannot follow the question.
_PROCESSOR = this_processor()
_HAS_BFLOAT16 = _PROCESSOR.has_bfloat16

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {"none": lambda x: x, "relu": F.relu, "gelu": F.gelu}

# --- the table -------------------------------------------------------------------------------------------------------

# On a CPU: keys from which attention goes by blocks, queries from which it goes by tiles where the processor does, and
# the least rows for which oneDNN's linear layer is faster.
_MIN_KEYS_FOR_BLOCKS = 512
_MIN_QUERIES_FOR_TILES = 512
_MIN_ROWS_FOR_ONEDNN = 512
# Rows of a map that a CPU takes at a time: what lies between two layers then fits its caches, and stays below the
# 32 MiB from which the allocator maps fresh zeroed pages for every tensor.
_ROWS_IN_CACHE = 4096
# Scores of one block of attention, in bytes: less than the 32 MiB that the allocator keeps. The packed product of a
# block is a new tensor, which may lie beside that of the block before.
_BYTES_OF_SCORES = {"in place": 31 << 20, "packed": 16 << 20}
# Up to so many keys, attention of many short sequences goes by batched products; the fused kernel has a start-up cost
# for each sequence. In bfloat16 it is also slower at any length that a window has.
_MAX_KEYS_FOR_BATCHES = {torch.bfloat16: _MIN_KEYS_FOR_BLOCKS - 1, torch.float32: 64}
# Tokens of the stride-16 map, over all objects, in one batch of the network: more would not be faster, only larger.
_TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 131072}
# Memory tokens, over all objects, in one batch: 32 objects with full memories of the released size. The memory
# attention takes about 3 kB of the device for each of them, and an object with 300 prompted frames has 1.2 million.
# The rest of the network takes as much for an object as two more memories.
MEMORIES_OF_THE_REST = 2
_MEMORY_TOKENS_PER_BATCH = 32 * ((7 + MEMORIES_OF_THE_REST) * 4096 + 16 * 4)
# On a GPU, torch's attention kernels by the least compute capability, in order of preference. Left to itself, torch
# takes cuDNN's in some releases: it plans anew, for some 30 ms of the host, for each number of keys, and a memory that
# fills has another number at each frame. Flash takes no mask and no float32, and then the next one is taken. Not
# measured yet.
_ATTENTION_KERNELS = {
    (8, 0): (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH),
    (0, 0): (SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH),
}
# The same for the frames of one batch of the image encoder.
_TOKENS_PER_ENCODER_BATCH = {"cpu": 1024, "cuda": 32768}


def blocks_on(processor: Processor, dtype: torch.dtype) -> Blocks:
    """Which products attention by blocks takes on a processor.

    `in place`: torch's own, MKL's in float32 and oneDNN's in bfloat16. They write scores where those of the block
    before were, so that a block has twice the rows in the same memory, and that memory is in the caches. `packed`:
    oneDNN's operator on keys that are laid out once for all blocks. MKL computes with AVX-512 on processors of Intel
    alone: on others oneDNN is twice as fast there. `tiles`: the exponential is part of oneDNN's product, see
    `model.network.tiles`. In float32 that gains too little for the digits that it costs.
    """
    if dtype == torch.bfloat16 and processor.instructions == "avx512 with bfloat16":
        return "tiles"
    lacks_mkl = processor.instructions != "avx2" and not processor.is_intel
    return "packed" if dtype == torch.float32 and lacks_mkl else "in place"


def block_rows(num_keys: int, dtype: torch.dtype, blocks: Blocks) -> int:
    """Queries taken at a time, a power of two: 512, or fewer where a block of scores would be too large."""
    fitting = max(1, _BYTES_OF_SCORES[blocks] // (num_keys * dtype.itemsize))
    return min(512, 1 << (fitting.bit_length() - 1))


def dtype_of_products(x: Tensor) -> torch.dtype:
    """In which dtype products of tensors such as this one are computed before they are rounded to that of the tensor.

    A CPU that would emulate bfloat16 computes them in float32, at a multiple of the speed and not less exactly.
    """
    is_emulated = x.dtype == torch.bfloat16 and device_type(x) == "cpu" and not _HAS_BFLOAT16
    return torch.float32 if is_emulated else x.dtype


def uses_blocks(query: Tensor, num_keys: int) -> bool:
    """Whether attention goes by blocks: on a CPU, as soon as the keys are many."""
    return device_type(query) == "cpu" and num_keys >= _MIN_KEYS_FOR_BLOCKS


def uses_batches(query: Tensor, num_keys: int) -> bool:
    """Whether attention goes by batched products: on a CPU, for many short sequences."""
    return device_type(query) == "cpu" and num_keys <= _MAX_KEYS_FOR_BATCHES.get(query.dtype, 0)


def rows_at_a_time(x: Tensor) -> int | None:
    """How many rows of a map to take at a time through a chain of layers; None: all at once."""
    return _ROWS_IN_CACHE if device_type(x) == "cpu" else None


def objects_per_batch(device: torch.device, tokens_of_map: int) -> int:
    """How many objects share a batch of the network."""
    return max(1, _TOKENS_PER_BATCH.get(_forced or device.type, _TOKENS_PER_BATCH["cuda"]) // tokens_of_map)


def memory_tokens_per_batch() -> int:
    """How many memory tokens share a batch, unless an object has more by itself; `MEMORIES_OF_THE_REST` are counted."""
    return _MEMORY_TOKENS_PER_BATCH


def attention_kernels(capability: tuple[int, int]) -> tuple[SDPBackend, ...]:
    """Torch's attention kernels on a GPU of this compute capability, in order of preference."""
    return next(kernels for least, kernels in _ATTENTION_KERNELS.items() if capability >= least)


def names_of_kernels(device: torch.device) -> str:
    """For people, by which of torch's kernels a GPU computes attention: `flash, efficient or math`; empty on a CPU."""
    if device.type != "cuda":
        return ""
    names = [k.name.removesuffix("_ATTENTION").lower() for k in attention_kernels(_capability(device))]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def with_our_kernels(device: torch.device) -> AbstractContextManager[None]:
    """Has torch's attention take the kernels of the table, whatever its release prefers. Nothing changes on a CPU."""
    if device.type != "cuda":
        return nullcontext()
    return sdpa_kernel(list(attention_kernels(_capability(device))), set_priority=True)


def _capability(device: torch.device) -> tuple[int, int]:
    major, minor = torch.cuda.get_device_capability(device)
    return major, minor


def frames_per_batch(device: torch.device, tokens_of_map: int) -> int:
    """How many frames share a batch of the image encoder."""
    limit = _TOKENS_PER_ENCODER_BATCH.get(_forced or device.type, _TOKENS_PER_ENCODER_BATCH["cuda"])
    return max(1, limit // tokens_of_map)


_forced: str | None = None


def device_type(x: Tensor) -> str:
    """The row of the table that holds for a tensor: the type of its device."""
    return _forced or x.device.type


@contextmanager
def as_on(device: str) -> Iterator[None]:
    """Takes the table's row of another device (`cuda` on a machine without): for tests that count what it would run."""
    global _forced
    before, _forced = _forced, device
    try:
        yield
    finally:
        _forced = before


def _onednn_dtypes() -> frozenset[torch.dtype]:
    """The dtypes in which this build of torch and this CPU have oneDNN's linear layer."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return frozenset()
    return frozenset({torch.float32, torch.bfloat16} if _HAS_BFLOAT16 else {torch.float32})


_ONEDNN_DTYPES = _onednn_dtypes()


def _uses_onednn(x: Tensor, min_rows: int) -> bool:
    if device_type(x) != "cpu" or x.dtype not in _ONEDNN_DTYPES:
        return False
    if torch.compiler.is_compiling():  # torch.compile cannot take oneDNN's operator, and has products of its own
        return False
    return x.numel() >= min_rows * x.shape[-1]


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype that `torch.autocast` asks of matrix products on a tensor's device; None where it is off.

    Autocast does not cast the inputs of oneDNN's operators, so the functions of this module do.
    """
    device = x.device.type
    return torch.get_autocast_dtype(device) if device != "meta" and torch.is_autocast_enabled(device) else None


@contextmanager
def without_autocast() -> Iterator[None]:
    """Computes in the dtype of the tensors: for position codes and constants, in which 16 bits would move clicks."""
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


# --- the kernels -----------------------------------------------------------------------------------------------------


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Activation = "none",
    packed: Callable[[], Tensor] | None = None,
) -> Tensor:
    """`activation(x Wᵀ + b)`; on a CPU by oneDNN, which is faster than the default there and fuses the activation.

    `packed` gives the weight as `pack` lays it out, for callers that keep it.
    """
    if (dtype := autocast_dtype(x)) is not None:
        packed = packed if weight.dtype == dtype else None
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    if (dtype := dtype_of_products(x)) != x.dtype and x.numel() >= _MIN_ROWS_FOR_ONEDNN * x.shape[-1]:
        with without_autocast():  # which would ask for bfloat16 again
            wide = linear(x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype), activation, packed)
        return wide.to(x.dtype)
    if _uses_onednn(x, _MIN_ROWS_FOR_ONEDNN):
        algorithm = "none" if activation == "gelu" else ""
        laid_out = weight if packed is None else packed()
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, laid_out, bias, activation, [], algorithm)
        return out
    if activation == "relu" and bias is not None and device_type(x) == "cuda" and not torch.compiler.is_compiling():
        # One launch: cuBLAS adds the bias and cuts at zero before it writes. (Its GELU is the approximate one.)
        flat: Tensor = torch._addmm_activation(bias, x.flatten(0, -2), weight.t())
        relu: Tensor = flat.unflatten(0, x.shape[:-1])
        return relu
    return _ACTIVATIONS[activation](F.linear(x, weight, bias))


def pack(weight: Tensor) -> Tensor:
    """A matrix as oneDNN's product reads it, so that it is not laid out again for each product; the bits are the same.

    Only for products by oneDNN. It is of the dtype in which they are computed.
    """
    out: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype_of_products(weight)).contiguous())
    return out


def _packed_for_products(columns: Tensor) -> Tensor:
    """`columns` packed if `_product` with it goes by oneDNN."""
    return pack(columns) if _uses_onednn(columns, 1) else columns.contiguous()


def _product(rows: Tensor, columns: Tensor) -> Tensor:
    """`rows columnsᵀ`, the columns lying as rows, as `_packed_for_products` gave them."""
    if columns.is_mkldnn:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, columns, None, "none", [], "")
        return out
    product: Tensor = rows @ columns.t()
    return product


def attention(q_BNLD: Tensor, k_BNTD: Tensor, v_BNTV: Tensor, is_key_BT: Tensor | None = None) -> Tensor:
    """`softmax(q kᵀ / √D) v`, `[B, N, L, V]`. Queries of batch 1 serve every row of keys.

    `is_key_BT` says which keys are there: those that only fill up a shape get no weight at all. It may be of batch 1,
    too.
    """
    if (dtype := autocast_dtype(q_BNLD)) is not None:
        q_BNLD, k_BNTD, v_BNTV = q_BNLD.to(dtype), k_BNTD.to(dtype), v_BNTV.to(dtype)
    if (dtype := dtype_of_products(q_BNLD)) != q_BNLD.dtype:
        with without_autocast():
            wide = attention(q_BNLD.to(dtype), k_BNTD.to(dtype), v_BNTV.to(dtype), is_key_BT)
        return wide.to(q_BNLD.dtype)
    if uses_blocks(q_BNLD, k_BNTD.shape[2]):
        return attention_by_blocks(q_BNLD, k_BNTD, v_BNTV, is_key_BT)
    queries = q_BNLD.expand(len(k_BNTD), -1, -1, -1)
    if is_key_BT is None and uses_batches(q_BNLD, k_BNTD.shape[2]):
        return attention_by_batches(queries, k_BNTD, v_BNTV)
    mask = None if is_key_BT is None else is_key_BT[:, None, None, :]
    return F.scaled_dot_product_attention(queries, k_BNTD, v_BNTV, attn_mask=mask)


def attention_by_batches(q_BNLD: Tensor, k_BNTD: Tensor, v_BNTV: Tensor) -> Tensor:
    """`attention` by one batched product of all heads for the scores and one for the values."""
    q, k, v = (x.flatten(0, 1) for x in (q_BNLD * q_BNLD.shape[-1] ** -0.5, k_BNTD, v_BNTV))
    mixed = torch.bmm(torch.softmax(torch.bmm(q, k.transpose(1, 2)), dim=-1), v)
    return mixed.view(*q_BNLD.shape[:3], -1)


def attention_by_blocks(
    q_BNLD: Tensor,
    k_BNTD: Tensor,
    v_BNTV: Tensor,
    is_key_BT: Tensor | None = None,
    blocks: Blocks | None = None,
) -> Tensor:
    """`attention` by matrix products of one head and one block of queries at a time, by default the table's `blocks`.

    The fused kernel of the CPU reaches a fraction of the rate of a matrix product. Memory is bounded by one block of
    scores. Softmax computes in float32 and rounds to the dtype of the scores.
    """
    batch, heads, length = len(k_BNTD), q_BNLD.shape[1], q_BNLD.shape[2]
    attended = _ATTENDED[blocks or _blocks_for(q_BNLD)]
    scaled = q_BNLD * q_BNLD.shape[-1] ** -0.5
    # Heads innermost, as the layers around it lay them out: merging the heads is then a view.
    out = q_BNLD.new_empty(batch, length, heads, v_BNTV.shape[-1])
    for index in range(batch):
        is_key = None if is_key_BT is None else is_key_BT[index if len(is_key_BT) > 1 else 0]
        for head in range(heads):
            queries = scaled[index if len(scaled) > 1 else 0, head]
            attended(queries, k_BNTD[index, head], v_BNTV[index, head], is_key, out[index, :, head])
    return out.transpose(1, 2)


def _blocks_for(q_BNLD: Tensor) -> Blocks:
    blocks = blocks_on(_PROCESSOR, q_BNLD.dtype)
    if blocks == "tiles" and (q_BNLD.shape[2] < _MIN_QUERIES_FOR_TILES or not _uses_onednn(q_BNLD, 1)):
        return "in place"
    return blocks


def _attended_in_place(
    queries_LD: Tensor, keys_TD: Tensor, values_TV: Tensor, is_key_T: Tensor | None, out_LV: Tensor
) -> None:
    rows = min(len(queries_LD), block_rows(len(keys_TD), queries_LD.dtype, "in place"))
    # One buffer for all blocks: fresh memory of this size would be zeroed by the kernel page by page.
    buffer = queries_LD.new_empty(rows, len(keys_TD))
    for start in range(0, len(queries_LD), rows):
        block = queries_LD[start : start + rows]
        scores = torch.mm(block, keys_TD.t(), out=buffer[: len(block)])
        out_LV[start : start + rows] = _softmax_in_place(scores, is_key_T) @ values_TV


def _attended_packed(
    queries_LD: Tensor, keys_TD: Tensor, values_TV: Tensor, is_key_T: Tensor | None, out_LV: Tensor
) -> None:
    rows = block_rows(len(keys_TD), queries_LD.dtype, "packed")
    keys, values = _packed_for_products(keys_TD), _packed_for_products(values_TV.t())
    for start in range(0, len(queries_LD), rows):
        scores = _product(queries_LD[start : start + rows], keys)  # a new tensor, in which softmax stays
        out_LV[start : start + rows] = _product(_softmax_in_place(scores, is_key_T), values)


def _attended_by_tiles(
    queries_LD: Tensor, keys_TD: Tensor, values_TV: Tensor, is_key_T: Tensor | None, out_LV: Tensor
) -> None:
    mixed, holds = attend_by_tiles(queries_LD, keys_TD, values_TV, is_key_T)
    if not holds.all():
        rest = mixed.new_empty(int((~holds).sum()), mixed.shape[1])
        _attended_in_place(queries_LD[~holds], keys_TD, values_TV, is_key_T, rest)
        mixed[~holds] = rest
    out_LV.copy_(mixed)


_ATTENDED: dict[Blocks, Callable[[Tensor, Tensor, Tensor, Tensor | None, Tensor], None]] = {
    "in place": _attended_in_place,
    "packed": _attended_packed,
    "tiles": _attended_by_tiles,
}


def _softmax_in_place(scores: Tensor, is_key_T: Tensor | None) -> Tensor:
    if is_key_T is not None:
        scores.masked_fill_(~is_key_T, -torch.inf)
    return torch.softmax(scores, dim=-1, out=scores)

"""Each fast path equals the plain formula beside it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from model.network.image_encoder import HieraBlock
from model.network.kernels import (
    Activation,
    as_on,
    attention,
    attention_by_batches,
    attention_by_blocks,
    block_rows,
    linear,
)
from model.network.layers import Constants, Linear
from model.network.memory_attention import CrossAttention, Memories, rope_table, rotate
from model.network.sam2_image import _join_convs
from model.weights.checkpoint import load_model

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
DTYPES = tuple(TOLERANCE)


def _random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _assert_close(fast: torch.Tensor, plain: torch.Tensor, dtype: torch.dtype) -> None:
    assert fast.shape == plain.shape
    assert (fast.float() - plain.float()).norm() <= TOLERANCE[dtype] * plain.float().norm()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
@pytest.mark.parametrize("rows", [3, 600])
def test_linear_is_activation_of_product_and_bias(dtype: torch.dtype, activation: Activation, rows: int) -> None:
    x, weight, bias = _random(2, rows, 48, dtype=dtype), _random(40, 48, seed=1, dtype=dtype), _random(40, seed=2)
    plain = F.linear(x.double(), weight.double(), bias.to(dtype).double())
    plain = {"none": plain, "relu": plain.relu(), "gelu": F.gelu(plain)}[activation]
    _assert_close(linear(x, weight, bias.to(dtype), activation), plain, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("query_batch", [1, 2])
def test_attention_by_blocks_is_softmax_of_products(dtype: torch.dtype, query_batch: int) -> None:
    q, k = _random(query_batch, 2, 700, 32, dtype=dtype), _random(2, 2, 900, 32, seed=1, dtype=dtype)
    v = _random(2, 2, 900, 16, seed=2, dtype=dtype)
    weights = torch.softmax(q.double() @ k.double().transpose(-1, -2) / 32**0.5, dim=-1)
    _assert_close(attention_by_blocks(q, k, v), weights @ v.double(), dtype)
    with as_on("cuda"):
        _assert_close(attention(q, k, v), weights @ v.double(), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_attention_by_batches_is_softmax_of_products(dtype: torch.dtype) -> None:
    q, k, v = (_random(6, 2, n, 16, seed=n, dtype=dtype) for n in (9, 36, 36))
    weights = torch.softmax(q.double() @ k.double().transpose(-1, -2) / 16**0.5, dim=-1)
    _assert_close(attention_by_batches(q, k, v), weights @ v.double(), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_of_a_block_are_bounded_however_many_keys_there_are(dtype: torch.dtype) -> None:
    for num_keys in (512, 4096, 8192, 28736, 57408, 10**7):
        rows = block_rows(num_keys, dtype)
        assert rows == 1 or rows * num_keys * dtype.itemsize <= 16 * 2**20
        assert 1 <= rows <= 512


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_packed_weight_gives_the_same_bits(dtype: torch.dtype) -> None:
    layer = Linear(48, 40).to(dtype)
    x = _random(2, 600, 48, dtype=dtype)
    with torch.inference_mode():
        assert torch.equal(layer(x, "gelu"), linear(x, layer.weight, layer.bias, "gelu"))
        layer.weight.mul_(2)  # what was packed is not stale
        assert torch.equal(layer(x), linear(x, layer.weight, layer.bias))
        assert torch.equal(copy.deepcopy(layer)(x), layer(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_memories_attended_before_widening_equal_widened_memories(dtype: torch.dtype) -> None:
    layer = CrossAttention(64, 16).to(dtype)
    x, memory, placed = (_random(2, n, c, seed=n, dtype=dtype) for n, c in ((64, 64), (520, 16), (520, 16)))
    rope = rope_table(8, 64)
    with torch.inference_mode():
        fast = layer(x, Memories(memory, placed, 8), rope)
        with as_on("cuda"):
            plain = layer(x, Memories(memory, placed, 8), rope)
    _assert_close(fast, plain, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rotary_code_turns_pairs_of_channels(dtype: torch.dtype) -> None:
    tokens, rope = _random(2, 3, 16, 8, dtype=dtype), rope_table(4, 8)
    _assert_close(rotate(tokens, rope), _turned(tokens, rope), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_memories", [0, 1, 3])
def test_keys_of_memories_are_turned_and_those_of_pointers_are_not(dtype: torch.dtype, num_memories: int) -> None:
    size = 64  # more tokens than a CPU takes at a time, when there are several memories
    layer, rope = CrossAttention(8, 4).to(dtype), rope_table(size, 8)
    placed = _random(2, num_memories * size**2 + 4, 4, dtype=dtype)
    with torch.inference_mode():
        keys, plain = layer.keys(placed, 4, rope), F.linear(placed, layer.k_proj.weight, layer.k_proj.bias)
        turned = _turned(plain[:, :-4].unflatten(1, (num_memories, size**2)), rope).flatten(1, 2)
    _assert_close(keys[:, :-4], turned, dtype)
    _assert_close(keys[:, -4:], plain[:, -4:], dtype)


def _turned(tokens: torch.Tensor, rope: torch.Tensor) -> torch.Tensor:
    even, odd = tokens.double().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * rope.real - odd * rope.imag, even * rope.imag + odd * rope.real), dim=-1).flatten(-2)


@pytest.mark.parametrize(("window", "pool"), [(8, False), (7, False), (8, True), (0, False), (0, True)])
def test_a_block_by_bands_equals_the_whole_map(window: int, pool: bool) -> None:
    torch.manual_seed(0)
    block = HieraBlock(16, 32 if pool else 16, 2, window, pool).eval()
    x = _random(1, 32, 320, 16) if window else _random(1, 32, 32, 16)
    with torch.inference_mode():
        fast = block(x.clone())
        with as_on("cuda"):
            plain = block(x.clone())
    _assert_close(fast, plain, torch.float32)


def test_two_convolutions_as_one() -> None:
    first, second = torch.nn.Conv2d(12, 20, 1), torch.nn.Conv2d(20, 6, 1)
    assert first.bias is not None
    assert second.bias is not None
    weight, bias = _join_convs(first.weight, first.bias, second.weight, second.bias)
    x = _random(1, 12, 5, 5)
    _assert_close(F.conv2d(x, weight[..., None, None], bias), second(first(x)), torch.float32)


def test_constants_follow_their_weights() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    constants = Constants()
    calls = []

    def double() -> torch.Tensor:
        calls.append(1)
        return weight.detach() * 2

    assert constants.get("double", [weight], double).tolist() == [2, 2]
    assert constants.get("double", [weight], double).tolist() == [2, 2]
    assert len(calls) == 1
    with torch.no_grad():
        weight.copy_(torch.tensor([3.0, 4.0]))
    assert constants.get("double", [weight], double).tolist() == [6, 8]


def test_loading_other_weights_leaves_no_constant_stale() -> None:
    model, fresh = load_model("mini"), load_model("mini")
    pixels = _random(1, 3, model.config.image_size, model.config.image_size)
    model.encode_image(pixels)
    other = {name: tensor + 0.01 for name, tensor in model.state_dict().items()}
    model.load_state_dict(other)
    fresh.load_state_dict(other)
    assert torch.equal(model.encode_image(pixels).stride4, fresh.encode_image(pixels).stride4)
    half = model.to(torch.bfloat16).encode_image(pixels)
    assert half.stride4.dtype == torch.bfloat16


def test_an_object_has_the_same_bits_alone_and_in_a_session_of_full_size() -> None:
    """On a CPU at full size the network takes one object at a time, so a batch cannot change its bits."""
    from model.network.kernels import objects_per_batch

    assert objects_per_batch(torch.device("cpu"), 64 * 64) == 1

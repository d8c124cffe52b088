"""Each fast path equals the plain formula beside it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from model.network.image_encoder import HieraBlock
from model.network.kernels import (
    Activation,
    Blocks,
    as_on,
    attention,
    attention_by_batches,
    attention_by_blocks,
    block_rows,
    linear,
    names_of_kernels,
    with_our_kernels,
)
from model.network.layers import Constants, Linear, Mlp
from model.network.mask_decoder import Heads, ImageProduct
from model.network.memory_attention import CrossAttention, Memories, SelfAttention, keys
from model.network.rotary import Order, rope_table
from model.network.sam2_image import _join_convs
from model.weights.checkpoint import load_model
from tests.support.pretended_gpu import pretended_gpu

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
DTYPES = tuple(TOLERANCE)
DEVICES: dict[Order, str] = {"pairs": "cpu", "halves": "cpu", "halves twice": "cuda"}
ORDERS = tuple(DEVICES)
BLOCKS: tuple[Blocks, ...] = ("in place", "packed")


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


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("query_batch", [1, 2])
def test_attention_by_blocks_is_softmax_of_products(dtype: torch.dtype, query_batch: int) -> None:
    q, k = _random(query_batch, 2, 700, 32, dtype=dtype), _random(2, 2, 900, 32, seed=1, dtype=dtype)
    v = _random(2, 2, 900, 16, seed=2, dtype=dtype)
    weights = torch.softmax(q.double() @ k.double().transpose(-1, -2) / 32**0.5, dim=-1)
    for blocks in BLOCKS:
        _assert_close(attention_by_blocks(q, k, v, blocks=blocks), weights @ v.double(), dtype)
    with as_on("cuda"):
        _assert_close(attention(q, k, v), weights @ v.double(), dtype)


@pytest.mark.parametrize("num_keys", [8, 600])
def test_what_keys_are_there_may_be_said_once_for_all_objects(num_keys: int) -> None:
    """Objects that share a shape that is filled up have as many keys; 600 keys go by blocks on a CPU."""
    q, k, v = _random(1, 1, 5, 16), _random(3, 1, num_keys, 16, seed=1), _random(3, 1, num_keys, 8, seed=2)
    is_key_1T = (torch.arange(num_keys) < num_keys - 3).unsqueeze(0)
    plain = torch.softmax(q @ k[:, :, :-3].transpose(-1, -2) / 4, dim=-1) @ v[:, :, :-3]
    for is_key in (is_key_1T, is_key_1T.expand(3, -1)):
        _assert_close(attention(q, k, v, is_key), plain, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_attention_by_batches_is_softmax_of_products(dtype: torch.dtype) -> None:
    q, k, v = (_random(6, 2, n, 16, seed=n, dtype=dtype) for n in (9, 36, 36))
    weights = torch.softmax(q.double() @ k.double().transpose(-1, -2) / 16**0.5, dim=-1)
    _assert_close(attention_by_batches(q, k, v), weights @ v.double(), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_of_a_block_are_bounded_however_many_keys_there_are(dtype: torch.dtype) -> None:
    for num_keys in (512, 4096, 8192, 28736, 57408, 10**7):
        for blocks, tensors in zip(BLOCKS, (1, 2), strict=True):  # that lie side by side
            rows = block_rows(num_keys, dtype, blocks)
            assert rows == 1 or tensors * rows * num_keys * dtype.itemsize <= 32 * 2**20
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
@pytest.mark.parametrize("order", ORDERS)
def test_memories_are_attended_to_before_or_after_they_are_widened(dtype: torch.dtype, order: Order) -> None:
    layer = CrossAttention(64, 16).to(dtype)
    x, memory, placed = (_random(2, n, c, seed=n, dtype=dtype) for n, c in ((64, 64), (520, 16), (520, 16)))
    q, k, v = (p(t) for p, t in ((layer.q_proj, x), (layer.k_proj, placed), (layer.v_proj, memory)))
    turned = torch.cat([_turned(k[:, :512].unflatten(1, (8, 64)), 8).flatten(1, 2), k[:, 512:].double()], dim=1)
    weights = torch.softmax(_turned(q, 8) @ turned.transpose(1, 2) / 8, dim=-1)
    with torch.inference_mode(), as_on(DEVICES[order]):
        found = layer(x, Memories(memory, placed, 8), rope_table(8, 64, order), layer.products(order))
        _assert_close(found, layer.o_proj((weights @ v.double()).to(dtype)), dtype)


def _turned(tokens: torch.Tensor, size: int) -> torch.Tensor:
    """The rotary code by its definition, on neighboring channels, as both references have it: complex numbers."""
    channels = tokens.shape[-1]
    frequency = 1 / 10000 ** (torch.arange(0, channels, 4, dtype=torch.float64) / channels)
    y, x = torch.meshgrid(torch.arange(size).double(), torch.arange(size).double(), indexing="ij")
    angle = torch.cat([torch.outer(axis.flatten(), frequency) for axis in (x, y)], dim=-1)
    pairs = torch.view_as_complex(tokens.double().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2)


def _in_order(order: Order, tokens: torch.Tensor) -> torch.Tensor:
    return tokens if order == "pairs" else torch.cat((tokens[..., 0::2], tokens[..., 1::2]), dim=-1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ORDERS)
def test_self_attention_turns_queries_and_keys(dtype: torch.dtype, order: Order) -> None:
    layer, x = SelfAttention(16).to(dtype), _random(2, 64, 16, dtype=dtype)
    q, k, v = (F.linear(x, proj.weight, proj.bias) for proj in (layer.q_proj, layer.k_proj, layer.v_proj))
    weights = torch.softmax(_turned(q, 8) @ _turned(k, 8).transpose(1, 2) / 4, dim=-1)
    with torch.inference_mode(), as_on(DEVICES[order]):
        out = layer(x, rope_table(8, 16, order), layer.joined(order))
        _assert_close(out, layer.o_proj((weights @ v.double()).to(dtype)), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("num_memories", [0, 1, 3])
def test_keys_of_memories_are_turned_and_those_of_pointers_are_not(
    dtype: torch.dtype, order: Order, num_memories: int
) -> None:
    size = 64  # more tokens than a CPU takes at a time, when there are several memories
    layer, rope = CrossAttention(8, 4).to(dtype), rope_table(size, 8, order)
    placed = _random(2, num_memories * size**2 + 4, 4, dtype=dtype)
    k_proj = layer.products(order).k
    with torch.inference_mode(), as_on(DEVICES[order]):
        found, plain = keys(placed, 4, rope, k_proj), F.linear(placed, layer.k_proj.weight, layer.k_proj.bias)
        turned = _turned(plain[:, :-4].unflatten(1, (num_memories, size**2)), size).flatten(1, 2)
    _assert_close(found[:, :-4], _in_order(order, turned), dtype)
    _assert_close(found[:, -4:], _in_order(order, plain[:, -4:]), dtype)


def test_several_mlps_are_one_batched_product_whatever_their_widths() -> None:
    mlps = [Mlp(8, hidden, out, depth=3, activation="relu") for hidden, out in ((8, 1), (12, 4), (8, 2))]
    tokens = _random(5, 3, 8)
    with torch.inference_mode():
        found = Heads.of(mlps)(tokens.transpose(0, 1))
        for head, mlp in enumerate(mlps):
            plain = mlp(tokens[:, head])
            _assert_close(found[head, :, : plain.shape[1]], plain, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_projections_of_an_image_see_its_position_code_through_a_constant(dtype: torch.dtype) -> None:
    placed, plain = Linear(8, 4).to(dtype), Linear(8, 4).to(dtype)
    image, position = _random(2, 9, 8, dtype=dtype), _random(9, 8, seed=1, dtype=dtype)
    with torch.inference_mode():
        found = ImageProduct.of(position, [placed], [plain])(image)
        _assert_close(found[..., :4], placed(image + position), dtype)
        _assert_close(found[..., 4:], plain(image), dtype)


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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("capability", "names"), [((9, 0), "flash, efficient or math"), ((7, 5), "efficient or math")], ids=["H100", "T4"]
)
def test_attention_on_a_gpu_is_computed_by_the_kernels_of_our_table(capability: tuple[int, int], names: str) -> None:
    """Not by what a release of torch prefers; its own choice comes back afterwards, and a CPU is left alone."""
    before = torch.backends.cuda.cudnn_sdp_enabled(), torch.backends.cuda.flash_sdp_enabled()
    with pretended_gpu(capability):
        device = torch.device("cuda")
        assert names_of_kernels(device) == names
        with with_our_kernels(device):
            assert not torch.backends.cuda.cudnn_sdp_enabled()
            assert torch.backends.cuda.flash_sdp_enabled() is names.startswith("flash")
            assert torch.backends.cuda.math_sdp_enabled()
    with with_our_kernels(torch.device("cpu")):
        assert (torch.backends.cuda.cudnn_sdp_enabled(), torch.backends.cuda.flash_sdp_enabled()) == before
    assert names_of_kernels(torch.device("cpu")) == ""


@pytest.mark.slow
def test_weights_of_convolutions_lie_on_a_gpu_as_its_maps_do() -> None:
    """Otherwise each convolution lays its weight out anew at each frame."""
    with pretended_gpu():
        model = load_model("mini", device="cuda")
        convs = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
        assert len(convs) > 10
        assert all(conv.weight.is_contiguous(memory_format=torch.channels_last) for conv in convs)

"""Attention whose exponential is computed inside the product equals softmax, and says where it does not."""

from __future__ import annotations

import pytest
import torch

from model.network import kernels
from model.network.kernels import attention, attention_by_blocks
from model.network.processor import Processor
from model.network.tiles import attend_by_tiles

# A processor whose oneDNN has no bfloat16 runs the same operations in float32.
HAS_BFLOAT16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
DTYPE = torch.bfloat16 if HAS_BFLOAT16 else torch.float32
MORE_THAN_ONE_TILE = (600, 4500)  # queries and keys
BLOCKS: tuple[kernels.Blocks, ...] = ("tiles", "in place")


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DTYPE)


def _operands(length: int, num_keys: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return _random(length, 32) / 32**0.5, _random(num_keys, 32, seed=1), _random(num_keys, 16, seed=2)


def _plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.softmax(q.double() @ k.double().T, dim=-1) @ v.double()


def _gap(found: torch.Tensor, plain: torch.Tensor) -> float:
    return float((found.double() - plain).norm() / plain.norm())


@pytest.mark.parametrize(("length", "num_keys"), [MORE_THAN_ONE_TILE, (3, 5), (513, 4097)])
def test_it_is_softmax_of_products(length: int, num_keys: int) -> None:
    q, k, v = _operands(length, num_keys)
    mixed, holds = attend_by_tiles(q, k, v)
    assert holds.all()
    assert _gap(mixed, _plain(q, k, v)) < 5e-3


def test_it_is_no_less_exact_than_softmax_that_is_rounded() -> None:
    q, k, v = _operands(*MORE_THAN_ONE_TILE)
    tiles, rounded = (
        attention_by_blocks(q[None, None] * 32**0.5, k[None, None], v[None, None], blocks=blocks)[0, 0]
        for blocks in BLOCKS
    )
    if HAS_BFLOAT16:
        assert _gap(tiles, _plain(q, k, v)) < _gap(rounded, _plain(q, k, v))
    assert _gap(tiles, _plain(q, k, v)) < 5e-3


def test_queries_that_like_all_keys_equally_get_their_mean() -> None:
    q, k, v = _operands(*MORE_THAN_ONE_TILE)
    mixed, holds = attend_by_tiles(torch.zeros_like(q), k, v)
    assert holds.all()
    assert _gap(mixed, v.double().mean(0).expand(len(q), -1)) < 2e-2


@pytest.mark.parametrize("default", [torch.bfloat16, torch.float64])
def test_sums_are_in_float32_whatever_the_default_dtype_of_the_process(default: torch.dtype) -> None:
    q, k, v = _operands(*MORE_THAN_ONE_TILE)
    expected, before = attend_by_tiles(q, k, v)[0], torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        mixed, _ = attend_by_tiles(q, k, v)
    finally:
        torch.set_default_dtype(before)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, expected)


def test_sums_lie_where_the_queries_are_whatever_the_default_device_of_the_process() -> None:
    q, k, v = _operands(*MORE_THAN_ONE_TILE)
    expected, _ = attend_by_tiles(q, k, v)
    with torch.device("meta"):
        mixed, _ = attend_by_tiles(q, k, v)
    assert mixed.device == q.device
    assert torch.equal(mixed, expected)


@pytest.mark.parametrize("offset", [-3.0, 3.0])
def test_what_all_keys_have_in_common_does_not_matter(offset: float) -> None:
    q, k, v = _operands(*MORE_THAN_ONE_TILE)
    k = k + offset * 32  # scores of a query lie hundreds above or below those of another
    assert (q.float() @ k.float().T).mean(1).std() > 50
    mixed, holds = attend_by_tiles(q, k, v)
    assert holds.all()
    assert _gap(mixed, _plain(q, k, v)) < 5e-3


def test_scores_far_above_those_looked_at_before_are_computed_with_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = _operands(*MORE_THAN_ONE_TILE)
    q[:7] = 12 * k[1:8]  # their own key has about 384, and those looked at before some 160 at most
    expected = _plain(q, k, v)
    _, holds = attend_by_tiles(q, k, v)
    assert (~holds).nonzero().flatten().tolist() == list(range(7))
    rest = []
    in_place = kernels._attended_in_place
    monkeypatch.setattr(kernels, "_attended_in_place", lambda *a: (rest.append(len(a[0])), in_place(*a)))
    mixed = attention_by_blocks(q[None, None] * 32**0.5, k[None, None], v[None, None], blocks="tiles")[0, 0]
    assert rest == [7]
    assert _gap(mixed[:7], expected[:7]) < 1e-2
    assert _gap(mixed[7:], expected[7:]) < 5e-3


def test_keys_that_only_fill_up_a_shape_get_no_weight() -> None:
    q, k, v = _operands(*MORE_THAN_ONE_TILE)
    is_key = torch.arange(len(k)) % 3 > 0
    v[~is_key] = 1e4
    mixed, holds = attend_by_tiles(q, k, v, is_key)
    assert holds.all()
    assert _gap(mixed, _plain(q, k[is_key], v[is_key])) < 5e-3


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("place", ["query", "key looked at before", "other key"])
def test_numbers_that_are_not_finite_have_the_same_effect(bad: float, place: str) -> None:
    q, k, v = _operands(*MORE_THAN_ONE_TILE)
    (q if place == "query" else k)[{"query": 5, "key looked at before": 61, "other key": 4001}[place], 3] = bad
    tiles, softmax = (
        attention_by_blocks(q[None, None], k[None, None], v[None, None], blocks=blocks).isfinite() for blocks in BLOCKS
    )
    assert torch.equal(tiles, softmax)
    assert not tiles.all()


def test_few_queries_do_not_go_by_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_PROCESSOR", Processor("avx512 with bfloat16", is_intel=False))
    monkeypatch.setattr(kernels, "_ONEDNN_DTYPES", frozenset({torch.bfloat16}))
    by_tiles: list[int] = []
    monkeypatch.setitem(kernels._ATTENDED, "tiles", lambda q, *_: by_tiles.append(len(q)))
    monkeypatch.setattr(kernels, "dtype_of_products", lambda x: x.dtype)
    k, v = torch.randn(1, 1, 900, 32).bfloat16(), torch.randn(1, 1, 900, 16).bfloat16()
    for length in (8, 600):
        attention(torch.randn(1, 1, length, 32).bfloat16(), k, v)
    assert by_tiles == [600]

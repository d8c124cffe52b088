"""Memories and batches are filled up to a few shapes, and what fills them up changes nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from model.network.compiled import CompiledRegions, compile_model
from model.network.features import MemoryTokens
from model.network.padding import FILLING, FULL, OBJECTS, filled_up, memory_shape, size_of
from model.network.regions import Outputs
from model.network.sam2 import Sam2
from tests.support.sessions import LAST_BITS, small_exact


class AsItIs(CompiledRegions):
    """Fills up as for compiled code, and computes as it is; `attended` counts the shapes of memories."""

    def __init__(self) -> None:
        super().__init__(backend=None, capture=None)  # for none, torch imports no compiler, which takes 2 s
        self.attended: set[tuple[int, ...]] = set()

    def run(self, region, constants, *inputs) -> Outputs:  # type: ignore[no-untyped-def]
        if region.__name__ == "_attend":
            self.attended.add(tuple(inputs[1].shape))
        return region(constants, *inputs)  # type: ignore[no-any-return]


@pytest.fixture
def padding() -> Sam2:
    """A network of its own that fills up, in float64, so that rounding decides nothing."""
    network = Sam2(small_exact().config).to(torch.float64)
    network.memory_dtype = small_exact().memory_dtype
    network.load_state_dict(small_exact().state_dict())
    network.regions = AsItIs()
    return network


@pytest.mark.parametrize(("count", "size"), [(1, 1), (2, 2), (3, 4), (5, 8), (17, 32), (32, 32), (33, None)])
def test_batches_have_a_few_sizes(count: int, size: int | None) -> None:
    assert size_of(count, OBJECTS) == size


def test_a_filling_memory_passes_through_a_few_shapes_and_ends_with_one_of_its_own() -> None:
    """One prompted frame, then one that lies ahead as well, then both behind."""
    one = [memory_shape(1 + min(frame, 6), 1 + min(frame, 15)) for frame in range(30)]
    assert (one[0], one[-1]) == ((2, 4), (7, 16))
    assert len(set(one)) == 4
    assert {memory_shape(8, 16), memory_shape(8, 17)} == set(FULL[1:])
    assert memory_shape(9, 17) is None  # three prompted frames


def tokens_of(network: Sam2, num_memories: int, num_pointers: int, seed: int) -> MemoryTokens:
    config, generator = network.config, torch.Generator().manual_seed(seed)
    spatial = [torch.randn(config.grid_size**2, config.memory_dim, generator=generator) for _ in range(num_memories)]
    pointers = [torch.randn(1, config.hidden_dim, generator=generator).double() for _ in range(num_pointers)]
    rows = tuple(min(row, 6) for row in range(num_memories))[::-1]
    distances = tuple(range(1, num_pointers + 1))
    return MemoryTokens(tuple(memory.bfloat16() for memory in spatial), rows, tuple(pointers), distances, 15)


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 9), (7, 16)])
@pytest.mark.parametrize("num_objects", [1, 3])
def test_masks_are_the_same(padding: Sam2, shape: tuple[int, int], num_objects: int) -> None:
    objects = [tokens_of(padding, *shape, seed) for seed in range(num_objects)]
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found, plain = (
        network.segment(network.encode_image(pixels), memory=network.memory_tokens(objects))
        for network in (padding, small_exact())
    )
    assert (found.logits_BHW - plain.logits_BHW).abs().max() <= LAST_BITS
    assert (found.pointers_BC - plain.pointers_BC).abs().max() <= LAST_BITS
    assert isinstance(padding.regions, AsItIs)
    assert {rows for rows, _, _ in padding.regions.attended} == {size_of(num_objects, OBJECTS)}


def test_what_fills_up_a_memory_has_no_weight_at_all(padding: Sam2) -> None:
    """Not a small one: instead of zeros, values as large as they can be change nothing."""
    memory = padding.memory_tokens([tokens_of(padding, 3, 5, 0)])
    assert memory.is_key_BT is not None
    is_key = memory.is_key_BT.unsqueeze(-1)
    loud = memory._replace(
        **{name: torch.where(is_key, getattr(memory, name), 1e4) for name in ("memory_BTM", "placed_BTM")}
    )
    features = padding.encode_image(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    usual, changed = (padding.segment(features, memory=one) for one in (memory, loud))
    assert torch.equal(usual.logits_BHW, changed.logits_BHW)


def test_a_full_memory_has_no_mask(padding: Sam2) -> None:
    """The fastest kernels do not take one."""
    for shape in FULL:
        assert padding.memory_tokens([tokens_of(padding, *shape, 0)]).is_key_BT is None
    for shape in FILLING:
        assert filled_up(tokens_of(padding, 1, 1, 0), shape).shape == shape


def test_a_memory_too_large_for_any_shape_is_taken_as_it_is(padding: Sam2) -> None:
    memory = padding.memory_tokens([tokens_of(padding, 9, 18, 0)])
    parts = padding.config.hidden_dim // padding.config.memory_dim
    assert memory.is_key_BT is None
    assert memory.memory_BTM.shape[1] == 9 * padding.config.grid_size**2 + 18 * parts


def test_nothing_is_compiled_or_filled_up_unless_asked_for() -> None:
    plain = dataclasses.replace(tokens_of(small_exact(), 3, 5, 0))
    assert small_exact().memory_tokens([plain]).is_key_BT is None
    with pytest.raises(ValueError, match="nothing to do"):
        compile_model(small_exact(), backend=None)

"""Prompts and memories padded to a few sizes give the same masks, and code compiled for shapes is made a few times."""

from __future__ import annotations

import copy

import pytest
import torch
from torch._dynamo.utils import counters

from model.network.compiled import compile_model
from model.network.features import Clicks, MemoryTokens
from model.network.padding import Padding, size_of
from model.network.sam2 import Sam2
from model.prompts import BoxPrompt, PointPrompt, Prompt
from model.tracking.frames import ArrayFrames
from model.tracking.session import VideoSession
from tests.support.sessions import LAST_BITS, by_object, center, clip, frames_of, gap, small, small_exact

pytestmark = pytest.mark.slow


@pytest.fixture
def padding() -> Sam2:
    """A network of its own that pads, in float64, so that rounding decides nothing."""
    network = copy.deepcopy(small_exact())
    network.padding = Padding()
    return network


def clicks(count: int) -> PointPrompt:
    """The center of object 1 again and again, in slightly different places."""
    x, y = center(clip(), 1, 0)
    return PointPrompt(tuple((x + 0.25 * (k % 3), y + 0.25 * (k // 3)) for k in range(count)), (1,) * count)


def track(model: Sam2, prompt: Prompt, num_frames: int) -> dict[tuple[int, int], torch.Tensor]:
    session = VideoSession(model, frames_of(clip(num_frames)))
    session.add_prompt(1, 0, prompt)
    return by_object(session.propagate("forward"))


@pytest.mark.parametrize(("count", "size"), [(1, 2), (2, 2), (3, 4), (5, 8), (16, 16), (17, 32), (32, 32), (33, 48)])
def test_sizes_are_a_few(count: int, size: int) -> None:
    assert size_of(count, (2, 4, 8, 16), 16) == size


@pytest.mark.parametrize("count", [1, 2, 3, 6, 18])
def test_masks_of_padded_prompts_and_memories_are_the_same(padding: Sam2, count: int) -> None:
    """Nine frames pass through every size of a filling memory."""
    plain, padded = track(small_exact(), clicks(count), 9), track(padding, clicks(count), 9)
    assert gap(plain, padded) <= LAST_BITS
    assert any((logits > 0).any() for logits in plain.values())


class LoudPadding(Padding):
    """Fills up with one token as large as they can be."""

    def pad_prompt_tokens(self, tokens_BPC: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(tokens_BPC, (0, 0, 0, 1), value=1e4)


def test_what_fills_up_a_shape_has_no_weight_at_all(padding: Sam2) -> None:
    """Not a small one: tokens of padding as large as they can be change nothing."""
    features = padding.encode_image(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    points = Clicks(torch.tensor([[[20.0, 20.0], [40.0, 30.0]]]), torch.tensor([[1, 0]]))
    usual = padding.segment(features, clicks=points)
    padding.padding = LoudPadding()
    loud = padding.segment(features, clicks=points)
    assert torch.equal(loud.logits_BHW, usual.logits_BHW)
    assert torch.equal(loud.pointers_BC, usual.pointers_BC)


def tokens_of(network: Sam2, num_memories: int, num_pointers: int, seed: int) -> MemoryTokens:
    config, generator = network.config, torch.Generator().manual_seed(seed)
    spatial = [torch.randn(config.grid_size**2, config.memory_dim, generator=generator) for _ in range(num_memories)]
    pointers = [torch.randn(1, config.hidden_dim, generator=generator) for _ in range(num_pointers)]
    rows, distances = tuple(range(num_memories))[::-1], tuple(range(1, num_pointers + 1))
    return MemoryTokens(tuple(memory.bfloat16() for memory in spatial), rows, tuple(pointers), distances, 15)


def test_objects_of_unequal_memories_share_a_batch_and_are_the_same_as_alone(padding: Sam2) -> None:
    objects = [tokens_of(padding, memories, pointers, memories) for memories, pointers in ((1, 1), (3, 5), (7, 16))]
    features = padding.encode_image(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    together = padding.segment(features, memory=padding.memory_tokens(objects))
    for row, one in enumerate(objects):
        alone = small_exact().segment(features, memory=small_exact().memory_tokens([one]))
        assert (alone.object_scores_B - together.object_scores_B[row]).abs().max() <= LAST_BITS
        assert (alone.pointers_BC - together.pointers_BC[row]).abs().max() <= LAST_BITS


def test_a_full_memory_is_not_padded(padding: Sam2) -> None:
    """Its attention has no mask, which the fastest kernels do not take."""
    full = tokens_of(padding, 7, 16, 0)
    assert padding.memory_tokens([full, full]).is_key_BT is None
    padded, is_memory, is_pointer = Padding().pad_memory_tokens([tokens_of(padding, 3, 5, 0)])
    assert (len(padded[0].spatial), len(padded[0].pointers)) == (4, 8)
    assert (is_memory, is_pointer) == ([[True] * 3 + [False]], [[True] * 5 + [False] * 3])


def graphs_of(model: Sam2, num_frames: int, *, fresh: bool = True) -> int:
    """Graphs made so far by a video with a filling memory and prompts of many lengths."""
    if fresh:
        torch._dynamo.reset()
        counters.clear()
    for count in range(1, 11):
        session = VideoSession(model, ArrayFrames(clip().frames_THW3[:1]))
        session.add_prompt(1, 0, clicks(count))
        session.condition()
    track(model, BoxPrompt((5.0, 5.0, 30.0, 30.0)), num_frames)
    return int(counters["stats"]["unique_graphs"])


@pytest.mark.slow
def test_code_compiled_for_shapes_is_made_once_for_each_size() -> None:
    """Ten lengths of prompts and sixteen of a filling memory: without padding there would be 26 shapes and more."""
    network = Sam2(small().config)
    network.load_state_dict(small().state_dict())
    compile_model(network, backend="eager", dynamic=False)
    with torch._dynamo.config.patch(recompile_limit=64):
        # Prompts: 2, 4, 8 and 16 tokens, full or not; memory: (2, 4), (4, 4), (7, 8) and (7, 16), full or not; the rest
        # is the trunk, the first layer and the memory encoder, which see one shape each.
        first = graphs_of(network, 20)
        assert 10 <= first <= 24
        assert graphs_of(network, 20, fresh=False) == first
    torch._dynamo.reset()

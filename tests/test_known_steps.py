"""Steps that tests compute once are those of the network: what differs in a bit, or has other weights, is computed."""

from __future__ import annotations

import pytest
import torch

from model.network.sam2 import Sam2
from tests.support.known_steps import known_steps
from tests.support.sessions import SMALL_SIZE, small

PIXELS = torch.randn(1, 3, SMALL_SIZE, SMALL_SIZE, generator=torch.Generator().manual_seed(0))


def copied(factor: float = 1.0) -> Sam2:
    network = Sam2(small().config)
    network.load_state_dict({name: weight * factor for name, weight in small().state_dict().items()})
    return network


def test_two_networks_of_the_same_weights_share_the_bits_of_a_step() -> None:
    plain = copied().encode_image(PIXELS)
    with known_steps() as known:
        first, second = copied().encode_image(PIXELS), copied().encode_image(PIXELS.clone())
        assert torch.equal(copied().segment(first).logits_BHW, copied().segment(second).logits_BHW)
    assert torch.equal(first.stride16, plain.stride16)
    assert len(known) == 2, "one image and one segmentation"


@pytest.mark.slow
def test_another_bit_other_weights_and_another_format_are_computed() -> None:
    other = PIXELS.clone()
    other[0, 0, 0, 0] = torch.nextafter(other[0, 0, 0, 0], torch.tensor(9.0))
    with known_steps() as known:
        right = copied().encode_image(PIXELS)
        copied().encode_image(other)
        copied().to(torch.bfloat16).encode_image(PIXELS)
        wrong = copied(1.05).encode_image(PIXELS)
    assert len(known) == 4
    assert not torch.equal(right.stride16, wrong.stride16)


def test_afterwards_networks_compute_as_before() -> None:
    with known_steps() as known:
        pass
    copied().encode_image(PIXELS)
    assert not known

"""The other order of sums is the same network: equal on paper, other bits."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.reference.rounding import OtherOrder


def answers(dtype: torch.dtype) -> list[torch.Tensor]:
    """A linear layer, a convolution, one in groups, and attention."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return [
        F.linear(drawn(5, 64), drawn(7, 64), drawn(7)),
        F.conv2d(drawn(1, 32, 8, 8), drawn(4, 32, 3, 3), drawn(4), padding=1),
        F.conv2d(drawn(1, 32, 8, 8), drawn(32, 1, 3, 3), groups=32),
        F.scaled_dot_product_attention(drawn(1, 2, 9, 16), drawn(1, 2, 300, 16), drawn(1, 2, 300, 8)),
    ]


def test_another_order_changes_rounding_and_nothing_else() -> None:
    for dtype, most in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        expected = answers(dtype)
        with OtherOrder(1):
            first = answers(dtype)
        with OtherOrder(2):
            second = answers(dtype)
        for one, other, plain in zip(first, second, expected, strict=True):
            assert float((one - plain).norm() / plain.norm()) < most
            assert float((other - plain).norm() / plain.norm()) < most
        same = [torch.equal(one, plain) for one, plain in zip(first, expected, strict=True)]
        assert same == [False, False, True, False]
        assert not torch.equal(first[0], second[0]), "each number is an order of its own"

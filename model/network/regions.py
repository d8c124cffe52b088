"""How whole components of the network are run: as they are, or by something that compiles or records them.

A region is a method of the network that takes constants and tensors and gives tensors, and nothing else: no upload, no
look at a value, no memory of its own. So one call of it may be compiled, or recorded as a CUDA graph, for its shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

Outputs = tuple[Tensor, ...]
Region = Callable[..., Outputs]
Constants = tuple[object, ...]
"""What a region computes with beside its weights: values that stay the same objects while the weights do."""


class Regions(Protocol):
    """Runs regions for the few shapes of `model.network.padding`."""

    def run(self, region: Region, constants: Constants, *inputs: Tensor | int | None) -> Outputs:
        """`region(constants, *inputs)`, in tensors that no later call writes to."""

    def forget(self) -> None:
        """Drops what was made: the network's weights lie elsewhere from now on."""

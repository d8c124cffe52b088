"""The same network with its sums added up in another order: what rounding alone makes of its answers.

How near two implementations can be is not a matter of taste. A sum of floating-point numbers depends on the order of
its terms, which a faster matrix product changes; memories are then rounded to bfloat16, where a last bit decides which
of two neighbours is taken, and that grows from frame to frame. A network that differs from itself by so much cannot be
asked to differ from another one by less. Both references call the same library for their products, so that their gap to
each other has too little of this in it: their image features are equal to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class OtherOrder(TorchFunctionMode):
    """While it is open, linear layers, convolutions and attention add up the same terms in an order drawn by `seed`.

    Input channels are permuted together with the weights, keys together with values: on paper nothing changes.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._orders: dict[int, Tensor] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = kwargs or {}
        if func is F.linear:
            x, weight, *rest = args
            order = self._order(weight.shape[1])
            return func(x[..., order], weight[:, order], *rest, **options)
        if func is F.conv2d and args[1].shape[1] == args[0].shape[1] > 1:  # not in groups
            x, weight, *rest = args
            order = self._order(weight.shape[1])
            return func(x[:, order], weight[:, order], *rest, **options)
        if func is F.scaled_dot_product_attention and options.get("attn_mask") is None:
            q, k, v, *rest = args
            channels, keys = self._order(k.shape[-1]), self._order(k.shape[-2])
            return func(q[..., channels], k[..., keys, :][..., channels], v[..., keys, :], *rest, **options)
        return func(*args, **options)

    def _order(self, count: int) -> Tensor:
        if count not in self._orders:
            self._orders[count] = torch.randperm(count, generator=torch.Generator().manual_seed(self._seed))
        return self._orders[count]

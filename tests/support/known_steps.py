"""Steps of networks that are computed once for one content of their inputs, whichever network of a process asks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import torch

from model.network.sam2 import Sam2
from tests.support.content import content

STEPS = ("encode_image", "segment", "segment_given_masks", "remember")

Known = dict[tuple[object, ...], Any]


@contextmanager
def known_steps() -> Iterator[Known]:
    """Jobs that label the same clips with the same weights compute each step once, and get the very bits again.

    What one bit decides is still seen, because inputs that differ in a bit are computed. The weights of a network are
    looked at when it computes its first step. A network that is compiled, on a GPU or under autocast computes as ever.
    """
    known: Known = {}
    digests: WeakKeyDictionary[Sam2, str] = WeakKeyDictionary()
    with pytest.MonkeyPatch.context() as patch:
        for step in STEPS:
            patch.setattr(Sam2, step, _once(step, getattr(Sam2, step), known, digests))
        yield known


def _once(
    step: str, compute: Callable[..., Any], known: Known, digests: WeakKeyDictionary[Sam2, str]
) -> Callable[..., Any]:
    def once(network: Sam2, *inputs: Any, **named: Any) -> Any:
        if network.device.type != "cpu" or network.regions is not None or torch.is_autocast_enabled("cpu"):
            return compute(network, *inputs, **named)
        if network not in digests:
            digests[network] = _digest(network)
        formats = network.config, network.dtype, network.memory_dtype, digests[network]
        key = (step, *formats, content(inputs), tuple(named), content(list(named.values())))
        if key not in known:
            known[key] = compute(network, *inputs, **named)
        return known[key]

    return once


def _digest(network: Sam2) -> str:
    """Of all weights."""
    digest = hashlib.sha256()
    for name, weight in network.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

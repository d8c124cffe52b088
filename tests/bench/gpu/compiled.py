"""The compiled network: seconds to warm up, whether its masks are right, what it makes in steady state, its rate."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from model.network.compiled import CompiledRegions, CudaGraphs, compile_model, warm_up
from model.network.sam2 import Sam2
from model.tracking.steps import advance
from tests.bench.gpu.parity import compared
from tests.bench.gpu.rates import Load, steady_rate
from tests.bench.gpu.subjects import Options, filled_session, frames

Maker = Callable[[Sam2], Sam2]

WAYS: dict[str, Maker] = {
    "graphs": lambda model: compile_model(model, backend=None, capture=CudaGraphs()),
    "compiled": compile_model,
    "both": lambda model: compile_model(model, capture=CudaGraphs()),
}
"""The values of `model.compile`, the cheapest first."""
_ON_A_CPU: dict[str, Maker] = {"compiled": lambda model: compile_model(model, backend="eager")}
_WARM_UP_SECONDS = 60.0


def compiled(options: Options) -> Iterator[dict[str, Any]]:
    """A row for each way to compile, for one object; on a CPU no code is made, because that alone takes minutes."""
    for name, make in (WAYS if options.is_gpu else _ON_A_CPU).items():
        row: dict[str, Any] = {"mode": name}
        try:
            row |= _measured(options, make)
        except Exception as error:  # a compiler may fail with any; the other ways are tried
            row["error"] = f"{type(error).__name__}: {error}"[:300]
        yield row
        gc.collect()  # graphs and network hold each other; they must not go in the middle of the next recording


def _measured(options: Options, make: Maker) -> dict[str, Any]:
    torch._dynamo.reset()  # imported here: it takes two seconds
    network = options.network(options.sizes[0])
    truth = _logits(options, network)
    network = make(network)
    regions = network.regions
    assert isinstance(regions, CompiledRegions)
    warmed = warm_up(network, _WARM_UP_SECONDS, max_objects=1)
    before = regions.counts.made.total()
    masks = compared(_logits(options, network), truth)
    rate = steady_rate(options, network, Load(1, 1), options.frames(32))
    counts = regions.counts
    late = counts.made.total() - before + counts.remade.total() + counts.plain.total()
    return (
        masks | rate | {"warm_up_seconds": warmed.seconds, "warm_up": str(warmed), "made": before, "recompiles": late}
    )


def _logits(options: Options, network: Sam2) -> Tensor:
    """Of some frames with full memory, each of which follows from the one before."""
    pixels = frames(32, options.image_size, pinned=options.is_gpu)
    walk = filled_session(network, pixels, 1, options.encode_ahead).walk("forward", resume=True)
    return torch.cat([advance([next(walk)])[0].logits_BHW.float() for _ in range(4)])

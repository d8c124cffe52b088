"""The compiled network: seconds to warm up, recompiles in steady state, and its rate."""

from __future__ import annotations

import time
from typing import Any

import torch._dynamo as dynamo

from model.network.compiled import compile_model
from tests.bench.gpu.rates import Load, steady_rate
from tests.bench.gpu.subjects import Options


def compiled(options: Options) -> list[dict[str, Any]]:
    """A row for each way to compile; on a CPU without making code, because that alone would take minutes."""
    rows = []
    for mode in (None, "reduce-overhead") if options.is_gpu else (None,):
        row: dict[str, Any] = {"mode": mode or "compiled"}
        try:
            rows.append(row | _measured(options, mode))
        except RuntimeError as error:
            rows.append(row | {"error": str(error)[:300]})
    return rows


def _measured(options: Options, mode: str | None) -> dict[str, Any]:
    dynamo.reset()
    making = {"mode": mode} if options.is_gpu else {"backend": "eager"}
    network = compile_model(options.network(options.sizes[0]), **making)
    started = time.perf_counter()
    steady_rate(options, network, Load(1, 1), options.frames(4))
    warm_up = time.perf_counter() - started
    graphs = _graphs()
    rate = steady_rate(options, network, Load(1, 1), options.frames(32))
    return rate | {"warm_up_seconds": warm_up, "graphs": graphs, "recompiles": _graphs() - graphs}


def _graphs() -> int:
    return int(dynamo.utils.counters["stats"]["unique_graphs"])

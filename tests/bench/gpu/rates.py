"""Frames a second and memory for sizes × objects × videos in flight: from resized pixels to runs on the host."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from model.network.sam2 import Sam2
from model.pixels.transfers import Download, download
from model.tracking.state import FrameResult
from model.tracking.steps import advance
from pipeline.masks.from_logits_gpu import pack_runs
from tests.bench.gpu.subjects import Options, filled_session, frames


@dataclass(frozen=True)
class Load:
    """What is tracked at once."""

    objects: int
    in_flight: int


LOADS = tuple(Load(*one) for one in ((1, 1), (1, 4), (1, 8), (4, 1), (4, 4), (16, 1), (64, 1)))
_QUICK_LOADS = (Load(1, 2),)


def rates(options: Options) -> Iterator[dict[str, Any]]:
    """A row for each size and load; a load that does not fit says why."""
    for size in options.sizes:
        network = options.network(size)
        for load in _QUICK_LOADS if options.quick else LOADS:
            num_steps = 2 if options.quick else 32 if load.objects * load.in_flight < 16 else 16
            row: dict[str, Any] = {"size": size, "objects": load.objects, "in_flight": load.in_flight}
            try:
                row |= steady_rate(options, network, load, num_steps)
            except torch.OutOfMemoryError as error:
                row["error"] = str(error)[:200]
            yield row


def steady_rate(options: Options, network: Sam2, load: Load, num_steps: int) -> dict[str, Any]:
    """Frames a second with full memory. The host is one step behind with reading runs, as a worker is.

    `host_ms` is the time in which the host launches a step; the rest of `step_ms` it is free.
    """
    warm_up, size_hw = options.frames(8), (108, 192) if options.quick else (1080, 1920)
    pixels = frames(16 + warm_up + num_steps + 16, options.image_size, pinned=options.is_gpu)
    walks = [
        filled_session(network, pixels, load.objects, options.encode_ahead).walk("forward", resume=True)
        for _ in range(load.in_flight)
    ]

    def step() -> list[Download]:
        return [_runs(result, size_hw) for result in advance([next(walk) for walk in walks])]

    waiting = [step() for _ in range(warm_up)][-1]
    if options.is_gpu:
        torch.cuda.reset_peak_memory_stats()
    options.synchronize()
    started, host_seconds = time.perf_counter(), 0.0
    for _ in range(num_steps):
        launched = time.perf_counter()
        new = step()
        host_seconds += time.perf_counter() - launched
        for one in waiting:
            one.result()
        waiting = new
    options.synchronize()
    seconds = time.perf_counter() - started
    return {
        "frames_per_second": load.in_flight * num_steps / seconds,
        "step_ms": 1e3 * seconds / num_steps,
        "host_ms": 1e3 * host_seconds / num_steps,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30 if options.is_gpu else None,
    }


def _runs(result: FrameResult, size_hw: tuple[int, int]) -> Download:
    return download(pack_runs(result.logits_BHW, result.object_scores_B, result.predicted_ious_B, size_hw))

"""What the bench measures with: time of this process, peak memory, bytes that objects hold."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch


@dataclasses.dataclass
class Span:
    """Wall seconds and processor seconds of all threads, from `measured`."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


@contextlib.contextmanager
def measured() -> Iterator[Span]:
    """The span of what runs inside; filled in at its end."""
    span = Span()
    started, cpu = time.perf_counter(), time.process_time()
    try:
        yield span
    finally:
        span.seconds, span.cpu_seconds = time.perf_counter() - started, time.process_time() - cpu


def medians_in_turn(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds and processor seconds of each, run in turn so that a drift of the machine meets all of them."""
    spans: dict[str, list[Span]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            with measured() as span:
                run()
            spans[name].append(span)
    return {name: median_span(found) for name, found in spans.items()}


def median_span(spans: Sequence[Span]) -> dict[str, float]:
    """Medians of both times."""
    return {
        "seconds": statistics.median(span.seconds for span in spans),
        "cpu_seconds": statistics.median(span.cpu_seconds for span in spans),
    }


def reset_peak() -> None:
    """From now on `peak_mib` is the peak since this call, where the system can do that (Linux).

    What was freed before (weights on their way into a network) goes back to the system first.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """Largest resident set of this process since `reset_peak`."""
    found = _status_mib("VmHWM")
    if found is not None:
        return found
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _status_mib(key: str) -> float | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) / 1024
    return None


def held_bytes(root: object) -> int:
    """Bytes of the different tensor storages and arrays that can be reached from an object.

    A view counts with the whole storage that it keeps alive, also on the meta device. Goes through mappings, sequences
    and dataclasses.
    """
    sizes: dict[int, int] = {}
    seen: set[int] = set()
    pending: list[object] = [root]
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, torch.Tensor):
            storage = one.untyped_storage()
            sizes[storage._cdata] = storage.nbytes()  # its address in torch: on the meta device data has none
        elif isinstance(one, np.ndarray):
            sizes[one.ctypes.data] = one.nbytes
        elif isinstance(one, Mapping):
            pending.extend(one.values())
        elif isinstance(one, list | tuple | set):
            pending.extend(one)
        elif dataclasses.is_dataclass(one) and not isinstance(one, type):
            pending.extend(getattr(one, field.name) for field in dataclasses.fields(one))
    return sum(sizes.values())


def load_average() -> float:
    """How busy the machine was over the last minute: figures of a busy machine are worth little."""
    return round(os.getloadavg()[0], 2)

"""What one frame asks of the device, by torch's profiler: launches, copies, waits, and the longest kernels."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from model.tracking.steps import advance
from tests.bench.gpu.subjects import Options, filled_session, frames

_SHOWN = 14


def launches(options: Options) -> Iterator[dict[str, Any]]:
    """A row for each size with one object and for the first with sixteen; counts are those of one frame."""
    loads = [*((size, 1) for size in options.sizes), (options.sizes[0], 16)]
    return (_profiled(options, size, num_objects) for size, num_objects in loads)


def _profiled(options: Options, size: str, num_objects: int) -> dict[str, Any]:
    num_frames = options.frames(8)  # one batch of the image encoder
    pixels = frames(16 + 2 * num_frames + 8, options.image_size, pinned=options.is_gpu)
    walk = filled_session(options.network(size), pixels, num_objects, options.encode_ahead).walk("forward", resume=True)
    for _ in range(num_frames):
        advance([next(walk)])
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if options.is_gpu else [])
    options.synchronize()
    with profile(activities=activities) as profiler:
        started = time.perf_counter()
        for _ in range(num_frames):
            advance([next(walk)])
        options.synchronize()
        seconds = time.perf_counter() - started
    events = profiler.key_averages()
    kernels = on_the_card(events)
    calls = {one.key: one.count / num_frames for one in events if one.key.startswith(("cuda", "cuLaunch"))}
    return {
        "size": size,
        "objects": num_objects,
        "frame_ms": 1e3 * seconds / num_frames,
        "device_ms": sum(map(_device_us, kernels)) / 1e3 / num_frames,
        "launches": sum(count for name, count in calls.items() if "Launch" in name),
        "calls": calls,
        "aten_calls": sum(one.count for one in events if one.key.startswith("aten::")) / num_frames,
        "longest": [
            {"kernel": one.key[:90], "count": one.count / num_frames, "ms": _device_us(one) / 1e3 / num_frames}
            for one in kernels[:_SHOWN]
        ],
    }


def on_the_card(events: Iterable[Any]) -> list[Any]:
    """Kernels and copies, the longest first. The calls that launched them tell the same time a second time."""
    found = [one for one in events if one.device_type == DeviceType.CUDA and not one.is_user_annotation]
    return sorted(found, key=_device_us, reverse=True)


def _device_us(event: Any) -> float:
    return float(event.self_device_time_total)

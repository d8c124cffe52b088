"""Whole clips of mini, every frame run, by ours and `transformers` in turn (`sam2` cannot run mini).

They also hold the formula by which `frames` gets the rate of a clip from sampled frames against the real rate.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Sequence
from typing import Any

from tests.bench.frames import FULL, clip_seconds
from tests.bench.implementations import Setting
from tests.bench.runners import Frame, Runner
from tests.reference.cases import FramesSpec
from tests.reference.mini import MINI_SIZE

_NAMES = ("ours", "transformers")
# The implementations take turns by stretches of so many frames.
_STRETCH = 10


def run_clips(num_objects: int, num_frames: int, threads: int, names: Sequence[str] = _NAMES) -> dict[str, Any]:
    """Frames/s and peak memory over a whole clip of mini, float32."""
    setting = Setting(None, FramesSpec(num_frames, MINI_SIZE), num_objects, "float32", threads, {})
    frames: dict[str, list[Frame]] = {name: [] for name in names}
    with contextlib.ExitStack() as stack:
        runners = {name: stack.enter_context(Runner(name, setting)) for name in names}
        for start in range(0, num_frames, _STRETCH):
            for name, runner in runners.items():
                frames[name] += [runner.step() for _ in range(start, min(start + _STRETCH, num_frames))]
    row: dict[str, Any] = {"objects": num_objects, "frames": num_frames, "threads": threads}
    row |= {name: _summary(frames[name]) for name in names}
    if len(names) > 1:
        row["ratio"] = row["ours"]["frames_per_second"] / row["transformers"]["frames_per_second"]
    return row


def _summary(frames: Sequence[Frame]) -> dict[str, float]:
    seconds = sum(frame.seconds for frame in frames)
    found = {
        "frames_per_second": len(frames) / seconds,
        "cpu_seconds_per_frame": sum(frame.cpu_seconds for frame in frames) / len(frames),
        "peak_mib": frames[-1].peak_mib,
    }
    if len(frames) > FULL:
        full = statistics.median(frame.seconds for frame in frames[FULL:])
        modelled = clip_seconds(len(frames), frames[0].seconds, frames[1].seconds, full)
        found["sampled_over_real_seconds"] = modelled / seconds
    return found

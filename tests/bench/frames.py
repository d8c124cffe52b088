"""Seconds of a frame and memory of the three on the same frames, weights, dtype and threads, in turn.

Sampled: timed are frame 0 with its prompts, frame 1, which sees one memory, and frames that see a full memory (seven
spatial memories, 16 pointers). Between them each implementation gets copies of its own memory of frame 1 in place of
those of frames 2 to 15. The memory attention then does what it does after 16 real frames; the lengths of memory that it
saw are in the report and must be those of a full memory.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench.implementations import MEMORY_ATTENTION, PARTS, Setting
from tests.bench.products import products_alone
from tests.bench.runners import Frame, Runner, pt_shapes
from tests.reference.cases import FramesSpec
from tests.reference.flops import NUM_MEMORIES, NUM_POINTERS
from tests.reference.variants import ModelSpec, Size

# The first frame that sees a full memory: a prompted frame and 15 tracked ones lie before it.
FULL = 16
CLIP_LENGTHS = (20, 200)
SAMPLED = (
    "Frames of the released size are sampled: timed are the prompted frame, the frame with one memory, and frames with "
    "a full memory (7 spatial memories, 16 pointers; copies of the memory of frame 1 stand for frames 2 to 15). Rates "
    "and peaks of clips of 20 and of 200 frames follow from them: seconds of a frame are linear in its memories, peaks "
    "grow by what each implementation keeps of a frame. Clips of mini are run in full (part `clips`)."
)


def full_memory_tokens(image_size: int) -> int:
    """Tokens that the memory attention of a released model sees at most."""
    return NUM_MEMORIES * (image_size // 16) ** 2 + NUM_POINTERS * 4


def frame_setting(
    size: Size, image_size: int, dtype: str, num_objects: int, threads: int, num_timed: int
) -> tuple[Setting, int]:
    """The setting of a comparison, and how many frames warm up before the timed ones.

    Of several objects the first warms up for the others.
    """
    warm_up = 1 if num_objects == 1 else 0
    model = ModelSpec(size, "2.1", image_size, seed=2, object_score_bias=2.0)
    frames = FramesSpec(FULL + warm_up + num_timed + 1, image_size, num_images=3)
    return Setting(model, frames, num_objects, dtype, threads, pt_shapes(model)), warm_up


def compare(setting: Setting, names: Sequence[str], num_timed: int, warm_up: int = 0) -> dict[str, Any]:
    """One row: medians of each implementation, ratios of the fastest other one to ours, and what could be reached."""
    with contextlib.ExitStack() as stack:
        runners = {name: stack.enter_context(Runner(name, setting)) for name in names}
        return compare_runners(setting, runners, num_timed, warm_up)


def compare_runners(
    setting: Setting, runners: Mapping[str, Runner], num_timed: int, warm_up: int = 0
) -> dict[str, Any]:
    """`compare` of implementations whose processes are there and have taken no step."""
    first = {name: runner.step() for name, runner in runners.items()}
    second = {name: runner.step() for name, runner in runners.items()}
    for runner in runners.values():
        runner.fill(FULL)
    for _ in range(warm_up):
        for runner in runners.values():
            runner.step()
    timed: dict[str, list[Frame]] = {name: [] for name in runners}
    for _ in range(num_timed):
        for name, runner in runners.items():
            timed[name].append(runner.step())
    if "ours" in runners and len(runners) > 1:  # ours is timed before and after each reference
        timed["ours"].append(runners["ours"].step())
    _check_same_work(setting, timed)
    row: dict[str, Any] = {
        "dtype": setting.dtype,
        "objects": setting.num_objects,
        "image_size": setting.frames.image_size,
        "threads": setting.threads,
        "timed_frames": num_timed,
        "products": products_alone(setting),
    }
    row |= {name: _summary(setting, first[name], second[name], timed[name]) for name in runners}
    return row | {"ratio": ratios(row, list(runners))}


def ratios(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """How many times as fast ours is as the fastest other, by wall and processor seconds and by clips."""
    others = [row[name] for name in names if name != "ours"]
    if not others or "ours" not in row:
        return {}
    ours = row["ours"]
    found = {unit: min(other[unit] for other in others) / ours[unit] for unit in ("seconds", "cpu_seconds")}
    for length in ours["clips"]:
        best = max(other["clips"][length]["frames_per_second"] for other in others)
        found[f"clip of {length}"] = ours["clips"][length]["frames_per_second"] / best
    return found


def clip_seconds(num_frames: int, prompt: float, one_memory: float, full: float) -> float:
    """Seconds of a whole clip prompted on frame 0: frame i sees min(i, 7) memories, each costs the same."""
    each = (full - one_memory) / (NUM_MEMORIES - 1)
    tracked = (one_memory + each * (min(index, NUM_MEMORIES) - 1) for index in range(1, num_frames))
    return prompt + sum(tracked)


def further_object_seconds(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Seconds of one more object with a full memory, from the fewest and the most objects of each dtype."""
    found: dict[str, dict[str, float]] = {}
    for dtype in dict.fromkeys(row["dtype"] for row in rows):
        ranked = sorted((row for row in rows if row["dtype"] == dtype), key=lambda row: row["objects"])
        few, many = ranked[0], ranked[-1]
        if few is not many:
            found[dtype] = {
                name: (many[name]["seconds"] - few[name]["seconds"]) / (many["objects"] - few["objects"])
                for name in names
                if name in few and name in many
            }
    return found


def _summary(setting: Setting, first: Frame, second: Frame, timed: Sequence[Frame]) -> dict[str, Any]:
    seconds = statistics.median(frame.seconds for frame in timed)
    parts = {part: statistics.median(frame.part_seconds.get(part, 0.0) for frame in timed) for part in PARTS}
    last = timed[-1]
    return {
        "seconds": seconds,
        "cpu_seconds": statistics.median(frame.cpu_seconds for frame in timed),
        "frames_per_second": 1 / seconds,
        "prompt_seconds": first.seconds,
        "one_memory_seconds": second.seconds,
        "parts": parts | {"rest": seconds - sum(parts.values())},
        "memory_tokens": list(last.memory_tokens),
        "peak_mib": last.peak_mib,
        "held_mib": last.held_mib,
        "clips": {
            str(length): {
                "frames_per_second": length / clip_seconds(length, first.seconds, second.seconds, seconds),
                "peak_mib": last.peak_mib + (length - setting.frames.num_frames) * last.kept_mib,
            }
            for length in CLIP_LENGTHS
        },
        "kept_mib_per_frame": last.kept_mib,
        "all": [
            {"seconds": frame.seconds, "cpu_seconds": frame.cpu_seconds, "peak_mib": frame.peak_mib}
            for frame in (first, second, *timed)
        ],
        "coverage": list(timed[0].coverage),
    }


def _check_same_work(setting: Setting, timed: Mapping[str, Sequence[Frame]]) -> None:
    """Raises `RuntimeError` unless each timed frame saw a full memory for each object."""
    expected = full_memory_tokens(setting.frames.image_size)
    for name, frames in timed.items():
        for frame in frames:
            if frame.memory_tokens != (expected,) or frame.num_attended != setting.num_objects:
                raise RuntimeError(
                    f"{name}: {MEMORY_ATTENTION} saw {frame.memory_tokens} tokens for {frame.num_attended} objects, "
                    f"not {expected} for {setting.num_objects}"
                )

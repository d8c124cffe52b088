"""`python -m tests.bench`: frames/s and memory of the three, parts of a frame, RLE per mask; a table, JSON and PNG."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from tests.bench.parts import parts_of_a_frame, rle_per_mask
from tests.bench.picture import draw
from tests.bench.runners import NAMES, Frame, Runner, Setting
from tests.reference.cases import FramesSpec
from tests.reference.variants import ModelSpec

# Frames until the memory is full: the prompted one and six tracked ones.
FRAMES_TO_FILL = 7


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--size", default="tiny", choices=["tiny", "small", "base_plus", "large"])
    parser.add_argument("--image-size", type=int, default=1024)
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"], choices=["bfloat16", "float32"])
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--timed-frames", type=int, default=3, help="frames timed after the memory is full")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runners", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--output", type=Path, default=Path("outputs/bench"))
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    report: dict[str, Any] = {"machine": machine(arguments.threads), "sampled": SAMPLED, "frames": []}
    arguments.output.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        (arguments.output / "bench.json").write_text(json.dumps(report, indent=2) + "\n")

    report["rle"] = rle_per_mask()
    print("RLE of 16 masks at 1080p:", report["rle"], flush=True)
    for dtype in arguments.dtypes:
        report[f"parts {dtype}"] = parts_of_a_frame(arguments.size, arguments.image_size, dtype)
        print(f"parts of a frame, {dtype}:", report[f"parts {dtype}"], flush=True)
        for num_objects in arguments.objects:
            spec = ModelSpec(arguments.size, "2.1", arguments.image_size, 2, 2.0)
            frames = FramesSpec(FRAMES_TO_FILL + arguments.timed_frames, arguments.image_size)
            setting = Setting(spec, frames, num_objects, dtype, arguments.threads)
            row = compare(setting, arguments.runners, arguments.timed_frames)
            report["frames"].append(row)
            print(json.dumps(row), flush=True)
            save()
    report["object n+1"] = further_objects(report["frames"])
    print("a further object:", report["object n+1"])
    save()
    draw(report, arguments.output / "bench.png")


SAMPLED = (
    "A setting is sampled: frames are timed one by one, in turn by implementation, once the memory is full; a "
    "video of 20 or of 200 frames takes the same time for each frame from there on."
)


def machine(threads: int) -> dict[str, Any]:
    """What the figures were measured on."""
    name = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {"processor": name, "threads": threads, "torch": torch.__version__, "python": platform.python_version()}


def compare(setting: Setting, names: Sequence[str], timed_frames: int) -> dict[str, Any]:
    """Medians over the timed frames of each implementation, and how many times as fast ours is as the faster other."""
    first = Runner("sam2", setting, None)
    shapes = first.shapes()
    runners = {name: first if name == "sam2" else Runner(name, setting, shapes) for name in names}
    timed: dict[str, list[Frame]] = {name: [] for name in names}
    for index in range(FRAMES_TO_FILL + timed_frames):
        for name, runner in runners.items():
            frame = runner.step()
            if index >= FRAMES_TO_FILL:
                timed[name].append(frame)
    for runner in {*runners.values(), first}:
        runner.close()
    row: dict[str, Any] = {"dtype": setting.dtype, "objects": setting.num_objects, "timed_frames": timed_frames}
    for name, frames in timed.items():
        row[name] = {
            "seconds": round(statistics.median(f.seconds for f in frames), 3),
            "cpu_seconds": round(statistics.median(f.cpu_seconds for f in frames), 3),
            "peak_mib": round(frames[-1].peak_mib),
            "all": [asdict(f) for f in frames],
        }
    others = [row[name] for name in names if name != "ours"]
    if others and "ours" in row:
        for unit in ("seconds", "cpu_seconds"):
            row[f"ratio {unit}"] = round(min(other[unit] for other in others) / row["ours"][unit], 2)
    return row


def further_objects(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Seconds of one more object, from the largest and the smallest number of objects of each dtype."""
    result: dict[str, dict[str, float]] = {}
    for dtype in dict.fromkeys(row["dtype"] for row in rows):
        ranked = sorted((row for row in rows if row["dtype"] == dtype), key=lambda row: row["objects"])
        few, many = ranked[0], ranked[-1]
        if few is not many:
            result[dtype] = {
                name: round((many[name]["seconds"] - few[name]["seconds"]) / (many["objects"] - few["objects"]), 3)
                for name in NAMES
                if name in few
            }
    return result


if __name__ == "__main__":
    main()

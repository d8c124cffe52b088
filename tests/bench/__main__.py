"""`python -m tests.bench`: ours against `transformers` and `sam2` in turn, on the same frames, weights, dtype, threads.

Prints medians and ratios; writes bench.json and bench.png. Parts: rle, scores, decode, memory, efficiency, feed, clips,
frames (with the parts of a frame). The file is saved after each; a part that is run again replaces what is there of it.

`python -m tests.bench --device cuda` is the check of a GPU instead: whether it is right and how fast, in parts of its
own (environment, parity, waits, rates, launches, attention, jobs, suite, references, compiled, faults), with check.json
and check.png. `--device cpu --quick` tries the check itself where there is no GPU.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Workers import this module again (spawn): what is heavy is imported where it is needed.
PARTS = ("rle", "scores", "decode", "memory", "efficiency", "feed", "clips", "frames")
# Timed frames with full memory by number of objects: one frame of a reference with 16 objects takes about a minute.
TIMED_FRAMES = {1: 5, 4: 2}
OBJECTS = {"bfloat16": (1, 4, 16), "float32": (1, 4)}
"""Which numbers of objects are run by default."""


def main(argv: Sequence[str] | None = None) -> None:
    options = parse(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if options.device:
        _check_device(options)
        return
    import torch

    from tests.bench.picture import draw
    from tests.bench.report import Report, goals

    torch.set_num_threads(options.threads)
    report = Report(options.output)
    print(" · ".join(f"{key} {value}" for key, value in report.document["machine"].items()), flush=True)
    for part in PARTS:
        if part in options.only:
            RUN[part](report, options)
    draw(report.document, options.output / "bench.png")
    if not options.quick:
        print("\n" + "\n".join(goal.line() for goal in goals(report.document)))
    print(f"written: {report.path}, {options.output / 'bench.png'}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], help="check this device; without it: the bench on the CPU")
    parser.add_argument(
        "--vos", action="store_true", help="with --device: sam2's vos_optimized too, which compiles long"
    )
    parser.add_argument("--only", nargs="+", metavar="PART", help="these parts; by default all of them")
    parser.add_argument("--size", default="tiny", choices=["tiny", "small", "base_plus", "large"])
    parser.add_argument("--image-size", type=int, default=1024)
    parser.add_argument("--dtypes", nargs="+", default=list(OBJECTS), choices=list(OBJECTS))
    parser.add_argument("--objects", nargs="+", type=int, help="default: 1, 4 and, in bfloat16, 16")
    parser.add_argument("--timed-frames", type=int, help="default: 5 with one object, 2 with four, 1 with more")
    parser.add_argument("--runners", nargs="+", default=["ours", "transformers", "sam2"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="short clips and few rounds: to see that it works")
    parser.add_argument("--output", type=Path, help="folder of bench.json and bench.png; default: outputs/bench")
    options = parser.parse_args(argv)
    if options.device:
        return options
    options.only = options.only or list(PARTS)
    if unknown := sorted({*options.only} - {*PARTS, "parts"}):
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join((*PARTS, 'parts'))}")
    options.output = options.output or Path("outputs/bench-quick" if options.quick else "outputs/bench")
    if "parts" in options.only:  # parts of a frame are timed with the frames
        options.only.append("frames")
    return options


def _check_device(options: argparse.Namespace) -> None:
    from tests.bench.gpu.parts import PARTS as DEVICE_PARTS
    from tests.bench.gpu.report import check
    from tests.bench.gpu.subjects import Options

    names = options.only or list(DEVICE_PARTS)
    if unknown := sorted({*names} - {*DEVICE_PARTS}):
        raise SystemExit(f"no part {', '.join(unknown)} of the check; there are {', '.join(DEVICE_PARTS)}")
    folder = options.output or Path("outputs") / f"check-{options.device}"
    check(Options(options.device, options.quick, folder, options.vos), names)
    print(f"written: {folder / 'check.json'}, {folder / 'check.png'}")


def _frames(report: Any, options: argparse.Namespace) -> None:
    from tests.bench.frames import SAMPLED, compare, frame_setting, further_object_seconds

    report.document["sampled"] = SAMPLED
    print(SAMPLED)
    family = f"{options.size} {options.image_size}"
    for dtype in options.dtypes:
        for num_objects in options.objects or OBJECTS[dtype]:
            timed = options.timed_frames or TIMED_FRAMES.get(num_objects, 1)
            setting, warm_up = frame_setting(
                options.size, options.image_size, dtype, num_objects, options.threads, timed
            )
            row = compare(setting, options.runners, timed, warm_up)
            report.add("frames", f"{family} {dtype} {num_objects}", row)
            _print_frames(row, options.runners)
    rows = [row for key, row in report.document["frames"].items() if key.startswith(f"{family} ")]
    more = further_object_seconds(rows, options.runners)
    if more:
        report.add("further object", family, more)
        print("seconds of a further object:", {dtype: _short(found) for dtype, found in more.items()}, flush=True)


def _print_frames(row: dict[str, Any], names: Sequence[str]) -> None:
    print(f"\n{row['dtype']}, {row['objects']} objects, {row['image_size']}², full memory", flush=True)
    print(f"{'':<14}{'s/frame':>9}{'CPU s':>9}{'f/s':>9}{'f/s of 20':>11}{'of 200':>9}{'peak MiB':>10}"
          f"{'at 200':>9}  parts of a frame")  # fmt: skip
    for name in names:
        found, clips = row[name], row[name]["clips"]
        parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in found["parts"].items())
        print(
            f"{name:<14}{found['seconds']:>9.3f}{found['cpu_seconds']:>9.3f}{found['frames_per_second']:>9.3f}"
            f"{clips['20']['frames_per_second']:>11.3f}{clips['200']['frames_per_second']:>9.3f}"
            f"{found['peak_mib']:>10.0f}{clips['200']['peak_mib']:>9.0f}  {parts}"
        )
    print("ours against the faster other:", _short(row["ratio"]))
    alone = row["products"]
    print(
        f"its matrix products alone: {alone['gflop']:.0f} GFLOP, {alone['seconds']:.2f} s at the "
        f"{alone['gflop_per_second']:.0f} GFLOP/s that this machine reaches",
        flush=True,
    )


def _clips(report: Any, options: argparse.Namespace) -> None:
    from tests.bench.mini_clips import run_clips

    print("\nmini, float32, whole clips", flush=True)
    for num_objects in (1, 4):
        for num_frames in (18, 24) if options.quick else (20, 200):
            row = run_clips(num_objects, num_frames, options.threads)
            report.add("clips", f"mini {num_objects} objects {num_frames} frames", row)
            print(f"{num_objects} objects, {num_frames} frames:", _short(row), flush=True)


def _rle(report: Any, options: argparse.Namespace) -> None:
    from tests.bench.codecs import rle_per_mask

    entry = rle_per_mask(rounds=3 if options.quick else 15)
    report.add("rle", "1080p", entry)
    print("\nRLE straight from logits:", _short(entry), flush=True)


def _scores(report: Any, options: argparse.Namespace) -> None:
    from tests.bench.scores import SIZES, compare_scores

    for name, size_hw in SIZES.items():
        entry = compare_scores(size_hw, 4 if options.quick else 24, rounds=2 if options.quick else 5)
        report.add("scores", name, entry)
        print(f"\nJ and F against vos-benchmark, {name}:", _short(entry), flush=True)


def _decode(report: Any, options: argparse.Namespace) -> None:
    from tests.bench.codecs import DECODED, decoding

    for name, (size_hw, num_frames) in DECODED.items():
        entry = decoding(size_hw, 12 if options.quick else num_frames, rounds=2 if options.quick else 5)
        report.add("decode", name, entry)
        print(f"\ndecode {name}:", _short(entry), flush=True)


def _memory(report: Any, options: argparse.Namespace) -> None:
    from tests.bench.memory import LONG, SHORT, length_of_video, per_object

    size = (20, 60) if options.quick else (SHORT, LONG)
    entry = length_of_video(*size, threads=options.threads)
    report.add("memory", "length", entry)
    print("\npeak memory of a job with mini:", _short(entry), flush=True)
    entry = per_object("tiny", 256 if options.quick else 1024, "bfloat16", 2, options.threads)
    report.add("memory", "object", entry)
    print("memory of an object:", _short(entry), flush=True)


def _efficiency(report: Any, options: argparse.Namespace) -> None:
    from tests.bench.efficiency import Workload, efficiency

    entry = efficiency(Workload(3, 20) if options.quick else Workload(), rounds=1 if options.quick else 2)
    report.add("efficiency", "mini", entry)
    print("\njob against bare loop:", _short(entry), flush=True)


def _feed(report: Any, options: argparse.Namespace) -> None:
    from tests.bench.feed import FEEDS, QUICK, feed

    for name, work in ({"quick": QUICK} if options.quick else FEEDS).items():
        entry = feed(work, rounds=1 if options.quick else 3)
        report.add("feed", name, entry)
        print(f"\nfeeding a device that takes 4 ms a frame, {name}:", _short(entry), flush=True)


def _short(value: Any) -> Any:
    """For printing: few digits."""
    if isinstance(value, float):
        return float(f"{value:.3g}")
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    return [_short(one) for one in value] if isinstance(value, list | tuple) else value


RUN: dict[str, Callable[[Any, argparse.Namespace], None]] = {
    "rle": _rle, "scores": _scores, "decode": _decode, "memory": _memory, "efficiency": _efficiency, "feed": _feed,
    "clips": _clips, "frames": _frames,
}  # fmt: skip


if __name__ == "__main__":
    main()

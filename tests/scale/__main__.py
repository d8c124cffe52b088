"""`python -m tests.scale`: what plan, dispatch, commit and resume cost for 10⁴, 10⁵ and 10⁶ videos.

The driver is the real one, with its tables, log and segment listing on local disk. Two things stand in for the
cluster: workers return a receipt for each video at once, and the objects of committed segments are empty files. Each
step runs in a process of its own, whose highest resident memory is shown. Seconds are those of a clock, "CPU s" those
of the processor: on a busy machine, and on a disk that syncs slowly, they differ much.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WATCHED_STEPS = ("watched", "night", "quiet_night", "full_night")
HIDDEN_STEPS = ("known", *WATCHED_STEPS)
STEPS = ("inputs", "plan", "label", "stage", "again", "more", "resume")
_HEADINGS = {
    "videos": 10,
    "plan s": 8,
    "plan MB": 8,
    "job s": 8,
    "videos/s": 9,
    "CPU s": 8,
    "roll-up s": 10,
    "entries": 8,
    "log MB": 7,
    "job MB": 7,
    "objects": 9,
    "resume s": 9,
    "CPU s ": 7,
    "(log": 6,
    "plan": 6,
    "rest)": 6,
    "res. MB": 8,
    "again s": 8,
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("--videos", nargs="+", type=int, default=[10**4, 10**5, 10**6])
    parser.add_argument("--folder", type=Path, help="where jobs are made; a temporary folder otherwise")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--step", choices=STEPS + HIDDEN_STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.step:
        print(json.dumps(run_step(arguments.step, arguments.folder, arguments.videos[0])))
        return
    print("".join(f"{heading:>{width}}" for heading, width in _HEADINGS.items()))
    found = []
    for num_videos in arguments.videos:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            figures = {step: in_a_process(step, Path(folder), num_videos) for step in STEPS}
        found.append({"num_videos": num_videos, **figures})
        print(row(num_videos, figures), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def run_step(step: str, folder: Path, num_videos: int) -> dict[str, Any]:
    """One step, in this process."""
    from tests.scale import inputs, steps

    logging.disable(logging.INFO)
    if step == "inputs":
        inputs.write_tables(folder / "in", num_videos)
        return {}
    if step == "known":
        from tests.scale import known

        return known.finish_all(folder, num_videos)
    module: Any = steps
    if step in WATCHED_STEPS:
        from tests.scale import watched

        if step == "watched":
            return watched.finish_all(folder, num_videos)
        module = watched
    figures: dict[str, Any] = getattr(module, step)(folder, num_videos)
    return {**figures, "processor_seconds": time.process_time(), "peak_megabytes": steps.peak_megabytes()}


def in_a_process(step: str, folder: Path, num_videos: int) -> dict[str, Any]:
    """The figures of one step, run alone."""
    command = [sys.executable, "-m", "tests.scale", "--step", step, "--folder", str(folder), "--videos"]
    done = subprocess.run([*command, str(num_videos)], check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def row(num_videos: int, figures: dict[str, dict[str, Any]]) -> str:
    """One line of the table."""
    plan, label, resume = figures["plan"], figures["label"], figures["resume"]
    values = [
        f"{num_videos:,}",
        f"{plan['plan_seconds']:.1f}",
        f"{plan['peak_megabytes']:.0f}",
        f"{label['seconds']:.1f}",
        f"{label['videos_per_second']:,.0f}",
        f"{label['processor_seconds']:.1f}",
        f"{label['roll_up_seconds']:.1f}",
        f"{label['num_entries']:,}",
        f"{label['written_megabytes']:.0f}",
        f"{label['peak_megabytes']:.0f}",
        f"{figures['stage']['num_objects']:,}",
        f"{resume['seconds']:.1f}",
        f"{resume['processor_seconds']:.1f}",
        f"{resume['log_seconds']:.1f}",
        f"{resume['plan_seconds']:.1f}",
        f"{resume['reconcile_seconds']:.1f}",
        f"{resume['peak_megabytes']:.0f}",
        f"{figures['again']['seconds']:.1f}",
    ]
    return "".join(f"{value:>{width}}" for value, width in zip(values, _HEADINGS.values(), strict=True))


if __name__ == "__main__":
    main()

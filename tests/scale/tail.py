"""`python -m tests.scale.tail`: the end of a real job, beside the ideal schedule of the same videos.

Two actors of Ray with mini; one clip is ten times as long as the forty others and stands last in the table. The ideal
is half of the seconds that labeling took for all videos, or the longest of them: fetching and decoding run beside it.
The clock starts when the first worker has its model.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from pipeline.demo.inputs import seed_prompts
from tests.support.clips import moving_clip, write_job_inputs
from tests.support.jobs import JobFolder

_READY = re.compile(r"is ready")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scale.tail", description=__doc__)
    parser.add_argument("--frames", type=int, default=10, help="of a short clip")
    parser.add_argument("--clips", type=int, default=40, help="short ones")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        job = JobFolder(Path(folder))
        short = moving_clip("short", num_frames=arguments.frames, seed=1)
        clips = [replace(short, name=f"short-{number:02d}") for number in range(arguments.clips)]
        clips.append(moving_clip("long", num_frames=10 * arguments.frames, seed=2))
        write_job_inputs(job.folder / "in", clips, [row for clip in clips for row in seed_prompts(clip, ["box"])])
        log = job.folder / "log"
        command = [sys.executable, "-m", "pipeline.run", *job.arguments(), f"log_file={log}", "model=mini"]
        subprocess.run([*command, "cluster=local", "cluster.actors=2"], check=True, env=os.environ)
        print(report(job, log))


def report(job: JobFolder, log: Path) -> str:
    """The seconds of the job, of the ideal schedule, and their ratio."""
    videos = job.tables().videos
    seconds = {name: row["wall_seconds"] - row["fetch_seconds"] - row["decode_seconds"] for name, row in videos.items()}
    lines = [line for line in log.read_text().splitlines() if _READY.search(line)]
    times = [datetime.fromisoformat(re.findall(r'"time": "([^"]+)"', line)[0]) for line in lines]
    ended = max(row["finished_at"] for row in videos.values())
    took = (ended - min(times)).total_seconds()
    ideal = max(max(seconds.values()), sum(seconds.values()) / 2)
    workers = sorted((row["worker"], row["finished_at"]) for row in videos.values())
    last = {worker: (ended - finished).total_seconds() for worker, finished in workers}
    return (
        f"job {took:.1f} s, ideal {ideal:.1f} s, ratio {took / ideal:.3f}; the long clip {seconds['long']:.1f} s, a "
        f"short one {sorted(seconds.values())[len(seconds) // 2]:.2f} s; workers were idle at the end for "
        + ", ".join(f"{idle:.1f} s" for idle in last.values())
    )


if __name__ == "__main__":
    main()

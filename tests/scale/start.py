"""`python -m tests.scale.start`: seconds from the command to the first committed video, beside Ray's own start.

Medians of several runs, taken in turn. A run is a small job with mini and one actor; its steps are told by its log.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.commits.entry import decode_entry
from tests.support.jobs import JobFolder

_RAY_ALONE = "import ray; ray.init(address='local', include_dashboard=False, num_cpus=2)"
_POLL_SECONDS = 0.05


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scale.start", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--words", nargs="*", default=[], help="further overrides of the job")
    arguments = parser.parse_args(argv)
    found: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        inputs = JobFolder(Path(folder)).write(["one", "two", "three"], num_frames=arguments.frames)
        for number in range(arguments.runs):
            found.append({"Ray alone": ray_alone(), **job_start(inputs, f"out-{number}", arguments.words)})
            print(json.dumps({name: round(seconds, 2) for name, seconds in found[-1].items()}), flush=True)
    print("median", {name: round(statistics.median(run[name] for run in found), 2) for name in found[0]})


def ray_alone() -> float:
    """Seconds until a process has started Ray on this machine."""
    started = time.monotonic()
    code = f"{_RAY_ALONE}; print('started', flush=True); ray.shutdown()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return time.monotonic() - started


def job_start(job: JobFolder, output: str, words: Sequence[str]) -> dict[str, float]:
    """Seconds from the command until Ray runs, the worker has its model, and a video is committed; and to the end."""
    arguments = [word for word in job.arguments(*words) if not word.startswith("output=")]
    log, output_folder = job.folder / f"{output}.log", job.folder / output
    command = [sys.executable, "-m", "pipeline.run", *arguments, f"output={output_folder}", f"log_file={log}"]
    command += ["model=mini", "cluster=local", "cluster.actors=1"]
    started = time.monotonic()
    seconds: dict[str, float] = {}
    with subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            text = log.read_text() if log.exists() else ""
            for name, words_in_log in (("connected", "cluster=local"), ("ready", "is ready")):
                if words_in_log in text:
                    seconds.setdefault(name, time.monotonic() - started)
            if has_committed(output_folder):
                seconds.setdefault("first video", time.monotonic() - started)
            time.sleep(_POLL_SECONDS)
    assert process.returncode == 0
    return {**seconds, "end": time.monotonic() - started}


def has_committed(output: Path) -> bool:
    """Whether an entry of the log names a video."""
    entries = sorted((output / "_log").glob("*.json")) if (output / "_log").is_dir() else []
    return any(segment.outcomes for path in entries for segment in decode_entry(path.read_bytes()).add)


if __name__ == "__main__":
    main()

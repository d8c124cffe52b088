"""Memory of ours: a long video against a short one, and what an object costs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline import tables
from tests.bench.efficiency import ROOT, Workload, write_inputs
from tests.bench.frames import FULL, frame_setting, full_memory_tokens
from tests.bench.runners import Runner
from tests.reference.variants import Size

SHORT, LONG = 100, 2000
_JOB = """
import sys
from pipeline.run import main
code = main(sys.argv[1:])
from tests.bench.measure import peak_mib
print(peak_mib())
sys.exit(code)
"""


def length_of_video(short: int = SHORT, long: int = LONG, threads: int = 2) -> dict[str, float]:
    """Peak of a process that labels one video of so many frames with mini: decoding, RLE and tables included."""
    peaks = {num_frames: job_peak_mib(num_frames, threads) for num_frames in (short, long)}
    return {
        "short_frames": short,
        "long_frames": long,
        "short_peak_mib": peaks[short],
        "long_peak_mib": peaks[long],
        "growth": peaks[long] / peaks[short] - 1,
    }


def job_peak_mib(num_frames: int, threads: int, size_hw: tuple[int, int] = (240, 320), num_objects: int = 1) -> float:
    """Peak resident set of a whole job over one video, in a process that does nothing else (`cluster=serial`)."""
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as name:
        folder = Path(name)
        write_inputs(folder, Workload(1, num_frames, num_objects, size_hw))
        command = [
            *(sys.executable, "-c", _JOB, f"videos={folder / 'videos.parquet'}"),
            *(f"prompts={folder / 'prompts.parquet'}", f"output={folder / 'out'}", "model=mini", "model.device=cpu"),
            *("cluster=serial", f"cluster.cpus_per_actor={threads}"),
        ]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the job ended with {done.returncode}:\n{done.stderr[-2000:]}")
        (video,) = tables.open(str(folder / "out")).videos().to_pylist()
    if video["status"] != "ok" or video["num_frames"] != num_frames:
        raise RuntimeError(f"the video was not labeled: {video['num_frames']} frames, {video['message']}")
    return float(done.stdout.splitlines()[-1])


def per_object(size: Size, image_size: int, dtype: str, num_objects: int, threads: int) -> dict[str, float]:
    """MiB that a session holds of each object once its memory is full: all tensors that its state reaches."""
    setting, _ = frame_setting(size, image_size, dtype, num_objects, threads, num_timed=1)
    with Runner("ours", setting) as runner:
        runner.step()
        runner.step()
        runner.fill(FULL)
        frame = runner.step()
    if frame.memory_tokens != (full_memory_tokens(image_size),):
        raise RuntimeError(f"the memory is not full: {frame.memory_tokens} tokens")
    return {"objects": num_objects, "image_size": image_size, "held_mib_per_object": frame.held_mib / num_objects}

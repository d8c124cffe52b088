"""How much of the bare model's rate a job keeps: fetch, decode, RLE, Parquet and Ray must hide behind the model.

* Bare loop: `VideoSession.propagate` over frames that are decoded and resized beforehand, in a process of its own, with
  as many frames in a batch of the image encoder as a worker takes.
* Job: `python -m pipeline.run` with Ray and one actor over the same H.264 clips, from the moment at which the actor has
  loaded the model to the last commit; starting Ray is not part of it, the first fetch and the last flush are.

Both have one torch thread. They run in turn; efficiency = median frames/s of the jobs / median frames/s of the loops.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import tables
from pipeline.demo.clips import Clip
from pipeline.demo.inputs import seed_prompts
from pipeline.inputs.write import prompts_table, videos_table, write_table
from pipeline.video.encode import encode_mp4
from tests.bench.measure import measured
from tests.support.clips import moving_clip

ROOT = Path(__file__).resolve().parents[2]
_DRAWN_FRAMES = 12


@dataclass(frozen=True)
class Workload:
    """Videos of one drawn clip, played forth and back, under different names."""

    num_videos: int = 6
    num_frames: int = 200
    num_objects: int = 2
    size_hw: tuple[int, int] = (480, 854)

    @property
    def total_frames(self) -> int:
        return self.num_videos * self.num_frames


def efficiency(workload: Workload, rounds: int = 2) -> dict[str, Any]:
    """Frames/s of job and bare loop, and where the job's time goes."""
    with tempfile.TemporaryDirectory(prefix="bench-efficiency-") as folder:
        clip = write_inputs(Path(folder), workload)
        boxes = [row["box_xyxy"] for row in seed_prompts(clip, ["box"])]
        bare, jobs = [bare_loop(Path(folder), boxes, workload)], []
        for number in range(rounds):
            jobs.append(run_job(Path(folder), f"out{number}", workload))
            bare.append(bare_loop(Path(folder), boxes, workload))
    loop_rate = statistics.median(one["frames_per_second"] for one in bare)
    job_rate = statistics.median(one["frames_per_second"] for one in jobs)
    return {
        "workload": {**vars(workload)},
        "bare": {"frames_per_second": loop_rate, "all": bare},
        "job": {"frames_per_second": job_rate, "all": jobs},
        "efficiency": job_rate / loop_rate,
    }


def write_inputs(folder: Path, workload: Workload) -> Clip:
    """One MP4 file, and the tables that name it once for each video."""
    clip = moving_clip(num_frames=_DRAWN_FRAMES, num_objects=workload.num_objects, size_hw=workload.size_hw)
    frames = forth_and_back(clip, workload.num_frames)
    (folder / "clip.mp4").write_bytes(encode_mp4(frames, 25))
    names = [f"video{number:03d}" for number in range(workload.num_videos)]
    prompts = [row | {"video_id": name} for name in names for row in seed_prompts(clip, ["box"])]
    videos = [{"video_id": name, "uri": "clip.mp4"} for name in names]
    write_table(str(folder / "videos.parquet"), videos_table(videos))
    write_table(str(folder / "prompts.parquet"), prompts_table(prompts))
    return clip


def forth_and_back(clip: Clip, num_frames: int) -> list[Any]:
    """A long clip of few drawn frames."""
    last = len(clip.frames_THW3) - 1
    return [clip.frames_THW3[last - abs(last - index % (2 * last))] for index in range(num_frames)]


def bare_loop(folder: Path, boxes: list[list[float]], workload: Workload) -> dict[str, float]:
    """Frames/s of the model alone over all videos, in a new process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_bare_loop, args=(folder / "clip.mp4", boxes, workload, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        found: dict[str, float] = ours.recv()
    finally:
        process.join()
    return found


def _bare_loop(path: Path, boxes: list[list[float]], workload: Workload, pipe: Any) -> None:
    import torch

    from model import Media
    from model.network.kernels import frames_per_batch
    from model.pixels.transforms import resize_frame
    from model.prompts import BoxPrompt
    from model.tracking.frames import ArrayFrames
    from model.tracking.session import VideoSession
    from model.weights.checkpoint import load_model
    from pipeline.video.frames import VideoFrames

    torch.set_num_threads(1)
    model = load_model("mini")
    media = Media("clip", (partial(path.open, "rb"),))
    with VideoFrames(media, transform=partial(resize_frame, image_size=model.config.image_size)) as frames:
        pixels = [frame.pixels_HW3 for frame in frames.forward(0)]
    assert len(pixels) == workload.num_frames

    def label() -> None:
        source = ArrayFrames(pixels, size_hw=workload.size_hw)
        session = VideoSession(model, source, encode_ahead=frames_per_batch(model.device, model.config.grid_size**2))
        for object_id, (x0, y0, x1, y1) in enumerate(boxes):
            session.add_prompt(object_id, 0, BoxPrompt((x0, y0, x1, y1)))
        for _ in session.propagate("forward"):
            pass

    with measured() as span:
        for _ in range(workload.num_videos):
            label()
    pipe.send({
        "frames_per_second": workload.total_frames / span.seconds,
        "seconds": span.seconds,
        "cpu_seconds": span.cpu_seconds,
    })  # fmt: skip


def run_job(folder: Path, output: str, workload: Workload) -> dict[str, float]:
    """Runs the job; frames/s from the actor's readiness to the last commit, by the driver's log."""
    log = folder / f"{output}.jsonl"
    command = [
        *(sys.executable, "-m", "pipeline.run", f"videos={folder / 'videos.parquet'}"),
        *(f"prompts={folder / 'prompts.parquet'}", f"output={folder / output}", f"log_file={log}"),
        *("model=mini", "model.device=cpu", "cluster.actors=1"),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    with measured() as whole:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the job ended with {done.returncode}:\n{done.stderr[-2000:]}")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    seconds = labeling_seconds(records)
    videos = tables.open(str(folder / output)).videos().to_pylist()
    if len(videos) != workload.num_videos or {video["status"] for video in videos} != {"ok"}:
        raise RuntimeError(f"not every video was labeled: {[video['message'] for video in videos]}")
    return {
        "frames_per_second": workload.total_frames / seconds,
        "seconds": seconds,
        "start_and_end_seconds": whole.seconds - seconds,
        "propagate_seconds": sum(video["propagate_seconds"] for video in videos),
        "encode_seconds_beside": sum(video["encode_seconds"] for video in videos),
        "first_frames_seconds_beside": sum(video["fetch_seconds"] + video["decode_seconds"] for video in videos),
    }


def labeling_seconds(records: list[dict[str, Any]]) -> float:
    """From the first worker's readiness to the last video that counts, by the records of a job's log."""
    ready = next(record for record in records if "is ready" in record["message"])
    committed = [record for record in records if record["logger"] == "pipeline.videos"]
    return (_moment(committed[-1]) - _moment(ready)).total_seconds()


def _moment(record: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(record["time"])

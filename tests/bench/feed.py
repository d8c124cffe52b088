"""How well a worker feeds a GPU: frames/s, and the share of the time in which the device works.

The device is a fake one (`tests.support.fake_device`) with a clock of its own: 1 ms a frame for the image encoder and
3 ms for the rest, which is what tiny takes on a large GPU. Clips are H.264 that FFmpeg draws, decoding, resizing, RLE
and publishing are real, and the real `Worker` runs in this process, without Ray. It gets its videos as from the driver:
work for its next beat.

A second worker labels one video at a time on the same clips in turn. `alone` are the steps before the network, one
after the other in one thread: what they take of the cores bounds how busy the device can be.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.job_config import JobConfig, ModelConfig
from pipeline.config.worker_config import WorkerConfig
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.plan import make_plan
from pipeline.inputs.write import prompts_table, videos_table, write_table
from pipeline.records import Status, Weights, WorkItem
from pipeline.storage.job_storage import JobStorage
from pipeline.worker.settings import JobFacts, WorkerSettings
from pipeline.worker.worker import Worker
from tests.bench.feed_alone import alone
from tests.support.fake_device import fake_network
from tests.support.judges import ffmpeg

FRAME_SECONDS = 0.004


@dataclass(frozen=True)
class Feed:
    """Videos of one drawn clip under different names."""

    num_videos: int = 6
    num_frames: int = 160
    num_objects: int = 2
    size_hw: tuple[int, int] = (1080, 1920)
    bits_per_second: int = 8_000_000

    @property
    def total_frames(self) -> int:
        return self.num_videos * self.num_frames


FEEDS = {
    "1080p": Feed(),
    "360p": Feed(num_videos=12, num_frames=160, size_hw=(360, 640), bits_per_second=500_000),
}
"""Clips that two cores decode more slowly than the device labels them, and clips that they decode faster."""
QUICK = Feed(num_videos=3, num_frames=10, size_hw=(90, 160), bits_per_second=100_000)


def feed(work: Feed, in_flight: Sequence[int] = (1, 4), rounds: int = 3) -> dict[str, Any]:
    """Medians of frames/s and of the busy share, by videos in flight, in turn on the same clips."""
    with tempfile.TemporaryDirectory(prefix="bench-feed-") as folder:
        items = write_clips(Path(folder), work)
        before = alone(Path(folder) / "clip.mp4", min(work.num_frames, 60))
        found: dict[str, list[dict[str, float]]] = {str(number): [] for number in in_flight}
        for turn in range(rounds):
            for number in in_flight:
                output = Path(folder) / f"out-{number}-{turn}"
                found[str(number)].append(label_all(items, work, output, number))
    medians = {
        number: {key: statistics.median(one[key] for one in rows) for key in rows[0]} for number, rows in found.items()
    }
    rates = [row["frames_per_second"] for row in medians.values()]
    ratio = rates[-1] / rates[0]
    # With all cores at these steps and at nothing else the device works for this share of the time.
    most = (os.cpu_count() or 1) * 1000 * FRAME_SECONDS / before["all"]
    return {
        "workload": {**vars(work)},
        "in flight": medians,
        "ratio": ratio,
        "alone": before,
        "most_busy": min(1.0, most),
    }


def write_clips(folder: Path, work: Feed) -> list[WorkItem]:
    """The plan for one file that the table names once for each video."""
    height, width = work.size_hw
    draw = f"testsrc2=size={width}x{height}:rate=25,noise=alls=6:allf=t"
    rate = str(work.bits_per_second)
    ffmpeg(
        *("-loglevel", "error", "-f", "lavfi", "-i", draw, "-frames:v", str(work.num_frames)),
        *("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-b:v", rate, "-maxrate", rate),
        *("-bufsize", rate, folder / "clip.mp4"),
    ).check_returncode()
    names = [f"video{number:03d}" for number in range(work.num_videos)]
    box = [width * 0.2, height * 0.2, width * 0.5, height * 0.5]
    prompts = [
        {"video_id": name, "object_id": number, "frame_index": 0, "box_xyxy": box}
        for name in names
        for number in range(work.num_objects)
    ]
    write_table(str(folder / "videos.parquet"), videos_table([{"video_id": n, "uri": "clip.mp4"} for n in names]))
    write_table(str(folder / "prompts.parquet"), prompts_table(prompts))
    tables = InputTables(str(folder / "videos.parquet"), str(folder / "prompts.parquet"))
    return list(make_plan(tables, {}).items())


def label_all(items: Sequence[WorkItem], work: Feed, output: Path, in_flight: int) -> dict[str, float]:
    """One worker over all items, from its first to the last one published."""
    network = fake_network(in_flight)
    network.draw_masks(work.num_objects, work.size_hw)
    facts = JobFacts(
        weights=Weights("fake", None, "sha256:0"),
        storage=JobStorage(str(output)),
        epoch=1,
        config_hash="f",
        versions="maskmill 0",
    )
    config = JobConfig(
        model=ModelConfig(name="fake", checkpoint="fake"),
        worker=WorkerConfig(videos_in_flight=in_flight, spool_dir=str(output)),
    )
    output.mkdir()
    worker = Worker(WorkerSettings(facts, config), "w0", network.stages())
    worker.setup()
    started, cpu = time.perf_counter(), time.process_time()
    try:
        outcomes = _drive(worker, items, 2 * in_flight + 1)
    finally:
        worker.close()
    seconds = time.perf_counter() - started
    if sorted(outcomes) != sorted(item.video_id for item in items) or set(outcomes.values()) != {Status.OK}:
        raise RuntimeError(f"not every video was labeled: {outcomes}")
    return {
        "frames_per_second": work.total_frames / seconds,
        "busy": network.clock.busy_seconds / (time.perf_counter() - network.clock.begun_at),
        "cpu_ms_per_frame": 1000 * (time.process_time() - cpu) / work.total_frames,
        "copied_frames": network.clock.num_copied,
    }


def _drive(worker: Worker, items: Sequence[WorkItem], inbox: int) -> dict[str, Status]:
    """Keep the worker's inbox full, as the driver does; returns how each video ended."""
    waiting, outcomes, num_open = deque(items), dict[str, Status](), 0
    while waiting or num_open:
        offers = [waiting.popleft() for _ in range(min(len(waiting), inbox - num_open))]
        report = worker.work(offers)
        num_open = len(report.in_flight)
        outcomes |= {outcome.video_id: outcome.status for one in report.segments for outcome in one.outcomes}
    report = worker.drain()
    return outcomes | {outcome.video_id: outcome.status for one in report.segments for outcome in one.outcomes}

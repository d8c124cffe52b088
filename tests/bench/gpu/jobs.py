"""Whole jobs in one process: H.264 to the model to RLE to Parquet, with the card sampled beside them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model.weights.checkpoint import save_model
from pipeline import tables
from tests.bench.efficiency import ROOT, Workload, labeling_seconds, write_inputs
from tests.bench.gpu.rates import Load
from tests.bench.gpu.subjects import Options, random_weights

_LOADS = (Load(1, 1), Load(1, 4), Load(1, 8), Load(4, 4))
_SAMPLE_SECONDS = 0.5
_CORES = 6  # of a node with 48 cores and 8 cards


def jobs(options: Options) -> Iterator[dict[str, Any]]:
    """A row for each load: frames a second from the worker's readiness to the last commit, and who was busy."""
    with tempfile.TemporaryDirectory(prefix="bench-jobs-") as name:
        folder = Path(name)
        weights = folder / "tiny"
        if not options.quick:
            stored = random_weights("tiny", options.image_size)
            save_model(stored.model(), weights, stored.raw_config)
        for load in _LOADS[:1] if options.quick else _LOADS:
            yield _run(options, folder / f"{load.objects}-{load.in_flight}", weights, load)


def _run(options: Options, folder: Path, weights: Path, load: Load) -> dict[str, Any]:
    folder.mkdir()
    workload = (
        Workload(2, 12, load.objects, (240, 320)) if options.quick else Workload(8, 160, load.objects, (1080, 1920))
    )
    write_inputs(folder, workload)
    command = [
        *(sys.executable, "-m", "pipeline.run", f"videos={folder}/videos.parquet", f"prompts={folder}/prompts.parquet"),
        *(f"output={folder}/out", f"log_file={folder}/log.jsonl", "cluster=serial", f"model.device={options.device}"),
        *(["model=mini"] if options.quick else ["model=tiny", f"model.checkpoint={weights}"]),
        f"worker.videos_in_flight={load.in_flight}",
    ]
    started = time.perf_counter()
    code, output, usage = watched(options, command)
    row: dict[str, Any] = {"objects": load.objects, "in_flight": load.in_flight, "exit_code": code}
    if code != 0:
        return row | {"output": output[-800:]}
    videos = tables.open(f"{folder}/out").videos()
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return (
        row
        | {
            "frames_per_second": workload.total_frames / labeling_seconds(records),
            "wall_seconds": time.perf_counter() - started,
            "statuses": dict(Counter(videos["status"].to_pylist())),
            "gpu_use": statistics.median(usage[len(usage) // 2 :]) if usage else None,
        }
        | {name: sum(videos[name].to_pylist()) for name in ("decode_seconds", "encode_seconds", "propagate_seconds")}
    )


def watched(options: Options, command: list[str]) -> tuple[int, str, list[int]]:
    """Exit code, output, and the card's use in percent. The job has six cores where there are more.

    It ends with the check's patience: `Popen` by itself would wait for its end, and a job that hangs has none.
    """
    cores = os.sched_getaffinity(0)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    usage: list[int] = []
    with tempfile.TemporaryFile("w+") as said:  # a pipe that nobody reads would be full after 64 KiB, and the job stop
        os.sched_setaffinity(0, set(sorted(cores)[:_CORES]))
        try:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        finally:
            os.sched_setaffinity(0, cores)
        try:
            while process.poll() is None:
                time.sleep(_SAMPLE_SECONDS)
                usage += _use_of_the_card() if options.is_gpu else []
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        return process.returncode, said.read(), usage


def _use_of_the_card() -> list[int]:
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        return [int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])]
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return []

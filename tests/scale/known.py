"""`python -m tests.scale.known`: what a run costs that finds nothing to do, by the number of videos that are known.

The job is one that was compacted: its log is one roll-up, its segments have 10,000 videos each and are empty files.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.commits.finished import FinishedVideos
from pipeline.commits.job_record import write_record
from pipeline.commits.log import CommitLog
from pipeline.commits.snapshot import JobState, SegmentSize
from pipeline.driver.job import open_job, plan_job
from pipeline.output.layout import segment_object
from pipeline.output.schema import TABLES
from tests.scale import steps
from tests.scale.__main__ import in_a_process
from tests.scale.inputs import write_tables

_VIDEOS_PER_SEGMENT = 10_000


def finish_all(folder: Path, num_videos: int) -> dict[str, Any]:
    """Write input tables, and an output whose log says that all of these videos are finished, in another order."""
    write_tables(folder / "in", num_videos)
    job = open_job(steps.config(folder))
    write_record(job.storage, job.record)
    plan = plan_job(job)
    ids, hashes = pa.array(plan.video_ids, pa.string()), plan.prompt_hashes().to_strings()
    order = pa.array(np.random.default_rng(0).permutation(num_videos))
    names = [f"0001-w{number:06d}-merged" for number in range(-(-num_videos // _VIDEOS_PER_SEGMENT))]
    segments = pa.DictionaryArray.from_arrays(
        pa.array(np.arange(num_videos) // _VIDEOS_PER_SEGMENT, pa.int32()), pa.array(names, pa.string())
    )
    table = pa.table(
        {
            "name": ids.take(order),
            "status": pa.repeat(pa.scalar("ok"), num_videos).dictionary_encode(),
            "segment": segments,
            "prompt_hash": hashes.take(order),
            "source_hash": pa.repeat(pa.scalar(""), num_videos),
        }
    )
    del ids, hashes, plan
    state = JobState(
        FinishedVideos.from_table(table, {}),
        {name: SegmentSize(2_400_000, 20_000, 10_000, 1 << 28) for name in names},
        epoch=1,
        next_entry=1,
    )
    log = CommitLog(job.storage, "writer")
    log.state = state
    log.roll_up()
    for kind in TABLES:
        (folder / "out" / kind).mkdir(exist_ok=True)
        for name in names:
            (folder / "out" / segment_object(kind, name)).touch()
    return {}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scale.known", description=__doc__)
    parser.add_argument("--videos", nargs="+", type=int, default=[10**5, 10**6, 10**7])
    arguments = parser.parse_args(argv)
    print(f"{'videos':>12}{'again s':>10}{'CPU s':>10}{'res. MB':>10}")
    for num_videos in arguments.videos:
        with tempfile.TemporaryDirectory() as folder:
            in_a_process("known", Path(folder), num_videos)
            found = in_a_process("again", Path(folder), num_videos)
        seconds, cpu, peak = found["seconds"], found["processor_seconds"], found["peak_megabytes"]
        print(f"{num_videos:>12,}{seconds:>10.1f}{cpu:>10.1f}{peak:>10,.0f}", flush=True)


if __name__ == "__main__":
    main()

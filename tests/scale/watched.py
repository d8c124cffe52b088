"""`python -m tests.scale.watched`: what a night costs that brings 3,000 videos, by the number of those known before.

A bucket is watched with `input.listing=from_last`, by names that sort by night. The job is one that was compacted: its
log is one roll-up. The table of prompts has a row for each video, sorted. Bucket and output are on this machine, so
that seconds are those of the driver alone; requests are counted, and dollars are those of S3 in us-east-1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.commits.finished import FinishedVideos
from pipeline.commits.job_record import write_record
from pipeline.commits.log import CommitLog
from pipeline.commits.snapshot import JobState, SegmentSize
from pipeline.config import compose
from pipeline.config.job_config import JobConfig
from pipeline.driver import driver
from pipeline.driver.job import open_job, plan_job
from pipeline.driver.run_record import RunRecord
from pipeline.inputs.kept_listing import KeptListing, place_of, write_kept
from pipeline.inputs.prompt_hash import PromptHashes, row_digests
from pipeline.output.layout import segment_object
from pipeline.output.schema import TABLES
from tests.scale import steps
from tests.scale.__main__ import in_a_process
from tests.scale.bucket import BUCKET, FOLDER, VIDEOS_A_NIGHT, path_of, version_of

# Dollars a request of S3 Standard in us-east-1, November 2026: aws.amazon.com/s3/pricing, "Requests & data retrievals".
DOLLARS = {"LIST": 0.005 / 1000, "GET": 0.0004 / 1000, "HEAD": 0.0004 / 1000}

_NIGHTS_LISTED = 7  # `input.late_seconds` is a week
_VIDEOS_PER_SEGMENT = 10_000
_ROWS_PER_PIECE = 1 << 16


@contextlib.contextmanager
def bucket(num_videos: int) -> Iterator[str]:
    """The endpoint of a bucket with so many videos."""
    command = [sys.executable, "-m", "tests.scale.bucket", str(num_videos)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.stdin.close()


def config(folder: Path, endpoint: str, listing: str = "from_last") -> JobConfig:
    """The watching job."""
    options = [f"storage_options.{name}=x" for name in ("key", "secret")]
    return compose.job_config(
        "label",
        [
            f"videos=s3://{BUCKET}/{FOLDER}/**/*.mp4",
            f"prompts={folder / 'prompts.parquet'}",
            f"output={folder / 'out'}",
            f"worker.spool_dir={folder / 'spool'}",
            f"input.listing={listing}",
            f"storage_options.client_kwargs.endpoint_url={endpoint}",
            *options,
        ],
    )


def finish_all(folder: Path, num_videos: int) -> dict[str, Any]:
    """Write the prompts of all videos and of a further night, and an output that has finished all but that night's."""
    folder.mkdir(parents=True, exist_ok=True)
    prompts = _write_prompts(folder / "prompts.parquet", num_videos + VIDEOS_A_NIGHT)
    listed = num_videos - _NIGHTS_LISTED * VIDEOS_A_NIGHT
    job = open_job(config(folder, "http://127.0.0.1:1"))
    write_record(job.storage, job.record)
    names = [f"0001-w{number:06d}-merged" for number in range(-(-num_videos // _VIDEOS_PER_SEGMENT))]
    numbers = np.arange(num_videos)
    sources = (version_of(number).digest() for number in range(num_videos))
    table = pa.table(
        {
            "name": _ids(numbers),
            "status": pa.repeat(pa.scalar("ok"), num_videos).dictionary_encode(),
            "segment": pa.DictionaryArray.from_arrays(
                pa.array((numbers // _VIDEOS_PER_SEGMENT).astype(np.int32)), names
            ),
            "prompt_hash": prompts[:num_videos],
            "source_hash": pa.array(sources, pa.string()),
        }
    )
    sizes = {name: SegmentSize(2_400_000, 20_000, 10_000, 1 << 28) for name in names}
    log = CommitLog(job.storage, "writer")
    log.state = JobState(FinishedVideos.from_table(table, {}), sizes, epoch=1, next_entry=1)
    log.roll_up()
    for kind in TABLES:
        (folder / "out" / kind).mkdir(exist_ok=True)
        for name in names:
            (folder / "out" / segment_object(kind, name)).touch()
    start_after = f"{BUCKET}/{FOLDER}/{path_of(listed)}"[:-1]
    write_kept(job.storage, KeptListing(place=place_of(job.config), start_after=start_after, open_paths=[]))
    return {}


def _ids(numbers: np.ndarray) -> pa.Array:
    night = pc.utf8_lpad(pa.array(numbers // VIDEOS_A_NIGHT).cast(pa.string()), 6, "0")
    return pc.binary_join_element_wise(night, pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 8, "0"), "/v")


def _write_prompts(path: Path, num_videos: int) -> pa.Array:
    """A box for each video, none like another; returns the hash of each video's prompts."""
    columns = {"video_id": pa.string(), "object_id": pa.int64(), "frame_index": pa.int64()}
    schema = pa.schema([*columns.items(), ("box_xyxy", pa.list_(pa.float64()))])
    hashes = []
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, num_videos, _ROWS_PER_PIECE):
            numbers = np.arange(first, min(first + _ROWS_PER_PIECE, num_videos))
            ones, zeros = np.ones(len(numbers), np.int64), np.zeros(len(numbers), np.int64)
            offsets = pa.array(np.arange(len(numbers) + 1, dtype=np.int32) * 4)
            boxes = np.array([[10.0, 10.0, 700.0, 400.0]]) + np.outer(numbers, [0, 0, 1, 0])
            rows = [_ids(numbers), ones, zeros, pa.ListArray.from_arrays(offsets, pa.array(boxes.ravel()))]
            writer.write_table(piece := pa.table(rows, schema=schema))
            found = PromptHashes(len(numbers))
            found.add(numbers - first, row_digests(piece.to_batches()[0]))
            hashes.append(found.hashes_of(slice(None), np.full((len(numbers), 2), np.nan)).to_strings())
    return pa.concat_arrays(hashes)


def _measured(folder: Path, num_in_bucket: int, listing: str, num_new: int) -> dict[str, Any]:
    """The seconds until a worker gets its first video, or until it is known that nothing is left, and the requests."""
    with bucket(num_in_bucket) as endpoint:
        started, processor = time.perf_counter(), time.process_time()
        job = open_job(config(folder, endpoint, listing))
        log_seconds = time.perf_counter() - started
        plan = plan_job(job)
        plan_seconds = time.perf_counter() - started - log_seconds
        assert plan.num_to_label == num_new
        if num_new:
            with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(steps.FirstOffer):
                driver.drive(job, plan, RunRecord(None), steps.on(steps.Starts()))
                raise AssertionError("nothing was left to label")
        with urllib.request.urlopen(f"{endpoint}/requests") as answer:
            requests = json.load(answer)
        return {
            "seconds": time.perf_counter() - started,
            "log_seconds": log_seconds,
            "plan_seconds": plan_seconds,
            "own_seconds": time.process_time() - processor,
            "requests": requests,
        }


def night(folder: Path, num_videos: int) -> dict[str, Any]:
    """A night that brings videos."""
    return _measured(folder, num_videos + VIDEOS_A_NIGHT, "from_last", VIDEOS_A_NIGHT)


def quiet_night(folder: Path, num_videos: int) -> dict[str, Any]:
    """A night that brings none."""
    return _measured(folder, num_videos, "from_last", 0)


def full_night(folder: Path, num_videos: int) -> dict[str, Any]:
    """A night that brings videos, for which the whole bucket is listed and all is compared."""
    return _measured(folder, num_videos + VIDEOS_A_NIGHT, "full", VIDEOS_A_NIGHT)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scale.watched", description=__doc__)
    parser.add_argument("--videos", nargs="+", type=int, default=[10**5, 10**6, 10**7])
    parser.add_argument("--full", action="store_true", help="also list the whole bucket, which takes 35 µs a video")
    arguments = parser.parse_args(argv)
    headings = ("known", "night", "first offer s", "CPU s", "(log", "plan", "rest)", "res. MB", "LIST", "dollars")
    print("".join(f"{heading:>14}" for heading in headings))
    for num_videos in arguments.videos:
        with tempfile.TemporaryDirectory() as folder:
            in_a_process("watched", Path(folder), num_videos)
            for name in ("quiet_night", "night", *(["full_night"] if arguments.full else [])):
                found = in_a_process(name, Path(folder), num_videos)
                print(_line(num_videos, name, found), flush=True)


def _line(num_videos: int, name: str, found: dict[str, Any]) -> str:
    requests: dict[str, int] = found["requests"]
    rest = found["seconds"] - found["log_seconds"] - found["plan_seconds"]
    values = (
        f"{num_videos:,}",
        name.removesuffix("_night"),
        f"{found['seconds']:.1f}",
        f"{found['own_seconds']:.1f}",
        f"{found['log_seconds']:.1f}",
        f"{found['plan_seconds']:.1f}",
        f"{rest:.1f}",
        f"{found['peak_megabytes']:,.0f}",
        f"{requests.get('LIST', 0):,}",
        f"{sum(DOLLARS[kind] * count for kind, count in requests.items()):.5f}",
    )
    return "".join(f"{value:>14}" for value in values)


if __name__ == "__main__":
    main()

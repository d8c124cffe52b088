"""`python -m tests.scale.outputs`: what compaction costs a row, and what a reader waits for at 10⁴ and 10⁵ segments.

Rows of the compaction have run lengths of drawn outlines, made by pycocotools. A reader's job lies on a real S3 server.
Of its segments the last few hundred exist and are opened; those before are in digests, as a driver writes them. Each
step runs in a process of its own; seconds are those of a clock, µs a row those of the processor.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from pycocotools import mask as coco

from pipeline import tables
from pipeline.cluster.ray_mergers import RayMergers
from pipeline.commits.committer import SegmentKeeper
from pipeline.commits.compaction import Sizes, compact
from pipeline.commits.log import CommitLog
from pipeline.config.cluster_config import ClusterConfig
from pipeline.output.digest import digest_of
from pipeline.output.layout import new_segment_name, segment_object
from pipeline.output.schema import MASKS
from pipeline.output.segment_files import DEFAULT_LIMITS, SegmentOrigin, build_segment, writer_options
from pipeline.output.segments import publish
from pipeline.records import Outcome, OutcomeDetails, Segment, Status
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import labeled, track_rows, video_row
from tests.support.quick_storage import QuickStorage
from tests.support.s3_server import S3Server

_HEIGHT, _WIDTH = 720, 1280
_VIDEOS_PER_SEGMENT, _OBJECTS = 10, 2
_NOT_DIGESTED = 300
_NUM_ALONE = 10  # segments that are decoded and encoded alone


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scale.outputs", description=__doc__)
    parser.add_argument("--segments", nargs="*", type=int, default=[10**4, 10**5], help="of the job that is read")
    parser.add_argument("--merged", type=int, default=40, help="segments of 10,000 rows that are merged; 0: none")
    parser.add_argument("--workers", nargs="*", type=int, default=[1, 2], help="actors that merge, on Ray")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--merge", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.read:
        print(json.dumps(read_job(**json.loads(arguments.read))))
    elif arguments.merge:
        print(json.dumps(merge_job(arguments.merge)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            if arguments.merged:
                print_compaction(Path(folder), arguments.merged, arguments.workers)
            print_reading(Path(folder), arguments.segments)


def print_compaction(folder: Path, num_segments: int, workers: Sequence[int]) -> None:
    """One process, then Ray with some actors, each on a copy of the same job."""
    write_job(folder / "job", num_segments)
    shutil.copytree(folder / "job", folder / "alone")
    print(json.dumps({"merged_by": "one process", **_in_a_process("--merge", str(folder / "alone"))}), flush=True)
    for num in workers:
        storage = QuickStorage(str(shutil.copytree(folder / "job", folder / f"ray-{num}")))
        size = sum(segment.num_bytes for segment in CommitLog(storage, "reader").load().segments.values())
        mergers = RayMergers(ClusterConfig(kind="local", actors=num), storage, str(folder))
        with contextlib.closing(mergers):
            started = time.monotonic()
            done = compact(storage, folder, Sizes(most_bytes=max(1, size // 7)), mergers)
        seconds = round(time.monotonic() - started, 2)
        print(json.dumps({"merged_by": f"{num} on Ray", "seconds": seconds, "made": done.num_made}), flush=True)


def print_reading(folder: Path, sizes: Sequence[int]) -> None:
    """`tables.open`, `videos()` and `tracks()`, and the plan for the masks of one video, in a fresh process."""
    server = S3Server(folder / "s3")
    try:
        server.start()
        for num_segments in sizes:
            place = {"uri": f"{server.new_folder()}/job", "options": server.options()}
            write_digested_job(JobStorage(place["uri"], place["options"]), folder / "spool", num_segments)
            print(json.dumps({"segments": num_segments, **_in_a_process("--read", json.dumps(place))}), flush=True)
    finally:
        server.stop()


def _in_a_process(step: str, what: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.scale.outputs", step, what]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def merge_job(uri: str) -> dict[str, Any]:
    """Compaction in this process, and what of it decoding and encoding alone take."""
    storage = QuickStorage(uri)
    segments = CommitLog(storage, "reader").load().segments
    num_rows = sum(size.num_masks for size in segments.values())
    least = [_least_microseconds(storage, list(segments)[:_NUM_ALONE]) for _ in range(3)]
    started, cpu = time.monotonic(), time.process_time()
    compact(storage, Path(uri).parent)
    return {
        "rows": num_rows,
        "microseconds_a_row": round((time.process_time() - cpu) / num_rows * 1e6, 2),
        "of_which_decoding": round(min(decoding for decoding, _ in least), 2),
        "of_which_encoding": round(min(encoding for _, encoding in least), 2),
        "seconds": round(time.monotonic() - started, 2),
        "megabytes": _megabytes(),
    }


def _least_microseconds(storage: JobStorage, names: Sequence[str]) -> tuple[float, float]:
    """What Arrow alone takes a row to decode the masks of these segments, and to write them as they are written."""
    files = [storage.read(segment_object("masks", name)) for name in names]
    began = time.process_time()
    parts = [pq.read_table(pa.BufferReader(file), use_threads=False, page_checksum_verification=True) for file in files]
    decoded = time.process_time()
    rows = pa.concat_tables(parts).cast(MASKS).combine_chunks()
    prepared = time.process_time()
    with pq.ParquetWriter(pa.BufferOutputStream(), rows.schema, **writer_options("masks")) as writer:
        writer.write_table(rows, DEFAULT_LIMITS.num_rows)
    encoded = time.process_time()
    return (decoded - began) / len(rows) * 1e6, (encoded - prepared) / len(rows) * 1e6


def read_job(uri: str, options: dict[str, Any]) -> dict[str, Any]:
    """What a notebook waits for."""
    figures: dict[str, Any] = {}

    @contextlib.contextmanager
    def timed(name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        figures[f"{name}_seconds"] = round(time.monotonic() - started, 2)

    JobStorage(uri, options).listing("nothing")  # the client of the store is imported and connected
    before = _megabytes()
    with timed("open"):
        job = tables.open(uri, options)
    figures["open_megabytes"] = _megabytes() - before
    with timed("videos"):
        figures["videos"] = job.videos().num_rows
    with timed("tracks"):
        figures["tracks"] = job.tracks().num_rows
    with timed("masks_plan"):
        one = next(iter(job.state.finished))
        dataset = job.masks()
    with timed("masks_filter"):
        figures["opened_by_filter"] = len(list(dataset.get_fragments(tables.ds.field("video_id") == one)))
    figures["megabytes"] = _megabytes()
    return figures


def _megabytes() -> int:
    return int(psutil.Process().memory_info().rss / 2**20)


def outlines(num: int) -> pa.StructArray:
    """RLE of outlines that drift and are ragged, about 240 letters each."""
    rng = np.random.default_rng(0)
    angles, waves = np.linspace(0, 2 * np.pi, 64, endpoint=False), np.arange(1, 9)[:, None]
    found: list[dict[str, Any]] = []
    while len(found) < num:
        radius, center, drift = rng.uniform(20, 75), rng.uniform((200, 150), (1080, 570)), rng.normal(0, 2, 2)
        sizes, phases = rng.normal(0, 0.22 / waves), rng.uniform(0, 6.3, (8, 1))
        for frame in range(25):
            bulges = (sizes * np.cos(waves * angles + phases + 0.05 * frame * waves)).sum(0)
            radii = radius * (1 + bulges + rng.normal(0, 0.02, 64))
            points = center + drift * frame + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
            polygon = np.clip(points, 0, _WIDTH - 1).ravel().tolist()
            rle = coco.merge(coco.frPyObjects([polygon], _HEIGHT, _WIDTH))
            found.append({"size": [_HEIGHT, _WIDTH], "counts": rle["counts"].decode()})
    return pa.array(found[:num], MASKS.field("rle").type)


def write_job(folder: Path, num_segments: int, num_frames: int = 500) -> None:
    """Segments of ten videos, whose ids are random."""
    storage, spool = QuickStorage(str(folder)), folder.with_name("spool")
    spool.mkdir(exist_ok=True)
    log = CommitLog(storage, "driver")
    log.load()
    log.claim()
    codes, segments = outlines(10_000), []
    for number in range(num_segments):
        outcomes = [_outcome(number, place, num_frames) for place in range(_VIDEOS_PER_SEGMENT)]
        outcomes.sort(key=lambda outcome: outcome.video_id)
        numbers = range(number * _VIDEOS_PER_SEGMENT, (number + 1) * _VIDEOS_PER_SEGMENT)
        rows = {
            "masks": [_mask_rows(o.video_id, codes, n, num_frames) for o, n in zip(outcomes, numbers, strict=True)],
            "tracks": [track_rows(o.video_id, (1, 2), num_frames) for o in outcomes],
            "videos": [video_row(o, _OBJECTS) for o in outcomes],
        }
        batches = {table: [b for part in parts for b in part.to_batches()] for table, parts in rows.items()}
        segments.append(publish(storage, build_segment(SegmentOrigin(1, "w", "f"), outcomes, batches, spool)))
    log.append(add=segments)


def _outcome(number: int, place: int, num_frames: int) -> Outcome:
    video_id = hashlib.sha1(f"{number}-{place}".encode()).hexdigest()[:16]
    return Outcome(video_id, Status.OK, "p" * 32, num_frames * _OBJECTS, num_frames, details=OutcomeDetails(_OBJECTS))


def _mask_rows(video_id: str, codes: pa.StructArray, number: int, num_frames: int) -> pa.Table:
    num = num_frames * _OBJECTS
    rng = np.random.default_rng(number)
    frames = np.tile(np.arange(num_frames, dtype=np.int32), _OBJECTS)
    boxes = {f"bbox_{side}": rng.integers(0, 700, num) for side in "xywh"}
    return pa.table(
        {
            "video_id": [video_id] * num,
            "object_id": np.repeat(np.arange(1, _OBJECTS + 1), num_frames),
            "frame_index": frames,
            "pts_seconds": frames / 24,
            "rle": codes.take(pa.array((number * num + np.arange(num)) % len(codes))),
            "area": rng.integers(1_000, 20_000, num),
            **boxes,
            "object_score": rng.normal(8, 2, num),
            "predicted_iou": rng.uniform(0.8, 1, num),
            "is_prompt": frames == 0,
            "category": ["thing"] * num,
            "stability": rng.uniform(0.8, 1, num),
            "num_parts": rng.integers(1, 3, num),
            "pointer_similarity": rng.uniform(0.5, 1, num),
        }
    ).cast(MASKS)


def write_digested_job(storage: JobStorage, spool: Path, num_segments: int) -> None:
    """What a driver leaves that has committed so many segments: log and digests; of most segments no objects."""
    log = CommitLog(storage, "driver")
    log.load()
    log.claim()
    keeper = SegmentKeeper(storage, log, spool)
    pattern = labeled("id", 30)
    for first in range(0, num_segments, 1_000):
        keeper.commit([_segment(storage, pattern, number) for number in range(first, first + 1_000)])
    log.roll_up()
    keeper.commit([publish_small(storage, spool, number) for number in range(_NOT_DIGESTED)])


def _segment(storage: JobStorage, pattern: Any, number: int) -> Segment:
    outcomes = sorted((_outcome(number, p, 30) for p in range(_VIDEOS_PER_SEGMENT)), key=lambda o: o.video_id)
    ids = [outcome.video_id for outcome in outcomes]
    videos, tracks = pattern.video.take([0] * len(ids)), pattern.tracks.take([0, 1] * len(ids))
    videos = videos.set_column(0, "video_id", pa.array(ids))
    tracks = tracks.set_column(0, "video_id", pa.array(np.repeat(ids, _OBJECTS)))
    name = new_segment_name(1, f"w{number % 1000}")
    rows = {"masks": 600, "tracks": tracks.num_rows, "videos": len(ids)}
    return Segment(name, rows, 110_000, tuple(outcomes), digest_of(name, {"videos": videos, "tracks": tracks}))


def publish_small(storage: JobStorage, spool: Path, number: int) -> Segment:
    """A segment that exists, of one video, and that no digest holds."""
    from tests.support.labeled import publish as publish_labeled

    return publish_labeled(storage, spool, labeled(f"late-{number}", 3))


if __name__ == "__main__":
    main()

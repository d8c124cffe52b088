"""`python -m tests.scale.exports --output …`: what an export costs at 10⁶ masks, of few videos and of many.

The masks of a finished job are repeated under other ids until there are enough. Each export runs in a process of its
own, whose highest resident memory is shown.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import tables
from pipeline.commits.log import CommitLog
from pipeline.export import door
from pipeline.output.schema import SORT_KEYS
from pipeline.output.segment_files import SegmentOrigin, build_segment
from pipeline.output.segments import publish
from pipeline.records import Outcome, OutcomeDetails, Status
from tests.scale.steps import peak_megabytes
from tests.support.quick_storage import QuickStorage

_ROWS_PER_SEGMENT = 200_000
_COUNTS = ("num_masks", "num_frames")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scale.exports", description=__doc__)
    parser.add_argument("--output", help="a finished job, whose masks are repeated")
    parser.add_argument("--masks", type=int, default=10**6)
    parser.add_argument("--videos", nargs="*", type=int, default=[2_000, 10**5])
    parser.add_argument("--formats", nargs="*", default=["coco", "coco_video", "youtube_vis"])
    parser.add_argument("--keys", nargs="*", default=[], help="further keys of the exports")
    parser.add_argument("--folder", type=Path, help="where jobs and exports are made; a temporary folder otherwise")
    parser.add_argument("--export", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.export:
        print(json.dumps(measured(json.loads(arguments.export))))
        return
    for num_videos in arguments.videos:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            write_job(Path(folder), arguments.output, num_videos, arguments.masks)
            for name in arguments.formats:
                words = [f"output={folder}/job", f"format={name}", f"to={folder}/to", *arguments.keys]
                command = [sys.executable, "-m", "tests.scale.exports", "--export", json.dumps(words)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                figures = json.loads(done.stdout.splitlines()[-1])
                print(
                    json.dumps({"format": name, "videos": num_videos, "masks": arguments.masks, **figures}), flush=True
                )
                shutil.rmtree(f"{folder}/to")


def measured(words: Sequence[str]) -> dict[str, Any]:
    """One export, in this process."""
    started = time.monotonic()
    code = door(words)
    assert code == 0, code
    (to,) = (word.removeprefix("to=") for word in words if word.startswith("to="))
    files = [path.stat().st_size for path in Path(to).rglob("*") if path.is_file()]
    return {
        "seconds": round(time.monotonic() - started, 1),
        "processor_seconds": round(time.process_time(), 1),
        "peak_megabytes": peak_megabytes(),
        "files": len(files),
        "megabytes": sum(files) // 2**20,
    }


def write_job(folder: Path, source: str, num_videos: int, num_masks: int) -> QuickStorage:
    """A job of so many videos, each with the masks of a video of `source`, repeated or cut to an equal share."""
    storage, spool = QuickStorage(str(folder / "job")), folder / "spool"
    spool.mkdir()
    log = CommitLog(storage, "driver")
    log.load()
    log.claim()
    patterns = cycle(_patterns(source, num_masks // num_videos))
    per_segment = max(1, _ROWS_PER_SEGMENT * num_videos // num_masks)
    segments = []
    for first in range(0, num_videos, per_segment):
        ids = [f"video-{number:07d}" for number in range(first, min(first + per_segment, num_videos))]
        chosen = list(islice(patterns, len(ids)))
        parts = {
            table: [_renamed(pattern[table], one) for one, pattern in zip(ids, chosen, strict=True)]
            for table in SORT_KEYS
        }
        outcomes = [
            Outcome(one, Status.OK, "p", *(pattern["videos"][key][0].as_py() for key in _COUNTS), details=_DETAILS)
            for one, pattern in zip(ids, chosen, strict=True)
        ]
        batches = {table: [b for rows in found for b in rows.to_batches()] for table, found in parts.items()}
        segments.append(publish(storage, build_segment(SegmentOrigin(1, "w", "f"), outcomes, batches, spool)))
    log.append(add=segments)
    return storage


_DETAILS = OutcomeDetails(1)


def _renamed(rows: pa.Table, video_id: str) -> pa.Table:
    return rows.set_column(0, rows.schema.field(0), pa.array([video_id] * rows.num_rows))


def _patterns(source: str, num_masks: int) -> Iterator[dict[str, pa.Table]]:
    """A video of one track for each track of the job, with so many masks of it, over and over."""
    job = tables.open(source)
    for video in job.videos().to_pylist():
        rows = job.masks([video["video_id"]]).to_table()
        for track in job.tracks([video["video_id"]]).to_pylist():
            mine = rows.filter(pa.compute.equal(rows["object_id"], track["object_id"]))
            if not track["num_visible"]:
                continue
            mine = mine.take(np.arange(num_masks) % mine.num_rows)
            frames = pa.array(np.arange(num_masks), pa.int32())
            mine = mine.set_column(2, mine.schema.field(2), frames)
            mine = mine.set_column(3, mine.schema.field(3), pa.array(np.arange(num_masks) / 24))
            counts = {"num_masks": num_masks, "num_frames": num_masks, "num_tracks": 1, "num_tracks_failed": 0}
            schemas = {table: job.videos().schema if table == "videos" else job.tracks().schema for table in SORT_KEYS}
            yield {
                "masks": mine,
                "tracks": pa.Table.from_pylist([track | {"num_masks": num_masks}], schemas["tracks"]),
                "videos": pa.Table.from_pylist([video | counts], schemas["videos"]),
            }


if __name__ == "__main__":
    main()

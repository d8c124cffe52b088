"""`python -m tests.scale.exports --output …`: what an export costs at 10⁶ masks, of few videos and of many.

The masks of a finished job are repeated under other ids until there are enough. Each export runs in a process of its
own, whose highest resident memory is shown. It does not wait for the disk, because a million files that are synced one
by one measure the disk alone. The format `plan` writes nothing: it is what all exports do at first.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.arrays import Int64Array
from pipeline.commits.log import CommitLog
from pipeline.export import door
from pipeline.formats.planning import make_plan
from pipeline.formats.selection import Selection
from pipeline.output.schema import SORT_KEYS, TABLES
from pipeline.output.segment_files import SegmentOrigin, build_segment
from pipeline.output.segments import publish
from pipeline.records import Outcome, OutcomeDetails, Status
from tests.scale.steps import peak_megabytes
from tests.support.quick_storage import QuickStorage

_ROWS_PER_SEGMENT = 200_000


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scale.exports", description=__doc__)
    parser.add_argument("--output", help="a finished job, whose masks are repeated")
    parser.add_argument("--masks", type=int, default=10**6)
    parser.add_argument("--videos", nargs="*", type=int, default=[2_000, 10**5])
    parser.add_argument("--tracks", type=int, default=1, help="tracks of each video")
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
            write_job(Path(folder), arguments.output, num_videos, arguments.masks, arguments.tracks)
            for name in arguments.formats:
                words = [f"output={folder}/job", f"format={name}", f"to={folder}/to", *arguments.keys]
                command = [sys.executable, "-m", "tests.scale.exports", "--export", json.dumps(words)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                figures = json.loads(done.stdout.splitlines()[-1])
                print(
                    json.dumps({"format": name, "videos": num_videos, "masks": arguments.masks, **figures}), flush=True
                )
                shutil.rmtree(f"{folder}/to", ignore_errors=True)


def measured(words: Sequence[str]) -> dict[str, Any]:
    """One export, in this process."""
    os.fsync = lambda descriptor: None
    started = time.monotonic()
    if "format=plan" in words:
        _plan(next(word.removeprefix("output=") for word in words if word.startswith("output=")))
    else:
        code = door(words)
        assert code == 0, code
    found = {
        "seconds": round(time.monotonic() - started, 1),
        "processor_seconds": round(time.process_time(), 1),
        "peak_megabytes": peak_megabytes(),  # before the files are counted, which takes memory of its own
    }
    (to,) = (word.removeprefix("to=") for word in words if word.startswith("to="))
    num_files = num_bytes = 0
    for folder, _, names in os.walk(to):
        num_files += len(names)
        num_bytes += sum(Path(folder, name).stat().st_size for name in names)
    return found | {"files": num_files, "megabytes": num_bytes // 2**20}


def _plan(output: str) -> None:
    """Make a plan and go through it, as an export does."""
    plan = make_plan(tables.open(output), Selection())
    assert plan.digest
    assert sum(len(task.videos) for task in plan.tasks(32_768, 2_000)) == plan.num_videos


def write_job(folder: Path, source: str, num_videos: int, num_masks: int, num_tracks: int = 1) -> QuickStorage:
    """A job of so many videos, whose tracks have the masks of a track of `source`, repeated to an equal share."""
    storage, spool = QuickStorage(str(folder / "job")), folder / "spool"
    spool.mkdir()
    log = CommitLog(storage, "driver")
    log.load()
    log.claim()
    length = num_masks // num_videos
    patterns = _patterns(source, length // num_tracks, num_tracks)
    num_patterns = patterns["videos"].num_rows
    per_segment = max(1, _ROWS_PER_SEGMENT // length)
    segments = []
    for first in range(0, num_videos, per_segment):
        numbers = np.arange(first, min(first + per_segment, num_videos))
        ids, chosen = [f"video-{number:07d}" for number in numbers], numbers % num_patterns
        rows = {
            "masks": _taken(patterns["masks"], (chosen[:, None] * length + np.arange(length)).ravel(), ids, length),
            "tracks": _taken(
                patterns["tracks"], (chosen[:, None] * num_tracks + np.arange(num_tracks)).ravel(), ids, num_tracks
            ),
            "videos": _taken(patterns["videos"], chosen, ids, 1),
        }
        hashes = rows["videos"]["prompt_hash"].to_pylist()
        outcomes = [
            Outcome(one, Status.OK, prompt_hash, length, length // num_tracks, details=OutcomeDetails(num_tracks))
            for one, prompt_hash in zip(ids, hashes, strict=True)
        ]
        batches = {table: found.to_batches() for table, found in rows.items()}
        segments.append(publish(storage, build_segment(SegmentOrigin(1, "w", "f"), outcomes, batches, spool)))
    log.append(add=segments)
    return storage


def _taken(pattern: pa.Table, places: Int64Array, ids: list[str], length: int) -> pa.Table:
    """Rows of the pattern under other ids, `length` of them for each."""
    return pattern.take(places).set_column(0, pattern.schema.field(0), pa.array(np.repeat(ids, length), pa.string()))


def _patterns(source: str, length: int, num_tracks: int) -> dict[str, pa.Table]:
    """A video for each track of the job that is visible: `num_tracks` tracks with so many masks of it, repeated."""
    job = tables.open(source)
    found: dict[str, list[pa.Table]] = {table: [] for table in SORT_KEYS}
    frames = np.arange(length)
    counts = {"num_masks": length * num_tracks, "num_frames": length, "num_tracks": num_tracks, "num_tracks_failed": 0}
    for video in job.videos().to_pylist():
        rows = job.masks([video["video_id"]]).to_table()
        for track in job.tracks([video["video_id"]]).to_pylist():
            if not track["num_visible"]:
                continue
            mine = rows.filter(pc.equal(rows["object_id"], track["object_id"]))
            mine = mine.take(frames % mine.num_rows)
            mine = mine.set_column(2, mine.schema.field(2), pa.array(frames, pa.int32()))
            mine = mine.set_column(3, mine.schema.field(3), pa.array(frames / 24))
            for object_id in range(num_tracks):
                found["masks"].append(mine.set_column(1, mine.schema.field(1), pa.array(np.full(length, object_id))))
            same = [track | {"num_masks": length, "object_id": object_id} for object_id in range(num_tracks)]
            found["tracks"].append(pa.Table.from_pylist(same, TABLES["tracks"]))
            found["videos"].append(pa.Table.from_pylist([video | counts], TABLES["videos"]))
    return {table: pa.concat_tables(parts) for table, parts in found.items()}


if __name__ == "__main__":
    main()

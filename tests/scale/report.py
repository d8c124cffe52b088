"""`python -m tests.scale.report`: what the report of many videos takes: seconds, memory, and the size of the page.

The job is made: boxes that move, scores from a seed, segments of a hundred videos, names and messages of every length.
All videos are one short film; each fiftieth names a file that is gone, and each hundredth has failed for a reason of
its own. The report is made in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from pycocotools import mask as coco

from pipeline import report
from pipeline.commits.log import CommitLog
from pipeline.output.schema import MASKS, TRACKS, VIDEOS
from pipeline.output.segment_files import SegmentOrigin, build_segment
from pipeline.output.segments import publish
from pipeline.records import Outcome, OutcomeDetails, Status
from tests.support.drawn_job import HEIGHT, WIDTH
from tests.support.labeled import track_rows, video_row
from tests.support.quick_storage import QuickStorage
from tests.support.reported import film

_OBJECTS, _VIDEOS_PER_SEGMENT, _SIDE = 5, 100, 12
_FINISHED = 1_790_000_000_000


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scale.report", description=__doc__)
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--frames", type=int, default=40, help="of each video")
    parser.add_argument("--top", type=int, default=24, help="doubtful tracks on the page")
    parser.add_argument("--report", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.report:
        output, to, top = arguments.report
        assert report.door([f"output={output}", f"to={to}", f"top={top}"]) == 0
        print(json.dumps({"cpu_seconds": sum(psutil.Process().cpu_times()[:2]), "peak_megabytes": _peak_megabytes()}))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_job(Path(folder), arguments.videos, arguments.frames)
        to = Path(folder) / "report.html"
        command = [sys.executable, "-m", "tests.scale.report", "--report", f"{folder}/job", str(to), str(arguments.top)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        figures = json.loads(done.stdout.splitlines()[-1])
        rows = arguments.videos * _OBJECTS * arguments.frames
        print(json.dumps({"videos": arguments.videos, "rows": rows, **figures, "page_bytes": to.stat().st_size}))


def _peak_megabytes() -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def write_job(folder: Path, num_videos: int, num_frames: int) -> None:
    """See the module."""
    film(folder / "film.mp4", num_frames)
    storage, spool = QuickStorage(str(folder / "job")), folder / "spool"
    spool.mkdir()
    log = CommitLog(storage, "driver")
    log.load()
    log.claim()
    segments = []
    for first in range(0, num_videos, _VIDEOS_PER_SEGMENT):
        numbers = range(first, min(first + _VIDEOS_PER_SEGMENT, num_videos))
        outcomes = [_outcome(number, num_frames) for number in numbers]
        parts = [
            _tables(outcome, number, folder, num_frames) for outcome, number in zip(outcomes, numbers, strict=True)
        ]
        batches = {
            table: [batch for part in parts for batch in part[table].to_batches()]
            for table in ("masks", "tracks", "videos")
        }
        segments.append(publish(storage, build_segment(SegmentOrigin(1, "w", "f"), outcomes, batches, spool)))
    log.append(add=segments)


def _outcome(number: int, num_frames: int) -> Outcome:
    video_id = f"video-{number:07d}-{'x' * (number % 60)}"
    if number % 100 == 99:
        reason = f"the cause {'abcdefghij'[number // 100 % 10]}{'klmnopqrst'[number // 1000 % 10]} of {number}"
        return Outcome(video_id, Status.FAILED, "p1", 0, 0, "input", reason)
    return Outcome(video_id, Status.OK, "p1", num_frames * _OBJECTS, num_frames, details=OutcomeDetails(_OBJECTS))


def _tables(outcome: Outcome, number: int, folder: Path, num_frames: int) -> dict[str, pa.Table]:
    seconds: dict[str, Any] = dict.fromkeys(("fetch_seconds", "decode_seconds", "encode_seconds"), 0.5)
    more = {"propagate_seconds": 4.0, "wall_seconds": 6.0, "finished_at": _FINISHED + 5_000 * number, **seconds}
    more |= {"uri": str(folder / ("gone.mp4" if number % 50 == 0 else "film.mp4")), "worker": f"w{number % 8}"}
    more |= {"height": HEIGHT, "width": WIDTH, "fps": 24.0, "duration_seconds": num_frames / 24}
    video = video_row(outcome, _OBJECTS).to_pylist()[0] | more
    videos = pa.Table.from_pylist([video], VIDEOS)
    if outcome.status is not Status.OK:
        return {"masks": MASKS.empty_table(), "tracks": TRACKS.empty_table(), "videos": videos}
    objects = tuple(range(1, _OBJECTS + 1))
    masks = _mask_rows(outcome.video_id, number, num_frames)
    tracks = [
        row
        | {"category": f"kind {number % 37}", "num_visible": num_frames * (number % 41 > 0), "visible_share": 1.0}
        | {"predicted_iou_mean": float(np.mean(masks["predicted_iou"].to_numpy()))}
        for row in track_rows(outcome.video_id, objects, num_frames).to_pylist()
    ]
    return {"masks": masks, "tracks": pa.Table.from_pylist(tracks, TRACKS), "videos": videos}


def _mask_rows(video_id: str, number: int, num_frames: int) -> pa.Table:
    rng, num = np.random.default_rng(number), num_frames * _OBJECTS
    frames = np.tile(np.arange(num_frames), _OBJECTS)
    left = (frames + np.repeat(rng.integers(0, 40, _OBJECTS), num_frames)) % (WIDTH - _SIDE)
    places = (left * _OBJECTS + np.repeat(np.arange(_OBJECTS), num_frames)) // _OBJECTS
    return pa.table(
        {
            "video_id": [video_id] * num,
            "object_id": np.repeat(np.arange(1, _OBJECTS + 1), num_frames),
            "frame_index": frames,
            "pts_seconds": frames / 24,
            "rle": _CODES.take(pa.array(places)),
            "area": np.full(num, _SIDE * _SIDE),
            "bbox_x": left,
            "bbox_y": np.full(num, 10),
            "bbox_w": np.full(num, _SIDE),
            "bbox_h": np.full(num, _SIDE),
            "object_score": rng.normal(8, 3, num),
            "predicted_iou": np.repeat(rng.uniform(0.3, 1, _OBJECTS), num_frames) * rng.uniform(0.9, 1, num),
            "is_prompt": frames == 0,
            "category": [f"kind {number % 37}"] * num,
        }
    ).cast(MASKS)


def _boxes() -> pa.Array:
    """The codes of a box at each place that it can have."""
    found = []
    for left in range(WIDTH - _SIDE):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
        mask[10 : 10 + _SIDE, left : left + _SIDE] = 1
        found.append({"size": [HEIGHT, WIDTH], "counts": coco.encode(mask)["counts"].decode()})
    return pa.array(found, MASKS.field("rle").type)


_CODES = _boxes()


if __name__ == "__main__":
    main()

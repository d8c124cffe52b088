"""How long people wait for the list of a review: its start, its first page, filters and the next track.

`python -m tests.bench.review_list` draws a job of 100,000 tracks (1,000 videos of 100), and prints milliseconds, each
the median of several. What is compared is one run: the parts with one another, and with a list of a tenth.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.output.schema import MASKS, TRACKS
from pipeline.output.segment_writer import LabeledVideo
from pipeline.quality.reasons import Reason
from pipeline.records import Outcome, Status
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import driver, publish, video_row

_ROUNDS = 7
_SEGMENTS = 8


def tracks_of(video_id: str, num_tracks: int, chance: np.random.Generator) -> pa.Table:
    """Rows of `tracks` with doubts and reasons by chance; of other columns what must be there."""
    codes = [reason.value for reason in Reason]
    picked = chance.integers(0, len(codes), (num_tracks, 2))
    columns: dict[str, Any] = {
        "video_id": [video_id] * num_tracks,
        "object_id": np.arange(num_tracks),
        "status": ["ok"] * num_tracks,
        "message": [""] * num_tracks,
        "category": [("cat", "dog", "person", None)[number % 4] for number in range(num_tracks)],
        "num_masks": [100] * num_tracks,
        "num_visible": [90] * num_tracks,
        "prompt_frames": [[0]] * num_tracks,
        "doubt": chance.random(num_tracks),
        "doubt_reasons": [[codes[one] for one in pair] for pair in picked],
        "doubt_frame": [7] * num_tracks,
        "predicted_iou_mean": chance.random(num_tracks),
    }
    arrays = []
    for field in TRACKS:
        nothing = [None if field.nullable else 0] * num_tracks
        arrays.append(pa.array(columns.get(field.name, nothing), field.type))
    return pa.Table.from_arrays(arrays, schema=TRACKS)


def write_tracks(folder: Path, num_videos: int, num_tracks: int) -> JobStorage:
    """A job of so many videos with so many tracks each. The masks are left out: a list reads none."""
    storage, chance = JobStorage(str(folder / "out")), np.random.default_rng(0)
    _, keeper = driver(storage, folder)
    videos = []
    for number in range(num_videos):
        outcome = Outcome(f"s3://bucket/clips/video-{number:06d}.mp4", Status.OK, "p", 0, 100)
        tracks = tracks_of(outcome.video_id, num_tracks, chance)
        videos.append(
            LabeledVideo(MASKS.empty_table(), tracks, video_row(outcome, num_tracks), outcome, expected_masks=0)
        )
    for part in range(_SEGMENTS):
        if chosen := videos[part::_SEGMENTS]:
            keeper.commit([publish(storage, folder, *chosen)])
    return storage


def milliseconds(work: Callable[[], Any], rounds: int = _ROUNDS) -> float:
    """The median of several runs."""
    spent = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return 1000 * statistics.median(spent)


def review_list(num_videos: int = 1000, num_tracks: int = 100, rounds: int = _ROUNDS) -> dict[str, float]:
    """Milliseconds of each thing that somebody waits for, with `num_tracks` in all as one of the numbers."""
    from tests.support.reviewing import reviewing

    with tempfile.TemporaryDirectory() as folder:
        storage = write_tracks(Path(folder), num_videos, num_tracks)
        started = time.perf_counter()
        with reviewing(storage) as client:
            found = {"start": 1000 * (time.perf_counter() - started)}
            rows = client.get("api/tracks")["rows"]
            track = {"video": rows[0]["video_id"], "object": rows[0]["object_id"]}
            asked: dict[str, tuple[str, dict[str, Any]]] = {
                "session": ("api/session", {}),
                "first page": ("api/tracks", {}),
                "a page in the middle": ("api/tracks", {"offset": num_videos * num_tracks // 2}),
                "filter by text": ("api/tracks", {"text": "video-0000"}),
                "filter by reason and category": ("api/tracks", {"reason": "lost", "category": "cat"}),
                "order of the queue": ("api/tracks", {"sort": "queue"}),
                "next track": ("api/next", track),
                "news": ("api/news", {"since": 1, "reading": 1}),
            }
            for name, (path, query) in asked.items():
                found[name] = milliseconds(lambda path=path, query=query: client.get(path, **query), rounds)
            found["num_tracks"] = float(client.get("api/session")["num_tracks"])
    return found


def main() -> None:
    """Print both lists side by side."""
    small, large = review_list(100), review_list()
    print(f"{'milliseconds':32} {small['num_tracks']:>10.0f} {large['num_tracks']:>10.0f} tracks")
    for name in small:
        if name != "num_tracks":
            print(f"{name:32} {small[name]:10.1f} {large[name]:10.1f}")


if __name__ == "__main__":
    main()

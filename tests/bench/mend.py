"""What correcting a mask costs and gives: a click to its mask, the memory made again against that of a session, boxes.

`python -m tests.bench.mend [number of clips]` prints the figures of `docs/review.md`. Times are medians of many clicks,
wall and processor time, with mini on one thread once the frame is open.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from model import ArrayFrames, VideoSession, advance, load_model
from pipeline import tables
from pipeline.masks.rle import decode_rle
from pipeline.mending.correction import Correction, Seen
from pipeline.mending.known_masks import overlap
from pipeline.mending.mender import Mender
from pipeline.review_server.options import ReviewOptions
from pipeline.review_server.serving import link_of, listening, make_server
from pipeline.review_server.state import ReviewState
from tests.bench.doubt_clips import clips
from tests.support.clips import moving_clip
from tests.support.mendable import Mendable, box_of, prompt_of, worst_click, write_mendable_job

_CLICKS = 20
_BAD, _GOOD = 0.3, 0.6


def times_of_clicks(folder: Path) -> dict[str, float]:
    """Milliseconds of opening a frame, of a click in this process, and of a click over HTTP."""
    mendable = write_mendable_job(folder, moving_clip("clip", num_frames=24, size_hw=(240, 320)))
    mender = _mender(mendable)
    mender.network()
    started = time.perf_counter()
    correction = mender.open("clip", 1, 16)
    opened = time.perf_counter() - started
    mender.wait()
    wall, cpu, boxes = [], [], []
    for number in range(_CLICKS):
        started, spent = time.perf_counter(), time.process_time()
        correction.click((80.0 + number, 60.0), number % 2)
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - spent)
        if number % 4 == 3:
            correction.restart()
        started = time.perf_counter()
        correction.box((60.0 + number, 60.0, 90.0 + number, 85.0))  # small, so that the network looks closely
        boxes.append(time.perf_counter() - started)
        correction.undo()
    mender.close()
    figures = {
        "open": opened,
        "small_box": statistics.median(boxes),
        "click": statistics.median(wall),
        "click_cpu": statistics.median(cpu),
    }
    figures["click_over_http"] = statistics.median(_over_http(mendable))
    return {name: round(1000 * seconds, 1) for name, seconds in figures.items()}


def _over_http(mendable: Mendable) -> Iterator[float]:
    with _served(mendable) as link:
        shown = _post(link, "open", {"video_id": "clip", "object_id": 1, "frame_index": 16})
        for number in range(_CLICKS):
            body = {"id": shown["id"], "kind": "click", "xy": [80.0 + number, 60.0], "label": number % 2}
            started = time.perf_counter()
            _post(link, "say", body)
            yield time.perf_counter() - started
            if number % 4 == 3:
                _post(link, "say", {"id": shown["id"], "kind": "restart"})


@contextmanager
def _served(mendable: Mendable) -> Iterator[str]:
    state = ReviewState(mendable.storage, ReviewOptions(reviewer="ann"))
    listener = listening("127.0.0.1", 0)
    server = make_server(state)
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    try:
        yield link_of(listener, state.options.token)
    finally:
        server.stop()
        thread.join()


def _post(link: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{link}api/fix/{name}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as response:
        found: dict[str, Any] = json.loads(response.read())
        return found


def masks_of_clicks(folder: Path, num_clips: int, num_frames: int = 24) -> dict[str, Any]:
    """IoU of the mask of one click with that of the same click in a session that has walked there, and with the truth.

    A session keeps what it had, so that it is the judge of a memory that is made again. `alone` is the click without
    any memory. Boxes and clicks on the middle of the object are held against the truth, for tracks that are good, bad
    (IoU below 0.3) or between.
    """
    same: dict[str, list[float]] = {"made again": [], "alone": []}
    true: dict[tuple[str, str], list[float]] = {}
    for clip, _ in clips(range(500, 500 + num_clips), num_frames):
        if any(clip.mask(object_id, 0).sum() < 60 for object_id in clip.object_ids):
            continue
        mendable = write_mendable_job(folder / clip.name, clip)
        mender = _mender(mendable)
        for object_id in clip.object_ids:
            frame = num_frames - 4
            truth, row = clip.mask(object_id, frame), mendable.masks[object_id, frame]
            if truth.sum() < 100:
                continue
            session = VideoSession(load_model("mini"), ArrayFrames(mendable.frames_THW3))
            session.add_prompt(object_id, 0, mendable.prompts[object_id])
            for step in islice(session.walk("forward"), frame):
                advance([step])
            tracked = session.correct(object_id, frame)
            click = worst_click(np.zeros_like(truth), truth)  # inside: nothing but the network answers it
            judge = session.correct(object_id, frame, prompt_of(click), tracked.logits_BHW).masks()[0].numpy()
            alone = session.correct(object_id, frame, prompt_of(click), heading=None).masks()[0].numpy()
            correction = mender.open(clip.name, object_id, frame)
            correction.click(*click)
            if not correction.began_afresh:
                same["made again"].append(overlap(_pixels(correction), judge))
                same["alone"].append(overlap(alone, judge))
            score = overlap(row, truth)
            kind = "bad" if score < _BAD else "good" if score >= _GOOD else "between"
            middle = worst_click(np.zeros_like(truth), truth)
            box = box_of(truth)
            figures = {
                "job": row,
                "click": _said(correction, lambda one, at=middle: one.click(*at)),
                "click of a session": session.correct(object_id, frame, prompt_of(middle), tracked.logits_BHW)
                .masks()[0]
                .numpy(),
                "box, the frame seen": session.correct(object_id, frame, box, heading=None).masks()[0].numpy(),
                "box": _said(correction, lambda one, at=box.box_xyxy: one.box(at)),
                "box of a session": session.correct(object_id, frame, box, tracked.logits_BHW).masks()[0].numpy(),
            }
            for name, mask in figures.items():
                true.setdefault((kind, name), []).append(overlap(mask, truth))
        mender.close()
    return {
        "IoU with a session's click": {name: _spread(values) for name, values in same.items()},
        "IoU with the truth": {f"{kind}, {name}": _spread(values) for (kind, name), values in sorted(true.items())},
    }


def _said(correction: Correction, say: Any) -> np.ndarray:
    correction.restart()
    say(correction)
    return _pixels(correction)


def _pixels(correction: Correction) -> np.ndarray:
    seen: Seen = correction.seen
    return decode_rle(seen.size_hw, seen.counts or "")


def _spread(values: list[float]) -> dict[str, float]:
    found = {"mean": np.mean(values), "median": np.median(values), "p10": np.quantile(values, 0.1)}
    return {name: round(float(value), 3) for name, value in found.items()} | {"n": len(values)}


def _mender(mendable: Mendable) -> Mender:
    job = tables.open(mendable.uri)
    return Mender(mendable.storage, lambda: job, job.video)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(times_of_clicks(Path(place) / "times"), indent=2), flush=True)
        num_clips = int(sys.argv[1]) if len(sys.argv) > 1 else 12
        print(json.dumps(masks_of_clicks(Path(place), num_clips), indent=2))

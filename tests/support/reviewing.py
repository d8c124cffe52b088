"""A review of a drawn job: its state, and a client that asks as the page does."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.storage.job_storage import JobStorage
from pipeline.video.encode import encode_mp4
from tests.support.drawn_job import FPS, DrawnVideo, write_job

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from pipeline.review_server.state import ReviewState

TOKEN = "a-token-that-a-test-knows"
BROKEN = "<b>object 9</b>, frame 3: no prompt says where it is"
HOSTILE = "<script>document.title='owned'</script>"
VIDEOS = (
    DrawnVideo("clip-1", {7: "cat", 3: "dog"}),
    DrawnVideo("b/ünï cødé?&#%.mp4", {0: "cat"}, num_frames=4, stride=4),
    DrawnVideo(HOSTILE, {1: "<img src=x onerror=\"document.title='owned'\">", 2: None}),
    DrawnVideo("gone", {1: "cat"}, failed={9: BROKEN}),
    DrawnVideo("one-frame", {1: "dog"}, num_frames=1),
)


def gray(frame: int, height: int, width: int) -> np.ndarray:
    """A frame that tells its number."""
    return np.full((height, width, 3), 20 + 10 * frame, np.uint8)


def write_filmed_job(folder: Path, videos: tuple[DrawnVideo, ...] = VIDEOS) -> str:
    """A job of these videos with a film each, but for the one that is gone. Its URI."""
    filmed = []
    for number, video in enumerate(videos):
        path = folder / f"film {number}.mp4"
        if video.video_id != "gone":
            frames = [gray(frame, *video.size_hw) for frame in range(video.frames[-1] + 1)]
            path.write_bytes(encode_mp4(frames, round(FPS)))
        filmed.append(replace(video, uri=str(path)))
    return write_job(folder, tuple(filmed))[0]


class Client:
    """Asks a review as the page does; `get` and `post` return JSON and expect a status."""

    def __init__(self, state: ReviewState, http: TestClient) -> None:
        self.state = state
        self.http = http

    def raw(self, path: str, **query: Any) -> Any:
        return self.http.get(f"/{TOKEN}/{path}", params=query)

    def get(self, path: str, status: int = 200, **query: Any) -> dict[str, Any]:
        answer = self.raw(path, **query)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def post(self, path: str, body: Any, status: int = 200) -> dict[str, Any]:
        answer = self.http.post(f"/{TOKEN}/{path}", content=json.dumps(body))
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def say(self, video_id: str, object_id: int, verdict: str, status: int = 200, **more: Any) -> dict[str, Any]:
        body = {"video_id": video_id, "object_id": object_id, "verdict": verdict, **more}
        return self.post("api/verdicts", body, status)

    def said(self) -> dict[tuple[str, int], str]:
        """What the list shows of each track of which something is said."""
        rows = self.get("api/tracks", limit=500)["rows"]
        return {(row["video_id"], row["object_id"]): row["said"]["verdict"] for row in rows if row["said"]}


@contextlib.contextmanager
def reviewing(output: str | JobStorage, *, clock: Any = None, **options: Any) -> Iterator[Client]:
    """A review of an output. `options` are those of `ReviewOptions`; `clock` gives seconds."""
    # Here and not above, because each process that collects tests would import them.
    from starlette.testclient import TestClient

    from pipeline.review_server.app import make_app
    from pipeline.review_server.options import ReviewOptions
    from pipeline.review_server.state import ReviewState

    storage = output if isinstance(output, JobStorage) else JobStorage(output)
    clocks = {} if clock is None else {"clock": clock}
    state = ReviewState(storage, ReviewOptions(**{"reviewer": "ann", "token": TOKEN, **options}), **clocks)
    with TestClient(make_app(state), base_url="http://127.0.0.1") as http:
        yield Client(state, http)

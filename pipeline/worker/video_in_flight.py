"""A video on its way through a worker: what is here of it so far, and the step of its walk that is to be computed."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import Future
from dataclasses import dataclass

from model import FrameResult, Step
from pipeline.inputs.prompts import VideoPrompts
from pipeline.output.saved_sessions import VideoCheckpoint
from pipeline.records import VideoProgress, WorkItem
from pipeline.video.frames import VideoFrames
from pipeline.worker.labeler import Labels, Steps


@dataclass
class VideoInFlight:
    """An item and what a worker has of it. `close` frees its files and threads.

    `content` is what is known of the video's file, by which another one in its place is noticed.
    `by_itself` shares no batch with other videos: an error in such a batch does not say whose fault it is.
    """

    item: WorkItem
    fetching: Future[None] | None = None
    prompts: VideoPrompts | None = None
    frames: VideoFrames | None = None
    content: str = ""
    steps: Steps[Labels] | None = None
    step: Step | None = None
    result: FrameResult | None = None
    checkpoint: VideoCheckpoint | None = None
    by_itself: bool = False
    has_little_memory: bool = False
    num_frames: int = 0
    fetch_seconds: float = 0.0
    decode_seconds: float = 0.0
    advance_seconds: float = 0.0
    labelling_since: float | None = None

    def __post_init__(self) -> None:
        self.resources = contextlib.ExitStack()

    @property
    def is_fetched(self) -> bool:
        """Whether prompts and media are here, or an error in their place."""
        return self.fetching is not None and self.fetching.done()

    def start(self, steps: Steps[Labels]) -> None:
        """Label from here on, anew or from where the video was saved."""
        self.steps, self.step, self.result = steps, None, None
        self.labelling_since = self.labelling_since or time.monotonic()

    def start_again(self) -> None:
        """Drop what is computed; `start` follows. An error's traceback may keep what filled the memory until then."""
        self.steps = self.step = self.result = None

    def take_step(self) -> Step:
        """The step that is to be computed next. Raises `StopIteration` with the rows when there is none."""
        if self.step is None:
            assert self.steps is not None
            result, self.result = self.result, None
            self.step = next(self.steps) if result is None else self.steps.send(result)
        return self.step

    def computed(self, result: FrameResult, seconds: float) -> None:
        """The step's result, which took the video's share of so many seconds."""
        self.step, self.result = None, result
        self.num_frames += 1
        self.advance_seconds += seconds

    def progress(self) -> VideoProgress:
        """How far it is, for the driver."""
        num_saved = 0 if self.checkpoint is None else self.checkpoint.num_saved
        stage = "labelling" if self.steps is not None else "waiting" if self.is_fetched else "fetching"
        return VideoProgress(self.item.video_id, self.num_frames, stage, num_saved)

    def facts(self) -> dict[str, object]:
        """Columns of `videos` that do not depend on how it ended; times in seconds."""
        labelling_seconds = time.monotonic() - self.labelling_since if self.labelling_since else 0.0
        times: dict[str, object] = {
            "fetch_seconds": self.fetch_seconds,
            "decode_seconds": self.decode_seconds,
            "wall_seconds": self.fetch_seconds + self.decode_seconds + labelling_seconds,
        }
        if self.frames is None:
            return times
        info = self.frames.info
        return times | {
            "num_frames_decoded": self.frames.num_decoded,
            "num_frames_expected": info.num_frames_claimed,
            "height": info.size_hw[0],
            "width": info.size_hw[1],
            "fps": info.fps,
            "rotation_degrees": info.rotation_degrees,
            "duration_seconds": info.duration_seconds,
        }

    def close(self) -> None:
        """Free files and threads."""
        if self.steps is not None:
            self.steps.close()
        self.resources.close()

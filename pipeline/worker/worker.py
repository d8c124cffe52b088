"""The worker: takes items into its inbox, labels them a few at a time, publishes segments, reports.

A plain class. Its constructor takes plain values, and `setup` does what must happen where the work is done. The model
runs on the thread that calls. The next videos are fetched meanwhile, in a helper thread. The videos that are being
labeled advance by one frame together, so that they share the network's batches.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field
from itertools import islice

from model import Step
from pipeline.errors import StorageError, WorkerBroken, describe
from pipeline.output.saved_sessions import SessionStore
from pipeline.output.segment_writer import LabeledVideo
from pipeline.records import Report, Segment, WorkDone, WorkerEnd, WorkItem
from pipeline.worker.devices import is_poisoned
from pipeline.worker.equipment import Equipment, Stages, equip
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.video_in_flight import GivenBack, VideoInFlight

_log = logging.getLogger(__name__)

_STAGES = ("fetch", "decode", "propagate", "encode")


@dataclass
class _News:
    """What the next report tells: all that has happened since the last one."""

    segments: list[Segment] = field(default_factory=list)
    returned: list[WorkItem] = field(default_factory=list)
    storage_errors: list[str] = field(default_factory=list)
    num_frames: int = 0
    stage_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))


class Worker:
    """See the module. One thread calls all methods but `stop`, and calls `setup` first."""

    def __init__(self, settings: WorkerSettings, worker_id: str, stages: Stages | None = None) -> None:
        self.settings = settings
        self.worker_id = worker_id
        self._stages = stages or Stages()
        self._equipment: Equipment | None = None
        self._videos: deque[VideoInFlight] = deque()
        self._saved_sessions: dict[str, SessionStore] = {}
        self._news = _News()
        self._stop = threading.Event()

    # What the driver calls

    def setup(self) -> str:
        """Load the model; returns in words what it runs on. Raises whatever keeps it from loading."""
        self._equipment = equip(self.settings, self.worker_id, self._stages)
        return self._equipment.network.device

    def work(self, offers: Sequence[WorkItem]) -> Report:
        """Take new items and label; returns when a video is done, when time is up, or when there is nothing to do."""
        for item in offers:
            self._accept(item)
        deadline = time.monotonic() + self.settings.config.worker.beat_seconds
        try:
            self._flush_if_due()
            while self._videos and time.monotonic() < deadline and not self._stop.is_set():
                if self._advance(self._next_batch(deadline)):
                    break
            self._flush_if_due()
            if self._stop.is_set():
                self._give_back_all()
                self._flush()
                return self._report(WorkerEnd("SIGTERM; it has given its videos back", is_broken=False))
        except Exception as error:
            if not is_poisoned(error):
                raise
            self._flush()
            return self._report(WorkerEnd(describe(error), is_broken=True))
        return self._report()

    def drain(self) -> Report:
        """Publish what is finished and give the rest back."""
        self._give_back_all()
        self._flush()
        return self._report()

    def stop(self) -> None:
        """Make a running `work` finish soon, with everything published or given back. A signal handler may call it."""
        self._stop.set()

    def close(self) -> None:
        """Delete what lies on this machine's disk."""
        for video in self._videos:
            video.close()
        self._videos.clear()
        if self._equipment is not None:
            self._equipment.close()
            self._equipment = None

    # Labeling

    @property
    def _ready(self) -> Equipment:
        if self._equipment is None:
            raise RuntimeError(f"worker {self.worker_id} has loaded no model: call setup first")
        return self._equipment

    def _accept(self, item: WorkItem) -> None:
        if item.alone:
            # This video may kill the worker. The finished rows of others must not be lost with it.
            self._flush()
        self._videos.append(VideoInFlight(item, self._ready))

    def _next_batch(self, deadline: float) -> list[VideoInFlight]:
        """The videos that advance now: the first `videos_in_flight` that are here, or the first one by itself.

        Waits until `deadline` for one of them to be here. Raises `WorkerBroken` if the fetch that it waits for hangs.
        """
        first = self._videos[0]
        limit = 1 if first.is_by_itself else self.settings.config.worker.videos_in_flight
        candidates = [video for video in islice(self._videos, limit) if video is first or not video.is_by_itself]
        if not any(video.is_here for video in candidates):
            fetches = [video.fetching for video in candidates]
            wait(fetches, timeout=max(0.0, deadline - time.monotonic()), return_when=FIRST_COMPLETED)
        batch = [video for video in candidates if video.is_here]
        watch = self._ready.fetcher.watch
        if batch:
            watch.relax()
        elif watch.hangs():
            hang_seconds = self.settings.config.worker.hang_seconds
            raise WorkerBroken(f"fetching {first.item.video_id!r} hangs: nothing has moved for {hang_seconds:g} s")
        return batch

    def _advance(self, batch: Sequence[VideoInFlight]) -> bool:
        """Compute one frame of each of these videos. True: one of them has left, finished, failed or given back."""
        num_before = len(self._videos)
        self._ready.network.buffers.refill()
        videos, steps = [], []
        for video in batch:
            step = self._next_step(video)
            if step is not None:
                videos.append(video)
                steps.append(step)
        if steps:
            self._compute(videos, steps)
        return len(self._videos) < num_before

    def _next_step(self, video: VideoInFlight) -> Step | None:
        """The next step of a video; None if it has none, because it has left or begins again."""
        try:
            found = video.next_step()
        except Exception as error:  # noqa: BLE001  # failure is data: one bad video must not end the job
            self._handle(video, error)
            return None
        if isinstance(found, LabeledVideo):
            self._let_go(video, found)
            return None
        return found

    def _compute(self, videos: Sequence[VideoInFlight], steps: Sequence[Step]) -> None:
        started = time.perf_counter()
        try:
            results = self._ready.stages.advance(steps)
        except Exception as error:  # noqa: BLE001  # failure is data
            if len(videos) == 1 or is_poisoned(error):
                self._handle(videos[0], error)
                return
            _log.warning("%d videos in one batch: %s; each is labeled by itself now", len(videos), describe(error))
            for video in videos:
                video.go_alone()
            return
        share = (time.perf_counter() - started) / len(videos)
        for video, result in zip(videos, results, strict=True):
            video.computed(result, share)
        self._news.num_frames += len(videos)

    def _handle(self, video: VideoInFlight, error: Exception) -> None:
        """Do what an error of a video means. Raises the error if the worker can go on with no video."""
        left = video.after_error(error)
        if left is not None:
            self._let_go(video, left)

    # How videos leave

    def _let_go(self, video: VideoInFlight, left: LabeledVideo | GivenBack) -> None:
        """Put the rows of a finished video into the spool, or give the video back.

        A video whose rows the writer refuses, because their number is not the expected one, becomes a failed video. If
        the disk of the spool takes no rows, the video is given back.
        """
        if isinstance(left, LabeledVideo):
            try:
                row = self._add(video, left).video.to_pylist()[0]
            except StorageError as error:
                left = GivenBack(describe(error))
            else:
                for stage in _STAGES:
                    self._news.stage_seconds[stage] += row[f"{stage}_seconds"] or 0.0
                if video.saved_session is not None:
                    self._saved_sessions[video.item.video_id] = video.saved_session
        if isinstance(left, GivenBack):
            self._news.storage_errors.append(left.reason)
            self._news.returned.append(video.item)
        self._remove(video)

    def _add(self, video: VideoInFlight, finished: LabeledVideo) -> LabeledVideo:
        try:
            self._ready.writer.add(finished)
        except ValueError as error:
            finished = video.failed(error)
            self._ready.writer.add(finished)
        return finished

    def _give_back_all(self) -> None:
        """Save what is worth it and give everything back; a video whose last frame is computed is finished instead."""
        for video in list(self._videos):
            if video.ask_to_save():
                self._next_step(video)
            if video in self._videos:
                self._news.returned.append(video.item)
                self._remove(video)

    def _remove(self, video: VideoInFlight) -> None:
        self._videos.remove(video)
        video.close()

    # Publishing and reporting

    def _flush_if_due(self) -> None:
        if self._ready.writer.should_flush():
            self._flush()

    def _flush(self) -> None:
        """Publish what is finished. What storage refuses waits for the next call."""
        try:
            while (segment := self._ready.writer.flush()) is not None:
                self._news.segments.append(segment)
                for outcome in segment.outcomes:
                    if (saved := self._saved_sessions.pop(outcome.video_id, None)) is not None:
                        saved.delete()
        except StorageError as error:
            self._news.storage_errors.append(describe(error))

    def _report(self, end: WorkerEnd | None = None) -> Report:
        news, self._news = self._news, _News()
        return Report(
            worker_id=self.worker_id,
            segments=tuple(news.segments),
            in_flight=tuple(video.progress() for video in self._videos),
            unflushed=self._ready.writer.unflushed,
            returned=tuple(news.returned),
            storage_errors=tuple(news.storage_errors),
            done=WorkDone(news.num_frames, dict(news.stage_seconds)),
            end=end,
        )

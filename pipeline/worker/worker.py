"""The worker: takes items into its inbox, labels them a few at a time, publishes segments, reports.

A plain class. Its constructor takes plain values, and `setup` does what must happen where the work is done. The model
runs on the thread that calls. Helper threads fetch and decode the next frames (`fetch`), encode masks (`mask_encoder`)
and publish (`publisher`) meanwhile. Videos that can step at the same time share the network's batches (`stepping`).
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from model import Step
from pipeline.errors import WorkerBroken, describe
from pipeline.output.segment_writer import LabeledVideo
from pipeline.records import Report, Segment, WorkDone, WorkerEnd, WorkItem
from pipeline.worker.devices import is_out_of_memory, is_poisoned
from pipeline.worker.equipment import Equipment, Stages, equip
from pipeline.worker.publisher import Finished, Publisher
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.stepping import Lane
from pipeline.worker.video_in_flight import GivenBack, VideoInFlight

_log = logging.getLogger(__name__)

_PUBLISHING_SECONDS = 0.05
_LAST_MASKS_SECONDS = 0.001


@dataclass
class _News:
    """What the next report tells: all that has happened since the last one."""

    segments: list[Segment] = field(default_factory=list)
    returned: list[WorkItem] = field(default_factory=list)
    storage_errors: list[str] = field(default_factory=list)
    num_frames: int = 0
    num_again: int = 0
    stage_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))


class Worker:
    """See the module. One thread calls all methods but `stop`, and calls `setup` first."""

    def __init__(self, settings: WorkerSettings, worker_id: str, stages: Stages | None = None) -> None:
        self.settings = settings
        self.worker_id = worker_id
        self._stages = stages or Stages()
        self._equipment: Equipment | None = None
        self._videos: Lane[VideoInFlight] = Lane(1)
        self._news = _News()
        self._is_stopping = False

    # What the driver calls

    def setup(self) -> str:
        """Load the model; returns in words what it runs on. Raises whatever keeps it from loading."""
        self._equipment = equip(self.settings, self.worker_id, self._stages)
        self._videos = Lane(self._equipment.network.videos_in_flight, relax=self._equipment.fetcher.watch.relax)
        return self._equipment.network.device

    def work(self, offers: Sequence[WorkItem]) -> Report:
        """Take new items and label; returns when time is up, or when more videos could be labeled at the same time.

        That is the case when videos have left and the rest are fewer than `videos_in_flight`.
        """
        deadline = time.monotonic() + self.settings.config.worker.beat_seconds
        end = None
        try:
            for item in offers:
                self._accept(item)
            self._publisher.flush_if_due()
            self._label(deadline)
        except Exception as error:
            # Memory is missing here for no video in particular: that of a video is its own affair, see `after_error`.
            if not (is_poisoned(error) or is_out_of_memory(error)):
                raise
            end = WorkerEnd(describe(error), is_broken=True)
            if not isinstance(error, WorkerBroken):
                self._give_back_untouched()
        if self._is_stopping:
            self._give_back_all()
            end = WorkerEnd("SIGTERM; it has given its videos back", is_broken=False)
        if end is not None:
            self._publish_all()
        return self._report(end)

    def drain(self) -> Report:
        """Publish what is finished and give the rest back."""
        self._give_back_all()
        self._publish_all()
        return self._report()

    def stop(self) -> None:
        """Make a running `work` finish soon, with everything published or given back. A signal handler may call it."""
        # Nothing is woken and no lock is taken, because the thread that a signal interrupts may hold it. It may be here
        # already, for the signal before.
        self._is_stopping = True

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

    @property
    def _publisher(self) -> Publisher:
        return self._ready.publisher

    def _accept(self, item: WorkItem) -> None:
        if item.alone:
            # This video may kill the worker. The finished rows of others must not be lost with it.
            self._publish_all()
        self._videos.add(VideoInFlight(item, self._ready, self._videos.arrived))

    def _label(self, deadline: float) -> None:
        """Go on with the videos until there is room for others, time is up, or the worker is to stop."""
        num_before = len(self._videos)
        while self._videos and self._goes_on(deadline) and not self._has_room(num_before):
            if self._publisher.is_behind:
                self._publisher.wait(_PUBLISHING_SECONDS)
            else:
                self._advance(self._videos.next_batch(deadline))
            self._look_at_publisher()
        while not self._videos and not self._publisher.is_idle and self._goes_on(deadline):
            self._publisher.wait(_PUBLISHING_SECONDS)
        self._look_at_publisher()

    def _has_room(self, num_before: int) -> bool:
        """Whether the driver should answer first: with further videos, or because storage did not answer."""
        num_left = len(self._videos)
        room = num_left < num_before and num_left < self._ready.network.videos_in_flight
        return room or bool(self._news.returned or self._news.storage_errors)

    def _goes_on(self, deadline: float) -> bool:
        return not self._is_stopping and time.monotonic() < deadline

    def _advance(self, batch: Sequence[VideoInFlight]) -> None:
        """Compute one frame of each of these videos."""
        videos, steps = [], []
        for video in batch:
            step = self._next_step(video)
            if step is not None:
                videos.append(video)
                steps.append(step)
        self._ready.network.buffers.refill()
        if steps:
            self._compute(videos, steps)

    def _next_step(self, video: VideoInFlight) -> Step | None:
        """The next step of a video; None if it has none now, because it has left, is at its end or begins again."""
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
            is_new = video.computed(result, share)
            self._news.num_frames += is_new
            self._news.num_again += not is_new

    def _handle(self, video: VideoInFlight, error: Exception) -> None:
        """Do what an error of a video means. Raises the error if the worker can go on with no video."""
        left = video.after_error(error)
        if left is not None:
            self._let_go(video, left)

    # How videos leave

    def _let_go(self, video: VideoInFlight, left: LabeledVideo | GivenBack) -> None:
        """Hand the rows of a finished video to the publisher, or give the video back.

        A video whose rows the writer refuses, because their number is not the expected one, becomes a failed video. If
        the disk of the spool takes no rows, the video is given back.
        """
        if isinstance(left, LabeledVideo):
            self._publisher.add(Finished(video.item, left, video.failed, video.saved_session))
        else:
            self._news.storage_errors.append(left.reason)
            self._news.returned.append(video.item)
        self._remove(video)

    def _give_back_all(self) -> None:
        """Save what is worth it and give everything back; a video whose last frame is computed is finished instead.

        An error, be it of a device that computes nothing any more, keeps no video: it is given back as it is.
        """
        for video in self._videos:
            try:
                self._finish_or_save(video)
            except Exception as error:  # noqa: BLE001  # the video goes on elsewhere, from where it was saved before
                _log.warning("video %r is given back without being saved: %s", video.item.video_id, describe(error))
            if video in self._videos:
                self._news.returned.append(video.item)
                self._remove(video)

    def _give_back_untouched(self) -> None:
        """Give back the videos of which the device has seen nothing: an error of the device is not their fault."""
        for video in self._videos:
            if not video.has_begun:
                self._news.returned.append(video.item)
                self._remove(video)

    def _finish_or_save(self, video: VideoInFlight) -> None:
        if not video.ask_to_save() and not video.is_at_its_end:
            return
        found = video.next_step()
        while video.is_at_its_end and found is None:
            time.sleep(_LAST_MASKS_SECONDS)
            found = video.next_step()
        if isinstance(found, LabeledVideo):
            self._let_go(video, found)

    def _remove(self, video: VideoInFlight) -> None:
        self._videos.remove(video)
        video.close()

    # Publishing and reporting

    def _publish_all(self) -> None:
        """Publish what is finished, and wait for it. What storage refuses waits for the next call."""
        self._publisher.flush()
        self._publisher.wait()

    def _look_at_publisher(self) -> None:
        """Note what the publisher did. Raises `WorkerBroken` for an error that is no video's and not of storage."""
        news = self._publisher.take()
        self._news.segments += news.segments
        self._news.returned += news.returned
        self._news.storage_errors += news.storage_errors
        for stage, seconds in news.stage_seconds.items():
            self._news.stage_seconds[stage] += seconds
        if news.error is not None:
            raise WorkerBroken(f"publishing failed: {describe(news.error)}") from news.error

    def _report(self, end: WorkerEnd | None = None) -> Report:
        try:
            self._look_at_publisher()
        except WorkerBroken as error:
            end = end or WorkerEnd(describe(error), is_broken=True)
        news, self._news = self._news, _News()
        return Report(
            worker_id=self.worker_id,
            segments=tuple(news.segments),
            in_flight=tuple(video.progress() for video in self._videos),
            unflushed=self._publisher.unflushed,
            returned=tuple(news.returned),
            storage_errors=tuple(news.storage_errors),
            done=WorkDone(news.num_frames, dict(news.stage_seconds), news.num_again),
            end=end,
        )

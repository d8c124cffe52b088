"""The worker: owns one model, takes items into its inbox, labels them a few at a time, publishes segments.

A plain class: its constructor takes plain values, `setup` does what must happen where the work is done. The model runs
on the thread that calls; fetching and the first frames of the next videos run ahead in others. The videos in flight
advance by one frame together, sharing the network's batches.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from itertools import islice

import torch

from model import FrameBuffers, FrameSource, VideoSession, advance, frames_per_batch, load_model, resize_frame
from pipeline.errors import InputError, MediaError, StorageError, TableChanged, WorkerBroken, describe
from pipeline.inputs.prompts import read_prompts
from pipeline.inputs.table_readers import TableReaders
from pipeline.output.rows import Provenance, labeled_video
from pipeline.output.saved_sessions import VideoCheckpoint, session_identity
from pipeline.output.segment_files import SegmentOrigin
from pipeline.output.segment_writer import FlushPolicy, LabeledVideo, SegmentWriter
from pipeline.records import Report, Segment, Status, WorkItem
from pipeline.redact import redact
from pipeline.storage.faults import is_from_client, is_from_full_disk, is_transient
from pipeline.storage.scratch import WorkerFolder
from pipeline.text import counted
from pipeline.video.frames import DecodeOptions, VideoFrames
from pipeline.video.media import open_media
from pipeline.video.selection import FrameSelection
from pipeline.worker.devices import (
    choose_device,
    describe_device,
    free_memory,
    is_out_of_host_memory,
    is_out_of_memory,
    is_poisoned,
    prepare_model,
)
from pipeline.worker.labeler import LabelOptions, Labels, Saving, failed_tracks, label_steps
from pipeline.worker.local_weights import local_checkpoint
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.video_in_flight import VideoInFlight
from pipeline.worker.watchdog import StallWatch

_log = logging.getLogger(__name__)


class Worker:
    """See the module. All methods but `stop` are called by one thread, `setup` first."""

    def __init__(self, settings: WorkerSettings, worker_id: str) -> None:
        self.settings = settings
        self.worker_id = worker_id
        self._videos: deque[VideoInFlight] = deque()
        self._segments: list[Segment] = []
        self._returned: list[WorkItem] = []
        self._storage_errors: list[str] = []
        self._num_frames = 0
        self._stage_seconds: defaultdict[str, float] = defaultdict(float)
        self._stop = threading.Event()
        self._saved: dict[str, VideoCheckpoint] = {}

    def setup(self) -> str:
        """Load the model; returns on what it runs, in words. Raises whatever keeps it from loading."""
        settings = self.settings
        torch.set_num_threads(settings.cpus)
        device, dtype = choose_device(settings.model)
        job = settings.job
        source = local_checkpoint(job.weights.source, job.weights.identity, job.storage_options)
        model = load_model(source, device=device, dtype=dtype, revision=job.weights.revision)
        self._model = prepare_model(model, settings.model)
        self._encode_ahead = frames_per_batch(device, model.config.grid_size**2)
        self._buffers = FrameBuffers((model.config.image_size, model.config.image_size, 3), device)
        self._provenance = Provenance(self.worker_id, str(job.weights), job.config_hash, job.versions)
        self._folder = WorkerFolder(settings.worker.spool_dir)
        self._temporary_before, tempfile.tempdir = tempfile.tempdir, str(self._folder.path)
        self._tables = TableReaders()
        self._fetch_watch = StallWatch(settings.worker.hang_seconds)
        self._prefetch = ThreadPoolExecutor(1, "fetch", initializer=self._fetch_watch.adopt)
        origin = SegmentOrigin(job.epoch, self.worker_id, job.config_hash)
        self._writer = SegmentWriter(job.storage, self._folder.path, origin, FlushPolicy.of(settings.flush))
        return describe_device(device, dtype, settings.model)

    def work(self, offers: Sequence[WorkItem]) -> Report:
        """Take new items and label; returns when a video is done, when time is up, or when there is nothing to do."""
        for item in offers:
            self._accept(item)
        deadline = time.monotonic() + self.settings.worker.beat_seconds
        poisoned = ""
        try:
            self._flush_if_due()
            while self._videos and time.monotonic() < deadline and not self._stop.is_set():
                if self._advance(self._flight(deadline)):
                    break
            self._flush_if_due()
        except Exception as error:
            if not is_poisoned(error):
                raise
            poisoned = describe(error)
            self._flush()
        if self._stop.is_set():
            self._give_back_all()
            self._flush()
            poisoned = "asked to stop (SIGTERM)"
        return self._report(poisoned)

    def drain(self) -> Report:
        """Publish what is finished and give the rest back."""
        self._give_back_all()
        self._flush()
        return self._report("")

    def stop(self) -> None:
        """Make a running `work` finish soon, with everything published or given back. May be called by a signal."""
        self._stop.set()

    def close(self) -> None:
        """Delete what lies on this machine's disk."""
        for video in self._videos:
            video.close()
        self._videos.clear()
        if hasattr(self, "_folder"):
            self._prefetch.shutdown(wait=False, cancel_futures=True)
            self._tables.close()
            self._writer.close()
            self._folder.close()
            tempfile.tempdir = self._temporary_before

    def _accept(self, item: WorkItem) -> None:
        if item.alone:
            # If this one kills the worker, the others' rows shall not be lost with it.
            self._flush()
        video = VideoInFlight(item)
        video.fetching = self._prefetch.submit(self._fetch, video)
        self._videos.append(video)

    def _fetch(self, video: VideoInFlight) -> None:
        """Prompts, media and first frames of a video; runs in the helper thread."""
        settings, item = self.settings, video.item
        started = time.perf_counter()
        options = settings.job.storage_options
        video.prompts = read_prompts(item, options, self._tables.prompts)
        media = video.resources.enter_context(open_media(item, options, self._tables.video_bytes))
        video.fetch_seconds = time.perf_counter() - started
        times, wanted = item.range, settings.frames
        selection = FrameSelection(wanted.stride, wanted.fps, times.start_seconds, times.end_seconds)
        frames = VideoFrames(
            media,
            selection,
            prompted=video.prompts.positions,
            transform=self._resize,
            options=DecodeOptions(spool_folder=self._folder.path),
        )
        video.frames = video.resources.enter_context(contextlib.closing(frames))
        video.content = f"{media.extent()}, {frames.info}"
        labels = sorted({label for p in video.prompts.positions if (label := frames.locate(p)) is not None})
        if labels and settings.propagate.direction != "backward":
            frames.prepare(labels, labels[0] - labels[0] % self._encode_ahead)
        video.decode_seconds = time.perf_counter() - started - video.fetch_seconds

    def _resize(self, pixels_HW3: torch.Tensor) -> torch.Tensor:
        """A frame as the network takes it, where it can be copied from; runs in helper threads."""
        return self._buffers.fill(resize_frame(pixels_HW3, self._model.config.image_size))

    def _flight(self, deadline: float) -> list[VideoInFlight]:
        """The videos that advance now: the first ones that are here, or the first one by itself if it must be so."""
        first = self._videos[0]
        limit = 1 if first.by_itself else self.settings.worker.videos_in_flight
        candidates = [v for v in islice(self._videos, limit) if v is first or not v.by_itself]
        if not any(v.steps is not None or v.is_fetched for v in candidates):
            fetching = [v.fetching for v in candidates if v.fetching is not None]
            wait(fetching, timeout=max(0.0, deadline - time.monotonic()), return_when=FIRST_COMPLETED)
        flight = [v for v in candidates if v.steps is not None or v.is_fetched]
        if flight:
            self._fetch_watch.relax()
        elif self._fetch_watch.hangs():
            raise WorkerBroken(
                f"fetching {first.item.video_id!r} hangs: nothing has moved for {self.settings.worker.hang_seconds:g} s"
            )
        return flight

    def _advance(self, flight: Sequence[VideoInFlight]) -> bool:
        """Compute one frame of each of these videos. True: one of them is finished, one way or another."""
        num_before = len(self._videos)
        self._buffers.refill()
        stepping = [video for video in flight if self._take_step(video)]
        started = time.perf_counter()
        try:
            results = advance([video.take_step() for video in stepping]) if stepping else []
        except Exception as error:  # noqa: BLE001  # failure is data: one bad video must not end the job
            if len(stepping) > 1 and not is_poisoned(error):
                self._separate(stepping, error)
            else:
                self._end_with(stepping[0], error)
        else:
            share = (time.perf_counter() - started) / max(1, len(stepping))
            for video, result in zip(stepping, results, strict=True):
                video.computed(result, share)
            self._num_frames += len(stepping)
        return len(self._videos) < num_before

    def _take_step(self, video: VideoInFlight) -> bool:
        """Have the next step of a video. False: it has none, because it is finished, failed or given back."""
        try:
            if video.steps is None:
                assert video.fetching is not None
                video.fetching.result()
                self._start(video)
            video.take_step()
        except StopIteration as end:
            self._put(video, self._finished(video, end.value))
        except Exception as error:  # noqa: BLE001  # failure is data
            self._end_with(video, error)
        else:
            return True
        return False

    def _end_with(self, video: VideoInFlight, error: Exception) -> None:
        failed = self._after_error(video, error)
        if failed is not None:
            self._put(video, failed)

    def _separate(self, videos: Sequence[VideoInFlight], error: Exception) -> None:
        """An error in a shared batch: each of its videos goes on from where it was saved, by itself."""
        _log.warning("%d videos in one batch: %s; again, one by one", len(videos), describe(error))
        for video in videos:
            video.by_itself = True
            video.start_again()

    def _start(self, video: VideoInFlight) -> None:
        assert video.prompts is not None
        assert video.frames is not None
        settings = self.settings
        if video.by_itself:
            free_memory()
        max_objects = 1 if video.has_little_memory else None
        options = LabelOptions(settings.propagate.direction, max_objects, self._folder.path)
        make_session = partial(
            VideoSession,
            self._model,
            max_prompted_memories=settings.propagate.max_prompted_memories,
            encode_ahead=1 if video.has_little_memory else self._encode_ahead,
        )
        identity = session_identity(video.item, settings.job.config_hash, video.content)
        video.checkpoint = VideoCheckpoint(settings.job.storage, identity, settings.checkpoint)
        restore = partial(self._restore_session, encode_ahead=make_session.keywords["encode_ahead"])
        saving = Saving(video.checkpoint, make_session, restore)
        video.start(label_steps(make_session, video.item.video_id, video.prompts, video.frames, options, saving))

    def _restore_session(self, state: bytes, frames: FrameSource, encode_ahead: int) -> VideoSession:
        session = VideoSession.from_bytes(state, self._model, frames)
        session.encode_ahead = encode_ahead
        return session

    def _after_error(self, video: VideoInFlight, error: Exception) -> LabeledVideo | None:
        """The failed video; or `None` if it goes on, or went back to the driver. Raises if the worker cannot go on."""
        if isinstance(error, (MediaError, InputError)):
            return self._failed(video, error)
        if is_poisoned(error):
            raise error
        if isinstance(error, StorageError) or is_transient(error) or is_from_client(error) or is_from_full_disk(error):
            self._storage_errors.append(describe(error))
            self._give_back(video)
            return None
        if is_out_of_memory(error) and not video.has_little_memory and video.steps is not None:
            _log.warning("video %r: out of memory; again, one object at a time", video.item.video_id)
            video.by_itself = video.has_little_memory = True
            video.start_again()
            return None
        if is_out_of_host_memory(error):
            # Whose fault that is cannot be told from here: a fresh process finds out.
            raise WorkerBroken(f"video {video.item.video_id!r}: {describe(error)}") from error
        return self._failed(video, error)

    def _failed(self, video: VideoInFlight, error: Exception) -> LabeledVideo:
        error_class, message = _explanation(error)
        if error_class == "internal":
            trace = redact("".join(traceback.format_exception(error)))
            _log.error("video %r: %s", video.item.video_id, trace)
        tracks = failed_tracks(video.item.video_id, video.prompts, message) if video.prompts else None
        error_of_video = (error_class, message)
        # A hash that no prompts have makes the next run label the video again.
        item = replace(video.item, prompt_hash="") if isinstance(error, TableChanged) else video.item
        return labeled_video(
            item, Status.FAILED, self._provenance, error=error_of_video, tracks=tracks, facts=video.facts()
        )

    def _finished(self, video: VideoInFlight, labels: Labels) -> LabeledVideo:
        facts = video.facts() | {
            "num_frames": labels.num_frames,
            "propagate_seconds": labels.step_seconds + video.advance_seconds,
            "encode_seconds": labels.encode_seconds,
        }
        failure = labels.failure
        num_damaged = video.frames.num_damaged if video.frames else 0
        warning = f"left out: {counted(num_damaged, 'damaged frame')}" if num_damaged else ""
        return labeled_video(
            video.item,
            Status.FAILED if failure else Status.OK,
            self._provenance,
            error=("input", failure) if failure else ("", warning),
            masks=labels.masks,
            tracks=labels.tracks,
            expected_masks=labels.expected_masks,
            facts=facts,
        )

    def _put(self, video: VideoInFlight, finished: LabeledVideo) -> None:
        """A finished video goes to the spool; if its disk refuses, the item goes back.

        Rows that are not those that had to be there fail the video.
        """
        try:
            try:
                self._writer.add(finished)
            except ValueError as error:
                finished = self._failed(video, error)
                self._writer.add(finished)
        except StorageError as error:
            self._storage_errors.append(describe(error))
            self._give_back(video)
            return
        row = finished.video.to_pylist()[0]
        for stage in ("fetch", "decode", "propagate", "encode"):
            self._stage_seconds[stage] += row[f"{stage}_seconds"] or 0.0
        if video.checkpoint is not None:
            self._saved[video.item.video_id] = video.checkpoint
        self._remove(video)

    def _give_back(self, video: VideoInFlight) -> None:
        self._returned.append(video.item)
        self._remove(video)

    def _give_back_all(self) -> None:
        """Save what is worth it and give everything back; a video whose last frame this was is finished instead."""
        for video in list(self._videos):
            if video.steps is not None and video.checkpoint is not None and video.checkpoint.ask():
                # Saving is done between two frames: compute the one that is under way, and have the next one.
                self._advance([video])
                if video in self._videos and video.steps is not None:
                    self._take_step(video)
            if video in self._videos:
                self._give_back(video)

    def _remove(self, video: VideoInFlight) -> None:
        self._videos.remove(video)
        fetching = video.fetching
        if fetching is None or fetching.cancel() or fetching.done():
            video.close()
        else:
            fetching.add_done_callback(lambda _: video.close())

    def _flush_if_due(self) -> None:
        if self._writer.should_flush():
            self._flush()

    def _flush(self) -> None:
        """Publish what is finished. What storage refuses waits for the next call."""
        try:
            while (segment := self._writer.flush()) is not None:
                self._segments.append(segment)
                for outcome in segment.outcomes:
                    if (saved := self._saved.pop(outcome.video_id, None)) is not None:
                        saved.delete()
        except StorageError as error:
            self._storage_errors.append(describe(error))

    def _report(self, poisoned: str) -> Report:
        report = Report(
            worker_id=self.worker_id,
            segments=tuple(self._segments),
            in_flight=tuple(video.progress() for video in self._videos),
            unflushed=self._writer.unflushed,
            returned=tuple(self._returned),
            storage_errors=tuple(self._storage_errors),
            num_frames=self._num_frames,
            poisoned=poisoned,
            stage_seconds=dict(self._stage_seconds),
        )
        self._segments, self._returned, self._storage_errors = [], [], []
        self._num_frames = 0
        self._stage_seconds.clear()
        return report


def _explanation(error: Exception) -> tuple[str, str]:
    """Class and message of a failed video's row."""
    if isinstance(error, (MediaError, InputError)):
        return "input", redact(str(error))
    if is_out_of_memory(error):
        return "memory", f"out of memory, also with one object at a time ({describe(error)})"
    return "internal", f"{describe(error)}; this is a fault of maskmill, please report it"

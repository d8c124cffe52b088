"""The worker: owns one model, takes items into its inbox, labels them one after the other, publishes segments.

A plain class: its constructor takes plain values, `setup` does what must happen where the work is done. The model runs
on the thread that calls; fetching and the first frames of the next video run ahead in another.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

import torch

from model.checkpoint import load_model
from model.frames import FrameSource
from model.transforms import resize_frame
from model.video import VideoSession
from pipeline.decode import DecodeOptions, VideoFrames
from pipeline.devices import choose_device, describe_device, free_memory, is_out_of_memory, is_poisoned
from pipeline.executors import describe
from pipeline.faults import is_transient
from pipeline.inputs import InputError
from pipeline.labeler import LabelOptions, Labels, Saving, failed_tracks, label_steps
from pipeline.media import MediaError, open_media
from pipeline.prompt_rows import VideoPrompts, read_prompts
from pipeline.redact import redact
from pipeline.rows import Provenance, labeled_video
from pipeline.saved_sessions import VideoCheckpoint
from pipeline.segment_files import SegmentOrigin
from pipeline.segments import LabeledVideo, SegmentWriter
from pipeline.selection import FrameSelection
from pipeline.storage import StorageError
from pipeline.work import Progress, Report, Segment, Status, WorkItem
from pipeline.worker_files import WorkerFolder, local_checkpoint
from pipeline.worker_settings import WorkerSettings

_log = logging.getLogger(__name__)


@dataclass
class _Video:
    """An item on its way: what is here of it so far. `close` frees its files and threads."""

    item: WorkItem
    fetching: Future[None] | None = None
    prompts: VideoPrompts | None = None
    frames: VideoFrames | None = None
    steps: Generator[int, None, Labels] | None = None
    num_frames: int = 0
    has_little_memory: bool = False
    fetch_seconds: float = 0.0
    decode_seconds: float = 0.0
    labelling_since: float | None = None
    checkpoint: VideoCheckpoint | None = None

    def __post_init__(self) -> None:
        self.resources = contextlib.ExitStack()

    @property
    def stage(self) -> str:
        if self.steps is not None:
            return "labelling"
        return "waiting" if self.fetching is not None and self.fetching.done() else "fetching"

    def close(self) -> None:
        if self.steps is not None:
            self.steps.close()
        self.resources.close()


class Worker:
    """See the module. All methods but `stop` are called by one thread, `setup` first."""

    def __init__(self, settings: WorkerSettings, worker_id: str) -> None:
        self.settings = settings
        self.worker_id = worker_id
        self._videos: deque[_Video] = deque()
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
        torch.set_num_threads(settings.num_threads)
        device, dtype = choose_device(settings.model)
        checkpoint = settings.checkpoint
        source = local_checkpoint(checkpoint.source, checkpoint.identity, settings.storage_options)
        self._model = load_model(source, device=device, dtype=dtype, revision=checkpoint.revision)
        self._provenance = Provenance(self.worker_id, str(checkpoint), settings.config_hash, settings.versions)
        self._folder = WorkerFolder(settings.spool_dir)
        self._temporary_before, tempfile.tempdir = tempfile.tempdir, str(self._folder.path)
        self._prefetch = ThreadPoolExecutor(1, "fetch")
        origin = SegmentOrigin(settings.epoch, self.worker_id, settings.config_hash)
        self._writer = SegmentWriter(settings.storage, self._folder.path, origin, settings.flush)
        return describe_device(device, dtype)

    def work(self, offers: Sequence[WorkItem]) -> Report:
        """Take new items and label; returns when a video is done, when time is up, or when there is nothing to do."""
        for item in offers:
            self._accept(item)
        deadline = time.monotonic() + self.settings.beat_seconds
        poisoned = ""
        try:
            self._flush_if_due()
            while self._videos and time.monotonic() < deadline and not self._stop.is_set():
                if self._advance(self._videos[0], deadline):
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
            self._writer.close()
            self._folder.close()
            tempfile.tempdir = self._temporary_before

    def _accept(self, item: WorkItem) -> None:
        if item.alone:
            # If this one kills the worker, the others' rows shall not be lost with it.
            self._flush()
        video = _Video(item)
        video.fetching = self._prefetch.submit(self._fetch, video)
        self._videos.append(video)

    def _fetch(self, video: _Video) -> None:
        """Prompts, media and first frames of a video; runs in the helper thread."""
        settings, item = self.settings, video.item
        started = time.perf_counter()
        video.prompts = read_prompts(item.prompts_at, item.video_id, settings.storage_options)
        media = video.resources.enter_context(open_media(item, settings.storage_options))
        video.fetch_seconds = time.perf_counter() - started
        selection = FrameSelection(settings.frames.stride, settings.frames.fps, item.start_seconds, item.end_seconds)
        frames = VideoFrames(
            media,
            selection,
            prompted=video.prompts.positions,
            transform=partial(resize_frame, image_size=self._model.config.image_size),
            options=DecodeOptions(spool_folder=self._folder.path),
        )
        video.frames = video.resources.enter_context(contextlib.closing(frames))
        video.decode_seconds = time.perf_counter() - started - video.fetch_seconds

    def _advance(self, video: _Video, deadline: float) -> bool:
        """Do the next piece of work on a video. True: it is finished, one way or another."""
        try:
            if video.steps is None:
                assert video.fetching is not None
                wait([video.fetching], timeout=max(0.0, deadline - time.monotonic()))
                if not video.fetching.done():
                    return False
                video.fetching.result()
                self._start(video)
            assert video.steps is not None
            video.num_frames = next(video.steps)
            self._num_frames += 1
            return False
        except StopIteration as end:
            finished = self._finished(video, end.value)
        except Exception as error:  # noqa: BLE001  # failure is data: one bad video must not end the job
            failed = self._after_error(video, error)
            if failed is None:
                return video not in self._videos
            finished = failed
        self._put(video, finished)
        return True

    def _start(self, video: _Video) -> None:
        assert video.prompts is not None
        assert video.frames is not None
        settings = self.settings
        if video.has_little_memory:
            free_memory()
        max_objects = 1 if video.has_little_memory else None
        options = LabelOptions(settings.propagate.direction, max_objects, self._folder.path)
        make_session = partial(
            VideoSession, self._model, max_prompted_memories=settings.propagate.max_prompted_memories
        )
        video.checkpoint = VideoCheckpoint(settings.storage, video.item, settings.config_hash, settings.checkpoint_rule)
        saving = Saving(video.checkpoint, make_session, self._restore_session)
        video.labelling_since = video.labelling_since or time.monotonic()
        video.steps = label_steps(make_session, video.item.video_id, video.prompts, video.frames, options, saving)

    def _restore_session(self, state: bytes, frames: FrameSource) -> VideoSession:
        return VideoSession.from_bytes(state, self._model, frames)

    def _after_error(self, video: _Video, error: Exception) -> LabeledVideo | None:
        """The failed video; or `None` if it goes on, or went back to the driver. Raises if the device is poisoned."""
        if isinstance(error, (MediaError, InputError)):
            return self._failed(video, error)
        if is_poisoned(error):
            raise error
        if is_transient(error) or isinstance(error, StorageError):
            self._storage_errors.append(describe(error))
            self._give_back(video)
            return None
        if is_out_of_memory(error) and not video.has_little_memory and video.steps is not None:
            _log.warning("video %r: out of memory; again, one object at a time", video.item.video_id)
            # It starts again at the next call: until then the error's traceback keeps what filled the memory.
            video.steps, video.has_little_memory = None, True
            return None
        return self._failed(video, error)

    def _failed(self, video: _Video, error: Exception) -> LabeledVideo:
        error_class, message = _explanation(error)
        if error_class == "internal":
            trace = redact("".join(traceback.format_exception(error)))
            _log.error("video %r: %s", video.item.video_id, trace)
        tracks = failed_tracks(video.item.video_id, video.prompts, message) if video.prompts else None
        facts = self._facts(video)
        return labeled_video(
            video.item, Status.FAILED, self._provenance, error=(error_class, message), tracks=tracks, facts=facts
        )

    def _finished(self, video: _Video, labels: Labels) -> LabeledVideo:
        facts = self._facts(video) | {
            "num_frames": labels.num_frames,
            "propagate_seconds": labels.propagate_seconds,
            "encode_seconds": labels.encode_seconds,
        }
        failure = labels.failure
        return labeled_video(
            video.item,
            Status.FAILED if failure else Status.OK,
            self._provenance,
            error=("input", failure) if failure else ("", ""),
            masks=labels.masks,
            tracks=labels.tracks,
            expected_masks=labels.expected_masks,
            facts=facts,
        )

    def _facts(self, video: _Video) -> dict[str, object]:
        """Columns of `videos` that do not depend on how it ended."""
        labelling_seconds = time.monotonic() - video.labelling_since if video.labelling_since else 0.0
        times: dict[str, object] = {
            "fetch_seconds": video.fetch_seconds,
            "decode_seconds": video.decode_seconds,
            "wall_seconds": video.fetch_seconds + video.decode_seconds + labelling_seconds,
        }
        if video.frames is None:
            return times
        info = video.frames.info
        return times | {
            "num_frames_decoded": video.frames.num_decoded,
            "num_frames_expected": info.num_frames_claimed,
            "height": info.size_hw[0],
            "width": info.size_hw[1],
            "fps": info.fps,
            "rotation_degrees": info.rotation_degrees,
            "duration_seconds": info.duration_seconds,
        }

    def _put(self, video: _Video, finished: LabeledVideo) -> None:
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

    def _give_back(self, video: _Video) -> None:
        self._returned.append(video.item)
        self._remove(video)

    def _give_back_all(self) -> None:
        """Save what is worth it and give everything back; a video whose last frame this was is finished instead."""
        for video in list(self._videos):
            if video.steps is not None and video.checkpoint is not None and video.checkpoint.ask():
                self._advance(video, time.monotonic())
            if video in self._videos:
                self._give_back(video)

    def _remove(self, video: _Video) -> None:
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
            in_flight=tuple(_progress(video) for video in self._videos),
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


def _progress(video: _Video) -> Progress:
    num_saved = 0 if video.checkpoint is None else video.checkpoint.num_frames
    return Progress(video.item.video_id, video.num_frames, video.stage, num_saved)


def _explanation(error: Exception) -> tuple[str, str]:
    """Class and message of a failed video's row."""
    if isinstance(error, (MediaError, InputError)):
        return "input", redact(str(error))
    if is_out_of_memory(error):
        return "memory", f"out of memory, also with one object at a time ({describe(error)})"
    return "internal", f"{describe(error)}; this is a fault of maskmill, please report it"

"""What is fetched of a video before it is labeled: its prompts, its media and its first frames."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime

from model import Media
from pipeline.inputs.address_rules import address_rules
from pipeline.inputs.detections import VideoDetections, read_detections
from pipeline.inputs.kept import read_kept
from pipeline.inputs.prompts import VideoPrompts
from pipeline.output.former_rows import FormerRows
from pipeline.output.saved_sessions import SessionStore, session_identity
from pipeline.records import ReviewedItem, WorkItem
from pipeline.reviews.keeping import DISCOVER, TABLE
from pipeline.reviews.reviewed import read_video
from pipeline.seeds.cuts import find_cuts
from pipeline.seeds.shots import Shots
from pipeline.storage.file_versions import FileVersion
from pipeline.storage.retry import Backoff
from pipeline.video.frames import MAX_FRAMES_WAITING, DecodeOptions, Handoff, VideoFrames
from pipeline.video.selection import FrameSelection
from pipeline.worker.discovering import RULES, key_frames
from pipeline.worker.end_frames import EndFrames
from pipeline.worker.equipment import Equipment
from pipeline.worker.key_pictures import KeyPictures
from pipeline.worker.rework import Made, Rework, rework
from pipeline.worker.saving import SavingBeside

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoInputs:
    """All that a video is labeled from. `content` is what is known of its file: another file in its place differs.

    `saved` is where it is saved in its middle, `shots` are those of the film, `pictures` are whole key frames of which
    crops are looked at. `detections` are boxes of a detector, by which its objects are found; None: a grid of clicks
    finds them, or prompts name them. `ends` sees every frame.
    """

    rework: Rework
    frames: VideoFrames
    content: str
    saved: SavingBeside
    shots: Shots
    ends: EndFrames
    pictures: KeyPictures | None = None
    detections: VideoDetections | None = None


class Fetch:
    """Fetches one video in a helper thread, beginning at once. `close` frees its files and threads.

    The main thread makes and closes it, because pinned memory for the video's frames is reserved from here to there.

    If the fetch fails, `inputs` raises. What had arrived before the error stays here, because the failed video's rows
    tell of it. Nothing but `future` may be read before the fetch is done.
    """

    def __init__(self, item: WorkItem, equipment: Equipment, arrived: Callable[[], None] = lambda: None) -> None:
        """`arrived` is called in a helper thread after each frame that is decoded ahead."""
        self._item = item
        self._arrived = arrived
        self._equipment = equipment
        self._resources = contextlib.ExitStack()
        self.prompts: VideoPrompts | None = None
        self.version: FileVersion | None = None
        self.frames: VideoFrames | None = None
        self.kept: str | None = None
        self.kept_since: datetime | None = None
        self.fetch_seconds = 0.0
        self.decode_seconds = 0.0
        self._reserved = MAX_FRAMES_WAITING
        equipment.network.buffers.reserve(self._reserved)
        self._missed_before = equipment.network.buffers.num_missed
        self.future: Future[VideoInputs] = equipment.fetcher.submit(self._run)

    @property
    def is_done(self) -> bool:
        """Whether the video is here, or an error in its place."""
        return self.future.done()

    def inputs(self) -> VideoInputs:
        """What was fetched; waits for it. Raises `MediaError`, `InputError` or `StorageError` if the fetch failed."""
        return self.future.result()

    def close(self) -> None:
        """Free files and threads; a fetch that is under way frees them when it ends."""
        buffers = self._equipment.network.buffers
        if self._reserved and (num_missed := buffers.num_missed - self._missed_before):
            _log.warning(
                "video %r: %d frames found no pinned memory, and are copied twice", self._item.video_id, num_missed
            )
        buffers.reserve(-self._reserved)
        self._reserved = 0
        if self.future.cancel() or self.future.done():
            self._resources.close()
        else:
            self.future.add_done_callback(lambda _: self._resources.close())

    def _rework(self, prompts: VideoPrompts) -> Rework:
        """What of the video is labeled: all of it, or what reviewers have corrected."""
        item, settings = self._item, self._equipment.settings
        made = Made(settings.job.config_hash, self.version, settings.config.discover is not None)
        if not isinstance(item, ReviewedItem):
            return Rework(prompts, by=DISCOVER if made.finds else TABLE)
        storage, review = settings.job.storage, item.review
        corrections = read_video(storage, item.video_id, review.files)
        folder = self._equipment.folder.path
        rows = FormerRows(storage, review.former, item.video_id, folder) if review.former else None
        return rework(item, prompts, corrections, dict(review.settled), rows, made)

    def _run(self) -> VideoInputs:
        item, settings, stages, tables = (
            self._item,
            self._equipment.settings,
            self._equipment.stages,
            self._equipment.tables,
        )
        started = time.perf_counter()
        options, scratch = settings.config.storage_options, self._equipment.folder.path
        keep = settings.config.keep_columns
        # A job that waits less for storage does so in each read as well.
        backoff = Backoff(min(Backoff.patience_seconds, settings.config.worker.storage_patience_seconds))
        discover = settings.config.discover
        finds = discover is not None
        read = VideoPrompts(()) if finds else stages.read_prompts(item, options, tables.prompts, keep)
        self.prompts = read
        boxed = settings.config.detections is not None
        detections = read_detections(item, options, tables.detections) if boxed else None
        self.kept = read_kept(item, options, tables.kept, keep)
        rules = address_rules(settings.config)
        opened = stages.open_media(item, options, tables.video_bytes, backoff, scratch=scratch, rules=rules)
        media = self._resources.enter_context(opened)
        self.version = FileVersion(media.num_bytes or 0, media.version) if media.version else None
        rework = self._rework(read)
        prompts, self.prompts = rework.to_label, rework.prompts
        self.kept_since = rework.kept.since if rework.kept else None
        has_crops = discover is not None and detections is None and len(discover.grids) > 1
        pictures = KeyPictures() if has_crops and rework.kept is None else None
        self.fetch_seconds = time.perf_counter() - started
        ends = EndFrames()
        wanted, times, buffers = settings.config.frames, item.range, self._equipment.network.buffers
        frames = VideoFrames(
            media,
            FrameSelection(wanted.stride, wanted.fps, times.start_seconds, times.end_seconds),
            prompted=rework.positions,
            transform=self._equipment.network.resize,
            options=DecodeOptions.of(settings.config, scratch),
            handoff=Handoff(
                place=buffers.fill,
                taken=buffers.take,
                dropped=buffers.refill,
                arrived=self._arrived,
                whole=pictures.keep if pictures is not None else None,
                seen=ends.see,
            ),
        )
        self.frames = self._resources.enter_context(contextlib.closing(frames))
        content = f"{media.extent()}, {frames.identity()}" + (f", {RULES}" if finds else "")
        kept_ids = rework.kept.object_ids if rework.kept else ()
        identity = session_identity(item, settings.job.config_hash, content, kept_ids)
        store = SessionStore(settings.job.storage, identity, settings.config.checkpoint)
        saved = SavingBeside(store, self._equipment.publisher.submit)
        shots = self._shots(media, frames)
        if discover is not None and pictures is not None:
            pictures.is_key = key_frames(discover, frames, shots)
        inputs = VideoInputs(rework, frames, content, saved, shots, ends, pictures, detections)
        labels = sorted({label for p in prompts.positions if (label := frames.locate(p)) is not None})
        direction = settings.config.propagate.direction
        ends.expect(_may_be_ends(labels, direction))
        if finds and rework.kept is None:
            frames.prepare((), 0)
        elif labels and direction != "backward":
            frames.prepare(labels, labels[0] - labels[0] % self._equipment.network.encode_ahead)
        inputs.saved.read_ahead()
        self.decode_seconds = time.perf_counter() - started - self.fetch_seconds
        return inputs

    def _shots(self, media: Media, frames: VideoFrames) -> Shots:
        """The shots that the table of videos tells, or else those that are found in all pictures, if the job wants it.

        For that the film is decoded once more, because shots must be known before its objects are followed.
        """
        times, config = self._item.range, self._equipment.settings.config
        frame_seconds = 1 / frames.info.fps if frames.info.fps else 0.0
        if times.cuts_seconds or config.shots != "detect" or not frames.info.has_times:
            return Shots(times.cuts_seconds, frame_seconds, frames.gaps_of)
        selection = FrameSelection(1, None, times.start_seconds, times.end_seconds)
        options = DecodeOptions.of(config, self._equipment.folder.path)
        with VideoFrames(media, selection, options=options) as every_frame:
            pictures = (
                (every_frame.position(frame.index).pts_seconds, frame.pixels_HW3.numpy())
                for frame in every_frame.forward(0)
            )
            return Shots(find_cuts(pictures), frame_seconds, frames.gaps_of)


def _may_be_ends(labels: list[int], direction: str) -> set[int]:
    """Which frames will most likely be the first or the last one with masks, besides the last one of the video.

    `labels` are those of frames with prompts, ascending; without prompts objects are looked for from the first frame
    on.
    """
    if not labels or direction == "both":
        return {0}
    return {labels[0]} if direction == "forward" else {0, labels[-1]}

"""What a running review knows: the job as it was read last, what was said, and what is kept of videos.

Pages ask for news every few seconds. Then the state looks for files of other reviewers, and for entries that a running
job has written to its log; both looks are rare enough for any number of pages. It also looks where a page begins and
where a verdict is said, because a server that nobody has asked for an hour knows only the labels of then.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from pipeline.commits.job_record import read_record
from pipeline.errors import ConfigError, InputError, NotInJob, StorageError
from pipeline.output.layout import log_entry
from pipeline.redact import redact
from pipeline.review_server.bounded import Bounded
from pipeline.review_server.frame_store import ClipKey, FrameStore
from pipeline.review_server.mask_store import MaskStore
from pipeline.review_server.options import ReviewOptions
from pipeline.review_server.snapshot import Snapshot, in_text, read_snapshot
from pipeline.review_server.track_list import OPEN, TrackList
from pipeline.review_server.verdict_book import VerdictBook
from pipeline.reviews.corrections import read_corrections
from pipeline.reviews.history import Said
from pipeline.reviews.object_ids import claim_object_id
from pipeline.reviews.verdicts import Key
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables

if TYPE_CHECKING:
    from pipeline.notebook.clip import Clip

_MOST_CLIPS = 8
_MOST_CHANGES = 20_000
_LOOK_SECONDS = 3.0  # between two looks for files of other reviewers
_READ_AGAIN_SHARE = 0.1  # of the time: reading a job of millions of tracks again and again would leave none to serve


class ReviewState:
    """See the module. Methods may be called in any thread. `clock` gives seconds.

    Raises like `read_snapshot` and `VerdictBook.look`.
    """

    def __init__(
        self, storage: JobStorage, options: ReviewOptions, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.storage = storage
        self.options = options
        self.frames = FrameStore()
        self.masks = MaskStore()
        self.book = VerdictBook(storage)
        self.at_end: list[Callable[[], object]] = []  # what is called when the server ends
        self.trouble = ""  # why the last look has failed; pages show it
        self._clock = clock
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._adding = threading.Lock()
        self._whole: set[ClipKey] = set()  # videos of which all frames are shown
        self._clips: Bounded[ClipKey, Clip] = Bounded(_MOST_CLIPS)
        self._changes: deque[tuple[int, Key]] = deque(maxlen=_MOST_CHANGES)
        self.version = 1
        self._oldest = 1
        self.book.look()
        self._read_seconds = 0.0
        self.snapshot = self._read(number=1)
        self._looked_at = self._read_at = self._clock()

    # The job

    @property
    def job(self) -> JobTables:
        """The job's tables, as they were read last."""
        return self.snapshot.job

    @property
    def tracks(self) -> TrackList:
        """The list of tracks, as it was read last."""
        return self.snapshot.tracks

    def labeled_at(self, key: Key) -> datetime | None:
        """When the masks of a track were made."""
        return self.snapshot.labeled_at(key)

    def clip_key(self, video_id: str) -> ClipKey:
        """What names a video as it was labeled last."""
        return video_id, in_text(self.snapshot.finished_at(video_id))

    def clip(self, video_id: str) -> Clip:
        """One video, with its frames and masks; a few are kept. Raises `NotInJob` if the job has it no more."""
        key = self.clip_key(video_id)
        found = self._clips.get(key)
        if found is None:
            clip = self.job.video(video_id, videos_root=self.options.videos_root)
            if key in self._whole:
                self._add_frames(clip)
            found = self._clips.put(key, clip)
        return found

    def clip_with_all_frames(self, video_id: str) -> Clip:
        """The same video, from now on also with frames on which nothing is labeled: those before the first prompt.

        Raises like `Clip.pixels` where its file cannot be read, and `ConfigError` for a job without `job.json`.
        """
        key, clip = self.clip_key(video_id), self.clip(video_id)
        with self._adding:
            if key not in self._whole:
                self._add_frames(clip)
                self._whole.add(key)
                self.frames.forget_walk(key)
        return clip

    def _add_frames(self, clip: Clip) -> None:
        record = read_record(self.storage)
        if record is None:
            raise ConfigError(f"{self.storage}: there is no job.json, so nobody knows which frames it takes")
        frames = record.job_config().frames
        clip.add_frames_without_rows(frames.stride, frames.fps)

    def claim_object_id(self, video_id: str, reviewer: str) -> int:
        """An id for an object that a reviewer adds to a video, which nobody else gets.

        Raises `NotInJob`, and `StorageError` if the store does not answer.
        """
        self.job.check_video(video_id)
        taken = self.job.tracks([video_id])["object_id"].to_pylist()
        taken += [one.object_id for one in read_corrections(self.storage).get(video_id, ())]
        return claim_object_id(self.storage, video_id, max([0, *taken]) + 1, reviewer)

    # What was said

    def current(self, key: Key) -> tuple[Said | None, bool]:
        """What counts of a track, and whether it is said of its labels of now; of earlier ones it counts no more."""
        said = self.book.current(key)
        return said, said is None or said.is_of(self.labeled_at(key))

    def is_audit(self, key: Key) -> bool | None:
        """Whether a track was drawn by lot; None for one that is in no queue.

        One with a verdict leaves the queue. Whoever judges it anew judges what was drawn or chosen then.
        """
        queued = self.tracks.is_audit(key)
        said, is_of_now = self.current(key)
        if queued is None and said is not None and is_of_now:
            before: bool | None = said.row["is_audit"]
            return before
        return queued

    def noted(self, keys: set[Key]) -> None:
        """Something was said of these tracks: lists show it, and pages hear of it."""
        if not keys:
            return
        with self._lock:
            self.version += 1
            for key in keys:
                self._show(self.snapshot, key)
                self._remember(key)

    def changed(self, video_id: str) -> None:
        """Corrections of a video were written: pages hear of its tracks."""
        tracks = self.tracks
        self.noted({tracks.key(place) for place in tracks.places_of_video(video_id)})

    def changes_since(self, version: int) -> list[Key] | None:
        """Tracks of which something was said after `version`; None if that is too long ago to tell."""
        with self._lock:
            if version < self._oldest:
                return None
            return list(dict.fromkeys(key for number, key in self._changes if number > version))

    # Looking for news

    def look(self, seconds: float = _LOOK_SECONDS) -> None:
        """Look for what others have written, if the last look is so long ago. What fails stands in `trouble`."""
        if self._clock() - self._looked_at < seconds or not self._looking.acquire(blocking=False):
            return
        try:
            self.noted(self.book.look())
            if self._is_time_to_read() and self._has_log_gone_on():
                self._read_again()
            self.trouble = ""
        except (StorageError, InputError, FileNotFoundError) as error:
            self.trouble = redact(str(error))
        finally:
            self._looked_at = self._clock()
            self._looking.release()

    def warm_up(self) -> None:
        """Import what reads videos, and torch with it, which takes seconds: while the page shows its list."""
        import_module("pipeline.notebook.clip")

    def close(self) -> None:
        """Close the files of videos, and what else was begun."""
        self.frames.close()
        for end in self.at_end:
            end()

    def _is_time_to_read(self) -> bool:
        return self._clock() - self._read_at >= self._read_seconds / _READ_AGAIN_SHARE

    def _has_log_gone_on(self) -> bool:
        (data,) = self.storage.read_existing([log_entry(self.snapshot.next_entry)])
        return data is not None

    def _read_again(self) -> None:
        fresh = self._read(self.snapshot.number + 1)
        with self._lock:
            for key in self.book.keys():  # noqa: SIM118  # a method of the book: what was said while it was read
                self._show(fresh, key)
            self.snapshot = fresh
            self.version += 1

    def _read(self, number: int) -> Snapshot:
        started = self._clock()
        said = {key: one for key in self.book.keys() if (one := self.book.current(key)) is not None}  # noqa: SIM118
        found = read_snapshot(self.storage, self.options, said, number)
        for key in self.book.keys():  # noqa: SIM118
            self._show(found, key)
        self._read_at = self._clock()
        self._read_seconds = self._read_at - started
        return found

    def _show(self, snapshot: Snapshot, key: Key) -> None:
        said = self.book.current(key)
        is_of_now = said is not None and said.is_of(snapshot.labeled_at(key))
        snapshot.tracks.say(key, said.verdict.value if said is not None and is_of_now else OPEN)

    def _remember(self, key: Key) -> None:
        if len(self._changes) == self._changes.maxlen:
            self._oldest = self._changes[0][0] + 1
        self._changes.append((self.version, key))


def unknown_track(key: Key) -> NotInJob:
    """The error for a track that the list does not have."""
    return NotInJob(f"there is no track of object {key[1]} in video {key[0]!r}: it may have been labeled again")

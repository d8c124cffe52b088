"""What travels between the driver and its workers: small, frozen records that can be pickled.

The driver makes a `WorkItem` (id, hash and addresses, never prompts or pixels) when its video's turn comes. The worker
that gets it answers with a `Report`: which segments it has published, and how far it is with its videos.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum

from pipeline.redact import redact_uri


class Status(StrEnum):
    """How a video or a track ended. The next run labels a video again only if `retry=` names its status."""

    OK = "ok"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    NO_PROMPTS = "no_prompts"


BAD = (Status.FAILED, Status.QUARANTINED)
"""How a video ends that has prompts and no masks."""


class Reason(StrEnum):
    """Why a video that was finished is labeled again, or leaves the job. The commit log keeps it; others may come.

    `review`: people have corrected objects of it.
    """

    PROMPTS = "prompts"
    FILE = "file"
    RETRY = "retry"
    RELABEL = "relabel"
    PRUNE = "prune"
    REVIEW = "review"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class RowSpan:
    """Rows `[start, stop)` of one row group of one Parquet file, where a worker finds prompts or video bytes."""

    file: str
    row_group: int
    start: int
    stop: int


@dataclass(frozen=True)
class VideoSource:
    """Where a video is: at an absolute `uri`, or in the row `bytes_at`. Exactly one of them is set.

    `row_at` is the video's row in the table of videos, if columns of it are kept.
    """

    uri: str | None = None
    bytes_at: RowSpan | None = None
    row_at: RowSpan | None = None


@dataclass(frozen=True)
class TimeRange:
    """The part of a video that is labeled, `start_seconds <= time < end_seconds` in the file; `None` = no bound.

    At each of `cuts_seconds`, ascending, a new shot begins. No object is followed from one shot into the next.
    """

    start_seconds: float | None = None
    end_seconds: float | None = None
    cuts_seconds: tuple[float, ...] = ()


WHOLE_VIDEO = TimeRange()


@dataclass(frozen=True)
class WorkItem:
    """One video to label.

    `prompts_at` are the rows of its prompts, `prompt_hash` is the hash of what they said when the job was planned.
    `expected_seconds` of video are to be labeled (0 = not known), on which only the order of work depends. `attempt`
    counts from 1. An item that is `alone` shares its worker with no other video, because it may be what kills workers.
    """

    video_id: str
    source: VideoSource
    prompts_at: tuple[RowSpan, ...]
    prompt_hash: str
    range: TimeRange = WHOLE_VIDEO
    expected_seconds: float = 0.0
    attempt: int = 1
    alone: bool = False


@dataclass(frozen=True)
class ReviewWork:
    """What reviewers said of a video, as the driver planned with it.

    `review_hash` stands for all corrections, which lie in `files` below `output=`. `former` is the segment with the
    rows that the video had; empty: all of its objects are labeled. `settled` are objects that are not labeled again if
    their rows are not younger than the time beside each.
    """

    review_hash: str = ""
    files: tuple[str, ...] = ()
    former: str = ""
    settled: tuple[tuple[int, datetime], ...] = ()


@dataclass(frozen=True)
class ReviewedItem(WorkItem):
    """A video of which reviewers said something."""

    review: ReviewWork = ReviewWork()


@dataclass(frozen=True)
class ObjectNote:
    """An object of an `ok` video that failed, or that has a warning (`status` is `ok` then)."""

    object_id: int
    status: Status
    message: str


@dataclass(frozen=True)
class OutcomeDetails:
    """What is known of a finished video besides how it ended.

    The numbers of objects are `None` where a version wrote them that did not count objects. `attempts` are those of all
    runs. `source_hash` stands for the version of its file; empty where nobody told it. `review_hash` stands for the
    corrections that its labels were made with; empty without any. `notes` tell the driver of single objects. Of the
    masks, `num_masks_kept` are of objects that keep what they had, because reviewers corrected others. The commit log
    does not have the last two, because `tracks` has them.
    """

    num_tracks: int | None = 0
    num_tracks_failed: int | None = 0
    num_tracks_warned: int | None = 0
    attempts: int = 1
    source_hash: str = ""
    review_hash: str = ""
    notes: tuple[ObjectNote, ...] = field(default=(), compare=False)
    num_masks_kept: int = field(default=0, compare=False)


NO_DETAILS = OutcomeDetails()


@dataclass(frozen=True)
class Outcome:
    """How one video ended, as the commit log keeps it. `num_masks` is the number of its rows in `masks`.

    `error_class` of a failed video is `input`, `memory`, `numbers` (nan or inf from the network) or `internal` (a fault
    of maskmill), of a quarantined one `crash`; that of others is empty.

    `prompt_hash` is empty if the video has no prompts, and also if its prompts changed while the job ran, because then
    the next run plans it anew.
    """

    video_id: str
    status: Status
    prompt_hash: str
    num_masks: int
    num_frames: int
    error_class: str = ""
    message: str = ""
    details: OutcomeDetails = NO_DETAILS

    @property
    def is_bad(self) -> bool:
        """Whether the video, or an object of it, was not labeled although it has prompts."""
        return self.status in BAD or bool(self.details.num_tracks_failed)


@dataclass(frozen=True)
class ObjectCounts:
    """The objects of a job's `ok` videos: all, those that failed, those that have a warning.

    `num_videos_partly` are the videos with a failed object. The objects of `num_videos_uncounted` were not counted by
    the version that labeled them, so that the other numbers may be too small.
    """

    num: int = 0
    num_failed: int = 0
    num_warned: int = 0
    num_videos_partly: int = 0
    num_videos_uncounted: int = 0


NO_OBJECTS = ObjectCounts()


@dataclass(frozen=True)
class Retries:
    """Which bad videos a job tries again by itself: those of the `statuses` that `retry=` names, as often as it allows.

    Of all bad videos, `num_given_up` have ended badly `max_attempts` times in a row. One of them has done so
    `most_failures` times, which are more where an earlier run allowed more. `num_set_back_given_up` have done so with
    their corrections, and keep the rows that they had.
    """

    statuses: tuple[str, ...] = ()
    max_attempts: int = 3
    num_given_up: int = 0
    most_failures: int = 0
    num_set_back_given_up: int = 0

    def names(self, statuses: Iterable[Status]) -> bool:
        """Whether `retry=` names all of these."""
        return {status.value for status in statuses} <= set(self.statuses)


NO_RETRIES = Retries()


@dataclass(frozen=True)
class Segment:
    """A set of whole videos that a worker has published: one Parquet object per table, `{table}/{name}.parquet`.

    The objects never change. `num_rows` is by table. `digest` are encoded rows of `videos` and `tracks` on their way
    from the worker to the driver (`pipeline.output.digest`). The commit log does not keep them.
    """

    name: str
    num_rows: dict[str, int]
    num_bytes: int
    outcomes: tuple[Outcome, ...]
    digest: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)


WAITING = "waiting"
"""The stage of a video that lies in a worker's inbox, and at which nothing works at the moment."""


@dataclass(frozen=True)
class VideoProgress:
    """How far a worker is with one video that is not finished. `stage` is one word for it.

    This attempt has saved `num_saved` frames, from which another worker can go on.
    """

    video_id: str
    num_frames: int
    stage: str
    num_saved: int = 0

    @property
    def is_waiting(self) -> bool:
        """Whether nothing works at this video: it lies in the worker's inbox."""
        return self.stage == WAITING


@dataclass(frozen=True)
class WorkDone:
    """What a worker has computed since its last report: frames, and the seconds that each stage took.

    A frame that is computed several times counts once in `num_frames`, and each further time in `num_again`: objects
    that nobody prompted are looked for on all frames before they are followed, and frames may be walked both ways.
    """

    num_frames: int = 0
    stage_seconds: dict[str, float] = field(default_factory=dict)
    num_again: int = 0

    @property
    def num_steps(self) -> int:
        """How often a frame was computed."""
        return self.num_frames + self.num_again


@dataclass(frozen=True)
class WorkerEnd:
    """Why a worker labels no more videos, and is to be ended.

    A worker that `is_broken` can compute nothing any more (a CUDA error, say), perhaps through a video of its own. One
    that is not broken was asked to stop, and has published or given back everything that it had.
    """

    reason: str
    is_broken: bool


@dataclass(frozen=True)
class Report:
    """What `Worker.work` returns; it is also the worker's heartbeat.

    `unflushed` are ids of finished videos whose rows are not published yet. `returned` are items that the worker gives
    back, not labeled. `end` is set if this is the worker's last report.
    """

    worker_id: str
    segments: tuple[Segment, ...] = ()
    in_flight: tuple[VideoProgress, ...] = ()
    unflushed: tuple[str, ...] = ()
    returned: tuple[WorkItem, ...] = ()
    storage_errors: tuple[str, ...] = ()
    done: WorkDone = field(default_factory=WorkDone)
    end: WorkerEnd | None = None


class Ending(Enum):
    """How the driver's loop ended, in words for people."""

    DONE = "all videos processed"
    BUDGET = "the budget of this run is used up"
    STOPPED = "stopped by a signal"
    FAILURES = "too many failures"
    ENVIRONMENT = "no worker could start"
    STORAGE = "storage did not answer"


@dataclass(frozen=True)
class FramePosition:
    """A frame as the tables name it: by its number, by its time in the file, or by both. A prompt gives one of them.

    A decoded frame has no `pts_seconds` if its file has no times (images, folders of frames).
    """

    frame_index: int | None
    pts_seconds: float | None

    def __str__(self) -> str:
        return f"frame {self.frame_index}" if self.frame_index is not None else f"pts_seconds {self.pts_seconds}"


def check_range(start_seconds: float | None, end_seconds: float | None) -> None:
    """Raise `ValueError` for times that are not finite, or an end that is not after the start."""
    for name, value in (("start_seconds", start_seconds), ("end_seconds", end_seconds)):
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name}: expected a finite number of seconds, got {value}")
    if end_seconds is not None and end_seconds <= (start_seconds or 0.0):
        raise ValueError(f"end_seconds ({end_seconds}) must be after start_seconds ({start_seconds or 0.0})")


@dataclass(frozen=True)
class MergedSeed:
    """An object that turned out to be another one: the frame on which it was found, and its score there."""

    object_id: int
    frame_index: int
    score: float


@dataclass(frozen=True)
class SeedFacts:
    """How an object came to be labeled that no table of prompts names. `source` is `grid` or `detections`.

    `score` is what speaks for the object where it was found, from 0 to 1: predicted IoU times stability, or the score
    of a detector (None: it gave none). `stability` is that of its mask there. `duplicates` are objects that were found
    on their own and are this one.
    """

    source: str
    score: float | None
    stability: float | None
    duplicates: tuple[MergedSeed, ...] = ()


@dataclass(frozen=True)
class Weights:
    """Which weights a job uses. `load_model` takes `source` and `revision`; `identity` stands for their content."""

    source: str
    revision: str | None
    identity: str

    def __str__(self) -> str:
        return f"{redact_uri(self.source)}@{self.identity}"

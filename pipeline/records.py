"""What travels between the driver and its workers: small, frozen, picklable records.

The driver holds one `WorkItem` per remaining video (ids, hashes and addresses, never prompts or pixels) and offers
it to a worker. The worker answers with a `Report`: which segments it has published, and how far it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from pipeline.redact import redact_uri


class Status(StrEnum):
    """How a video or a track ended. All four are terminal; see `retry=` for running one again."""

    OK = "ok"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    NO_PROMPTS = "no_prompts"


@dataclass(frozen=True)
class RowSpan:
    """Rows `[start, stop)` of one row group of one Parquet file: where a worker finds prompts or video bytes."""

    file: str
    row_group: int
    start: int
    stop: int


@dataclass(frozen=True)
class WorkItem:
    """One video to label. `uri` is absolute; exactly one of `uri` and `bytes_at` is set.

    `expected_seconds` of video are to be labelled, as far as anybody knows (0: nobody does); it only orders the work.
    """

    video_id: str
    uri: str | None
    bytes_at: RowSpan | None
    prompts_at: tuple[RowSpan, ...]
    prompt_hash: str
    start_seconds: float | None = None
    end_seconds: float | None = None
    expected_seconds: float = 0.0
    attempt: int = 1
    alone: bool = False


@dataclass(frozen=True)
class Outcome:
    """How one video ended, as the commit log keeps it. `num_masks` is the number of its rows in `masks`.

    `prompt_hash` is empty if the video has no prompts, or its rows changed while the job ran: then it is planned anew.
    """

    video_id: str
    status: Status
    prompt_hash: str
    num_masks: int
    num_frames: int
    error_class: str = ""
    message: str = ""


@dataclass(frozen=True)
class Segment:
    """A published, immutable set of whole videos: one Parquet object per table, named `{table}/{name}.parquet`."""

    name: str
    num_rows: dict[str, int]
    num_bytes: int
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class Progress:
    """How far a worker is with one video that is not finished.

    `num_saved` frames are saved, to go on from there; 0 until this attempt has saved some.
    """

    video_id: str
    num_frames: int
    stage: str
    num_saved: int = 0


@dataclass(frozen=True)
class Report:
    """What `Worker.work` returns: the heartbeat. `returned` are items that the worker gives back unlabelled."""

    worker_id: str
    segments: tuple[Segment, ...] = ()
    in_flight: tuple[Progress, ...] = ()
    unflushed: tuple[str, ...] = ()
    returned: tuple[WorkItem, ...] = ()
    storage_errors: tuple[str, ...] = ()
    num_frames: int = 0
    poisoned: str = ""
    stage_seconds: dict[str, float] = field(default_factory=dict)


class Ending(Enum):
    """How the loop ended."""

    DONE = "every video ended"
    STOPPED = "stopped by a signal"
    FAILURES = "too many videos failed"
    ENVIRONMENT = "no worker could start"
    STORAGE = "storage did not answer"


@dataclass(frozen=True)
class FramePosition:
    """A frame as the tables name it: by ordinal, by time in the file, or both. A prompt gives at least one of them.

    `pts_seconds` of a frame that was read is `None` where the file has no times (images, folders of frames).
    """

    frame_index: int | None
    pts_seconds: float | None

    def __str__(self) -> str:
        return f"frame {self.frame_index}" if self.frame_index is not None else f"pts_seconds {self.pts_seconds}"


def check_range(start_seconds: float | None, end_seconds: float | None) -> None:
    """Raises `ValueError` for a range of time that is not one."""
    for name, value in (("start_seconds", start_seconds), ("end_seconds", end_seconds)):
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name}: expected a finite number of seconds, got {value}")
    if end_seconds is not None and end_seconds <= (start_seconds or 0.0):
        raise ValueError(f"end_seconds ({end_seconds}) must be after start_seconds ({start_seconds or 0.0})")


@dataclass(frozen=True)
class Checkpoint:
    """Exactly which weights. `source` and `revision` are what `load_model` takes; `identity` names their content."""

    source: str
    revision: str | None
    identity: str

    def __str__(self) -> str:
        return f"{redact_uri(self.source)}@{self.identity}"

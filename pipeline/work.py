"""What travels between the driver and its workers: small, frozen, picklable records.

The driver holds one `WorkItem` per remaining video (ids, hashes and addresses, never prompts or pixels) and offers
it to a worker. The worker answers with a `Report`: which segments it has published, and how far it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


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

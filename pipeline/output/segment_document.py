"""A segment as JSON: in entries of the commit log, and in the footers of its own Parquet files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from pipeline.output.schema import SCHEMA_VERSION
from pipeline.records import Outcome, OutcomeDetails, Segment, Status
from pipeline.storage.documents import Document


class SegmentFields(BaseModel):
    """What the log says of a segment. `rows` counts them by table; each of `outcomes` is a list, to keep it short."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    rows: dict[str, int]
    bytes: int
    outcomes: list[list[Any]]

    @classmethod
    def of(cls, segment: Segment) -> SegmentFields:
        """The fields of a segment. They are not checked: a job of a million videos writes a million outcomes."""
        outcomes = [_outcome_to_list(outcome) for outcome in segment.outcomes]
        return cls.model_construct(name=segment.name, rows=segment.num_rows, bytes=segment.num_bytes, outcomes=outcomes)

    def segment(self) -> Segment:
        """The segment of these fields. Raises `ValueError` for an outcome that is none."""
        outcomes = tuple(_outcome_from_list(values) for values in self.outcomes)
        return Segment(self.name, dict(self.rows), self.bytes, outcomes)


def lists_of(outcomes: Iterable[Outcome]) -> list[list[Any]]:
    """The inverse of `outcomes_of`."""
    return [_outcome_to_list(outcome) for outcome in outcomes]


def outcomes_of(lists: Sequence[Sequence[Any]]) -> list[Outcome]:
    """Outcomes that are written as lists. Raises `ValueError` for one that is none."""
    return [_outcome_from_list(values) for values in lists]


class ObjectDocument(Document):
    """What the footer of each object of a segment says: which table it is of, and who wrote it for which job."""

    VERSION: ClassVar[int] = SCHEMA_VERSION
    VERSION_KEY: ClassVar[str] = "schema_version"

    name: str
    worker: str
    epoch: int
    fingerprint: str
    table: str


class SegmentDocument(ObjectDocument):
    """What the footer of the `videos` object says besides: the whole segment, and the bytes of its other objects."""

    segment: SegmentFields
    table_bytes: dict[str, int]


def _outcome_to_list(outcome: Outcome) -> list[Any]:
    """Values in the order that `_outcome_from_list` reads. A new one may be added at the end."""
    return [
        outcome.video_id,
        outcome.status.value,
        outcome.prompt_hash,
        outcome.num_masks,
        outcome.num_frames,
        outcome.error_class,
        outcome.message,
        outcome.details.num_tracks,
        outcome.details.num_tracks_failed,
        outcome.details.num_tracks_warned,
        outcome.details.attempts,
        outcome.details.source_hash,
        outcome.details.review_hash,
    ]


def _outcome_from_list(values: Sequence[Any]) -> Outcome:
    video_id, status, prompt_hash, num_masks, num_frames, error_class, message, *more = values
    details = OutcomeDetails(*(more[:6] if len(more) >= 4 else (None, None, None)))
    return Outcome(video_id, Status(status), prompt_hash, num_masks, num_frames, error_class, message, details)

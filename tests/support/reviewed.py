"""What reviewers said of a drawn job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.reviews.verdicts import write_verdicts
from pipeline.storage.job_storage import JobStorage

LABELED = datetime(2026, 1, 2, tzinfo=UTC)
"""When the videos of `tests.support.drawn_job` were finished."""


def verdict(video_id: str, object_id: int, word: str, minute: int = 1, **more: Any) -> dict[str, Any]:
    """A verdict of ann, so many minutes after the labels that she saw."""
    said = {"video_id": video_id, "object_id": object_id, "verdict": word, "reviewer": "ann"}
    return said | {"reviewed_at": LABELED + timedelta(minutes=minute), "labeled_at": LABELED} | more


def say_of(uri: str, *verdicts: dict[str, Any]) -> None:
    """Reviewers say this, in one file."""
    write_verdicts(JobStorage(uri), verdicts)

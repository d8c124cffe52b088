"""Ids of objects that reviewers add: each is claimed before it is used, so that two reviewers never get the same."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

from pipeline.errors import AlreadyExists
from pipeline.output.layout import claimed_object
from pipeline.storage.job_storage import JobStorage

_VERSION = 1


def claim_object_id(storage: JobStorage, video_id: str, first: int, reviewer: str) -> int:
    """The first free id of a video from `first` on, which is nobody else's from now on.

    `first` must be above the ids of its tracks and of its corrections. Raises `StorageError` if the store does not
    answer.
    """
    object_id = first
    while True:
        claim = {
            "version": _VERSION,
            "video_id": video_id,
            "object_id": object_id,
            "reviewer": reviewer,
            "claimed_at": datetime.now(UTC).isoformat(),
            "claim": uuid.uuid4().hex,
        }
        try:
            storage.create(claimed_object(video_id, object_id), json.dumps(claim).encode())
        except AlreadyExists:
            object_id += 1
        else:
            return object_id


def claimed_video(data: bytes) -> str:
    """The video of an id that was claimed. Raises `ValueError` if this is no note of a claim."""
    video_id = json.loads(data).get("video_id")
    if not isinstance(video_id, str):
        raise ValueError("a claim of an object id names no video")
    return video_id

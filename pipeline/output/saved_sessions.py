"""Saved sessions: a long video saved in its middle, which is the state of the model's session and the rows so far.

Rows are saved in parts, each part once. The document that names the parts is written last and replaced whole. Nothing
here counts as labeled: a video that is saved and never finished is in no table.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from pipeline.config.worker_config import CheckpointConfig
from pipeline.errors import StorageError
from pipeline.output.layout import (
    SESSIONS,
    is_session_document,
    new_session_rows,
    new_session_state,
    session_document,
    session_folder,
)
from pipeline.output.schema import MASKS, SCHEMA_VERSION, with_columns_of_today
from pipeline.records import ReviewedItem, WorkItem
from pipeline.redact import redact_uri
from pipeline.storage.documents import Document
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.retry import Backoff

_log = logging.getLogger(__name__)

_SAVE_PATIENCE_SECONDS = 10.0
_WORTH_SECONDS = 5.0


class _SessionDocument(Document):
    """What is saved of a video: `parts` are files of rows, `state` is the file of the session.

    `num_frames` of its walks are done. `identity` is from `session_identity`.
    """

    identity: dict[str, Any]
    state: str
    parts: list[str]
    num_frames: int


@dataclass(frozen=True)
class SavedVideo:
    """A video as it was saved: the session's state, its rows, and how many frames of its walks were done."""

    state: bytes
    rows: list[pa.RecordBatch]
    num_frames: int


class SessionStore:
    """The saved session of one video that a worker labels: read once at its start, written now and then.

    `identity` is from `session_identity`. What was saved under another one is of no use, and is deleted.
    """

    def __init__(
        self,
        storage: JobStorage,
        identity: Mapping[str, object],
        rule: CheckpointConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        # The worker does not wait long for a store that does not answer: it saves again later.
        self._quick = replace(storage, backoff=Backoff(patience_seconds=_SAVE_PATIENCE_SECONDS))
        self._folder = session_folder(str(identity["video_id"]))
        self._identity = dict(identity)
        self._rule = rule
        self._clock = clock
        self._last_save = clock()
        self._num_frames = 0
        self._num_tried = 0
        self._num_saved_here = 0
        self._parts: list[str] = []
        self._unsaved: list[pa.RecordBatch] = []
        self._state = ""
        self._is_wanted = False

    def begin(self) -> None:
        """Labeling begins now, perhaps long after what was saved was read: time counts from here."""
        self._last_save = self._clock()

    @property
    def num_saved(self) -> int:
        """Frames that are saved, as soon as this attempt has saved some; 0 before, whatever an earlier one saved."""
        return self._num_saved_here

    def load(self) -> SavedVideo | None:
        """What an earlier attempt saved. None if nothing is saved, or what is saved does not fit and was deleted.

        Raises `StorageError` if the store does not answer.
        """
        path = session_document(self._folder)
        try:
            data = self._storage.read(path)
        except FileNotFoundError:
            return None
        try:
            document = _SessionDocument.from_json(data, f"{self._storage}/{path}")
            if document.identity != self._identity:
                changed = _changed(document.identity, self._identity)
                raise ValueError(f"it was saved with another {', '.join(changed)}")
            state = self._storage.read(f"{self._folder}/{document.state}")
            parts = [self._storage.read(f"{self._folder}/{name}") for name in document.parts]
            rows = [batch for part in parts for batch in _decode(part)]
        except (OSError, ValueError, pa.ArrowException) as error:  # Arrow says of damaged bytes one or the other
            self._warn_that_it_does_not_fit(error)
            self.forget()
            return None
        self._parts, self._state = document.parts, document.state
        self._num_frames = document.num_frames
        return SavedVideo(state, rows, self._num_frames)

    def forget(self) -> None:
        """What was saved does not fit: delete it, and start from nothing."""
        self._parts, self._state, self._num_frames = [], "", 0
        self._delete_files()

    def _warn_that_it_does_not_fit(self, error: Exception) -> None:
        reason = "; ".join(line.strip() for line in str(error).splitlines())
        video_id = self._identity["video_id"]
        _log.warning("video %r starts anew, because its saved session does not fit: %s", video_id, reason)

    def is_due(self, num_frames: int) -> bool:
        """Whether it is time to save, when `num_frames` frames are done."""
        new = num_frames - self._num_frames
        if new <= 0:
            return False
        return (
            self._is_wanted
            or num_frames - max(self._num_frames, self._num_tried) >= self._rule.every_frames
            or self._clock() - self._last_save >= self._rule.every_seconds
        )

    def ask(self) -> bool:
        """Make the next `is_due` say yes, because the worker is about to stop. False: the last save is too recent."""
        self._is_wanted = self._clock() - self._last_save >= _WORTH_SECONDS
        return self._is_wanted

    def save(self, state: bytes, new_rows: Sequence[pa.RecordBatch], num_frames: int) -> bool:
        """Save the session and the rows since the last call. False: the store did not take them; the video goes on."""
        self._is_wanted = False
        self._last_save, self._num_tried = self._clock(), num_frames
        self._unsaved += new_rows
        part, state_name = new_session_rows(), new_session_state()
        parts = [*self._parts, part]
        document = _SessionDocument(identity=self._identity, state=state_name, parts=parts, num_frames=num_frames)
        try:
            self._quick.replace(f"{self._folder}/{part}", _encode(self._unsaved))
            self._quick.replace(f"{self._folder}/{state_name}", state)
            self._quick.replace(session_document(self._folder), document.to_json())
            if self._state:
                self._quick.delete([f"{self._folder}/{self._state}"])
        except StorageError as error:
            video_id = self._identity.get("video_id")
            _log.warning("video %r was not saved in its middle; the worker tries again later: %s", video_id, error)
            return False
        self._parts, self._state, self._unsaved = parts, state_name, []
        self._num_frames = self._num_saved_here = num_frames
        return True

    def delete(self) -> None:
        """The video is finished: delete what was saved. The driver deletes what stays behind at the end of the job."""
        if self._parts:
            self._delete_files()

    def _delete_files(self) -> None:
        """Delete what is saved, the document first: without it nobody counts or reads the rest."""
        try:
            self._quick.delete([session_document(self._folder)])
            self._quick.delete(stored.path for stored in self._quick.listing(self._folder))
        except StorageError as error:
            _log.warning(
                "a saved session could not be deleted now; the driver deletes it at the end of the job: %s", error
            )


def num_saved(storage: JobStorage) -> int:
    """How many unfinished videos are saved. One listing; raises `StorageError` if the store does not answer."""
    return sum(map(is_session_document, storage.tree(SESSIONS)))


def delete_all(storage: JobStorage) -> None:
    """Delete all saved sessions. Only at the end of a job, when every video is finished."""
    storage.delete(storage.tree(SESSIONS))


def delete_others(storage: JobStorage, video_ids: Iterable[str]) -> None:
    """Delete the saved sessions of all videos but these. Raises `StorageError` if the store does not answer."""
    kept = {session_folder(video_id) for video_id in video_ids}
    storage.delete(path for path in storage.tree(SESSIONS) if path.rpartition("/")[0] not in kept)


def session_identity(
    item: WorkItem, config_hash: str, content: str, kept_ids: Collection[int] = ()
) -> dict[str, object]:
    """What must be the same for a worker to go on from a saved session. `content` describes the video's file.

    The rows of objects of `kept_ids` stay as they were, and the session has the others. Which they are may change while
    the corrections do not: somebody accepts a track that a killed worker was labeling again.
    """
    # What was saved of other objects, or with other corrections, is of no use. Sessions of earlier programs lack it.
    reviewed: dict[str, object] = {}
    if isinstance(item, ReviewedItem) and (item.review.files or item.review.former):
        reviewed = {"reviews": [item.review.review_hash, item.review.former]}
    if kept_ids:
        reviewed["kept"] = sorted(kept_ids)
    return {
        "schema_version": SCHEMA_VERSION,
        "video_id": item.video_id,
        "uri": None if item.source.uri is None else redact_uri(item.source.uri),
        "content": content,
        "range": [item.range.start_seconds, item.range.end_seconds],
        "prompt_hash": item.prompt_hash,
        "config_hash": config_hash,
        **reviewed,
    }


def _changed(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Names of what differs between two identities."""
    return sorted(key for key in {**before, **now} if before.get(key) != now.get(key))


def _encode(batches: Sequence[pa.RecordBatch]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, MASKS, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        for batch in batches:
            writer.write_batch(batch)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded


def _decode(data: bytes) -> list[pa.RecordBatch]:
    with pa.ipc.open_stream(data) as reader:
        batches: list[pa.RecordBatch] = with_columns_of_today(reader.read_all(), MASKS).to_batches()
        return batches

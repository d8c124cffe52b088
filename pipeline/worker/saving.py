"""The saved session of a video, read where the video is fetched and written beside the launching thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

import pyarrow as pa

from pipeline.output.saved_sessions import SavedVideo, SessionStore

Submit = Callable[[Callable[[], object]], "Future[None]"]


class SavingBeside:
    """A `SessionStore` for the launching thread, which waits for storage only if a video is begun again.

    `submit` has a helper thread do something. One save is under way at a time.
    """

    def __init__(self, store: SessionStore, submit: Submit) -> None:
        self._store = store
        self._submit = submit
        self._saving: Future[None] | None = None
        self._read: list[SavedVideo | None] = []

    @property
    def store(self) -> SessionStore:
        """Where the video is saved, for whoever deletes it when it is published."""
        return self._store

    @property
    def num_saved(self) -> int:
        """Frames that this attempt has saved, as far as storage has them."""
        return self._store.num_saved

    def read_ahead(self) -> None:
        """Read what is saved, in the thread that fetches the video. Raises `StorageError`."""
        self._read = [self._store.load()]

    def load(self) -> SavedVideo | None:
        """What an earlier attempt saved, read anew if the video is begun again. Labeling begins now."""
        self._store.begin()
        if self._read:
            return self._read.pop()
        self._wait()
        return self._store.load()

    def forget(self) -> None:
        """What was saved does not fit: delete it."""
        self._read.clear()
        self._wait()
        self._store.forget()

    def ask(self) -> bool:
        """Make the next `is_due` say yes. False: a save is under way, or the last one is recent."""
        return not self._is_saving and self._store.ask()

    def is_due(self, num_frames: int) -> bool:
        """Whether it is time to save. Not while a save is under way."""
        return not self._is_saving and self._store.is_due(num_frames)

    def save(self, state: bytes, new_rows: Sequence[pa.RecordBatch], num_frames: int) -> bool:
        """Have the session and the rows since the last call saved."""
        self._saving = self._submit(partial(self._store.save, state, new_rows, num_frames))
        return True

    @property
    def _is_saving(self) -> bool:
        return self._saving is not None and not self._saving.done()

    def _wait(self) -> None:
        if self._saving is not None:
            self._saving.result()

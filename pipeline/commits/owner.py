"""`_owner.json`: the heartbeat of the driver at work, so that a second driver on the same output does not start.

This is courtesy, not safety. What keeps a second driver out for certain is the commit log (`CommitLog.claim`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pipeline.commits.log import CommitLog
from pipeline.commits.process import ProcessDocument, facts_of_this_process
from pipeline.errors import LostOwnership, NewerVersion, OwnedByAnother, StorageError, describe
from pipeline.output.layout import OWNER
from pipeline.storage.job_storage import JobStorage

_log = logging.getLogger(__name__)


def new_writer_id() -> str:
    """An id for this process as a driver: host, process, random part."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True)
class Heartbeat:
    """How often a driver shows that it lives, and after which silence another driver may take its place.

    A driver that ends waits for at most `release_seconds` for a store that does not answer.
    """

    every_seconds: float = 10.0
    stale_seconds: float = 60.0
    release_seconds: float = 10.0


class _Owner(ProcessDocument):
    """What `_owner.json` says."""

    epoch: int


@dataclass(frozen=True)
class OwnerSeen:
    """The driver that `_owner.json` names, as another process sees it. `is_gone`: it ran here and has ended."""

    writer_id: str
    silent_seconds: float
    is_gone: bool


def look(storage: JobStorage) -> OwnerSeen | None:
    """Who drives a job; None if nobody says so.

    Raises:
        NewerVersion: a driver of a newer version of this program says so.
        StorageError: the store does not answer.
    """
    owner = _read_owner(storage)
    if owner is None:
        return None
    silent = datetime.now(UTC) - datetime.fromisoformat(owner.beat_at)
    return OwnerSeen(owner.writer_id, max(0.0, silent.total_seconds()), owner.is_gone())


class Ownership:
    """This driver's hold on a job. `acquire`, then `check` now and then, `release` at the end."""

    def __init__(
        self,
        storage: JobStorage,
        log: CommitLog,
        heartbeat: Heartbeat | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._storage = storage
        self._log = log
        self._heartbeat = heartbeat or Heartbeat()
        self._sleep = sleep
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lost: LostOwnership | None = None
        self._epoch = 0

    def acquire(self) -> int:
        """Take the job, or a dead driver's place; return the new epoch. The log is read up to now, and claimed.

        From now on a thread writes the heartbeat.

        Raises:
            OwnedByAnother: another driver is alive; says which.
            NewerVersion: a driver of a newer version of this program was the last one at work.
            UnusableStore: the store cannot keep a second driver out.
            StorageError: the store does not answer.
        """
        now = self._storage.probe()
        owner = self._read()
        if owner is not None and self._is_alive(owner, now):
            raise OwnedByAnother(
                f"{self._storage}: driver {owner.writer_id} is at work on this output (last sign {owner.beat_at}). "
                "Wait for it, stop it, or name another output. A driver that died is replaced after "
                f"{self._heartbeat.stale_seconds:.0f} s."
            )
        if owner is not None:
            _log.info("driver %s was killed, or its machine was; this driver takes its place", owner.writer_id)
        self._log.refresh()
        self._epoch = self._log.claim()
        self.beat()
        self._thread = threading.Thread(target=self._keep_beating, name="maskmill-heartbeat", daemon=True)
        self._thread.start()
        return self._epoch

    def beat(self) -> None:
        """Write one heartbeat.

        Raises:
            LostOwnership: the heartbeat of a newer driver is there.
            StorageError: the store does not answer.
        """
        try:
            owner = self._read()
        except NewerVersion as error:
            raise LostOwnership(f"{self._storage}: a driver of a newer maskmill has taken this job over") from error
        if owner is not None and owner.epoch > self._epoch:
            raise LostOwnership(f"{self._storage}: driver {owner.writer_id} has taken this job over")
        mine = _Owner(
            writer_id=self._log.writer_id,
            epoch=self._epoch,
            **facts_of_this_process(),
        )
        if not self._stop.is_set():
            self._storage.replace(OWNER, mine.to_json())

    def check(self) -> None:
        """Raise `LostOwnership` if the heartbeat has found a newer driver. Cheap."""
        if self._lost is not None:
            raise self._lost

    def release(self) -> None:
        """Stop the heartbeat and delete its file. Never raises: if the file stays, the next driver notices our end."""
        self._stop.set()
        patience = self._heartbeat.release_seconds
        if self._thread is not None:
            self._thread.join(patience)
            self._thread = None
        backoff = self._storage.backoff
        shorter = replace(backoff, patience_seconds=min(backoff.patience_seconds, patience))
        storage = replace(self._storage, backoff=shorter)
        with contextlib.suppress(StorageError, NewerVersion):
            owner = _read_owner(storage)
            if owner is not None and owner.writer_id == self._log.writer_id:
                storage.delete([OWNER])

    def _keep_beating(self) -> None:
        while not self._stop.wait(self._heartbeat.every_seconds):
            try:
                self.beat()
            except LostOwnership as error:
                self._lost = error
                return
            except Exception as error:  # noqa: BLE001  # a driver without a heartbeat would lose its job a minute later
                _log.warning("no heartbeat: %s", describe(error))

    def _read(self) -> _Owner | None:
        return _read_owner(self._storage)

    def _is_alive(self, owner: _Owner, now: datetime) -> bool:
        """Whether a driver is at work. Ages are taken by the store's clock, because clocks of machines differ."""
        if owner.is_gone():
            return False
        with contextlib.suppress(FileNotFoundError):
            age_seconds = (now - self._storage.modified(OWNER)).total_seconds()
            if age_seconds < self._heartbeat.stale_seconds:
                return True
            # After an outage of the store all heartbeats look old. A living driver gets the time to write another one.
            self._sleep(1.5 * self._heartbeat.every_seconds)
            return self._read() not in (None, owner)
        return False


def _read_owner(storage: JobStorage) -> _Owner | None:
    try:
        return _Owner.from_json(storage.read(OWNER), f"{storage}/{OWNER}")
    except FileNotFoundError:
        return None
    except NewerVersion:
        raise
    except ValueError:
        return None  # torn, or somebody else's: nobody says that they drive

"""Signs of life of a process at work: an object that it writes anew every few seconds and deletes at its end.

Others see by it that somebody is at work. A process that was killed leaves its object, which counts until it is sure
that the process has ended, or until nothing was heard of it for long enough. Thus no crash locks anything for ever.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from pipeline.commits.owner import Heartbeat
from pipeline.commits.process import ProcessDocument
from pipeline.errors import StorageError, describe
from pipeline.storage.job_storage import JobStorage

_log = logging.getLogger(__name__)


D = TypeVar("D", bound=ProcessDocument)


def others_at_work(storage: JobStorage, folder: str, mine: str, kind: type[D]) -> Iterator[tuple[str, D, float]]:
    """The signs of life of other processes below a folder: path, what it says, and for how many seconds it is silent.

    `mine` is the path of this process's own. Ages are taken by the store's clock.
    """
    now = storage.modified(mine)
    for stored in storage.listing(folder):
        if stored.path == mine:
            continue
        try:
            other = kind.from_json(storage.read(stored.path), f"{storage}/{stored.path}")
            silent = (now - storage.modified(stored.path)).total_seconds()
        except FileNotFoundError:
            continue  # it has ended
        yield stored.path, other, silent


@contextlib.contextmanager
def showing_life(
    storage: JobStorage, path: str, mark: Callable[[], ProcessDocument], heartbeat: Heartbeat
) -> Iterator[Callable[[], None]]:
    """Show at `path` that this process is at work. Gives a function that raises when others may not know of it.

    Raises:
        StorageError: the store does not answer.
    """
    stop = threading.Event()
    seen = [time.monotonic()]

    def beat() -> None:
        now = time.monotonic()
        storage.replace(path, mark().to_json())
        seen[0] = now

    def is_silent() -> bool:
        return time.monotonic() - seen[0] > heartbeat.stale_seconds / 2

    def keep_beating() -> None:
        while not stop.wait(heartbeat.every_seconds):
            if is_silent():
                return  # this process was stopped for so long that others may have begun: `check` must find it out
            try:
                beat()
            except Exception as error:  # noqa: BLE001  # the next one may be possible; `check` ends the work otherwise
                _log.warning("no heartbeat: %s", describe(error))

    def check() -> None:
        if is_silent():
            raise StorageError(f"{storage}: for too long the store took no heartbeat. Run the same command again.")

    thread = threading.Thread(target=keep_beating, name="maskmill-at-work", daemon=True)
    try:
        beat()
        thread.start()
        yield check
    finally:
        stop.set()
        if thread.is_alive():
            thread.join(heartbeat.release_seconds)
        with contextlib.suppress(StorageError):
            storage.delete([path])

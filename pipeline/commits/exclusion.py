"""A compaction and a run with `prune=true` exclude each other.

A compaction that has read a segment before a prune may write its rows once more after it. If it is killed then, rows
that were to be removed stay, and nobody knows. The log cannot rule that out, because objects are written before their
entry. So each announces itself with an object of its own, and looks for the other only then: at least one of two that
start at the same time sees the other and ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import ClassVar

from pipeline.commits.life import others_at_work, showing_life
from pipeline.commits.owner import Heartbeat, new_writer_id
from pipeline.commits.process import ProcessDocument, facts_of_this_process
from pipeline.errors import ConfigError
from pipeline.output.layout import BUSY, busy_mark
from pipeline.storage.job_storage import JobStorage


class Work(StrEnum):
    """What excludes each other on one output."""

    COMPACTION = "compaction"
    PRUNE = "prune"


_REFUSALS = {
    Work.COMPACTION: "a run with prune=true is at work on this output: merge its segments when that run has ended.",
    Work.PRUNE: "a compaction is at work on this output and could write again what prune=true removes: run the same "
    "command when it has ended; if it was killed, a minute later.",
}


class Mark(ProcessDocument):
    """The object that says that a process is at work."""

    VERSION: ClassVar[int] = 1


@contextlib.contextmanager
def at_work(storage: JobStorage, work: Work, heartbeat: Heartbeat | None = None) -> Iterator[Callable[[], None]]:
    """Do this work while no process does the other. Gives a function that raises when others may not know of it.

    Raises:
        ConfigError: the other work is being done. A process that was killed counts for `heartbeat.stale_seconds`; a
            prune that was killed on this machine does not count.
        StorageError: the store does not answer.
    """
    heartbeat = heartbeat or Heartbeat()
    writer_id = new_writer_id()
    path = busy_mark(work.value, writer_id)

    def mark() -> Mark:
        return Mark(writer_id=writer_id, **facts_of_this_process())

    with showing_life(storage, path, mark, heartbeat) as check:
        _refuse_others(storage, work, path, heartbeat.stale_seconds)
        yield check


def _refuse_others(storage: JobStorage, work: Work, mine: str, stale_seconds: float) -> None:
    """Raise `ConfigError` if a process does the other work. Marks of dead processes of both kinds are deleted."""
    for path, mark, silent in others_at_work(storage, BUSY, mine, Mark):
        is_compaction = path.startswith(f"{BUSY}/{Work.COMPACTION}-")
        # Mergers of a killed compaction may live on for some seconds, on other machines.
        if silent >= stale_seconds or (mark.is_gone() and not is_compaction):
            storage.delete([path])
        elif is_compaction != (work is Work.COMPACTION):
            raise ConfigError(f"{storage}: {_REFUSALS[work]}")

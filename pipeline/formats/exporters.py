"""Which processes write into the folder of an export, so that two different exports never write there at one time.

Each shows that it lives by an object of its own below `_parts/writers`, and looks for others only then: at least one of
two that start at the same time sees the other and ends. Processes of the same export write together. They write the
same files. But none of them deletes what was there before while another one is at work, because it could be new.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pipeline.commits.life import others_at_work, showing_life
from pipeline.commits.owner import Heartbeat, new_writer_id
from pipeline.commits.process import ProcessDocument, facts_of_this_process
from pipeline.storage.job_storage import JobStorage

PARTS = "_parts"
WRITERS = f"{PARTS}/writers"


class Exporter(ProcessDocument):
    """The object that says that a process writes an export. `export` is a hash of what is exported, and how.

    `has_helpers`: processes of a cluster write for it, which may live on for some seconds when it is killed.
    """

    VERSION: ClassVar[int] = 1

    format: str
    export: str
    has_helpers: bool = False


@dataclass(frozen=True)
class AtWork:
    """This process at work. `twins` write the same export, `rivals` another one; `check` raises as `showing_life`'s."""

    twins: tuple[Exporter, ...]
    rivals: tuple[Exporter, ...]
    check: Callable[[], None]


@contextlib.contextmanager
def exporting(
    storage: JobStorage, identity: Mapping[str, Any], has_helpers: bool, heartbeat: Heartbeat
) -> Iterator[AtWork]:
    """Show that this process writes the export `identity`, and find out who else writes there.

    Raises:
        NewerVersion: a newer program writes there.
        StorageError: the store does not answer.
    """
    export = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    writer_id = new_writer_id()
    path = f"{WRITERS}/{writer_id}.json"

    def mark() -> Exporter:
        return Exporter(
            writer_id=writer_id,
            format=identity["format"],
            export=export,
            has_helpers=has_helpers,
            **facts_of_this_process(),
        )

    with showing_life(storage, path, mark, heartbeat) as check:
        others = _others(storage, path, heartbeat.stale_seconds)
        twins = tuple(one for one in others if one.export == export)
        yield AtWork(twins, tuple(one for one in others if one.export != export), check)


def _others(storage: JobStorage, mine: str, stale_seconds: float) -> list[Exporter]:
    """The other processes at work. What dead ones have left is deleted."""
    found = []
    for path, other, silent in others_at_work(storage, WRITERS, mine, Exporter):
        if silent >= stale_seconds or (other.is_gone() and not other.has_helpers):
            storage.delete([path])
        else:
            found.append(other)
    return found

"""Which process wrote a document of a job, in words that tell it from all other processes of all machines."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from pydantic import Field

from pipeline.storage.documents import Document

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# The clock may be set between two looks at it. A process that gets the same id later starts far more than this later.
_SAME_START_SECONDS = 2.0


class ProcessDocument(Document):
    """A sign of life. `machine`, `process_id` and `started` tell one process from all others.

    `started` is when the process began, in ticks of the kernel's clock since the machine began.
    """

    writer_id: str
    machine: str
    process_id: int = Field(gt=0)
    started: str
    beat_at: str

    def is_gone(self) -> bool:
        """Whether the process ran on this machine and has ended. Of other machines nothing is known: False."""
        return self.machine == _machine() and not _is_running(self.process_id, self.started)


def facts_of_this_process() -> dict[str, Any]:
    """Fields of a `ProcessDocument`, as they are now; all but `writer_id`."""
    return {
        "machine": _machine(),
        "process_id": os.getpid(),
        "started": str(_started_ticks(psutil.Process())),
        "beat_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _machine() -> str:
    """An id of this machine since its start, and of this container in it: outside, process ids mean others."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    return f"{socket.gethostname()}/{uuid.getnode()}"


def _is_running(process_id: int, started: str) -> bool:
    """Whether the process of this machine that began at `started` has not ended. A zombie has ended."""
    try:
        process = psutil.Process(process_id)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(_started_ticks(process) - int(started)) <= _SAME_START_SECONDS * _TICKS_PER_SECOND
    except psutil.NoSuchProcess:
        return False
    except (psutil.AccessDenied, ValueError):
        return True  # there is a process with this id, and no way to tell that it is another one


def _started_ticks(process: psutil.Process) -> int:
    """When a process began. Counted from the start of the machine, because setting the clock does not change that."""
    seconds: float = process.create_time() - psutil.boot_time()
    return round(seconds * _TICKS_PER_SECOND)

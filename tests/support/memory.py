"""Too little memory: the kernel's killer for one process, and what Ray's memory monitor reads."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_LIMITS = {_ROOT / "memory": "memory.limit_in_bytes", _ROOT: "memory.max"}  # versions 1 and 2 of control groups


@contextlib.contextmanager
def little_memory(pid: int, num_bytes: int) -> Iterator[None]:
    """A process may take so much more than it has; beyond, the kernel kills it.

    Raises `OSError` where this process may not make a control group.
    """
    parent, limit = next(
        ((folder, name) for folder, name in _LIMITS.items() if list(folder.glob(f"*/{name}"))),
        (_ROOT, "memory.max"),
    )
    group = parent / f"maskmill-test-{uuid.uuid4().hex[:8]}"
    group.mkdir()
    try:
        (group / limit).write_text(str(num_bytes))
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        with contextlib.suppress(OSError):
            (parent / "cgroup.procs").write_text(str(pid))
        group.rmdir()


class PretendedMemory:
    """Files like those of a control group (version 1) of 8 GB, where Ray looks how full the machine is."""

    num_bytes = 8 << 30

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(f"{self.num_bytes}\n")
        self.use(0.2)

    @property
    def around(self) -> tuple[str, ...]:
        """The start of a command that sees these files and not the machine's."""
        mount = 'mount --make-rprivate / && mount --bind "$0" /sys/fs/cgroup/memory && exec "$@"'
        return ("unshare", "-m", "sh", "-c", mount, str(self.folder))

    def use(self, fraction: float) -> None:
        """So much of it is taken, from now on."""
        used = int(fraction * self.num_bytes)
        names = ("rss", "total_rss")
        zeros = ("cache", "inactive_file", "active_file", "total_cache", "total_inactive_file", "total_active_file")
        lines = [f"{name} {used}" for name in names] + [f"{name} 0" for name in zeros]
        (self.folder / "memory.stat").write_text("\n".join(lines) + "\n")
        (self.folder / "memory.usage_in_bytes").write_text(f"{used}\n")

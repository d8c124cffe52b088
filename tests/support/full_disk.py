"""A disk that is full: the kernel refuses what would make a file longer, as it does where a quota is used up."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

FULL = "File too large"
"""What the kernel says then."""


@contextlib.contextmanager
def full_disk(room_bytes: int = 0) -> Iterator[None]:
    """No file of this process grows beyond `room_bytes` inside: that much of it is written, then comes an `OSError`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

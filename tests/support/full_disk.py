"""A disk that is full: the kernel refuses what would make a file longer, as it does where a quota is used up."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Iterator

import pytest

FULL = "File too large"
"""What the kernel says then."""


@contextlib.contextmanager
def full_disk(room_bytes: int = 0) -> Iterator[None]:
    """No file of this process grows beyond `room_bytes` inside: that much of it is written, then comes an `OSError`.

    Modules that are imported inside leave no byte code. Python 3.11 does not look at how much of it was written, and
    every later process would read a torn file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

"""What tests ask of a CUDA device, real or pretended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch


class Gpu(Protocol):
    """A CUDA device under test."""

    def without_waits(self) -> AbstractContextManager[None]:
        """Fails if the host waits for the device in here."""


class RealGpu:
    """The CUDA device of this machine."""

    @contextmanager
    def without_waits(self) -> Iterator[None]:
        """Fails if the host waits for the device in here."""
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

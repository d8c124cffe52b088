"""What tests ask of a CUDA device, real or pretended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import pytest
import torch

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable by which CUDA, and Ray too, learns which GPUs a process may use."""


@contextmanager
def hidden_gpus() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """In here this process takes no GPU, and the processes that it starts see none. Yields what shows them for a while.

    The variable alone would not do: CUDA reads it once in a process, and one test may ask for a GPU after another one
    was not to see it.
    """
    is_available, visible = torch.cuda.is_available, os.environ.get(VISIBLE)

    @contextmanager
    def shown() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", is_available)
            if visible is None:
                patch.delenv(VISIBLE)
            else:
                patch.setenv(VISIBLE, visible)
            yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setenv(VISIBLE, "")
        yield shown


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

"""A store that cuts the connection at one of the reads of an open object."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO

from pipeline.storage.job_storage import JobStorage
from pipeline.storage.retry import Backoff
from tests.support.quick_storage import QuickStorage


@dataclass(repr=False)
class CutReads(QuickStorage):
    """Read number `cut` of all that are made of open objects, counted from 0, ends in a reset; others are answered."""

    backoff: Backoff = field(default_factory=lambda: Backoff(first_seconds=0.001))
    cut: int = 0
    num_reads: int = 0

    def open_input(self, path: str) -> BinaryIO:
        return _Cut(super().open_input(path).read(), self)


class _Cut(BytesIO):
    def __init__(self, data: bytes, storage: CutReads) -> None:
        super().__init__(data)
        self._storage = storage

    def read(self, *arguments: Any) -> bytes:
        self._storage.num_reads += 1
        if self._storage.num_reads == self._storage.cut + 1:
            raise ConnectionResetError("reset by peer")
        return super().read(*arguments)


def cut_reads(storage: JobStorage, cut: int) -> CutReads:
    """The same job, with one connection that is cut."""
    return CutReads(storage.uri, cut=cut)

"""A job's storage whose process dies at its n-th write: before it, or after it and before the answer."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.support.quick_storage import QuickStorage


class Died(BaseException):
    """What stands for SIGKILL: nothing catches it, nothing after it runs."""


def deaths(num_writes: int, every_nth: int = 1) -> list[tuple[int, bool]]:
    """Where a process dies that makes so many writes: `dies_at` and `dies_after`, before each n-th and after the last.

    The store after write n is the store before write n + 1: one death for each place between two writes is all.
    """
    return [*((write, False) for write in range(every_nth - 1, num_writes, every_nth)), (num_writes - 1, True)]


@dataclass
class DyingStorage(QuickStorage):
    """Counts writes in `num_writes`; dies at number `dies_at`, half of the time after it took effect."""

    dies_at: int = -1
    dies_after: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.num_writes = 0

    def _counted(self, write, *arguments):  # type: ignore[no-untyped-def]
        number, self.num_writes = self.num_writes, self.num_writes + 1
        if number == self.dies_at and not self.dies_after:
            raise Died
        try:
            return write(*arguments)
        finally:  # a refusal is an answer as well
            if number == self.dies_at:
                raise Died

    def create(self, path: str, data: bytes) -> None:
        self._counted(super().create, path, data)

    def replace(self, path: str, data: bytes) -> None:
        self._counted(super().replace, path, data)

    def put_file(self, local: Path, path: str) -> int:
        return self._counted(super().put_file, local, path)

    def adopt(self, local: Path, path: str) -> None:
        self._counted(super().adopt, local, path)

    def move(self, path: str, to: str) -> None:
        self._counted(super().move, path, to)

    def delete_tree(self, path: str) -> None:
        self._counted(super().delete_tree, path)

    def delete(self, paths: Iterable[str]) -> None:
        for path in list(paths):
            self._counted(super().delete, [path])


class KilledOnceStorage(QuickStorage):
    """Kills the process that publishes the second object of all, whichever it is, in the middle of its segment."""

    def put_file(self, local: Path, path: str) -> int:
        for mark in ("first", "second"):
            with contextlib.suppress(FileExistsError):
                Path(f"{self.uri}.{mark}").touch(exist_ok=False)
                if mark == "second":
                    os.kill(os.getpid(), signal.SIGKILL)
                break
        return super().put_file(local, path)

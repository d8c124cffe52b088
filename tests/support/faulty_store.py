"""A store in memory, `faulty://…`: a test counts its requests, and delays or refuses its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

Request = tuple[str, str, int | None, int | None]  # method, path, first byte, byte behind the last


def _answer(request: Request) -> None:
    """Nothing is wrong with this request."""


class FaultyStore(MemoryFileSystem):
    """Calls `before` with each request. What it raises is the store's answer."""

    protocol = "faulty"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    before: ClassVar[Callable[[Request], None]] = staticmethod(_answer)
    requests: ClassVar[list[Request]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        stripped: str = super()._strip_protocol(path.replace("faulty://", "memory://"))
        return stripped

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        self._request("info", path)
        found: dict[str, Any] = super().info(path, **options)
        return found

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        self._request("cat_file", path, start, end)
        data: bytes = super().cat_file(path, start=start, end=end, **options)
        return data

    def _request(self, method: str, path: str, start: int | None = None, end: int | None = None) -> None:
        request = method, path, start, end
        self.requests.append(request)
        type(self).before(request)


fsspec.register_implementation("faulty", FaultyStore, clobber=True)


@pytest.fixture
def faulty_store() -> Iterator[type[FaultyStore]]:
    """The class, with an empty store that answers everything."""
    FaultyStore.store.clear()
    FaultyStore.pseudo_dirs[:] = [""]
    FaultyStore.requests.clear()
    FaultyStore.before = staticmethod(_answer)
    yield FaultyStore
    FaultyStore.store.clear()
    FaultyStore.before = staticmethod(_answer)

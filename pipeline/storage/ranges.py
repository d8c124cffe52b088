"""A remote object as a seekable file: blocks fetched by byte range, a bounded number of them kept.

One cache serves several readers (the forward and the backward pass over a video, say), so that what one of them has
fetched is not fetched again by the next.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import fsspec

from pipeline.storage.s3_files import S3File
from pipeline.storage.schemes import is_s3, is_web
from pipeline.storage.web_files import WebFile

Fetch = Callable[[int, int], bytes]


def remote_file(
    filesystem: fsspec.AbstractFileSystem, path: str, info: Mapping[str, Any] | None = None
) -> tuple[int | None, Fetch]:
    """Size of a file in bytes and what fetches a range of it. Errors pass.

    The size is `None` where the server does not say it, or sends the whole file for each range: it is to be downloaded.
    `info` is what the file system says of the file, for whoever has asked it already.
    """
    if info is None:
        info = filesystem.info(path)
    if is_web(filesystem.protocol):
        file = WebFile(filesystem, path, info)
        return file.num_bytes(), file.fetch
    num_bytes: int | None = info.get("size")
    if num_bytes is not None and is_s3(filesystem.protocol):
        return num_bytes, S3File(filesystem, path, num_bytes).fetch

    def fetch(start: int, stop: int) -> bytes:
        data: bytes = filesystem.cat_file(path, start=start, end=stop)
        return data

    return num_bytes, fetch


class BlockCache:
    """The last used blocks of an object of `num_bytes`; `fetch(start, stop)` gets what is missing.

    Any number of threads may read. A block is fetched once, also if several wait for it, and who reads other blocks
    meanwhile waits for none. With `reads_ahead` the next block of a file that is read from place to place is fetched
    in a thread of its own.
    """

    def __init__(
        self,
        fetch: Fetch,
        num_bytes: int,
        *,
        block_bytes: int = 4 << 20,
        max_blocks: int = 16,
        reads_ahead: bool = False,
    ) -> None:
        self.num_bytes = num_bytes
        self.block_bytes = block_bytes
        self._fetch = fetch
        self._max_blocks = max_blocks
        self._reads_ahead = reads_ahead
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._coming: dict[int, Future[bytes]] = {}
        self._lock = threading.Lock()  # for the books; nobody holds it while bytes are on their way

    def read(self, start: int, stop: int) -> bytes:
        """Bytes `[start, stop)`, at most to the end of the block that holds `start`. Raises what `fetch` raises."""
        stop = min(stop, self.num_bytes)
        if start >= stop:
            return b""
        number, offset = divmod(start, self.block_bytes)
        return self._block(number)[offset : offset + stop - start]

    def expect(self, position: int) -> None:
        """Somebody reads on from here: once half of the block is behind him, the next one is fetched."""
        number, offset = divmod(position, self.block_bytes)
        following = number + 1
        if not self._reads_ahead or 2 * offset < self.block_bytes or following * self.block_bytes >= self.num_bytes:
            return
        with self._lock:
            if following in self._blocks or following in self._coming:
                return
            coming = self._coming[following] = Future()
        try:
            threading.Thread(target=self._bring, args=(following, coming), name="read-ahead", daemon=True).start()
        except RuntimeError as error:  # this machine makes no more threads: who needs the block fetches it
            with self._lock:
                del self._coming[following]
            coming.set_exception(error)

    def _block(self, number: int) -> bytes:
        while True:
            with self._lock:
                block = self._blocks.get(number)
                if block is not None:
                    self._blocks.move_to_end(number)
                    return block
                others = self._coming.get(number)
                own: Future[bytes] | None = None
                if others is None:
                    own = self._coming[number] = Future()
            if own is not None:
                self._bring(number, own)
                return own.result()
            if others is not None and others.exception() is None:
                return others.result()
            # Who fetched it has failed. This reader tries for itself.

    def _bring(self, number: int, coming: Future[bytes]) -> None:
        """Fetch a block and keep it. What goes wrong is said by `coming`."""
        start = number * self.block_bytes
        stop = min(start + self.block_bytes, self.num_bytes)
        try:
            block = self._fetch(start, stop)
            if len(block) != stop - start:
                raise TimeoutError(f"storage answered {len(block)} of {stop - start} bytes")
        except BaseException as error:  # noqa: BLE001 - it is raised where the block is read
            with self._lock:
                del self._coming[number]
            coming.set_exception(error)
            return
        with self._lock:
            del self._coming[number]
            self._blocks[number] = block
            while len(self._blocks) > self._max_blocks:
                self._blocks.popitem(last=False)
        coming.set_result(block)


class RangeFile(io.RawIOBase):
    """A read-only file over the bytes of a cached object."""

    def __init__(self, cache: BlockCache) -> None:
        super().__init__()
        self._cache = cache
        self._position = 0
        self._reads_since = 0  # where the bytes begin that were read one after the other up to here

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` from the present position; 0 bytes at the end."""
        data = self._cache.read(self._position, self._position + len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        if data and 2 * (self._position - self._reads_since) >= self._cache.block_bytes:
            self._cache.expect(self._position)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place; the new position is returned."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._cache.num_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}, before the start")
        # A demuxer that leaves sound out skips a little now and then, and goes on reading there.
        if not 0 <= base + offset - self._position <= self._cache.block_bytes // 8:
            self._reads_since = base + offset
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

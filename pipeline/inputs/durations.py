"""How long a video will take, roughly, before anybody opens it: by the size of its file, where no table says.

Only for the order of work. What cannot be found out quickly is 0, which comes last and harms nothing.
"""

from __future__ import annotations

import contextlib
import stat
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.storage.uris import StorageOptions, is_local, local_path, open_filesystem, split_tar_member

FloatArray = npt.NDArray[np.float64]

BYTES_PER_SECOND = 250_000.0  # of an ordinary video; of consequence only beside videos whose duration is known
_STEPS_PER_OCTAVE = 2
_NOT_ASKED = ("http://", "https://")
_PARALLEL_REQUESTS = 16
_PATIENCE_SECONDS = 3.0


class FileSizes:
    """The sizes of the files of some videos; the stores are asked from the moment this is made, in other threads.

    Local files are looked up always, those of object stores only with `ask_stores`, a request each. Web servers are
    not asked: they are other people's. Members of tars, folders and whatever cannot be looked up are not known.
    """

    def __init__(
        self, uris: Sequence[str | None], storage_options: StorageOptions | None = None, *, ask_stores: bool
    ) -> None:
        self._sizes = np.zeros(len(uris))
        self._storage_options = storage_options
        self._to_ask: deque[tuple[int, str]] = deque()
        for number, uri in enumerate(uris):
            if uri is None or split_tar_member(uri) is not None:
                continue
            if is_local(uri):
                self._sizes[number] = _local_size(uri)
            elif ask_stores and not uri.startswith(_NOT_ASKED):
                self._to_ask.append((number, uri))
        # Not a pool: the end of the program waits for a pool's threads, and a server may hang.
        count = min(_PARALLEL_REQUESTS, len(self._to_ask))
        self._threads = [threading.Thread(target=self._ask, name="sizes", daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def seconds(self, patience_seconds: float = _PATIENCE_SECONDS) -> FloatArray:
        """Seconds of video that the files may hold, `[N]`, 0 = not known; waits so long for stores, but not longer.

        Rounded, so that files that are about equally long keep their order.
        """
        deadline = time.monotonic() + patience_seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._to_ask.clear()
        sizes = self._sizes.copy()
        known = sizes > 0
        octaves = np.log2(sizes[known] / BYTES_PER_SECOND)
        sizes[known] = 2.0 ** (np.round(octaves * _STEPS_PER_OCTAVE) / _STEPS_PER_OCTAVE)
        return sizes

    def _ask(self) -> None:
        with contextlib.suppress(IndexError):  # nothing is left to ask for
            while True:
                number, uri = self._to_ask.popleft()
                self._sizes[number] = _remote_size(uri, self._storage_options)


def _local_size(uri: str) -> int:
    try:
        found = Path(local_path(uri)).stat()
    except (OSError, ValueError):
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _remote_size(uri: str, storage_options: StorageOptions | None) -> int:
    try:
        filesystem, path = open_filesystem(uri, storage_options)
        found = filesystem.info(path)
    except Exception:  # noqa: BLE001  # whatever a store says here, the worker that opens the video will report
        return 0
    return int(found.get("size") or 0) if found.get("type", "file") == "file" else 0

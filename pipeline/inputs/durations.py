"""How long a video roughly is, guessed from the size of its file, for videos whose duration no table says.

Only the order of work depends on it. A size that cannot be looked up quickly counts as 0, and its video comes last.
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

from pipeline.arrays import Float64Array
from pipeline.storage.addresses import DEFAULT_RULES, AddressRules
from pipeline.storage.checked import open_checked
from pipeline.storage.schemes import Place, scheme_of
from pipeline.storage.uris import StorageOptions, is_local, local_path, split_tar_member

BYTES_PER_SECOND = 250_000.0  # of an ordinary video; matters only beside videos whose duration is known
_STEPS_PER_OCTAVE = 2  # sizes are rounded to steps of a factor √2
_PARALLEL_REQUESTS = 16
_PATIENCE_SECONDS = 3.0


class FileSizes:
    """The sizes of the files of some videos, looked up in other threads from the moment this is made.

    Local files are always looked up. Object stores are asked only with `ask_stores`, one request a file. Web servers
    are never asked, because they belong to others. Members of tars, folders and addresses that
    `rules` refuse have no known size.
    """

    def __init__(
        self,
        uris: Sequence[str | None],
        storage_options: StorageOptions | None = None,
        *,
        ask_stores: bool,
        rules: AddressRules = DEFAULT_RULES,
    ) -> None:
        self._sizes = np.zeros(len(uris))
        self._storage_options = storage_options
        self._rules = rules
        self._to_ask: deque[tuple[int, str]] = deque()
        for number, uri in enumerate(uris):
            if uri is None or split_tar_member(uri) is not None:
                continue
            if is_local(uri):
                self._sizes[number] = _local_size(uri) if rules.allows(uri) else 0
            elif ask_stores and scheme_of(uri).place is not Place.WEB:
                self._to_ask.append((number, uri))
        # Daemon threads and no pool, because the end of the program waits for a pool's threads and a server may hang.
        count = min(_PARALLEL_REQUESTS, len(self._to_ask))
        self._threads = [threading.Thread(target=self._ask, name="sizes", daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def seconds(self, patience_seconds: float = _PATIENCE_SECONDS) -> Float64Array:
        """Seconds of video that the files may hold, `[N]`; 0 = not known. Waits at most so long for stores.

        The seconds are rounded to steps of a factor 1.4, so that files of about equal size keep their order.
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
        with contextlib.suppress(IndexError):  # raised by popleft when no file is left
            while True:
                number, uri = self._to_ask.popleft()
                self._sizes[number] = _remote_size(uri, self._storage_options, self._rules)


def _local_size(uri: str) -> int:
    try:
        found = Path(local_path(uri)).stat()
    except (OSError, ValueError):
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _remote_size(uri: str, storage_options: StorageOptions | None, rules: AddressRules) -> int:
    try:
        filesystem, path = open_checked(uri, storage_options, rules)
        found = filesystem.info(path)
    except Exception:  # noqa: BLE001  # the worker that opens the video will report the error
        return 0
    return int(found.get("size") or 0) if found.get("type", "file") == "file" else 0

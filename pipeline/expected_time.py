"""How long a video will take, roughly, before anybody opens it: by the size of its file, where no table says.

Only for the order of work. What cannot be found out quickly is 0, which comes last and harms nothing.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.uris import StorageOptions, is_local, local_path, open_filesystem, split_tar_member

FloatArray = npt.NDArray[np.float64]

BYTES_PER_SECOND = 250_000.0  # of an ordinary video; of consequence only beside videos whose duration is known
_STEPS_PER_OCTAVE = 2
_PARALLEL_REQUESTS = 16
_PATIENCE_SECONDS = 3.0


def seconds_by_size(
    uris: Sequence[str | None],
    storage_options: StorageOptions | None = None,
    *,
    ask_stores: bool,
    patience_seconds: float = _PATIENCE_SECONDS,
) -> FloatArray:
    """Seconds of video that the files of `uris` may hold, `[N]`; 0 where that is not known (folders, members of tars).

    Local files are looked up always, others only with `ask_stores`: a request each, several at a time, and for
    `patience_seconds` at most. Sizes are rounded, so that files that are about equally long keep their order.
    """
    sizes = np.zeros(len(uris))
    remote: dict[int, str] = {}
    for number, uri in enumerate(uris):
        if uri is None or split_tar_member(uri) is not None:
            continue
        if is_local(uri):
            sizes[number] = _local_size(uri)
        else:
            remote[number] = uri
    if ask_stores and remote:
        for number, size in _remote_sizes(remote, storage_options, patience_seconds).items():
            sizes[number] = size
    known = sizes > 0
    octaves = np.log2(sizes[known] / BYTES_PER_SECOND)
    sizes[known] = 2.0 ** (np.round(octaves * _STEPS_PER_OCTAVE) / _STEPS_PER_OCTAVE)
    return sizes


def _local_size(uri: str) -> int:
    try:
        found = Path(local_path(uri)).stat()
    except (OSError, ValueError):
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _remote_sizes(uris: dict[int, str], storage_options: StorageOptions | None, seconds: float) -> dict[int, int]:
    """Sizes by number, of those that the stores have answered in time."""
    pool = ThreadPoolExecutor(_PARALLEL_REQUESTS, "sizes")
    calls = {pool.submit(partial(_remote_size, uri, storage_options)): number for number, uri in uris.items()}
    answered, _ = wait(calls, timeout=seconds)
    pool.shutdown(wait=False, cancel_futures=True)
    return {calls[call]: call.result() for call in answered}


def _remote_size(uri: str, storage_options: StorageOptions | None) -> int:
    try:
        filesystem, path = open_filesystem(uri, storage_options)
        found = filesystem.info(path)
    except Exception:  # noqa: BLE001  # whatever a store says here, the worker that opens the video will report
        return 0
    return int(found.get("size") or 0) if found.get("type", "file") == "file" else 0

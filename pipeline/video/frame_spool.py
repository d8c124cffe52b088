"""Frames kept on local disk for walking backward: the newest ones within a budget of bytes, losslessly packed.

Legend: H, W pixels; frames are uint8 `[H, W, 3]`.
"""

from __future__ import annotations

import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from pipeline.arrays import UInt8Array

_NUM_PARTS = 16  # when the budget is used up, the oldest sixteenth of the frames is forgotten


@dataclass
class _Part:
    """A temporary file without a name, which vanishes with its process even if that is killed."""

    file: IO[bytes]
    num_bytes: int
    frames: list[tuple[int, int, int]]  # label, offset in the file, number of bytes


class FrameSpool:
    """Keeps the newest frames: at most `max_bytes` of them on disk, and always the last one, however large."""

    def __init__(self, max_bytes: int, folder: Path | None = None) -> None:
        self._part_bytes = max(1, max_bytes // _NUM_PARTS)
        self._folder = folder
        self._codec = pa.Codec("lz4")  # of Arrow's quick codecs the smallest on drawn frames, and equal on real ones
        self._parts: deque[_Part] = deque()
        self._shape: tuple[int, ...] = ()

    def put(self, label: int, pixels_HW3: UInt8Array) -> None:
        """Add a frame. The oldest ones are forgotten when the budget is used up. Raises `OSError` on a full disk."""
        self._shape = pixels_HW3.shape
        packed = self._codec.compress(np.ascontiguousarray(pixels_HW3).reshape(-1).data, asbytes=True)
        if not self._parts or self._parts[-1].num_bytes >= self._part_bytes:
            if len(self._parts) == _NUM_PARTS:
                self._parts.popleft().file.close()
            file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed with the part
            self._parts.append(_Part(file, 0, []))
        part = self._parts[-1]
        part.frames.append((label, part.num_bytes, len(packed)))
        part.file.write(packed)
        part.num_bytes += len(packed)

    def pop(self) -> tuple[int, UInt8Array] | None:
        """Take the newest frame and its label out; `None` when no frame is left."""
        while self._parts:
            part = self._parts[-1]
            if part.frames:
                label, offset, num_bytes = part.frames.pop()
                part.file.seek(offset)
                return label, self._unpack(part.file.read(num_bytes))
            self._parts.pop().file.close()
        return None

    def close(self) -> None:
        """Free the disk."""
        while self._parts:
            self._parts.pop().file.close()

    def _unpack(self, packed: bytes) -> UInt8Array:
        num_bytes = int(np.prod(self._shape))
        raw = self._codec.decompress(packed, decompressed_size=num_bytes)
        # A copy, because torch wants memory that it may write to.
        return np.frombuffer(raw, dtype=np.uint8).reshape(self._shape).copy()

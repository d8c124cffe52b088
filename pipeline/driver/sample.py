"""Some of the videos that a run has labeled: as many as asked for, whichever they are, in bounded memory."""

from __future__ import annotations

import hashlib
import heapq


class Sample:
    """The `most` ids with the lowest hashes of all that were added: the same ones in whatever order they came."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: list[tuple[int, str]] = []  # a heap of negative hashes: the highest one is the first

    def add(self, video_id: str) -> None:
        """Take a video that was not taken before."""
        if not self._most:
            return
        number = -int.from_bytes(hashlib.blake2b(video_id.encode(), digest_size=8).digest())
        push = heapq.heappush if len(self._kept) < self._most else heapq.heappushpop
        push(self._kept, (number, video_id))

    @property
    def video_ids(self) -> list[str]:
        """The ids that are kept, sorted."""
        return sorted(video_id for _, video_id in self._kept)

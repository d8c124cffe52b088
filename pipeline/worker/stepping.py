"""Which videos of a worker step next: those whose frames are decoded, so that none waits for a slower one.

A worker labels the first few of its videos. Each of them steps as soon as its next frames are here, and those that can
step at the same time share a batch. The others lie in the inbox; the first of them are fetched and decoded ahead.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Generic, Protocol, TypeVar

# How long to wait before the last masks of a video are looked for again, and before hangs are looked for.
_LAST_MASKS_SECONDS = 0.001
_HANGS_SECONDS = 1.0


class Stepping(Protocol):
    """What is asked of a video; see `pipeline.worker.video_in_flight.VideoInFlight`."""

    @property
    def is_ready(self) -> bool: ...

    @property
    def is_at_its_end(self) -> bool: ...

    @property
    def is_by_itself(self) -> bool: ...

    def begin_fetch(self) -> None: ...

    def check_progress(self) -> None: ...


V = TypeVar("V", bound=Stepping)


class Lane(Generic[V]):
    """The videos of a worker in the order in which they came; the first `limit` of them are labeled.

    A video at its end does not count, because nothing of it is computed any more: only its last masks are on their way.
    `arrived` is called by any thread when frames have come. `wait` waits for that, at most for some seconds. `relax` is
    called when nothing is waited for any more.
    """

    def __init__(
        self,
        limit: int,
        *,
        relax: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._limit = limit
        self._relax = relax
        self._clock = clock
        self._event = threading.Event()
        self._wait = wait or self._event.wait
        self._videos: deque[V] = deque()
        self.arrived = self._event.set

    def __iter__(self) -> Iterator[V]:
        return iter(tuple(self._videos))

    def __len__(self) -> int:
        return len(self._videos)

    def __contains__(self, video: object) -> bool:
        return video in self._videos

    def add(self, video: V) -> None:
        """A video that comes after all others."""
        self._videos.append(video)
        self._fetch_ahead()

    def remove(self, video: V) -> None:
        """A video that has left."""
        self._videos.remove(video)
        self._fetch_ahead()

    def clear(self) -> None:
        """All videos have left."""
        self._videos.clear()

    def next_batch(self, deadline: float) -> list[V]:
        """The videos that can step now, those at their end included. Waits for one until `deadline`, or for a second.

        Raises what `check_progress` raises of a video, if there is nothing else to do meanwhile.
        """
        self._event.clear()
        # Videos that have come to their end since make room for others, also where none was added or removed.
        self._fetch_ahead()
        if not (ready := self._ready()) and (left := deadline - self._clock()) > 0:
            is_ending = any(video.is_at_its_end for video in self._videos)
            self._wait(min(left, _LAST_MASKS_SECONDS if is_ending else _HANGS_SECONDS))
            ready = self._ready()
        if ready:
            self._relax()
        else:
            for video in self._labeled():
                video.check_progress()
        return ready + [video for video in self._videos if video.is_at_its_end]

    def _ready(self) -> list[V]:
        return [video for video in self._labeled() if video.is_ready]

    def _fetch_ahead(self) -> None:
        """Begin to fetch those that are labeled and as many more: they may all end at once, as clips of one length do.

        No more, because the first frames of each take 50 MB. Videos at their end do not count, as in `_labeled`.
        """
        for video in islice((video for video in self._videos if not video.is_at_its_end), 2 * self._limit):
            video.begin_fetch()

    def _labeled(self) -> list[V]:
        """The videos whose turn it is. One by itself shares the device with no other, and waits until it is first."""
        videos = [video for video in self._videos if not video.is_at_its_end]
        if not videos:
            return []
        first = videos[0]
        limit = 1 if first.is_by_itself else self._limit
        return [video for video in islice(videos, limit) if video is first or not video.is_by_itself]

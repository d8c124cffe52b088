"""Videos that storage refuses while it answers others: how long each of them is tried before it is left alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

# Between two outages storage answered, so after so many it is the video's address that is bad, or the disk where it is
# labelled.
_MAX_OUTAGES = 5


@dataclass
class _Refused:
    outages: set[int] = field(default_factory=set)
    tried_seconds: float = 0.0


class Refusals:
    """Counts refusals by video. `patience_seconds` is how long one video is tried, waiting for its turn left out."""

    def __init__(self, patience_seconds: float = math.inf) -> None:
        self._patience_seconds = patience_seconds
        self._num_outages = 0
        self._offered_at: dict[str, float] = {}
        self._refused: dict[str, _Refused] = {}

    def storage_is_back(self) -> None:
        """Storage answered: what it refuses from now on is another outage."""
        self._num_outages += 1

    def offered(self, video_ids: Iterable[str], now: float) -> None:
        """These videos are tried from now on."""
        self._offered_at.update(dict.fromkeys(video_ids, now))

    def add(self, video_id: str, now: float, retry_at: float) -> bool:
        """Storage refused a video, which is tried again after `retry_at`. True: often and long enough to give it up."""
        refused = self._refused.setdefault(video_id, _Refused())
        refused.outages.add(self._num_outages)
        refused.tried_seconds += max(now, retry_at) - self._offered_at.get(video_id, now)
        return len(refused.outages) >= _MAX_OUTAGES and refused.tried_seconds > self._patience_seconds

    def forget(self, video_id: str) -> None:
        """A video is labelled, or has come further than before."""
        self._offered_at.pop(video_id, None)
        self._refused.pop(video_id, None)

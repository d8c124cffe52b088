"""How fast workers finish videos, so that the driver knows how many of them are work for some seconds."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.records import WorkItem

_FORGET = 0.02  # of what is known, with each report that finishes a video: about the last 50 reports count


class Tempo:
    """Seconds that a worker needs for a video, as reports have shown lately, over all workers of the job.

    A worker that has several videos in flight needs the time of one for all of them together, so its seconds are
    those from call to report, divided among the videos that it has finished in them. Videos whose length is known
    count by their length.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._num_videos = 0.0
        self._expected_seconds = 0.0

    def finished(self, items: Sequence[WorkItem], seconds: float) -> None:
        """A worker has finished these videos, and has worked for so long since it finished others."""
        keep = 1.0 - _FORGET
        self._seconds = keep * self._seconds + seconds
        self._num_videos = keep * self._num_videos + len(items)
        self._expected_seconds = keep * self._expected_seconds + sum(item.expected_seconds for item in items)

    def seconds(self, item: WorkItem) -> float:
        """How long a worker will need for this video; infinity while no video is finished."""
        if not self._num_videos:
            return float("inf")
        mean_seconds, mean_expected = self._seconds / self._num_videos, self._expected_seconds / self._num_videos
        is_known = item.expected_seconds > 0 and mean_expected > 0
        return mean_seconds * item.expected_seconds / mean_expected if is_known else mean_seconds

"""How a job shows itself: in a line, and in Jupyter with counts and its first videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.notebook.html import card, pictures_or_why
from pipeline.records import Status
from pipeline.text import counted, escaped

if TYPE_CHECKING:
    from pipeline.notebook.clip import Clip
    from pipeline.notebook.pictures import Picture

_NUM_THUMBNAILS = 4
_NUM_ROWS = 20
_COLUMNS = ["video_id", "status", "num_frames", "num_tracks", "num_tracks_failed", "num_masks", "message"]


@dataclass(frozen=True)
class JobFacts:
    """What the log counts of a job at `place`: its finished videos with their status, tracks and masks."""

    place: str
    videos: Sequence[tuple[str, Status]]
    num_tracks: int
    num_masks: int

    def line(self) -> str:
        """All in one line."""
        statuses = Counter(status for _, status in self.videos)
        words = ", ".join(f"{statuses[status]} {status.value}" for status in Status if statuses[status])
        videos = f"{counted(len(self.videos), 'video')} finished{f' ({words})' if words else ''}"
        return f"<job {escaped(self.place)}: {videos}, {counted(self.num_tracks, 'track')}, {self.num_masks:,} masks>"


def job_card(facts: JobFacts, open_clip: Callable[[str], Clip], rows_of: Callable[[Sequence[str]], pa.Table]) -> str:
    """For Jupyter: what the log counts, a picture of each of the first videos that are `ok`, and its first videos."""
    videos = sorted(facts.videos)

    figures: list[str] = []
    note = ""
    for video_id in [video_id for video_id, status in videos if status is Status.OK][:_NUM_THUMBNAILS]:
        found, reason = pictures_or_why(partial(_thumbnail, video_id, open_clip))
        figures += found
        note = note or reason
    first = videos[:_NUM_ROWS]
    left = len(videos) - len(first)
    note = ". ".join(filter(None, (note, f"{left} more videos: job.videos()" if left else "")))
    rows = rows_of([video_id for video_id, _ in first]).select(_COLUMNS)
    return card(facts.line().strip("<>"), figures, note, rows)


def _thumbnail(video_id: str, open_clip: Callable[[str], Clip]) -> list[tuple[str, Picture]]:
    """A frame of the middle of a video; none if nothing of it has masks."""
    clip = open_clip(video_id)
    indexes = clip.frame_indexes
    middle = [int(index) for index in indexes[len(indexes) // 2 :][:1]]
    return [(video_id, picture) for _, picture in clip.thumbnails(middle)]

"""A job of drawn masks that goes through rounds of reviews, without a model and without workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline import tables
from pipeline.commits.round_state import FIRST_ROUND
from pipeline.output.segment_writer import LabeledVideo
from pipeline.records import Reason
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo, drawn_video
from tests.support.labeled import driver, publish


class Rounds:
    """What a driver does: videos are committed, and a round begins with those that reviewers corrected."""

    def __init__(self, storage: JobStorage, spool: Path) -> None:
        self.storage = storage
        self.spool = spool
        self.log, self.keeper = driver(storage, spool)

    def commit(self, *videos: DrawnVideo | LabeledVideo) -> None:
        """These videos are labeled, in one segment."""
        drawn = [drawn_video(video) if isinstance(video, DrawnVideo) else video for video in videos]
        self.keeper.commit([publish(self.storage, self.spool, *drawn)])

    def begin(self, *video_ids: str, keep: int = 3) -> None:
        """The next round begins: these videos are to be labeled again."""
        number = self.log.state.round + 1
        self.log.set_round(number, max(FIRST_ROUND, number - keep))
        self.keeper.forget(video_ids, dict.fromkeys(video_ids, Reason.REVIEW), video_ids)

    def open(self, **options: Any) -> tables.JobTables:
        """The tables as the log stands now."""
        return tables.open(self.storage.uri, self.storage.storage_options, **options)

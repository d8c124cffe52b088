"""A job of drawn masks that goes through rounds of reviews, without a model and without workers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline import tables
from pipeline.commits.round_state import FIRST_ROUND
from pipeline.output.schema import TRACKS, VIDEOS
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
        self._made: dict[tuple[str, int], tuple[int, datetime]] = {}

    def commit(self, *videos: DrawnVideo, kept: Collection[tuple[str, int]] = ()) -> None:
        """These videos are labeled in this round, in one segment, but for objects that were labeled before."""
        drawn = [self._labeled(drawn_video(video), kept) for video in videos]
        self.keeper.commit([publish(self.storage, self.spool, *drawn)])

    def _labeled(self, video: LabeledVideo, kept: Collection[tuple[str, int]]) -> LabeledVideo:
        number, now = self.log.state.round, datetime.now(UTC)
        rows = video.tracks.to_pylist()
        for row in rows:
            key = row["video_id"], row["object_id"]
            if key not in kept:
                self._made[key] = number, now
            row["round"], row["labeled_at"] = self._made[key]
        made = pa.Table.from_pylist([video.video.to_pylist()[0] | {"finished_at": now}], VIDEOS)
        review_hash = f"corrections of round {number}" if number > FIRST_ROUND else ""
        outcome = replace(video.outcome, details=replace(video.outcome.details, review_hash=review_hash))
        return replace(video, tracks=pa.Table.from_pylist(rows, TRACKS), video=made, outcome=outcome)

    def begin(self, *video_ids: str, keep: int = 3, is_forgotten: bool = False) -> None:
        """The next round begins: these videos are to be labeled again.

        Where it `is_forgotten` what they had, an earlier program has begun it.
        """
        number = self.log.state.round + 1
        self.log.set_round(number, max(FIRST_ROUND, number - keep))
        if is_forgotten:
            self.keeper.forget(video_ids, dict.fromkeys(video_ids, Reason.REVIEW), video_ids)
        else:
            self.keeper.set_aside(video_ids)

    def open(self, **options: Any) -> tables.JobTables:
        """The tables as the log stands now."""
        return tables.open(self.storage.uri, self.storage.storage_options, **options)

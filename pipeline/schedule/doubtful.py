"""The share of doubtful tracks in what a run has labeled, by the doubt that its workers have measured."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow.compute as pc

from pipeline.commits.run_document import DoubtCount
from pipeline.pages.mask_figures import WORTH_A_LOOK
from pipeline.tables import JobTables


def count_doubtful(job: JobTables, video_ids: Collection[str]) -> DoubtCount:
    """Doubtful ones among the visible tracks of these videos. Tracks that nobody has measured are not counted.

    Raises `StorageError` if the store does not answer.
    """
    tracks = job.tracks(video_ids).select(["video_id", "num_visible", "doubt"])
    measured = tracks.filter((pc.field("num_visible") > 0) & pc.field("doubt").is_valid())
    return DoubtCount(
        num_videos=len(pc.unique(measured["video_id"])),
        num_tracks=measured.num_rows,
        num_doubtful=measured.filter(pc.field("doubt") >= WORTH_A_LOOK).num_rows,
    )

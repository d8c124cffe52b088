"""The share of doubtful tracks in what a run has labeled: a sample of its videos is read, by columns without masks."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from pipeline.commits.run_document import DoubtCount
from pipeline.pages.mask_figures import WORTH_A_LOOK
from pipeline.quality.doubt import signals
from pipeline.quality.signals import COLUMNS
from pipeline.quality.track_rows import whole_tracks
from pipeline.tables import JobTables

_BATCH_ROWS = 1 << 16


def count_doubtful(job: JobTables, video_ids: Collection[str]) -> DoubtCount:
    """Doubtful ones among the visible tracks of these videos.

    Raises `FileNotFoundError` if a compaction has replaced segments meanwhile, and `StorageError` if the store does not
    answer.
    """
    rows = job.videos(video_ids).select(["video_id", "height", "width"]).to_pylist()
    sizes = {row["video_id"]: (row["height"], row["width"]) for row in rows if row["height"] and row["width"]}
    scanner = job.masks(video_ids).scanner(
        columns=list(COLUMNS), batch_size=_BATCH_ROWS, batch_readahead=2, fragment_readahead=2, use_threads=False
    )
    num_tracks = num_doubtful = 0
    videos: set[str] = set()
    for tracks in whole_tracks(scanner.to_batches()):
        found = signals(tracks, sizes.get)
        is_visible = tracks.sums(tracks.column("area") > 0) > 0
        num_tracks += int(np.count_nonzero(is_visible))
        num_doubtful += int(np.count_nonzero(is_visible & (found.doubt >= WORTH_A_LOOK)))
        videos.update(np.asarray(tracks.video_ids, object)[is_visible].tolist())
    return DoubtCount(num_videos=len(videos), num_tracks=num_tracks, num_doubtful=num_doubtful)

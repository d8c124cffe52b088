"""The most doubtful and the soundest tracks of a job, by the doubt that `tracks` holds, as a queue has them by doubt.

Grounds with their values and frames are measured again, of the few tracks that are shown.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.output.schema import SORT_KEYS
from pipeline.quality.doubt import signals
from pipeline.quality.reasons import Doubt
from pipeline.quality.shapes import with_shapes
from pipeline.quality.signals import COLUMNS, SizeOf
from pipeline.quality.track_rows import whole_tracks
from pipeline.tables import JobTables


def is_measured(tracks: pa.Table) -> bool:
    """Whether each visible track has a doubt. Those of earlier programs have none."""
    visible = tracks.filter(pc.field("num_visible") > 0)
    return bool(visible["doubt"].null_count == 0)


def most_doubtful(job: JobTables, tracks: pa.Table, size_of: SizeOf, most: int, least: float) -> list[Doubt]:
    """The tracks with the highest doubt, of `least` or more, with their grounds.

    Raises `FileNotFoundError` if a running job or a compaction has replaced segments meanwhile.
    """
    doubtful = tracks.filter((pc.field("num_visible") > 0) & (pc.field("doubt") >= least))
    keys = [("doubt", "descending"), ("video_id", "ascending"), ("object_id", "ascending")]
    rows = doubtful.select(["video_id", "object_id", "doubt"]).sort_by(keys).slice(0, most).to_pylist()
    by_video: dict[str, list[int]] = {}
    for row in rows:
        by_video.setdefault(row["video_id"], []).append(row["object_id"])
    found: dict[tuple[str, int], Doubt] = {}
    for video_id, object_ids in by_video.items():
        found |= {(video_id, doubt.object_id): doubt for doubt in _measured(job, video_id, object_ids, size_of)}
    shown = []
    for row in rows:
        grounds = found[key].grounds if (key := (row["video_id"], row["object_id"])) in found else ()
        shown.append(Doubt(*key, row["doubt"], grounds))
    return shown


def _measured(job: JobTables, video_id: str, object_ids: Sequence[int], size_of: SizeOf) -> list[Doubt]:
    """The doubt of some tracks of a video, of all of its rows, because tracks are measured against one another."""
    size_hw = size_of(video_id)
    masks = job.masks([video_id], columns=[*COLUMNS, "rle"]).to_table()
    if size_hw is None or not masks.num_rows:
        return []
    rows = with_shapes(masks.sort_by([(key, "ascending") for key in SORT_KEYS["masks"]]), size_hw)
    found = []
    for tracks in whole_tracks(rows.to_batches()):
        measured = signals(tracks, size_of)
        places = np.flatnonzero(np.isin(tracks.object_ids, object_ids))
        found += [measured.of(place) for place in places.tolist()]
    return found


def soundest(tracks: pa.Table, most: int) -> list[Doubt]:
    """Visible tracks of high predicted IoU and little doubt, those first; short ones say less. Without grounds."""
    visible = tracks.filter(pc.field("num_visible") > 0)
    iou, count, doubt = (visible[name].to_numpy() for name in ("predicted_iou_mean", "num_visible", "doubt"))
    order = np.argsort(-(iou - 0.5 / np.maximum(count, 1) - doubt), kind="stable")[:most]
    rows = visible.select(["video_id", "object_id", "doubt"]).take(pa.array(order)).to_pylist()
    return [Doubt(row["video_id"], row["object_id"], row["doubt"], ()) for row in rows]

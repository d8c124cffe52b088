"""What a report says of masks: how scores and areas are spread, and which tracks are doubtful. One pass over rows.

Memory holds counts and the few tracks that are shown. A job of more rows than `most_rows` is read in part: some videos,
chosen by a hash of their id, for the distributions. Tracks are ranked by the doubt that `tracks` tells, but for those
with a verdict, as in the queue. Where an earlier program labeled some of them, which told none, all are ranked by their
rows without codes of masks, and in a large job those with the lowest scores in `tracks`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ids import are_of
from pipeline.pages.doubtful import is_measured, most_doubtful, soundest
from pipeline.quality.doubt import Ranking, Signals, signals
from pipeline.quality.reasons import Doubt
from pipeline.quality.signals import COLUMNS, SizeOf
from pipeline.quality.track_rows import TrackRows, whole_tracks
from pipeline.reviews.verdicts import Key, Opinion, Verdict
from pipeline.tables import JobTables
from pipeline.text import ProgressLine

MOST_ROWS = 20_000_000
WORTH_A_LOOK = 0.15
"""Tracks of less doubt are not shown as doubtful."""

_MOST_CANDIDATES = 2_000
_FINE = 1_000


class Spread:
    """How often values are in each of 1000 equal parts of a range; what lies outside counts at its end."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self.counts = np.zeros(_FINE, np.int64)

    def add(self, values: npt.NDArray[np.floating]) -> None:
        """Count these values; nan is none."""
        values = values[~np.isnan(values)]
        places = np.clip((values - self.low) / (self.high - self.low) * _FINE, 0, _FINE - 1).astype(np.int64)
        self.counts += np.bincount(places, minlength=_FINE)

    @property
    def total(self) -> int:
        """How many were counted."""
        return int(self.counts.sum())

    def quantile(self, share: float) -> float | None:
        """The value below which this share lies, to a thousandth of the range; None if nothing was counted."""
        if not self.total:
            return None
        place = int(np.searchsorted(np.cumsum(self.counts), max(share * self.total, 1)))
        return self.low + (place + 0.5) / _FINE * (self.high - self.low)

    def bars(self, count: int) -> tuple[list[float], list[int]]:
        """`count + 1` edges and the counts between them; `count` divides 1000."""
        edges = np.linspace(self.low, self.high, count + 1).tolist()
        return edges, self.counts.reshape(count, -1).sum(axis=1).tolist()


@dataclass
class MaskFigures:
    """What was counted in `num_rows` of `num_rows_in_all`. `area_shares` are log10 of an area's share of the frame."""

    num_rows_in_all: int
    num_rows: int = 0
    predicted_ious: Spread = field(default_factory=lambda: Spread(0.0, 1.0))
    object_scores: Spread = field(default_factory=lambda: Spread(-10.0, 20.0))
    area_shares: Spread = field(default_factory=lambda: Spread(-5.0, 0.0))
    doubts: Spread = field(default_factory=lambda: Spread(0.0, 1.0))
    worst: list[Doubt] = field(default_factory=list)
    best: list[Doubt] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether all rows were read."""
        return self.num_rows >= self.num_rows_in_all

    def count(self, tracks: TrackRows, size_of: SizeOf) -> None:
        """Count the rows of whole tracks."""
        is_visible = tracks.column("area") > 0
        self.num_rows += tracks.table.num_rows
        self.predicted_ious.add(tracks.column("predicted_iou")[is_visible].astype(np.float64))
        self.object_scores.add(tracks.column("object_score").astype(np.float64))
        sizes = (size_of(video_id) or (0, 0) for video_id in tracks.video_ids)
        pixels = tracks.repeated(np.array([height * width or np.nan for height, width in sizes]))
        self.area_shares.add(np.log10(tracks.column("area")[is_visible] / pixels[is_visible]))

    def rank(self, found: Signals, ranking: Ranking | None) -> None:
        """Count the doubt of visible tracks which `tracks` does not tell, and rank them."""
        self.doubts.add(found.doubt[found.tracks.sums(found.tracks.column("area") > 0) > 0])
        if ranking is not None:
            ranking.add(found)

    @property
    def share_doubtful(self) -> float | None:
        """The share of visible tracks with a doubt of at least `WORTH_A_LOOK`; None if there are none."""
        counts = self.doubts.counts
        return (
            None if not self.doubts.total else float(counts[round(WORTH_A_LOOK * len(counts)) :].sum() / counts.sum())
        )


def measure(
    job: JobTables,
    tracks: pa.Table,
    size_of: SizeOf,
    most: int,
    most_rows: int = MOST_ROWS,
    opinions: Mapping[Key, Opinion] = MappingProxyType({}),
) -> MaskFigures:
    """Read the rows of a job, or part of them, and rank their tracks; `most` of the worst and of the best are kept.

    `tracks` are its rows of `tracks`. Those of `opinions` are not among the worst, and rejected ones count nowhere:
    `job` must leave out their masks. Raises `StorageError` if the store does not answer, or if a running job replaces
    segments again and again meanwhile.
    """
    return job.steadily(
        lambda: _measured(job, tracks, size_of, most, most_rows, opinions),
        "segments vanish while the report reads them",
    )


def _measured(
    job: JobTables, tracks: pa.Table, size_of: SizeOf, most: int, most_rows: int, opinions: Mapping[Key, Opinion]
) -> MaskFigures:
    kept = without(tracks, rejected(opinions))
    num_in_all = sum(size.num_masks for size in job.state.segments.values()) - _num_masks(tracks) + _num_masks(kept)
    tracks, figures, ranking = kept, MaskFigures(num_in_all), Ranking(most, opinions.keys())
    is_whole, is_known = num_in_all <= most_rows, is_measured(tracks)
    with contextlib.closing(ProgressLine(min(num_in_all, most_rows), "mask")) as line:
        for rows in _rows(job, None if is_whole else _some_videos(tracks, most_rows / num_in_all)):
            figures.count(rows, size_of)
            if not is_known:
                figures.rank(signals(rows, size_of), ranking if is_whole else None)
            line.advance(rows.table.num_rows)
    if is_known:
        visible = tracks.filter(pc.field("num_visible") > 0)
        figures.doubts.add(visible["doubt"].to_numpy().astype(np.float64))
        figures.worst = most_doubtful(job, without(tracks, opinions), size_of, most, WORTH_A_LOOK)
        figures.best = soundest(tracks, most)
        return figures
    if not is_whole:
        for rows in _rows(job, _candidates(tracks)):
            ranking.add(signals(rows, size_of))
    figures.worst = [doubt for doubt in ranking.worst() if doubt.doubt >= WORTH_A_LOOK]
    figures.best = ranking.best()
    return figures


def rejected(opinions: Mapping[Key, Opinion]) -> set[Key]:
    """The tracks that reviewers rejected."""
    return {key for key, opinion in opinions.items() if opinion.verdict is Verdict.REJECT}


def without(tracks: pa.Table, keys: Collection[Key]) -> pa.Table:
    """Rows of `tracks` but those of these."""
    if not keys:
        return tracks
    return tracks.filter(pa.array(~are_of(keys, tracks["video_id"].to_pylist(), tracks["object_id"].to_pylist())))


def _num_masks(tracks: pa.Table) -> int:
    return int(pc.sum(tracks["num_masks"]).as_py() or 0)


def _rows(job: JobTables, video_ids: Collection[str] | None) -> Iterator[TrackRows]:
    """Whole tracks in order. Little is read ahead, because memory must not grow with the job."""
    if video_ids is not None and not video_ids:
        return iter(())
    scanner = job.masks(video_ids).scanner(
        columns=list(COLUMNS), batch_size=1 << 16, batch_readahead=2, fragment_readahead=2, use_threads=False
    )
    return whole_tracks(scanner.to_batches())


def _some_videos(tracks: pa.Table, share: float) -> list[str]:
    """Videos whose id has a low hash: the same ones in each report, whatever their order."""
    bound = int(share * 2**32)
    ids: Sequence[str] = pc.unique(tracks["video_id"]).to_pylist()
    return [one for one in ids if int.from_bytes(hashlib.blake2b(one.encode(), digest_size=4).digest()) < bound]


def _candidates(tracks: pa.Table) -> list[str]:
    """The videos of the visible tracks with the lowest mean predicted IoU, and of a few with the highest."""
    visible = tracks.filter(pc.greater(tracks["num_visible"], 0)).select(["video_id", "predicted_iou_mean"])
    order = visible.sort_by("predicted_iou_mean")
    ends = [order.slice(0, _MOST_CANDIDATES), order.slice(max(0, order.num_rows - _MOST_CANDIDATES // 10))]
    return list(dict.fromkeys(pa.concat_tables(ends)["video_id"].to_pylist()))

"""Compares the videos of two jobs in tasks, each a group of videos: in this process, or in others at the same time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.quality.comparison import TRACKS, compare_video, sorted_worst_first
from pipeline.quality.evaluation import InCommon, Rules
from pipeline.quality.masks import check_masks
from pipeline.quality.sources import MaskSource, OutputMasks, open_masks
from pipeline.storage.uris import StorageOptions


@dataclass(frozen=True)
class Side:
    """Where the masks of one side are. It can be pickled. `shown` is what messages call it; None: its address.

    `round`: those that a job had at the end of this round of reviews; None: those of now.
    """

    uri: str
    storage_options: StorageOptions
    shown: str | None = None
    round: int | None = None


@dataclass(frozen=True)
class ComparisonJob:
    """What is compared, and how. It can be pickled."""

    a: Side
    b: Side
    truth: Side | None
    rules: Rules

    def outputs(self) -> tuple[OutputMasks, OutputMasks]:
        """Both jobs. Raises `InputError` where there is none."""
        a, b = (
            OutputMasks(key, side.uri, side.storage_options, round=side.round)
            for key, side in (("a", self.a), ("b", self.b))
        )
        return a, b

    def true_masks(self) -> MaskSource | None:
        """The truth, if there is one."""
        if self.truth is None:
            return None
        return open_masks("truth", self.truth.uri, self.truth.storage_options, shown=self.truth.shown)


@dataclass
class Compared:
    """Rows like `comparison.TRACKS`, and what is worth a word."""

    parts: list[pa.Table] = field(default_factory=list)
    num_videos: int = 0
    num_unpaired: int = 0
    num_other_times: int = 0
    common: InCommon = field(default_factory=InCommon)

    def add(self, other: Compared) -> None:
        """Count what was compared elsewhere."""
        self.parts += other.parts
        self.num_videos += other.num_videos
        self.num_unpaired += other.num_unpaired
        self.num_other_times += other.num_other_times
        self.common.add(other.common)

    def tracks(self) -> pa.Table:
        """All rows, worst first."""
        return sorted_worst_first(pa.concat_tables([TRACKS.empty_table(), *self.parts]))


class Comparer:
    """Works on tasks of one job: ids of videos that both outputs have. Raises as `OutputMasks` and `TableMasks` do."""

    def __init__(self, job: ComparisonJob) -> None:
        self._rules = job.rules
        self._a, self._b = job.outputs()
        self._truth = job.true_masks()

    def work(self, video_ids: Sequence[str]) -> Compared:
        """How these videos differ. Raises `InputError` for sides that do not fit, and for masks that are none."""
        found = Compared()
        rows: list[dict[str, Any]] = []
        masks_a, masks_b = self._a.read(video_ids), self._b.read(video_ids)
        true = self._truth.read(video_ids) if self._truth is not None else {}
        for video_id in video_ids:
            trio = masks_a[video_id], masks_b[video_id], true.get(video_id)
            try:
                difference = compare_video(*trio, self._rules.match, self._rules)
            except ValueError:
                for masks, source in zip(trio, (self._a, self._b, self._truth), strict=True):
                    if masks is not None and source is not None:
                        check_masks(masks, source.side)
                raise
            rows += difference.rows
            found.num_videos += 1
            found.num_unpaired += difference.num_unpaired
            found.num_other_times += difference.num_other_times
            found.common.add(difference.common)
        found.parts.append(pa.Table.from_pylist(rows, TRACKS))
        return found


def comparison_tasks(a: MaskSource, wanted: Collection[str]) -> Iterator[list[str]]:
    """Tasks for these videos."""
    for group in a.groups():
        here = [video_id for video_id in group if video_id in wanted]
        if here:
            yield here

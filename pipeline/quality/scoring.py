"""Scores the videos of a job in tasks, each a group of videos: in this process, or in others at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.quality.evaluation import OBJECTS, InCommon, Rules, evaluate_video, unseen
from pipeline.quality.hota import Hota
from pipeline.quality.masks import check_masks
from pipeline.quality.sources import MaskSource, OutputMasks, open_masks
from pipeline.storage.uris import StorageOptions

_MISSING_AT_A_TIME = 100


@dataclass(frozen=True)
class ScoringJob:
    """What is scored, and how. It can be pickled. `shown_truth` is what messages call the truth.

    `round`: the masks that the output had at the end of this round of reviews; None: those of now.
    """

    output: str
    truth: str
    shown_truth: str
    storage_options: StorageOptions
    truth_options: StorageOptions
    rules: Rules
    has_hota: bool = False
    round: int | None = None


@dataclass(frozen=True)
class ScoringTask:
    """Videos of the truth; the output has masks of all of them, or of none."""

    video_ids: list[str]
    are_missing: bool = False


@dataclass
class Scored:
    """Rows like `evaluation.OBJECTS`, and what is worth a word. `hota` adds up videos, if it was asked for."""

    parts: list[pa.Table] = field(default_factory=list)
    num_videos: int = 0
    num_unpaired: int = 0
    num_extra: int = 0
    num_lost: int = 0
    hota: Hota | None = None
    common: InCommon = field(default_factory=InCommon)

    def add(self, other: Scored) -> None:
        """Count what was scored elsewhere."""
        self.parts += other.parts
        self.common.add(other.common)
        for name in ("num_videos", "num_unpaired", "num_extra", "num_lost"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if self.hota is not None and other.hota is not None:
            self.hota.add_total(other.hota)

    def objects(self) -> pa.Table:
        """All rows, by video and object."""
        table = pa.concat_tables([OBJECTS.empty_table(), *self.parts])
        return table.sort_by([("video_id", "ascending"), ("true_object_id", "ascending")])


class Scorer:
    """Works on tasks of one job. Raises as `OutputMasks`, `TableMasks` and `Hota` do."""

    def __init__(self, job: ScoringJob) -> None:
        self._job = job
        self._output = OutputMasks("output", job.output, job.storage_options, round=job.round)
        self._truth = open_masks("truth", job.truth, job.truth_options, shown=job.shown_truth)

    def work(self, task: ScoringTask) -> Scored:
        """Scores of these videos. Raises `InputError` for sides that do not fit, and for masks that are none."""
        true_videos = self._truth.read(task.video_ids)
        predicted_videos = {} if task.are_missing else self._output.read(task.video_ids)
        found = Scored(hota=Hota() if self._job.has_hota else None)
        rows: list[dict[str, Any]] = []
        for video_id, true in true_videos.items():
            predicted = predicted_videos.get(video_id) or unseen(true)
            try:
                scores = evaluate_video(predicted, true, self._job.rules, self._truth.side)
            except ValueError:
                check_masks(true, self._truth.side)
                check_masks(predicted, self._output.side)
                raise
            rows += scores.rows
            found.common.add(scores.common)
            found.num_videos += 1
            found.num_unpaired += scores.frames.num_unpaired
            found.num_extra += scores.num_extra
            found.num_lost += sum(row["object_id"] is None for row in scores.rows)
            if found.hota is not None:
                told = scores.matched if self._job.rules.prompted == "exclude" else None
                found.hota.add(predicted, true, scores.frames, told)
        found.parts.append(pa.Table.from_pylist(rows, OBJECTS))
        return found


def scoring_tasks(output: MaskSource, wanted: Sequence[str], missing: Sequence[str]) -> Iterator[ScoringTask]:
    """Tasks for these videos of the truth; `missing` are those without masks in the output that count all the same."""
    chosen = set(wanted)
    for group in output.groups():
        here = [video_id for video_id in group if video_id in chosen]
        if here:
            yield ScoringTask(here)
    for begin in range(0, len(missing), _MISSING_AT_A_TIME):
        yield ScoringTask(list(missing[begin : begin + _MISSING_AT_A_TIME]), are_missing=True)

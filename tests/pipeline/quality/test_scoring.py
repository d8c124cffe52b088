"""Scores of a job in tasks, as processes of a cluster work on them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from pipeline.quality.evaluation import Rules
from pipeline.quality.hota import Hota
from pipeline.quality.scoring import Scored, Scorer, ScoringJob, ScoringTask, scoring_tasks
from pipeline.quality.sources import OutputMasks
from tests.support.masks import write_output, write_table


def drifting(left: int) -> np.ndarray:
    masks = np.zeros((5, 24, 40), bool)
    for frame in range(5):
        masks[frame, 6:16, left + frame : left + frame + 9] = True
    return masks


TRUE = {"a": {1: drifting(2), 2: drifting(22)}, "b": {1: drifting(5)}, "c": {3: drifting(9)}, "d": {1: drifting(1)}}
FOUND = {"a": {1: drifting(3), 2: drifting(20)}, "b": {1: drifting(5), 4: drifting(25)}, "c": {3: drifting(14)}}


@pytest.fixture
def job(tmp_path: Path) -> ScoringJob:
    output = write_output(tmp_path / "out", FOUND)
    return ScoringJob(output, write_table(tmp_path / "true.parquet", TRUE), "truth", {}, {}, Rules(), has_hota=True)


@pytest.mark.slow
def test_answers_of_several_processes_add_up_to_those_of_one(job: ScoringJob) -> None:
    whole = Scorer(job).work(ScoringTask(["a", "b", "c"]))
    total = Scored(hota=Hota())
    for video_id in ("c", "a", "b"):
        sent, task = pickle.loads(pickle.dumps((job, ScoringTask([video_id]))))
        total.add(pickle.loads(pickle.dumps(Scorer(sent).work(task))))
    assert total.objects().equals(whole.objects())
    assert (total.num_videos, total.num_extra) == (whole.num_videos, whole.num_extra) == (3, 1)
    assert whole.hota is not None
    assert total.hota is not None
    assert total.hota.result() == pytest.approx(whole.hota.result())


def test_videos_that_the_output_lacks_are_tasks_of_their_own(job: ScoringJob) -> None:
    output = OutputMasks("output", job.output)
    (task, missing) = scoring_tasks(output, list("abcd"), ["d"])
    assert (sorted(task.video_ids), task.are_missing) == (["a", "b", "c"], False)
    assert (missing.video_ids, missing.are_missing) == (["d"], True)
    (row,) = Scorer(job).work(missing).objects().to_pylist()
    assert (row["video_id"], row["object_id"], row["j"]) == ("d", None, 0)


def test_a_group_holds_a_bounded_number_of_masks(tmp_path: Path) -> None:
    output = OutputMasks("output", write_output(tmp_path / "out", FOUND), masks_of_a_group=10)
    assert [sorted(group) for group in output.groups()] == [["a"], ["b"], ["c"]]
    assert [sorted(group) for group in OutputMasks("output", str(tmp_path / "out")).groups()] == [["a", "b", "c"]]

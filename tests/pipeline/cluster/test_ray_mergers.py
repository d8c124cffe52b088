"""A compaction whose groups are merged by Ray actors: same rows, also when one of the actors is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cluster.ray_mergers import RayMergers
from pipeline.commits.compaction import Sizes, compact, plan_groups
from pipeline.commits.log import CommitLog
from pipeline.config.job_config import ClusterConfig
from pipeline.output.segments import list_segments
from tests.support.dying_storage import KilledOnceStorage
from tests.support.quick_storage import QuickStorage
from tests.support.small_segments import commit_segments, rows

pytestmark = pytest.mark.slow


def test_two_actors_merge_and_the_group_of_one_that_is_killed_is_begun_anew(tmp_path: Path) -> None:
    whole, spool = QuickStorage(str(tmp_path / "job")), tmp_path / "spool"
    commit_segments(whole, spool, 9)
    before, sizes = rows(whole), Sizes(small_bytes=200_000, most_bytes=60_000)
    num_groups = len(plan_groups(CommitLog(whole, "reader").load(), sizes))
    mergers = RayMergers(ClusterConfig(kind="local", actors=2), KilledOnceStorage(whole.uri), str(spool))
    try:
        done = compact(whole, spool, sizes, mergers)
    finally:
        mergers.close()

    assert Path(f"{whole.uri}.second").exists(), "one of them was killed"
    assert done.num_made == num_groups > 1
    assert rows(whole) == before
    half = list_segments(whole).keys() - CommitLog(whole, "reader").load().segments.keys()
    assert len(half) == 1, "what the killed actor had published"
    compact(whole, spool, sizes)
    assert list_segments(whole).keys() == CommitLog(whole, "reader").load().segments.keys()
    assert not list(spool.glob("maskmill-*"))
    assert rows(whole) == before

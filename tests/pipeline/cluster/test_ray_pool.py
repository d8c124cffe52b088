"""Tasks of commands by Ray actors: what they write is what one process writes, also where one of them is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray

from pipeline import compare
from pipeline.cluster.ray_cluster import connect
from pipeline.cluster.ray_mergers import RayMergers
from pipeline.commits.compaction import Sizes, compact, plan_groups
from pipeline.commits.log import CommitLog
from pipeline.config.cluster_config import ClusterConfig
from pipeline.export import door
from pipeline.output.segments import list_segments
from tests.support.drawn_job import write_job
from tests.support.dying_storage import KilledOnceStorage
from tests.support.masks import write_output, write_table
from tests.support.quick_storage import QuickStorage
from tests.support.small_segments import commit_segments, rows
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

HERE = ClusterConfig(kind="existing", actors=2, shared_disk=True)


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    """One Ray for all tests, which join it: to start it takes longer than they do."""
    assert connect(ClusterConfig(kind="local", actors=2))
    yield
    ray.shutdown()


def test_actors_write_the_files_that_one_process_writes(tmp_path: Path) -> None:
    uri, _ = write_job(tmp_path)
    words = [f"output={uri}", "format=youtube_vis", "part_masks=8"]
    assert door([*words, f"to={tmp_path / 'alone'}"]) == 0
    on_ray = ["cluster=existing", "cluster.actors=2", "cluster.shared_disk=true"]
    assert door([*words, f"to={tmp_path / 'ray'}", *on_ray]) == 0
    assert len(_files(tmp_path / "alone")) == 3
    assert _files(tmp_path / "ray") == _files(tmp_path / "alone")


def test_actors_compare_as_one_process_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks_THW = np.zeros((3, 20, 30), bool)
    masks_THW[:, 4:12, 6:18] = True
    true = {video_id: {1: masks_THW} for video_id in ("one", "two")}
    sides = write_output(tmp_path / "a", true), write_output(tmp_path / "b", true | {"two": {1: masks_THW[:, ::-1]}})
    words = [f"a={sides[0]}", f"b={sides[1]}", f"truth={write_table(tmp_path / 'truth.parquet', true)}"]
    on_ray = ["cluster=existing", "cluster.actors=1", "cluster.shared_disk=true"]
    told = {}
    for name, more in {"alone": [], "ray": on_ray}.items():
        assert compare.door([*words, f"to={tmp_path / name}", "pictures=false", *more]) == 0
        told[name] = capsys.readouterr().out.splitlines()[:-1]
    tables = [pq.read_table(tmp_path / name / "tracks.parquet") for name in told]
    assert tables[0].num_rows == 2
    assert tables[0] == tables[1]
    assert told["alone"] == told["ray"]
    assert any("0 better in b, 1 worse, 1 as good" in line for line in told["ray"])


def test_two_actors_merge_and_the_group_of_one_that_is_killed_is_begun_anew(tmp_path: Path) -> None:
    whole, spool = QuickStorage(str(tmp_path / "job")), tmp_path / "spool"
    commit_segments(whole, spool, 9)
    before, state = rows(whole), CommitLog(whole, "reader").load()
    largest = max(size.num_bytes for size in state.segments.values())
    sizes = Sizes(small_bytes=largest + 1, most_bytes=2 * largest)
    num_groups = len(plan_groups(state, sizes))
    mergers = RayMergers(HERE, KilledOnceStorage(whole.uri), str(spool))
    try:
        done = compact(whole, spool, sizes, mergers)
    finally:
        mergers.close()
    ray.shutdown()

    assert Path(f"{whole.uri}.second").exists(), "one of them was killed"
    assert done.num_made == num_groups > 1
    assert rows(whole) == before
    half = list_segments(whole).keys() - CommitLog(whole, "reader").load().segments.keys()
    assert len(half) == 1, "what the killed actor had published"

    def leaves_nothing() -> bool:
        """A folder is somebody's until the last thread of its actor has ended, a moment after Ray has."""
        compact(whole, spool, sizes)
        return not list(spool.glob("maskmill-*"))

    wait_until(leaves_nothing, "compaction that takes the folders of ended actors", look=0.2)
    assert list_segments(whole).keys() == CommitLog(whole, "reader").load().segments.keys()
    assert rows(whole) == before


def _files(folder: Path) -> dict[str, bytes]:
    """All files; of the manifest all but when it was written."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    manifest = json.loads(found["manifest.json"])
    return found | {"manifest.json": json.dumps(manifest | {"written_at": ""}).encode()}

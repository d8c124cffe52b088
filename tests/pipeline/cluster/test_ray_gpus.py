"""GPUs of a cluster that others use too, with pretended ones: what is asked for, what is given back, what is shown."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
import ray._private.state as ray_state

from pipeline import tables
from pipeline.cluster.executor import Event, Ready
from pipeline.cluster.ray_executor import RayExecutor
from pipeline.cluster.ray_gpus import has_gpus
from pipeline.cluster.ray_metrics import GAUGES
from pipeline.config.cluster_config import ClusterConfig
from pipeline.driver import driver
from pipeline.driver.clock import Pace
from pipeline.driver.executors import open_executor
from tests.support.clips import moving_clip, write_job_inputs
from tests.support.gated_worker import Gates
from tests.support.gpus import VISIBLE
from tests.support.jobs import JobFolder
from tests.support.ray_start import start_ray
from tests.support.ray_workers import SaysGpus, ScriptedWorker
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Four CPUs and two GPUs, as far as Ray knows; where its metrics are. No machine has GPUs of these names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VISIBLE, "GPU-pretended-0,GPU-pretended-1")
        start_ray(num_cpus=4, num_gpus=2, _system_config={"metrics_report_interval_ms": 500})
    (node,) = ray.nodes()
    yield f"http://127.0.0.1:{node['MetricsExportPort']}/metrics"
    ray.shutdown()


@pytest.fixture
def make_executor(cluster: str) -> Iterator[Callable[..., RayExecutor]]:
    """Executors that look at the cluster whenever they are asked, once it is free."""
    wait_until(lambda: free_gpus() == 2, "the GPUs of the test before")
    made: list[RayExecutor] = []

    def make(make_worker: type = ScriptedWorker, **options: Any) -> RayExecutor:
        made.append(RayExecutor(make_worker, ClusterConfig(kind="existing", **options), 200, 200, look_seconds=0.0))
        return made[-1]

    yield make
    for executor in made:
        executor.close()


def free_gpus() -> float:
    return sum(node.get("GPU", 0.0) for node in ray_state.available_resources_per_node().values())


@ray.remote(num_cpus=0)
class SomebodyElse:
    def is_here(self) -> bool:
        return True


def hold(num_gpus: float) -> Any:
    """An actor of somebody else's job that holds GPUs."""
    actor = SomebodyElse.options(num_gpus=num_gpus).remote()
    assert ray.get(actor.is_here.remote())
    return actor


@pytest.mark.parametrize(("num_gpus", "sees"), [(0.0, "sees "), (0.5, "sees GPU-pretended-")])
def test_a_worker_sees_no_gpu_that_is_not_its_own(
    num_gpus: float, sees: str, make_executor: Callable[..., RayExecutor]
) -> None:
    """Workers without a share of one would all choose the first GPU of their node."""
    executor = make_executor(SaysGpus, gpus_per_actor=num_gpus)
    executor.start()
    events: list[Event] = []
    wait_until(lambda: events.extend(executor.wait(1.0)) or events, "worker")
    (ready,) = events
    assert isinstance(ready, Ready)
    assert ready.device.rstrip("01") == sees


def test_no_more_is_asked_for_than_others_leave(make_executor: Callable[..., RayExecutor]) -> None:
    other = hold(1)
    wait_until(lambda: free_gpus() == 1, "GPU held")
    executor = make_executor()
    assert executor.gpus_per_worker == 1.0
    assert executor.capacity == 1
    assert make_executor(gpus_per_actor=0.5).capacity == 2
    ray.kill(other)
    wait_until(lambda: executor.capacity == 2, "room for a second worker")


@pytest.mark.parametrize(("gpus", "number"), [(0.6, 2), (0.5, 4), (0.4, 4), (1.0, 2), (2.0, 1)])
def test_a_share_lies_on_one_gpu(gpus: float, number: int, make_executor: Callable[..., RayExecutor]) -> None:
    """Of two GPUs with 0.4 left each Ray gives nobody 0.6: a third worker would wait for ever."""
    assert make_executor(gpus_per_actor=gpus).capacity == number


def test_whether_a_cluster_has_gpus_is_known_before_workers_start(cluster: str) -> None:
    assert has_gpus(ClusterConfig(kind="existing"))
    assert ray.is_initialized(), "who was connected stays so"


def test_workers_of_the_job_itself_do_not_count_against_it(make_executor: Callable[..., RayExecutor]) -> None:
    executor = make_executor()
    for _ in range(2):
        executor.start()
    num_ready, seen = 0, []
    while num_ready < 2:
        seen.append(executor.capacity)
        num_ready += sum(isinstance(event, Ready) for event in executor.wait(0.2))
    assert set(seen) == {2}
    wait_until(lambda: free_gpus() == 0, "both GPUs held")
    assert executor.capacity == 2


def test_a_full_cluster_is_waited_for_and_said(
    make_executor: Callable[..., RayExecutor], caplog: pytest.LogCaptureFixture
) -> None:
    executor = make_executor()
    assert executor.capacity == 2
    other = hold(2)
    wait_until(lambda: executor.capacity == 0, "full cluster")
    assert caplog.text.count("others hold all CPUs or GPUs") == 1
    assert make_executor().capacity == 0
    assert caplog.text.count("others hold all CPUs or GPUs") == 2, "also where it was full from the start"
    assert make_executor(min_actors=1).capacity == 1, "who asks for one all the same gets it"
    ray.kill(other)
    wait_until(lambda: executor.capacity == 2, "room")


@contextlib.contextmanager
def beside(act: Callable[[], None], at_the_end: Callable[[], None]) -> Iterator[None]:
    """Have a thread do this meanwhile. What it raises is raised here, after the end of what is inside."""
    with ThreadPoolExecutor(1) as pool:
        acting = pool.submit(act)
        acting.add_done_callback(lambda _: at_the_end())
        yield
        acting.result()


def scrape(url: str) -> dict[str, float]:
    """Our metrics by name and tag: `videos{ok}`, `frames`."""
    with urllib.request.urlopen(url, timeout=100) as answer:
        lines = answer.read().decode().splitlines()
    found: dict[str, float] = {}
    for line in lines:
        if match := re.fullmatch(r"ray_maskmill_(\w+)\{(.*)\} (\S+)", line):
            tag = re.search(r'(?:^|,)(?:status|error_class|stage)="(\w+)"', match[2])
            found[f"{match[1]}{{{tag[1]}}}" if tag else match[1]] = float(match[3])
    return found


def outputs_of_metrics(url: str) -> set[str]:
    """Which outputs our metrics name."""
    with urllib.request.urlopen(url, timeout=100) as answer:
        lines = [line for line in answer.read().decode().splitlines() if line.startswith("ray_maskmill_")]
    assert lines
    return {match[1] if (match := re.search(r'(?:\{|,)output="([^"]*)"', line)) else "" for line in lines}


def test_gpus_come_back_before_the_last_video_ends_and_metrics_tell_what_happens(
    cluster: str, tmp_path: Path, small_checkpoint: Path
) -> None:
    """Two workers; one has nothing more to do while the other has its long video. One video cannot be read."""
    wait_until(lambda: free_gpus() == 2, "the GPUs of the test before")
    job = JobFolder(tmp_path, small_checkpoint)
    clips = [moving_clip(name, num_frames=n, num_objects=1) for name, n in (("short", 3), ("long", 4), ("broken", 3))]
    write_job_inputs(tmp_path / "in", clips)
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video")
    gates = Gates(tmp_path / "gates")
    gates.folder.mkdir()

    def watch() -> None:
        """Both workers wait for the gates of their first videos, and the long one's until the other's GPU is free."""
        shown = {"workers": 2, "gpus": 2.0, "queue": 3}
        wait_until(lambda: shown.items() <= scrape(cluster).items(), "metrics of two workers at work", look=0.1)
        wait_until(lambda: free_gpus() == 0, "both GPUs held")
        gates.open("short", "broken")
        wait_until(lambda: free_gpus() == 1, "GPU given back while the last video runs")
        gates.open("long")

    arguments = ["cluster=existing", "cluster.shared_disk=true", "worker.videos_in_flight=1", "max_failed_fraction=1"]
    make_executor = partial(open_executor, make_worker=gates.worker)
    parts = driver.Parts(make_executor, pace=Pace(release_seconds=0.5, status_seconds=0.5))
    with beside(watch, gates.open_all):
        assert driver.run(job.config(*arguments, f"log_file={tmp_path / 'log.jsonl'}"), parts) == 0
    wait_until(lambda: free_gpus() == 2, "both GPUs, after the job")

    counts = {"videos{ok}": 2, "videos{failed}": 1, "failures{input}": 1, "queue": 0}
    none_left = {"workers": 0, "workers_starting": 0, "gpus": 0}
    wait_until(lambda: (counts | none_left).items() <= scrape(cluster).items(), "last values", look=0.1)
    last = scrape(cluster)
    read = tables.open(str(job.output))
    rows = read.videos().to_pylist()
    assert {name.partition("{")[0] for name in last} == set(GAUGES)
    assert last["frames"] == 7
    assert last["masks"] == read.masks().count_rows() == sum(row["num_masks"] for row in rows)
    assert last["objects_failed"] == last["objects_warned"] == 0
    assert outputs_of_metrics(cluster) == {str(job.output)}
    for stage in ("decode", "propagate", "encode", "fetch"):
        spent = sum(row[f"{stage}_seconds"] or 0.0 for row in rows)
        assert last[f"stage_seconds{{{stage}}}"] == pytest.approx(spent, abs=2e-3), stage
    assert last["stage_seconds{propagate}"] > 0
    assert last["frames_per_second"] > 0

    status = json.loads((job.output / "_status.json").read_bytes())
    assert (status["state"], status["num_frames"], status["num_masks"]) == ("done", 7, int(last["masks"]))
    assert status["failures"] == {"input": 1}
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    videos = {line["video_id"]: line for line in logged if "status" in line}
    assert {name: line["status"] for name, line in videos.items()} == {"short": "ok", "long": "ok", "broken": "failed"}
    assert {line["attempt"] for line in videos.values()} == {1}

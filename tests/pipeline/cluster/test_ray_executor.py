"""Workers as Ray actors: the contract of executors, and whole jobs on one and two actors. One cluster serves all."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import ray
import ray._private.state as ray_state
import ray.util
from ray.job_submission import JobSubmissionClient

from jobs.deploy.ray_jobs import submit
from pipeline.cluster.executor import Event, Failure, Lost, Ready, Reported
from pipeline.cluster.ray_executor import RayExecutor
from pipeline.config.cluster_config import ClusterConfig
from pipeline.driver import driver
from pipeline.driver.executors import open_executor
from pipeline.errors import ConfigError
from pipeline.overlay import door
from pipeline.records import WorkerEnd
from tests.pipeline.notebook.conftest import Filmed, filmed
from tests.support.fake_workers import item
from tests.support.fragile_worker import fragile_worker
from tests.support.gated_worker import Meeting
from tests.support.jobs import JobFolder, Tables, read_plainly
from tests.support.media_server import media_server
from tests.support.ray_start import ray_with_dashboard
from tests.support.ray_workers import NoHub, NoModel, ScriptedWorker, SlowToStart
from tests.support.waiting import wait_until

__all__ = ["filmed"]

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
ON_THE_CLUSTER = ("cluster=existing", "cluster.shared_disk=true")
NUM_CLIPS = 12
A_MODEL_OF_THE_USER = "raise ImportError('a file of the user, in the folder in which the job is started')"


@pytest.fixture(scope="module")
def started_ray() -> Iterator[tuple[str, str]]:
    """A Ray cluster with four CPUs and a dashboard, to which this process is connected."""
    with ray_with_dashboard(num_cpus=4) as addresses:
        yield addresses


@pytest.fixture(scope="module")
def cluster(started_ray: tuple[str, str]) -> str:
    """Its address."""
    return started_ray[0]


@pytest.fixture(scope="module")
def dashboard(started_ray: tuple[str, str]) -> str:
    """The address to which jobs are submitted."""
    return started_ray[1]


@pytest.fixture
def executors(cluster: str) -> Iterator[list[RayExecutor]]:
    made: list[RayExecutor] = []
    wait_until(lambda: ray.available_resources().get("CPU") == 4, "CPUs of the test before")
    yield made
    for executor in made:
        executor.close()


def executor_of(
    executors: list[RayExecutor],
    make_worker: type,
    hang_seconds: float = 200,
    setup_seconds: float = 200,
    **options: object,
) -> RayExecutor:
    cluster = ClusterConfig(kind="existing", **options)  # type: ignore[arg-type]
    executors.append(RayExecutor(make_worker, cluster, hang_seconds, setup_seconds))
    return executors[-1]


def wait_for(executor: RayExecutor, count: int) -> list[Event]:
    events: list[Event] = []
    wait_until(lambda: events.extend(executor.wait(1.0)) or len(events) >= count, f"{count} events")
    assert len(events) == count
    return events


def started(executor: RayExecutor, count: int) -> dict[str, int]:
    """Ids of ready workers and their processes."""
    for _ in range(count):
        executor.start()
    ready = [event for event in wait_for(executor, count) if isinstance(event, Ready)]
    return {event.worker_id: int(event.device.split()[-1]) for event in ready}


def test_a_worker_is_started_asked_and_drained(executors: list[RayExecutor]) -> None:
    executor = executor_of(executors, ScriptedWorker)
    assert executor.wait(0.01) == []
    ((worker_id, process),) = started(executor, 1).items()
    assert process != os.getpid()
    executor.work(worker_id, [item("clip")])
    (event,) = wait_for(executor, 1)
    assert isinstance(event, Reported)
    assert event.report.in_flight[0].video_id == "clip"
    executor.drain(worker_id)
    (event,) = wait_for(executor, 1)
    assert isinstance(event, Reported)


def test_as_many_workers_fit_as_there_are_cpus(executors: list[RayExecutor]) -> None:
    assert executor_of(executors, ScriptedWorker).capacity == 4
    assert executor_of(executors, ScriptedWorker, cpus_per_actor=2).capacity == 2
    assert executor_of(executors, ScriptedWorker, actors=3).capacity == 3


def test_no_actor_goes_to_a_node_that_is_left_alone(executors: list[RayExecutor]) -> None:
    executor = executor_of(executors, ScriptedWorker)
    started(executor, 1)
    node = ray.get_runtime_context().get_node_id()
    assert executor.avoid("another") is True
    started(executor, 1)
    assert executor.avoid(node) is False, "there is no other one"
    assert executor.capacity == 2, "those that run there go on"
    executor.start()
    assert executor.wait(2.0) == []


@pytest.mark.parametrize("options", [{"cpus_per_actor": 5}, {"gpus_per_actor": 1.0}])
def test_an_actor_that_fits_nowhere_is_a_config_error(options: dict[str, float], executors: list[RayExecutor]) -> None:
    with pytest.raises(ConfigError, match="no node of the cluster has"):
        executor_of(executors, ScriptedWorker, **options)
    assert ray.is_initialized()


@pytest.mark.usefixtures("cluster")
def test_a_process_that_is_connected_to_ray_cannot_start_its_own_and_stays_connected() -> None:
    with pytest.raises(ConfigError, match=r"connected to Ray already: use cluster=existing, or ray\.shutdown\(\)"):
        RayExecutor(ScriptedWorker, ClusterConfig(kind="local"), 30, 200)
    assert ray.is_initialized()


def test_a_cluster_without_gpus_is_told_which_setting_asks_for_one(executors: list[RayExecutor]) -> None:
    with pytest.raises(ConfigError, match=r"has 1 CPU and 1 GPU for an actor \(model\.device=cuda needs a GPU"):
        executors.append(RayExecutor(ScriptedWorker, ClusterConfig(kind="existing"), 30, 200, "cuda"))


@pytest.mark.parametrize(("what", "said"), [("die", "ActorDiedError"), ("raise", "a worker with a fault")])
def test_a_worker_that_dies_or_raises_is_lost_for_an_ambiguous_reason(
    what: str, said: str, executors: list[RayExecutor]
) -> None:
    executor = executor_of(executors, ScriptedWorker)
    (worker_id,) = started(executor, 1)
    executor.work(worker_id, [item(what)])
    (lost,) = wait_for(executor, 1)
    assert isinstance(lost, Lost)
    assert (lost.worker_id, lost.failure) == (worker_id, Failure.AMBIGUOUS)
    assert said in lost.message


def test_a_worker_that_hangs_is_killed_after_its_deadline(executors: list[RayExecutor]) -> None:
    executor = executor_of(executors, ScriptedWorker, hang_seconds=1)
    ((worker_id, process),) = started(executor, 1).items()
    executor.work(worker_id, [item("sleep")])
    (lost,) = wait_for(executor, 1)
    assert isinstance(lost, Lost)
    assert lost.failure is Failure.HANG
    assert "no answer to work within 1 s" in lost.message
    wait_until(lambda: not psutil.pid_exists(process), "end of the process")


@pytest.mark.parametrize(
    ("make_worker", "said"), [(NoModel, "there is no checkpoint here"), (SlowToStart, "no answer to setup within 2 s")]
)
def test_a_worker_that_cannot_start_is_a_matter_of_the_environment(
    make_worker: type, said: str, executors: list[RayExecutor]
) -> None:
    executor = executor_of(executors, make_worker, setup_seconds=2 if make_worker is SlowToStart else 200)
    executor.start()
    (lost,) = wait_for(executor, 1)
    assert isinstance(lost, Lost)
    assert lost.failure is Failure.ENVIRONMENT
    assert said in lost.message


def test_a_worker_whose_weights_are_not_served_is_told_from_one_that_cannot_start(
    executors: list[RayExecutor],
) -> None:
    executor = executor_of(executors, NoHub)
    executor.start()
    (lost,) = wait_for(executor, 1)
    assert isinstance(lost, Lost)
    assert (lost.failure, lost.message) == (Failure.STORAGE, "StorageError: the Hub is busy")


def dead() -> set[int]:
    """Processes of actors that have ended, as far as Ray knows."""
    return {actor["Pid"] for actor in ray_state.actors().values() if actor["State"] == "DEAD"}


def test_workers_that_die_together_are_told_from_one_that_dies(executors: list[RayExecutor]) -> None:
    executor = executor_of(executors, ScriptedWorker)
    workers = started(executor, 3)
    for worker_id in workers:
        executor.work(worker_id, [item("sleep")])
    first, second, _ = workers.values()
    os.kill(first, signal.SIGKILL)
    os.kill(second, signal.SIGKILL)
    # Nobody asks before Ray knows of both: what it tells more than a second apart is not together.
    wait_until(lambda: {first, second} <= dead(), "both deaths")
    events = wait_for(executor, 2)
    assert [event.failure for event in events if isinstance(event, Lost)] == [Failure.TOGETHER] * 2


def test_sigterm_makes_a_worker_report_at_once(executors: list[RayExecutor]) -> None:
    executor = executor_of(executors, ScriptedWorker)
    ((worker_id, process),) = started(executor, 1).items()
    executor.work(worker_id, [item("sleep")])
    os.kill(process, signal.SIGTERM)
    (event,) = wait_for(executor, 1)
    assert isinstance(event, Reported)
    assert event.report.end == WorkerEnd("SIGTERM", is_broken=False)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> tuple[JobFolder, Tables]:
    """Twelve short clips, labeled in one process by a network of random weights."""
    job = JobFolder(tmp_path_factory.mktemp("undisturbed"), small_checkpoint)
    job.write([f"clip{number:02d}" for number in range(NUM_CLIPS)], num_frames=2)
    assert job.run() == 0
    return job, job.tables()


def test_two_actors_give_the_rows_of_one_process(
    cluster: str, undisturbed: tuple[JobFolder, Tables], tmp_path: Path
) -> None:
    job, expected = undisturbed
    here = JobFolder(tmp_path)
    meeting = Meeting(tmp_path / "meeting", 2)
    meeting.folder.mkdir()
    parts = driver.Parts(partial(open_executor, make_worker=meeting.worker))
    config = job.config(f"output={here.output}", *ON_THE_CLUSTER, "cluster.actors=2")
    assert driver.run(config, parts) == 0
    check_rows(here, expected, num_actors=2)


def check_rows(job: JobFolder, expected: Tables, num_actors: int) -> None:
    """The rows of one process, each written once, and so many actors that have written them."""
    found = job.tables()
    assert found.equals(expected)
    assert len({row["worker"] for row in found.videos.values()}) == num_actors
    assert found.masks.equals(read_plainly(job.output))


@pytest.mark.chaos
def test_a_video_that_kills_its_worker_is_quarantined_and_the_others_are_labeled(
    cluster: str, small_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One actor at a time, because each death costs the start of another one."""
    names = ["one", "two", "poison", "three", "four"]
    job = JobFolder(tmp_path, small_checkpoint).write(names, num_frames=2)
    parts = driver.Parts(partial(open_executor, make_worker=fragile_worker))
    assert driver.run(job.config(*ON_THE_CLUSTER, "cluster.actors=1"), parts) == 0
    assert job.tables().statuses == dict.fromkeys(names, "ok") | {"poison": "quarantined"}
    printed = capsys.readouterr().out
    assert re.search(r"^quarantined 1 × .*in flight at 3 deaths of its worker.*\n +poison$", printed, re.MULTILINE), (
        printed
    )
    assert "retry=quarantined" in printed


def test_a_job_joins_a_cluster_from_another_process_with_its_code_and_one_actor_gives_the_same_rows(
    cluster: str, undisturbed: tuple[JobFolder, Tables], tmp_path: Path
) -> None:
    job, expected = undisturbed
    here = JobFolder(tmp_path)
    (tmp_path / "model.py").write_text(A_MODEL_OF_THE_USER)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pipeline.run", *job.arguments(f"output={here.output}"), *ON_THE_CLUSTER),
            *(f"cluster.address={cluster}", "cluster.actors=1"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check_rows(here, expected, num_actors=1)


def test_a_cluster_that_is_not_there_ends_the_job_as_a_fault_of_the_environment(tmp_path: Path) -> None:
    job = JobFolder(tmp_path).write(["one"], num_frames=2)
    done = subprocess.run(
        [*(sys.executable, "-m", "pipeline.run"), *job.arguments(*ON_THE_CLUSTER, "cluster.address=127.0.0.1:1")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "no Ray cluster answers there" in done.stderr


def kill_driver(output: Path) -> None:
    """SIGKILL the process that `pipeline.run` is, and the shell around it."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if f"output={output}" in " ".join(words) and "pipeline.run" in " ".join(words):
            with contextlib.suppress(psutil.NoSuchProcess):  # the shell ends by itself when its command has ended
                process.kill()


def test_a_driver_killed_in_the_middle_of_a_night_is_submitted_again_and_goes_on_where_it_was(
    dashboard: str,
    undisturbed: tuple[JobFolder, Tables],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The second half of its videos lies with a server that does not answer before the kill."""
    job, expected = undisturbed
    here = JobFolder(tmp_path, job.checkpoint)
    shutil.copytree(job.folder / "in", tmp_path / "in")
    (tmp_path / "model.py").write_text(A_MODEL_OF_THE_USER)
    command = ["env", "-C", str(tmp_path), f"PYTHONPATH={ROOT}", sys.executable, "-m", "pipeline.run"]
    command += here.arguments(*ON_THE_CLUSTER, "cluster.actors=1", "input.hosts=127.0.0.1")
    words = ["--name", "night", "--address", dashboard, "--", *command, "flush.seconds=1", "worker.beat_seconds=1"]
    ends: list[int] = []
    with media_server(tmp_path / "in") as media:
        rows = here.rows("videos")
        for row in rows[NUM_CLIPS // 2 :]:
            row["uri"] = media.uri(row["uri"])
        here.rewrite("videos", rows)
        answers = threading.Event()
        media.harm.update((Path(row["uri"]).name, lambda _: answers.wait()) for row in rows[NUM_CLIPS // 2 :])
        assert submit.main(["--no-wait", *words]) == 0
        # The same command while it runs follows it.
        follower = threading.Thread(target=lambda: ends.append(submit.main(words)), daemon=True)
        follower.start()
        entries = here.output / "_log"
        wait_until(lambda: ends or sum(entry.read_text().count('"ok"') for entry in entries.glob("*.json")), "a commit")
        assert not ends
        kill_driver(here.output)
        answers.set()
        follower.join()
        assert ends == [128 + signal.SIGKILL]
        committed = {video_id: row["finished_at"] for video_id, row in here.tables().videos.items()}
        assert 0 < len(committed) < NUM_CLIPS
        assert submit.main(words) == 0
    assert submit.main(words) == 0, "after its end nothing is submitted"
    assert [number for number, _ in submit.attempts(JobSubmissionClient(dashboard), "night")] == [1, 2]
    assert "night-try2 is submitted, because night has failed" in capfd.readouterr().out
    found = here.tables()
    assert found.equals(expected)
    assert {video_id: found.videos[video_id]["finished_at"] for video_id in committed} == committed
    assert found.masks.equals(read_plainly(here.output))


def test_actors_have_names_of_maskmill_that_differ_between_jobs(executors: list[RayExecutor], tmp_path: Path) -> None:
    """Two jobs may run in one namespace, for instance from one notebook."""
    for _ in range(2):
        executor = executor_of(executors, ScriptedWorker)
        started(executor, 1)
    names = ray.util.list_named_actors()
    assert len(set(names)) == 2
    assert all(re.fullmatch(r"maskmill-w0000-[0-9a-f]{8}", name) for name in names)


def test_overlays_are_drawn_by_an_actor_as_in_this_process(cluster: str, filmed: Filmed, tmp_path: Path) -> None:
    words = [f"output={filmed.uri}", "most_pixels=16"]
    assert door([*words, f"to={tmp_path / 'ray'}", *ON_THE_CLUSTER, "cluster.actors=1"]) == 0
    assert door([*words, f"to={tmp_path / 'here'}"]) == 0
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "ray").iterdir()}
    assert len(drawn) == 3
    assert drawn == {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}

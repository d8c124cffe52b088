"""Long videos: saved in their middle, gone on with after a kill, in memory that does not grow."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import threading
import time
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import tables
from pipeline.inputs.write import prompts_table
from tests.support.fault_jobs import RunningJob, kill, read_tables, run
from tests.support.record import Record

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(900)]

SIZE_HW = (64, 96)


def write_long_video(path: Path, num_frames: int, fps: int) -> None:
    """A disc that goes round, with one key frame only: walking backward cannot start in the middle."""
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    with av.open(str(path), "w") as container:
        options = {"g": "1000000", "keyint_min": "1000000", "sc_threshold": "0", "preset": "ultrafast", "bf": "2"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width, stream.pix_fmt = *SIZE_HW, "yuv420p"
        for index in range(num_frames):
            angle = 2 * np.pi * index / 120
            y, x = 32 + 12 * np.sin(angle), 48 + 20 * np.cos(angle)
            inside = (rows - y) ** 2 + (columns - x) ** 2 < 12**2
            pixels = np.where(inside[..., None], (210, 60, 50), (190, 205, 200)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())


def write_tables(folder: Path, prompt_frames: list[int]) -> list[str]:
    """A job's input tables for `long.mp4`: a box at each of these frames."""
    prompts = []
    for object_id, index in enumerate(prompt_frames, 1):
        angle = 2 * np.pi * index / 120
        y, x = 32 + 12 * np.sin(angle), 48 + 20 * np.cos(angle)
        box = [x - 12, y - 12, x + 12, y + 12]
        prompts.append({"video_id": "long", "object_id": object_id, "frame_index": index, "box_xyxy": box})
    pq.write_table(pa.Table.from_pylist([{"video_id": "long", "uri": "long.mp4"}]), folder / "videos.parquet")
    pq.write_table(prompts_table(prompts), folder / "prompts.parquet")
    return ["conf=label", f"videos={folder / 'videos.parquet'}", f"prompts={folder / 'prompts.parquet'}"]


def saved_frames(output: Path) -> int:
    """Frames of the video that are saved."""
    for path in output.glob("_sessions/*/latest.json"):
        return int(json.loads(path.read_text())["num_frames"])
    return 0


@pytest.mark.parametrize("direction", ["both", "forward", "backward"])
def test_a_killed_worker_costs_a_long_video_only_what_was_not_saved(
    direction: str, tmp_path: Path, record: Record
) -> None:
    num_frames, every = 48, 10
    write_long_video(tmp_path / "long.mp4", num_frames, 12)
    arguments = [*write_tables(tmp_path, {"forward": [0], "backward": [47], "both": [12, 20]}[direction])]
    arguments.append(f"propagate.direction={direction}")
    assert run(tmp_path, *arguments, f"output={tmp_path / 'undisturbed'}", "cluster=serial").process.returncode == 0
    output = tmp_path / "out"
    arguments += [f"output={output}", "cluster.actors=1", "worker.beat_seconds=0.2", f"checkpoint.every_frames={every}"]
    with RunningJob(tmp_path, *arguments) as job:
        job.wait_until(lambda: saved_frames(output) >= 2 * every, "a save")
        (pid,) = job.actors()
        at_kill = saved_frames(output)
        kill(pid, signal.SIGKILL)
        job.wait_until(lambda: job.count("was in flight"), "the death noticed")
        assert not list(output.glob("masks/*")), "rows of an unfinished video are in the tables"
        job.signal(signal.SIGKILL)  # the driver as well: what was saved is in the job's storage, not in a process
        job.process.wait()
    assert at_kill < num_frames, "the kill did not come in mid-work"
    again = run(tmp_path, *arguments)
    assert again.process.returncode == 0, again.log
    worked = int(again.log.partition("this run 1 video, ")[2].partition(" frame")[0])
    num_steps = 36 + 20 if direction == "both" else num_frames  # forward from 12, back from 20
    assert worked <= num_steps - at_kill, f"{worked} frames again, {at_kill} of {num_steps} were saved"
    record.times, record.redone = 2, f"{worked + at_kill - num_steps} frames of {num_steps}"
    record.compare(read_tables(str(output)), read_tables(str(tmp_path / "undisturbed")))
    assert not list(output.glob("_sessions/*/*")), "what was saved is left behind"


def test_sigterm_saves_what_is_in_flight(tmp_path: Path, record: Record) -> None:
    num_frames = 400  # twice what a quick machine labels in six seconds; fewer than five are not worth saving
    write_long_video(tmp_path / "long.mp4", num_frames, 12)
    arguments = write_tables(tmp_path, [0])
    assert run(tmp_path, *arguments, f"output={tmp_path / 'undisturbed'}", "cluster=serial").process.returncode == 0
    output = tmp_path / "out"
    arguments += [f"output={output}", "cluster.actors=1", "worker.beat_seconds=1"]
    with RunningJob(tmp_path, *arguments) as job:
        job.wait_until(job.busy_actors, "work")
        time.sleep(6)
        asked = time.monotonic()
        job.signal(signal.SIGTERM)
        assert job.wait() == 143, job.log
        assert time.monotonic() - asked < 25
    at_stop = saved_frames(output)
    assert 0 < at_stop < num_frames, job.log
    again = run(tmp_path, *arguments)
    assert again.process.returncode == 0, again.log
    assert f"this run 1 video, {num_frames - at_stop} frames" in again.log
    record.times, record.redone = 1, f"0 frames of {num_frames}"
    record.compare(read_tables(str(output)), read_tables(str(tmp_path / "undisturbed")))


@pytest.fixture(scope="session")
def two_hours(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 28,800 frames, four a second, as `long.mp4`; drawn once and kept between runs of the tests."""
    cache = getattr(pytestconfig, "cache", None)
    folder = Path(cache.mkdir("two-hours-1")) if cache else tmp_path_factory.mktemp("two-hours")
    if not (folder / "long.mp4").exists():
        write_long_video(folder / "unfinished.mp4", 4 * 7200, 4)
        (folder / "unfinished.mp4").rename(folder / "long.mp4")
    return folder


def test_two_hours_of_video_in_bounded_memory_and_killed_in_both_walks(
    two_hours: Path, tmp_path: Path, record: Record
) -> None:
    """Every 120th frame, forward and backward from the middle, through one key frame."""
    every, num_labelled = 30, 240
    (tmp_path / "long.mp4").symlink_to(two_hours / "long.mp4")
    arguments = [*write_tables(tmp_path, [4 * 3600]), "cluster.actors=1", "frames.stride=120"]
    arguments += ["propagate.direction=both", f"checkpoint.every_frames={every}", "worker.beat_seconds=0.5"]
    undisturbed, spool = tmp_path / "undisturbed", tmp_path / "spool"
    to_spool = f"worker.spool_dir={spool}"
    with RunningJob(tmp_path, *arguments, f"output={undisturbed}", to_spool) as job, Watch(job, spool) as watch:
        assert job.wait(800) == 0, job.log
    assert read_tables(str(undisturbed)).masks.num_rows == num_labelled
    early, late = watch.early_and_late_megabytes()
    assert late < early + 100
    assert 0 < watch.spool_bytes < 64e6

    output = tmp_path / "out"
    with RunningJob(tmp_path, *arguments, f"output={output}") as job:
        for num_kills, at_least in ((1, 60), (2, 180)):  # one in each walk
            job.wait_until(lambda at_least=at_least: saved_frames(output) >= at_least, "a save")
            busy: list[int] = []
            job.wait_until(lambda busy=busy: busy.extend(job.busy_actors()) or busy, "a worker at work")
            assert saved_frames(output) < num_labelled
            assert kill(busy[-1], signal.SIGKILL)
            job.wait_until(lambda n=num_kills: job.count("was in flight") >= n, "the death noticed")
            assert not list(output.glob("masks/*")), "rows of an unfinished video are in the tables"
        assert job.wait(800) == 0, job.log
    workers = {row["worker"] for row in tables.open(str(output)).videos().to_pylist()}
    assert not any(name.endswith(("w0000", "w0001")) for name in workers), "the last of three workers finished it"
    (worked,) = re.findall(r"this run 1 video, (\d+) frames", job.log)
    assert int(worked) <= num_labelled + 2 * every
    record.fault = (
        f"2 hours of video ({early:.0f} MB early, {late:.0f} late, spool {watch.spool_bytes / 1e6:.1f}), kills"
    )
    record.times, record.redone = 2, f"{max(0, int(worked) - num_labelled)} frames of {num_labelled}"
    record.compare(read_tables(str(output)), read_tables(str(undisturbed)))


class Watch:
    """Samples of the memory of a job's workers and of the bytes under its spool, while it is open."""

    def __init__(self, job: RunningJob, spool: Path) -> None:
        self._job, self._spool = job, spool
        self._megabytes: list[float] = []
        self.spool_bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def early_and_late_megabytes(self) -> tuple[float, float]:
        """The most in the first third, the start left out, and in the last third."""
        count = len(self._megabytes)
        assert count >= 10, "too short to judge"
        return max(self._megabytes[count // 10 : count // 3]), max(self._megabytes[2 * count // 3 :])

    def _watch(self) -> None:
        while not self._done.wait(0.3):
            self._megabytes += [private_megabytes(pid) for pid in self._job.busy_actors()]
            held = sum(bytes_below(self._spool, pid) for pid in self._job.busy_actors())
            self.spool_bytes = max(self.spool_bytes, held)


def bytes_below(folder: Path, pid: int) -> int:
    """Sizes of the files below a folder that a process has open, those without a name included."""
    total = 0
    with contextlib.suppress(OSError):
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(handle.readlink()).startswith(f"{folder}/"):
                    total += handle.stat().st_size
    return total


def private_megabytes(pid: int) -> float:
    """Memory of a process that is neither shared nor files."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

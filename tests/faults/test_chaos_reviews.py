"""Faults between a review and its commit: the same command finishes the round, and rows of other objects stay."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline import tables
from pipeline.commits.compaction import compact
from pipeline.commits.log import CommitLog
from pipeline.run import main
from pipeline.storage.job_storage import JobStorage
from tests.support.clips import moving_clip, write_job_inputs
from tests.support.fault_jobs import RunningJob, Tables, kill, read_tables, run, statuses
from tests.support.record import Record
from tests.support.rounds import correct, made_anew, square

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NAMES = tuple(f"clip-{number}" for number in range(6))
OFTEN = ("worker.beat_seconds=1", "flush.seconds=1", "cluster.actors=1")
FIXTURE = Path(__file__).parents[1] / "fixtures" / "job_of_249c986"


@dataclass(frozen=True)
class Reviewed:
    """A labeled job that reviewers have corrected, before the next run and after an undisturbed one."""

    folder: Path
    before: Tables
    expected: Tables

    def copy(self, folder: Path) -> Path:
        """The output of a copy."""
        shutil.copytree(self.folder, folder / "job")
        return folder / "job" / "out"


def arguments(output: Path, *more: str) -> list[str]:
    inputs = output.parent / "in"
    return [f"videos={inputs / 'videos.parquet'}", f"prompts={inputs / 'prompts.parquet'}", f"output={output}", *more]


def say(output: Path, *names: str) -> None:
    """Reviewers correct the first object of these clips."""
    for name in names:
        correct(output, name, 1, 5, mask_rle=square((96, 128), 30, 20, 40))


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Reviewed:
    folder = tmp_path_factory.mktemp("reviewed")
    clips = [moving_clip(name, num_frames=12, num_objects=2, seed=number) for number, name in enumerate(NAMES)]
    write_job_inputs(folder / "job" / "in", clips)
    output = folder / "job" / "out"
    assert main(arguments(output, "cluster=serial")) == 0
    before = read_tables(str(output))
    say(output, *NAMES[:5])
    done = Reviewed(folder / "job", before, before).copy(folder / "done")
    assert main(arguments(done, "cluster=serial")) == 0
    return Reviewed(folder / "job", before, read_tables(str(done)))


def round_of(output: Path) -> int:
    return CommitLog(JobStorage(str(output)), "reader").load().round


def num_pending(output: Path) -> int:
    return len(CommitLog(JobStorage(str(output)), "reader").load().set_aside())


def is_in_the_middle(output: Path) -> bool:
    return round_of(output) == 2 and 0 < num_pending(output) < 5


@pytest.mark.chaos
def test_an_undisturbed_round_moves_no_other_row(reviewed: Reviewed, record: Record) -> None:
    assert made_anew(reviewed.before, reviewed.expected) == {(name, 1) for name in NAMES[:5]}
    record.compare(reviewed.expected, reviewed.expected)


def killed_driver(job: RunningJob, output: Path) -> None:
    job.signal(signal.SIGKILL)
    job.wait()


def killed_worker(job: RunningJob, output: Path) -> None:
    for pid in job.busy_actors():
        kill(pid, signal.SIGKILL)
    job.wait()


def stopped_driver(job: RunningJob, output: Path) -> None:
    job.signal(signal.SIGTERM)
    job.wait()


def second_driver(job: RunningJob, output: Path) -> None:
    second = run(output.parent, *arguments(output, *OFTEN))
    assert second.process.returncode in (0, 3), second.log
    job.wait()


@pytest.mark.chaos
@pytest.mark.parametrize("fault", [killed_driver, killed_worker, stopped_driver, second_driver])
def test_a_round_is_finished_by_the_same_command(
    reviewed: Reviewed, tmp_path: Path, record: Record, fault: Callable[[RunningJob, Path], None]
) -> None:
    output = reviewed.copy(tmp_path)
    with RunningJob(tmp_path, *arguments(output, *OFTEN)) as job:
        job.wait_until(lambda: is_in_the_middle(output), "a commit of the round")
        fault(job, output)
    again = run(tmp_path, *arguments(output, *OFTEN))
    assert again.process.returncode == 0, again.log
    record.times = 1
    record.compare(read_tables(str(output)), reviewed.expected)
    assert round_of(output) == 2
    assert tables.open(str(output), round=1).masks().to_table().num_rows == reviewed.before.masks.num_rows


@pytest.mark.chaos
def test_a_correction_that_is_saved_while_the_job_runs_counts_in_the_next_run(
    reviewed: Reviewed, tmp_path: Path, record: Record
) -> None:
    output = reviewed.copy(tmp_path)
    with RunningJob(tmp_path, *arguments(output, *OFTEN)) as job:
        job.wait_until(lambda: is_in_the_middle(output), "a commit of the round")
        correct(output, NAMES[5], 2, 3)
        correct(output, NAMES[4], 2, 3)
        assert job.wait() == 0, job.log
    record.times = 2
    record.compare(read_tables(str(output)), reviewed.expected)
    assert run(tmp_path, *arguments(output, *OFTEN)).process.returncode == 0
    assert made_anew(reviewed.expected, read_tables(str(output))) == {(NAMES[4], 2), (NAMES[5], 2)}
    assert round_of(output) == 3


@pytest.mark.chaos
def test_a_killed_round_whose_corrections_change_meanwhile_uses_the_new_ones(
    reviewed: Reviewed, tmp_path: Path, record: Record
) -> None:
    """Also where the killed run has saved sessions in the middle of videos."""
    output = reviewed.copy(tmp_path)
    often = (*OFTEN, "checkpoint.every_frames=1")
    with RunningJob(tmp_path, *arguments(output, *often)) as job:
        job.wait_until(lambda: is_in_the_middle(output) and any(output.glob("_sessions/*/*")), "a saved session")
        job.signal(signal.SIGKILL)
        job.wait()
    for name in NAMES[:5]:
        correct(output, name, 1, 5, kind="withdraw")
        correct(output, name, 2, 7, mask_rle=square((96, 128), 30, 20, 40))
    assert run(tmp_path, *arguments(output, *often)).process.returncode == 0
    found = read_tables(str(output))
    by_object = {(row["video_id"], row["object_id"]): row for row in found.tracks.to_pylist()}
    for name in NAMES[:5]:
        assert by_object[name, 1]["prompts"] == "table", name
        assert by_object[name, 2]["prompt_frames"] == [0, 7], name
    first = found.masks.filter(pc.equal(found.masks["object_id"], 1))
    wanted = reviewed.before.masks.filter(pc.equal(reviewed.before.masks["object_id"], 1))
    assert first.num_rows == wanted.num_rows
    record.times = 1
    record.compare(found, found)


@pytest.mark.chaos
def test_a_video_that_fails_in_a_round_keeps_its_other_rows_for_the_next_try(
    reviewed: Reviewed, tmp_path: Path, record: Record
) -> None:
    output = reviewed.copy(tmp_path)
    (film,) = (path for path in (output.parent / "in").rglob(f"{NAMES[0]}*") if path.is_file())
    film.rename(film.with_suffix(".away"))
    assert run(tmp_path, *arguments(output, *OFTEN)).process.returncode == 0
    assert statuses(str(output))[NAMES[0]] == "ok"
    assert made_anew(reviewed.before, read_tables(str(output))) == {(name, 1) for name in NAMES[1:5]}
    assert CommitLog(JobStorage(str(output)), "reader").load().finished.setbacks.keys() == {NAMES[0]}
    film.with_suffix(".away").rename(film)
    assert run(tmp_path, *arguments(output, "retry=failed", *OFTEN)).process.returncode == 0
    found = read_tables(str(output))
    assert made_anew(reviewed.expected, found) == {(NAMES[0], 1)}, "this try is a round of its own"
    assert found.masks.equals(reviewed.expected.masks)
    assert round_of(output) == 3
    record.times = 1
    record.compare(found, found)


@pytest.mark.chaos
def test_a_compaction_between_review_and_run_changes_nothing(
    reviewed: Reviewed, tmp_path: Path, record: Record
) -> None:
    output = reviewed.copy(tmp_path)
    compact(JobStorage(str(output)), tmp_path / "spool")
    assert run(tmp_path, *arguments(output, *OFTEN)).process.returncode == 0
    compact(JobStorage(str(output)), tmp_path / "spool")
    record.times = 2
    record.compare(read_tables(str(output)), reviewed.expected)
    assert tables.open(str(output), round=1).masks().to_table().num_rows == reviewed.before.masks.num_rows


@pytest.mark.chaos
def test_an_output_of_an_earlier_program_is_corrected_and_its_other_tracks_stay_as_they_are(
    tmp_path: Path, record: Record
) -> None:
    shutil.copytree(FIXTURE, tmp_path / "job")
    output = tmp_path / "job" / "out"
    options = ("cluster=serial", "model=mini", "model.device=cpu")
    (output / "_owner.json").unlink()
    assert main(arguments(output, *options)) == 0
    before = read_tables(str(output))
    old = [row for row in before.tracks.to_pylist() if row["round"] is None and row["num_masks"]]
    assert old
    size_hw = tuple(before.masks["rle"][0].as_py()["size"])
    correct(output, old[0]["video_id"], old[0]["object_id"], 1, mask_rle=square(size_hw, 10, 10, 20))
    assert main(arguments(output, *options)) == 0
    found = read_tables(str(output))
    assert made_anew(before, found) == {(old[0]["video_id"], old[0]["object_id"])}
    record.times = 1
    record.compare(found, found)


@pytest.mark.chaos
def test_pictures_of_a_folder_are_corrected_as_frames_are(tmp_path: Path, record: Record) -> None:
    clip = moving_clip("pictures", num_frames=5, num_objects=2, seed=3)
    inputs = tmp_path / "job" / "in"
    write_job_inputs(inputs, [clip])
    output = tmp_path / "job" / "out"
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, frame in enumerate(clip.frames_THW3):
        Image.fromarray(frame).save(folder / f"{number:03d}.png")
    pq.write_table(pa.table({"video_id": ["pictures"], "uri": [f"{folder}/"]}), inputs / "videos.parquet")
    assert main(arguments(output, "cluster=serial")) == 0
    before = read_tables(str(output))
    correct(output, "pictures", 2, 3)
    assert main(arguments(output, "cluster=serial")) == 0
    found = read_tables(str(output))
    assert made_anew(before, found) == {("pictures", 2)}
    record.times = 1
    record.compare(found, found)

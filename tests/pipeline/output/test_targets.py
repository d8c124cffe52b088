"""A command that is told to write among the files of a job is refused: whoever reads its tables would read that too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config.compose import job_config
from pipeline.driver.driver import run
from pipeline.errors import ConfigError
from pipeline.output.targets import check_beside_jobs, check_file, check_folder
from pipeline.queue import QueueArguments
from pipeline.queue import run as queue


@pytest.fixture
def job(tmp_path: Path) -> Path:
    for name in ("_log", "masks", "reviews", "_verify"):
        (tmp_path / "labels" / name).mkdir(parents=True)
    return tmp_path / "labels"


@pytest.mark.parametrize(
    "place", ["masks/queue.parquet", "videos/a/b.parquet", "reviews/q.parquet", "_log/q.parquet", "_tmp/q.parquet"]
)
def test_a_file_among_those_of_a_job_is_refused_and_another_place_is_named(job: Path, place: str) -> None:
    own = place.partition("/")[0]
    with pytest.raises(ConfigError) as error:
        check_file(f"{job}/{place}", "queue.parquet")
    expected = f"to={job}/{place} lies in {own} of the job {job}, which the job alone writes: name another place"
    assert str(error.value).startswith(expected)


@pytest.mark.parametrize("place", ["masks", "masks/coco", "tracks/", "other/../videos"])
def test_a_folder_among_those_of_a_job_is_refused(job: Path, place: str) -> None:
    with pytest.raises(ConfigError, match="which the job alone writes"):
        check_folder(f"{job}/{place}")


def test_beside_the_tables_and_in_folders_that_are_called_alike_is_room(job: Path, tmp_path: Path) -> None:
    for place in (job / "report.html", job / "coco/masks", tmp_path / "masks/x", job / "_verify/job", job / "_logs/a"):
        check_beside_jobs(str(place), "to")
    check_beside_jobs(f"s3://bucket{job}/masks", "to")
    assert not (tmp_path / "masks").exists(), "a check makes nothing"


@pytest.mark.parametrize("overwritten", ["job.json", "last_run.json"])
def test_documents_of_a_job_are_not_written_over(job: Path, overwritten: str) -> None:
    with pytest.raises(ConfigError, match=f" is {overwritten} of the job"):
        check_file(str(job / overwritten), "rounds.json")


def _queue(job: Path) -> object:
    return queue(QueueArguments(output=str(job), to=f"{job}/masks/queue.parquet"))


def _run(job: Path, word: str) -> object:
    return run(job_config("label", ["videos=v", "prompts=p", "model=mini", f"output={job.parent}/out", word]))


@pytest.mark.parametrize(
    ("key", "command"),
    [
        ("to", _queue),
        ("output", lambda job: _run(job, f"output={job}/masks/next")),
        ("log_file", lambda job: _run(job, f"log_file={job}/videos/log.jsonl")),
    ],
)
def test_commands_refuse_it_before_they_write(job: Path, key: str, command: Callable[[Path], object]) -> None:
    before = sorted(job.rglob("*"))
    with pytest.raises(ConfigError, match=f"^{key}=.* which the job alone writes"):
        command(job)
    assert sorted(job.rglob("*")) == before

"""Whole jobs whose tables change: what the output has and the tables lack stays, is counted, and goes only if asked."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import pytest

from pipeline.inputs.write import prompts_table, write_table
from pipeline.run import main
from pipeline.standing import read_status
from pipeline.status import as_text
from pipeline.storage.job_storage import JobStorage
from tests.support.jobs import JobFolder
from tests.support.traces import traces

pytestmark = pytest.mark.slow


def test_videos_and_objects_that_left_the_tables_stay_until_they_are_pruned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobFolder(tmp_path).write(["one", "two", "third-clip"], num_objects=2)
    assert job.run() == 0
    before = job.tables()
    rows = job.files()

    for table in ("videos", "prompts"):
        job.rewrite(table, [row for row in job.rows(table) if row["video_id"] != "third-clip"])
    capsys.readouterr()
    assert job.run() == 0
    printed = capsys.readouterr().out
    assert "videos   3 (3 ok)\nformer   1 of them is in no table any more" in printed
    assert "videos   2 of 2 in the tables, and 1 former (3 ok)" in as_text(read_status(JobStorage(str(job.output))))
    assert [path for path, change in job.files().items() if rows[path] != change] == [f"{job.output}/_status.json"]

    left = [row for row in job.rows("prompts") if (row["video_id"], row["object_id"]) != ("one", 2)]
    job.rewrite("prompts", left)
    rows = job.files()
    assert job.run() == 2
    assert "1 object of the output has no prompts any more: 'one' (object 2). Nothing was labeled" in (
        capsys.readouterr().err
    )
    assert job.run("relabel=true", "frames.stride=2") == 2
    assert "1 object of the output has no prompts" in capsys.readouterr().err
    assert job.files() == rows

    assert job.run("prune=true") == 0
    after = job.tables()
    assert after.tracks.select(["video_id", "object_id"]).to_pylist() == [
        {"video_id": "one", "object_id": 1},
        {"video_id": "two", "object_id": 1},
        {"video_id": "two", "object_id": 2},
    ]
    assert after.videos["two"]["finished_at"] == before.videos["two"]["finished_at"]
    assert traces(job.output, "third-clip") == []
    assert "videos   2 of 2 in the tables (2 ok)" in as_text(read_status(JobStorage(str(job.output))))
    rows = job.files()
    assert job.run("prune=true") == 0
    assert job.files() == rows


def test_labeling_all_again_does_not_drop_what_it_cannot_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobFolder(tmp_path).write(["one", "two"])
    assert job.run() == 0
    job.rewrite("videos", job.rows("videos")[:1])
    before = job.files()
    assert job.run("relabel=true", "frames.stride=2") == 2
    assert "relabel=true would remove the masks of 1 video that no table has any more" in capsys.readouterr().err
    assert job.files() == before
    assert job.run("relabel=true", "frames.stride=2", "prune=true") == 0
    assert set(job.tables().videos) == {"one"}
    assert job.tables().masks["frame_index"].to_pylist() == [0, 2]
    assert traces(job.output, "two") == []


def test_an_interrupted_job_says_what_it_would_take_away_after_it_has_adopted_what_was_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rows of `one` are published, and the entry of the log that commits them is lost."""
    job = JobFolder(tmp_path).write(["one"], num_objects=2)
    assert job.run() == 0
    entries = sorted((job.output / "_log").glob("*.json"))
    entries[-1].unlink()
    job.rewrite("prompts", job.rows("prompts")[:1])
    assert job.run() == 2
    assert "'one' (object 2)" in capsys.readouterr().err
    assert job.tables().tracks["object_id"].to_pylist() == [1, 2]


def correction(folder: Path, name: str, object_id: int, frame_index: int) -> str:
    """A click on one object of `one`, in a table without `uri`."""
    row = {"object_id": object_id, "frame_index": frame_index, "points_xy": [[64.0, 48.0]], "point_labels": [1]}
    write_table(str(folder / f"{name}.parquet"), prompts_table([{"video_id": "one", **row}]))
    return str(folder / f"{name}.parquet")


def num_prompts(job: JobFolder) -> dict[tuple[str, int], int]:
    return {(row["video_id"], row["object_id"]): row["num_prompts"] for row in job.tables().tracks.to_pylist()}


def test_corrections_add_to_the_prompts_of_before_in_every_later_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobFolder(tmp_path).write(["one", "two"], num_objects=2)
    assert job.run() == 0
    finished_at = job.tables().videos["two"]["finished_at"]
    first, second = correction(tmp_path, "first", 1, 2), correction(tmp_path, "second", 3, 1)

    assert job.run(f"corrections={first}") == 0
    expected = {("one", 1): 2, ("one", 2): 1, ("two", 1): 1, ("two", 2): 1}
    assert num_prompts(job) == expected
    files = job.files()
    assert job.run(f"corrections={first}") == 0
    assert job.files() == files

    alone = [f"output={job.output}", "cluster=serial"]
    assert main([f"corrections={second}", *alone]) == 0
    assert num_prompts(job) == {**expected, ("one", 3): 1}
    files = job.files()
    assert main([f"corrections={second}", *alone]) == 0
    assert job.files() == files
    assert job.tables().videos["two"]["finished_at"] == finished_at

    assert job.run(f"corrections={first}") == 2
    assert "1 object of the output has no prompts any more: 'one' (object 3)" in capsys.readouterr().err
    caplog.clear()
    assert job.run(f"corrections={second}") == 0
    assert "objects with fewer prompts than before are labeled again: 'one' (object 1)" in caplog.text
    assert num_prompts(job) == {**expected, ("one", 1): 1, ("one", 3): 1}


def test_corrections_alone_need_a_job_that_says_where_its_prompts_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fix = correction(tmp_path, "fix", 1, 0)
    assert main([f"corrections={fix}", f"output={tmp_path / 'out'}", "cluster=serial"]) == 2
    assert "does not say where they are: give prompts= as well" in capsys.readouterr().err
    assert main([f"corrections={tmp_path}", f"prompts={fix}", f"output={tmp_path / 'out'}"]) == 2
    assert (
        f"lies in corrections={tmp_path}, and the tables of a job there would be input of the next run"
        in capsys.readouterr().err
    )


def test_a_video_whose_file_was_replaced_is_named_and_labeled_again_if_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = JobFolder(tmp_path / "job").write(["one", "two"])
    clip = job.folder / "in" / "one.mp4"
    assert job.run() == 0
    before = job.tables()
    assert before.videos["one"]["source_bytes"] == clip.stat().st_size
    told = datetime.fromisoformat(before.videos["one"]["source_version"]).timestamp()
    assert told == pytest.approx(clip.stat().st_mtime, abs=0.002)

    other = JobFolder(tmp_path / "other").write(["unlike"]).folder / "in" / "unlike.mp4"
    shutil.copyfile(other, clip)
    files = job.files()
    assert job.run() == 0
    said = "1 video changed since it was labeled (size, time or ETag of the file): 'one'. Its masks stay."
    assert said in caplog.text
    caplog.clear()
    assert job.run("changed=keep") == 0
    assert "changed since" not in caplog.text
    assert job.files() == files

    entry = job.next_entry()
    assert job.run("changed=relabel") == 0
    assert job.changes(entry) == {"one": ("again", "file")}
    after = job.tables()
    assert after.videos["one"]["source_bytes"] == other.stat().st_size
    assert after.videos["two"]["finished_at"] == before.videos["two"]["finished_at"]
    fresh = JobFolder(tmp_path / "fresh")
    assert fresh.run(*job.arguments(f"output={fresh.output}")) == 0
    assert after.masks.equals(fresh.tables().masks)
    assert not after.masks.equals(before.masks)
    files = job.files()
    caplog.clear()
    assert job.run("changed=relabel") == 0
    assert "changed since" not in caplog.text
    assert job.files() == files

"""Places that would be gone when a job ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.driver.places import check_free, check_place
from pipeline.errors import ConfigError
from pipeline.run import main
from pipeline.storage.job_storage import JobStorage


def test_a_relative_place_in_the_folder_that_ray_deletes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The working folder of a job that `ray job submit --working-dir` started."""
    folder = tmp_path / "session_1" / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    for place in ("out", "./out", str(folder / "out"), f"file://{folder}/out"):
        with pytest.raises(ConfigError, match=r"output=.* lies in the folder that Ray deletes after a submitted job"):
            check_place("output", place)
    for place in (str(tmp_path / "out"), "s3://bucket/runtime_resources/working_dir_files/out", None):
        check_place("output", place)
    words = ["prompts=p.parquet", "cluster=serial", "output=out"]
    assert main(words) == 2
    assert "output=" in capsys.readouterr().err
    assert main([*words, f"output={tmp_path / 'out'}", "log_file=run.jsonl"]) == 2
    assert "log_file=run.jsonl lies in the folder" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("others", "told"),
    [
        (["manifest.json", "manifest_videos.jsonl", "annotations/instances_train.json"], "an export"),
        (["_parts/export.json"], "an export"),
        (["videos/clip.mp4"], "a folder videos, which is of no job"),
        (["masks/cat.png", "notes.txt"], "a folder masks, which is of no job"),
    ],
)
@pytest.mark.parametrize("more", [[], ["check=true"]])
def test_a_new_job_does_not_lie_among_the_files_of_others(
    others: list[str], told: str, more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "taken"
    for name in others:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text("words")
    assert main(["prompts=p.parquet", "cluster=serial", f"output={output}", "model=mini", *more]) == 2
    assert f"output={output} holds {told}: name another folder" in capsys.readouterr().err
    assert sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()) == sorted(others)


def test_files_of_others_that_no_table_is_mixed_with_stay_beside_a_job(tmp_path: Path) -> None:
    for name in ("input/clip.mp4", "manifest.json", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("words")
    check_free(JobStorage(str(tmp_path)))

"""Places that would be gone when a job ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.driver.places import check_lasting
from pipeline.errors import ConfigError
from pipeline.run import main


def test_a_relative_place_in_the_folder_that_ray_deletes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The working folder of a job that `ray job submit --working-dir` started."""
    folder = tmp_path / "session_1" / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    for place in ("out", "./out", str(folder / "out"), f"file://{folder}/out"):
        with pytest.raises(ConfigError, match=r"output=.* lies in the folder that Ray deletes after a submitted job"):
            check_lasting("output", place)
    for place in (str(tmp_path / "out"), "s3://bucket/runtime_resources/working_dir_files/out", None):
        check_lasting("output", place)
    words = ["prompts=p.parquet", "cluster=serial", "output=out"]
    assert main(words) == 2
    assert "output=" in capsys.readouterr().err
    assert main([*words, f"output={tmp_path / 'out'}", "log_file=run.jsonl"]) == 2
    assert "log_file=run.jsonl lies in the folder" in capsys.readouterr().err
    assert list(folder.iterdir()) == []

"""A run that is refused before its config is whole: who is told, whatever else is wrong with the job file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.run import main


def job_file(folder: Path, *lines: str) -> str:
    path = folder / "night.yaml"
    path.write_text("\n".join((f"output: {folder}/out", f"notify: cp /dev/stdin {folder}/told.json", *lines)))
    return f"conf={path}"


def told(folder: Path) -> dict[str, Any] | None:
    path = folder / "told.json"
    return json.loads(path.read_bytes()) if path.exists() else None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("outptu: elsewhere", "outptu"),
        ("frames: {stride: 0}", "frames.stride=0"),
        ("model: huge", "model=huge"),
        ("cluster: [", "is not YAML"),
    ],
)
def test_a_mistake_in_a_job_file_is_told_to_whom_the_file_names(tmp_path: Path, line: str, message: str) -> None:
    assert main([job_file(tmp_path, f"log_file: {tmp_path}/log.jsonl", line), "prompts=p.parquet"]) == 2
    found = told(tmp_path)
    if "YAML" in message:
        assert found is None, "nothing can be read of this file"
        return
    assert found is not None
    assert (found["exit_code"], found["state"], found["output"]) == (2, "refused", f"{tmp_path}/out")
    assert message in found["message"]
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("run_ended", 2)
    assert not (tmp_path / "out").exists()


def test_a_mistake_on_the_command_line_is_told_to_whom_it_names_itself(tmp_path: Path) -> None:
    notify = f"notify=cp /dev/stdin {tmp_path}/told.json"
    assert main(["conf=label", "output=out", "stride=2", notify]) == 2
    found = told(tmp_path)
    assert found is not None
    assert "stride" in found["message"]


@pytest.mark.slow
def test_nobody_is_told_who_did_not_ask_or_at_an_address_that_is_refused(tmp_path: Path) -> None:
    assert main([job_file(tmp_path, "outptu: x"), "notify="]) == 2
    assert told(tmp_path) is None
    assert main([job_file(tmp_path, "outptu: x"), "notify=http://elsewhere.example.com/x"]) == 2
    assert told(tmp_path) is None

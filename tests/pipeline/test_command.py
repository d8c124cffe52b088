"""What all commands share: exit codes and the log on the terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.command import ExitCode, JobArguments, main

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_readme_lists_every_exit_code_with_its_sentence() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", README, flags=re.MULTILINE)
    assert rows == [(str(int(code)), code.meaning) for code in ExitCode]


def test_an_exit_code_is_the_number_that_the_shell_sees() -> None:
    assert [code.value for code in ExitCode] == [0, 1, 2, 3, 4, 143]
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(ExitCode.STOPPED)
    assert ended.value.code == 143


def test_only_one_place_sets_up_the_log_of_the_terminal() -> None:
    sources = (Path(__file__).parents[2] / "pipeline").rglob("*.py")
    assert [path.name for path in sources if "basicConfig" in path.read_text(encoding="utf-8")] == ["command.py"]


def test_a_command_whose_arguments_are_wrong_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("help", JobArguments, lambda _: ExitCode.DONE, ["--force"]) is ExitCode.REFUSED
    assert "'--force' is not key=value" in capsys.readouterr().err

"""`maskmill NAME`: all commands by one name."""

from __future__ import annotations

from importlib import import_module

import pytest

from pipeline.doors import DOORS, main


def test_help_lists_all_doors_with_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, line in DOORS.items():
        assert f"maskmill {name}" in shown
        assert line in shown


@pytest.mark.parametrize("name", DOORS)
def test_each_door_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    by_itself = capsys.readouterr().out
    assert import_module(f"pipeline.{name}").door(["--help"]) == 0
    assert capsys.readouterr().out == by_itself
    assert f"python -m pipeline.{name}" in by_itself


def test_words_without_a_name_are_those_of_a_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cfg", "conf=label", "videos=a.parquet", "prompts=b.parquet", "output=c"]) == 0
    assert "a.parquet" in capsys.readouterr().out


def test_an_unknown_door_is_refused_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exprot", "output=a"]) == 2
    assert "no command 'exprot'" in (told := capsys.readouterr().err)
    assert "did you mean export?" in told

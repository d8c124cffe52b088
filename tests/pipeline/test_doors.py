"""`maskmill NAME`: all commands by one name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

from pipeline.config.fields import Group, keys
from pipeline.doors import DOORS, main
from tests.support.drawn_job import DrawnVideo, write_job

WRITERS = {
    "overlay": ["output={job}"],
    "export": ["output={job}", "format=coco"],
    "evaluate": ["output={job}", "truth={job}"],
    "compare": ["a={job}", "b={job}"],
    "report": ["output={job}"],
    "prompts": ["from={job}"],
}
"""The doors that write to `to=`, with the other keys that they need."""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_job(tmp_path_factory.mktemp("doors"), (DrawnVideo("17", {1: "cat"}), DrawnVideo("a", {1: "dog"})))[0]


def refusal(name: str, words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a door says that refuses, and that it has said nothing else before."""
    assert main([name, *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def groups(name: str) -> list[type[Group]]:
    """The keys of a door."""
    module = import_module(f"pipeline.{name}")
    found = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Group)]
    return [one for one in found if one.__module__ == module.__name__]


@pytest.mark.parametrize("name", DOORS)
def test_each_key_says_what_it_takes(name: str) -> None:
    """`price_per_hour=abc` of a report was answered by: expected, and nothing behind it."""
    assert [key.path for group in groups(name) for key in keys(group) if not (key.expects or key.choices)] == []


def test_a_number_that_must_be_above_another_one_says_so(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = refusal("queue", [f"output={job}", "minutes=0"], capsys)
    assert "minutes=0: allowed is above 0, at most 100000" in told


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


@pytest.mark.parametrize("name", WRITERS)
def test_a_door_that_writes_takes_credentials_of_its_own_for_the_place(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    assert "  to_storage_options=null" in capsys.readouterr().out


def test_words_without_a_name_are_those_of_a_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cfg", "conf=label", "videos=a.parquet", "prompts=b.parquet", "output=c"]) == 0
    assert "a.parquet" in capsys.readouterr().out


def test_an_unknown_door_is_refused_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exprot", "output=a"]) == 2
    assert "no command 'exprot'" in (told := capsys.readouterr().err)
    assert "did you mean export?" in told


@pytest.mark.parametrize("words", [["night.yaml"], ["run", "night.yaml"], ["run", "output=a", "night.yaml"]])
def test_a_job_file_without_its_key_is_told_its_key(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "'night.yaml' is a job: give it as conf=night.yaml" in capsys.readouterr().err


def test_a_job_that_is_taken_for_a_command_is_told_its_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["discover", "videos=clips"]) == 2
    assert "'discover' is a job: give it as conf=discover" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["run", "status"])
def test_a_value_that_the_shell_cut_at_its_blank_is_to_be_quoted(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "storage_options.secret=T0P", "labels"]) == 2
    assert "to the value of storage_options.secret=, put quotes around" in (told := capsys.readouterr().err)
    assert "T0P" not in told
    assert main([name, "output=verdict", "=", "accept"]) == 2
    assert "'=' is not key=value" in (told := capsys.readouterr().err)
    assert "to the value of output=, put quotes around" in told
    assert main([name, "output", "=", "labels"]) == 2
    assert "leave out the blanks around =" in capsys.readouterr().err
    assert main([name, "output=a", "--frce"]) == 2
    assert "quotes" not in capsys.readouterr().err


@pytest.mark.parametrize("name", WRITERS)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    name: str, job: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("here already")
    place = tmp_path if name in ("report", "prompts") else tmp_path / "file"
    words = [word.format(job=job) for word in WRITERS[name]]
    said = refusal(name, [*words, f"to={place}"], capsys)
    assert f"to={place}" in said
    assert ("is a folder" if place == tmp_path else "is a file") in said
    said = refusal(name, [*words, "to=nosuch://place"], capsys)
    assert said.count("to=nosuch://place") == len(said.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["overlay", "export", "evaluate", "compare", "report", "status", "compact"])
def test_a_file_is_no_output(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no job")
    words = [word.format(job=tmp_path / "file") for word in WRITERS.get(name, ["output={job}"])]
    to = [f"to={tmp_path / 'to'}"] if name in WRITERS else []
    key = words[0].partition("=")[0]
    assert f"{key}={tmp_path / 'file'} is a file: give the folder of the job" in refusal(name, [*words, *to], capsys)


def test_a_place_below_a_file_is_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no job")
    place = tmp_path / "file/deep/out"
    told = f"output={place} lies below {tmp_path / 'file'}, which is a file: give the folder of the job"
    assert told in refusal("status", [f"output={place}"], capsys)


@pytest.mark.parametrize("name", WRITERS)
def test_a_misspelled_key_that_is_needed_is_named(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    key, _, value = WRITERS[name][0].partition("=")
    wrong = {"output": "outptu", "a": "aa", "from": "form"}[key]
    said = refusal(name, [f"{wrong}={value}", *WRITERS[name][1:], "to=x"], capsys)
    assert f"unknown key {wrong}=" in said
    assert f"did you mean {key}=?" in said


@pytest.mark.parametrize("name", ["export", "evaluate", "compare"])
@pytest.mark.parametrize("videos", ["17", "[17,a]"])
def test_an_id_of_digits_names_a_video(
    name: str, videos: str, job: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(job=job) for word in WRITERS[name]]
    to = [f"to={tmp_path / 'to'}"] if name == "export" else []
    assert main([name, *words, *to, f"videos={videos}"]) == 0
    assert ("1 video" if videos == "17" else "2 videos") in capsys.readouterr().out

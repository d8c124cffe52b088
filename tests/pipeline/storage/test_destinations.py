"""Names that `to=` may have: a name that says another format, or a file where a folder is meant, is refused at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.storage.destinations import check_file, check_folder, check_writable


@pytest.mark.parametrize(
    ("to", "example", "written"),
    [
        ("queue.csv", "queue.parquet", "Parquet"),
        ("prompts.JSON", "prompts.parquet", "Parquet"),
        ("s3://bucket/a/report.pdf", "report.html", "HTML"),
        ("rounds.txt", "rounds.json", "JSON"),
        ("report.parquet", "report.html", "HTML"),
    ],
)
def test_a_name_that_says_another_format_is_refused(to: str, example: str, written: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_file(to, example)
    assert str(error.value) == f"to={to}: it is written as {written}; name a file as {example}"


def test_names_without_an_end_or_with_a_usual_one_are_taken(tmp_path: Path) -> None:
    for name in ("queue", "queue.parquet", "QUEUE.PQ", "queue.2026.11.30", "v1.5"):
        check_file(f"{tmp_path}/{name}", "queue.parquet")
    check_file(f"{tmp_path}/report.htm", "report.html")


def test_the_key_of_another_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^weights=w\.yaml: it is written as JSON; name a file as weights\.json$"):
        check_file("w.yaml", "weights.json", key="weights")


@pytest.mark.parametrize("end", ["html", "json", "mp4", "parquet"])
def test_a_folder_with_the_end_of_a_file_is_refused_before_it_is_made(tmp_path: Path, end: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_folder(f"{tmp_path}/cats.{end}")
    assert f".{end} is the end of a file: give a folder, as to={tmp_path}/cats, or to={tmp_path}/cats.{end}/" in str(
        error.value
    )


def test_folders_with_other_dots_with_a_slash_or_that_are_there_are_taken(tmp_path: Path) -> None:
    (tmp_path / "there.html").mkdir()
    for name in ("2026.11.30", "v1.5", "new.html/", "there.html"):
        check_folder(f"{tmp_path}/{name}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.html"]


def test_a_place_that_this_user_may_not_write_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests may run as root, to whom every folder is open: what the system says is pretended."""
    asked: list[Path] = []

    def closed(path: Path, mode: int) -> bool:
        asked.append(path)
        return False

    monkeypatch.setattr(os, "access", closed)
    told = f"this user may not write to {tmp_path}; name another place"
    for check in (lambda: check_file(f"{tmp_path}/a/r.html", "report.html"), lambda: check_folder(f"{tmp_path}/b/c")):
        with pytest.raises(ConfigError, match=rf"^to={tmp_path}/.*: {told}$"):
            check()
    with pytest.raises(ConfigError, match=rf"^output={tmp_path}/new/out: {told}$"):
        check_writable(f"{tmp_path}/new/out", "output")
    assert asked == [tmp_path] * 3, "the nearest folder that is there"
    check_writable("memory://bucket/out", "output")

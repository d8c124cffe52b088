"""docs/deploy.md: the files, keys and commands that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.test_docs import BLOCK

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "jobs" / "deploy"
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def test_every_file_that_the_page_names_is_there_and_every_file_is_named() -> None:
    named = re.findall(r"`((?:\w+/)+\w+\.\w+)`", PAGE)
    assert all((FILES / name).exists() for name in named), named
    shipped = {path.name for path in FILES.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {name for name in shipped if name not in PAGE} <= {"__init__.py", "kustomization.yaml"}


def test_its_commands_use_files_that_are_there() -> None:
    commands = "\n".join(text for language, text in BLOCK.findall(PAGE) if language == "sh")
    named = re.findall(r"\bdeploy/[\w./]+", commands)
    assert len(named) >= 4
    assert all((ROOT / "jobs" / name).exists() for name in named), named


def test_every_file_says_which_page_explains_it_or_lies_beside_one_that_does() -> None:
    for folder in (path for path in FILES.iterdir() if path.is_dir() and path.name != "__pycache__"):
        texts = [path.read_text(encoding="utf-8") for path in folder.iterdir() if path.is_file()]
        assert any("docs/deploy.md" in text for text in texts), folder

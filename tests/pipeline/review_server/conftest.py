"""One filmed job for all tests of reviews, and a copy of it for those that write."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.reviewing import Client, reviewing, write_filmed_job


@pytest.fixture(scope="package")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of the job, which nobody writes to."""
    return write_filmed_job(tmp_path_factory.mktemp("review"))


@pytest.fixture
def output(filmed: str, tmp_path: Path) -> str:
    """A copy of the job, to write verdicts to."""
    shutil.copytree(filmed, tmp_path / "out")
    return str(tmp_path / "out")


@pytest.fixture(scope="package")
def watched(filmed: str) -> Iterator[Client]:
    """A review that only looks."""
    with reviewing(filmed) as client:
        yield client


@pytest.fixture
def client(output: str) -> Iterator[Client]:
    with reviewing(output) as client:
        yield client

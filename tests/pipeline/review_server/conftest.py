"""One filmed job for all tests of reviews, and a copy of it for those that write."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.storage.job_storage import JobStorage
from tests.support.reviewing import Client, reviewing, write_filmed_job

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.support.review_page import Reviewed


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


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for all pages. Here and not above, because each process that collects tests would import it."""
    from playwright.sync_api import expect

    from tests.support.chromium import PATIENCE_MILLISECONDS, running_browser

    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    with running_browser() as browser:
        yield browser


@pytest.fixture
def review(browser: Browser, output: str) -> Iterator[Reviewed]:
    """A served review of the filmed job."""
    from tests.support.review_page import reviewed

    with reviewed(browser, JobStorage(output)) as review:
        yield review

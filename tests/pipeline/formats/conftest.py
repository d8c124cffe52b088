"""One small finished job for all formats, and the command that exports it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.export import door
from tests.support.drawn_job import Truth, write_job


class DrawnJob(NamedTuple):
    uri: str
    truth: Truth


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> DrawnJob:
    return DrawnJob(*write_job(tmp_path_factory.mktemp("drawn")))


@pytest.fixture
def export(drawn: DrawnJob, tmp_path: Path) -> Callable[..., Path]:
    """Export the drawn job into a new folder: `export("coco", "min_area=5")`."""

    def run(format_name: str, *words: str, to: str = "export") -> Path:
        code = door([f"output={drawn.uri}", f"format={format_name}", f"to={tmp_path / to}", *words])
        assert code == 0
        return tmp_path / to

    return run

"""Reviews are of a job that is there."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _is_labeled(tmp_path: Path) -> None:
    """The folders of `storage` and `disk_storage`."""
    for name in ("a job", "job"):
        (tmp_path / name).mkdir()

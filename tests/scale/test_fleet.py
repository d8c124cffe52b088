"""A fleet's workers label and do not wait for their driver: a small edition of `python -m tests.scale.fleet`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.scale.fleet import Fleet, simulate

pytestmark = pytest.mark.slow

# As many reports a second for one entry of the log as a thousand workers send with a store that is seven times as fast.
SMALL = Fleet(num_workers=150, videos_per_worker=40, put_seconds=0.6)


def test_workers_of_a_fleet_label_for_19_seconds_of_20(tmp_path: Path) -> None:
    found = simulate(SMALL, tmp_path)
    assert found["busy"] >= 0.95


def test_a_driver_that_waits_for_the_store_keeps_its_workers_waiting(tmp_path: Path) -> None:
    """What the other test would see of a driver that commits in its loop: its bound is not met by luck."""
    found = simulate(replace(SMALL, commits_beside=False), tmp_path)
    assert found["busy"] < 0.9, found

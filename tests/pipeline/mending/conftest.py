"""One job for all tests of corrections: mini has labeled a clip of two discs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline import tables
from pipeline.mending.mender import Mender
from tests.support.clips import moving_clip
from tests.support.mendable import Mendable, write_mendable_job


@pytest.fixture(scope="session")
def mendable(tmp_path_factory: pytest.TempPathFactory) -> Mendable:
    return write_mendable_job(tmp_path_factory.mktemp("mendable"), moving_clip("clip", num_frames=16))


@pytest.fixture(scope="session")
def job(mendable: Mendable) -> tables.JobTables:
    return tables.open(mendable.uri)


@pytest.fixture(scope="session")
def mender(mendable: Mendable, job: tables.JobTables) -> Iterator[Mender]:
    mender = Mender(mendable.storage, lambda: job, job.video)
    yield mender
    mender.close()

"""Fixtures of the pipeline's tests: a job's storage on local disk and, marked slow, on servers of stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.storage.job_storage import JobStorage
from pipeline.storage.retry import Backoff
from tests.support.azure_server import AzureServer, azure_server
from tests.support.cutting_proxy import cutting_proxy
from tests.support.gcs_server import GcsServer, gcs_server
from tests.support.record import record
from tests.support.s3_server import S3Server, s3_server

__all__ = ["azure_server", "cutting_proxy", "gcs_server", "record", "s3_server"]

QUICK = Backoff(patience_seconds=5.0, first_seconds=0.01, longest_seconds=0.1)


@pytest.fixture(scope="module", autouse=True)
def _each_step_of_the_network_is_computed_once() -> Iterator[None]:
    """Jobs of one file label the same few clips, and half of what they compute is the network.

    Imported here, because the process that hands out the tests needs no torch.
    """
    from tests.support.known_steps import known_steps

    with known_steps():
        yield


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.slow)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> JobStorage:
    """An empty job, on each kind of store."""
    if request.param == "disk":
        return JobStorage(str(tmp_path / "a job"), backoff=QUICK)
    server: S3Server = request.getfixturevalue("s3_server")
    return JobStorage(f"{server.new_folder()}/jobs/one", server.options(), backoff=QUICK)


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow) for name in ("gcs", "azure")])
def cloud(request: pytest.FixtureRequest) -> GcsServer | AzureServer:
    """The server of Google Cloud Storage, and that of Azure."""
    server: GcsServer | AzureServer = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture
def disk_storage(tmp_path: Path) -> JobStorage:
    """An empty job on local disk."""
    return JobStorage(str(tmp_path / "job"), backoff=QUICK)


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of 64 × 64 for jobs whose masks need not be good; a frame takes a fifth of the time of mini's."""
    from tests.support.sessions import save_small  # not at the top, because most of these tests need no torch

    folder = tmp_path_factory.mktemp("small")
    save_small(folder)
    return folder

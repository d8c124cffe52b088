"""A job on Google Cloud Storage and on Azure whose driver is killed around its entries of the log, and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.storage.uris import open_filesystem
from tests.faults.conftest import Inputs
from tests.faults.test_chaos_commits import check_kept, die_at
from tests.support.azure_server import KEY, AzureServer
from tests.support.fault_jobs import RunningJob, read_tables, run
from tests.support.gcs_server import GcsServer
from tests.support.proxy import proxy_to
from tests.support.record import Record

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(900)]

# The claim of the job, and the first entry with finished videos. Google has the name of an object in the body of the
# request; its create-only writes are those of the entries, after two of the probe.
GOOGLE = [("POST", "ifGenerationMatch=0", number, takes_effect) for number in (2, 3) for takes_effect in (False, True)]
AZURE = [("PUT", r"/_log/\d+\.json", number, takes_effect) for number in (0, 1) for takes_effect in (False, True)]


@pytest.mark.parametrize("kind", ["gcs", "azure"])
def test_a_driver_killed_around_its_commits_in_the_cloud(
    few: Inputs, tmp_path: Path, request: pytest.FixtureRequest, record: Record, kind: str
) -> None:
    server: GcsServer | AzureServer = request.getfixturevalue(f"{kind}_server")
    output, options = f"{server.new_folder()}/job", server.options()
    kept: dict[str, object] = {}
    steps = GOOGLE if kind == "gcs" else AZURE
    with proxy_to(server.port) as proxy:
        words = [f"storage_options.{name}='{value}'" for name, value in server.options(proxy.port).items()]
        arguments = few.arguments(output, "cluster.actors=1", "worker.beat_seconds=1", "flush.seconds=1", *words)

        def start() -> RunningJob:
            return RunningJob(tmp_path, *arguments)

        for step in steps:
            die_at(step, proxy, start)
            kept = check_kept(kept, output, options, few)
        last = run(tmp_path, *arguments)
    record.times = len(steps)
    assert last.process.returncode == 0, last.log
    record.compare(read_tables(output, options), few.expected)
    record.redone = f"0 of {few.num_videos} committed videos"
    store, root = open_filesystem(output, options)
    written = [store.cat_file(path) for path in store.find(root)]
    log = "".join(path.read_text(errors="replace") for path in tmp_path.glob("run-*.log"))
    assert KEY not in log
    assert not any(KEY.encode() in data for data in written)

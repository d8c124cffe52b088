"""Secrets in options, signed URIs and user names, through a whole job with Ray: every byte it leaves is searched."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import tables
from pipeline.inputs.write import prompts_table
from pipeline.standing import read_status
from pipeline.status import as_text
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.uris import open_filesystem
from tests.faults.conftest import Inputs
from tests.support.fault_jobs import run
from tests.support.record import Record
from tests.support.s3_server import S3Server, free_ports

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(600)]

SECRET = "7f3c0ffee-do-not-show"
USED = "AKIDTESTS7f3c"


@pytest.fixture
def ray_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where Ray puts its logs. Its sockets lie there too, whose paths must be short."""
    folder = Path(tempfile.mkdtemp(prefix="mm"))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def signed(store: Any, path: str) -> str:
    """A URI that lets everybody read an object for a while, made with our key."""
    uri: str = store.sign(path, expiration=3600)
    assert "Signature=" in uri
    return uri


def test_secrets_are_nowhere_in_what_a_whole_job_leaves(
    few: Inputs, tmp_path: Path, s3_server: S3Server, ray_files: Path, record: Record
) -> None:
    """Signed URIs that work, that lead nowhere, to noise and to a server that is away, whose video fails at the end."""
    place = s3_server.new_folder()
    options = s3_server.options() | {"key": USED, "secret": SECRET}
    store, root = open_filesystem(place, options)
    store.pipe_file(f"{root}/good.mp4", (few.folder / "clip-000.mp4").read_bytes())
    store.pipe_file(f"{root}/noise.mp4", b"no video" * 99)
    (port,) = free_ports(1)
    uris = {
        "good": signed(store, f"{root}/good.mp4"),
        "noise": signed(store, f"{root}/noise.mp4"),
        "missing": signed(store, f"{root}/nowhere.mp4"),
        "name": f"http://me:{SECRET}@127.0.0.1:{s3_server.port}/{root}/nowhere.mp4?token={SECRET}",
        "scheme": f"gopher://me:{SECRET}@example.invalid/a.mp4?X-Amz-Signature={SECRET}",
        "away": f"http://127.0.0.1:{port}/a.mp4?sig={SECRET}",
    }
    prompts = [
        {"video_id": name, "object_id": 1, "frame_index": 0, "box_xyxy": [8.0, 2.0, 90.0, 80.0]} for name in uris
    ]
    pq.write_table(pa.Table.from_pylist([{"video_id": n, "uri": u} for n, u in uris.items()]), tmp_path / "v.parquet")
    pq.write_table(prompts_table(prompts), tmp_path / "p.parquet")
    log_file, output = tmp_path / "log.jsonl", f"{place}/out"
    job = run(
        tmp_path,
        "conf=label",
        f"videos={tmp_path / 'v.parquet'}",
        f"prompts={tmp_path / 'p.parquet'}",
        f"output={output}",
        f"log_file={log_file}",
        "cluster.actors=1",
        "max_failed_fraction=1",
        "input.hosts=['*',127.0.0.1]",
        "worker.beat_seconds=1",
        "flush.seconds=1",
        "worker.storage_patience_seconds=5",
        f"storage_options.key={USED}",
        f"storage_options.secret={SECRET}",
        f"storage_options.client_kwargs.endpoint_url=http://127.0.0.1:{s3_server.port}",
        f"+storage_options.http.headers.Authorization={SECRET}",
    )
    assert job.process.returncode == 0, job.log
    rows = {row["video_id"]: row for row in tables.open(output, options).videos().to_pylist()}
    assert {name: row["status"] for name, row in rows.items()} == {
        "good": "ok",
        "noise": "failed",
        "missing": "failed",
        "name": "failed",
        "scheme": "failed",
        "away": "failed",
    }
    status = json.loads(store.cat_file(f"{root}/out/_status.json"))
    assert status["last_error"], "the server that is away is in no error"
    written = {path: store.cat_file(path) for path in store.find(f"{root}/out")}
    assert "Cannot combine" in rows["name"]["message"], "a user in the URI and a header: that is what is wrong"
    assert {Path(path).name for path in written} >= {"job.json", "_status.json"}
    written |= {"printed": job.log.encode(), "log_file": log_file.read_bytes()}
    written["status command"] = as_text(read_status(JobStorage(output, options))).encode()
    written |= {str(path): path.read_bytes() for path in ray_files.rglob("*") if path.is_file()}
    written |= {f"rows of {name}": str(row).encode() for name, row in rows.items()}
    assert any(path.endswith("gcs_server.out") or "worker" in path for path in written), "no log of Ray was searched"
    signatures = [uri.partition("Signature=")[2].partition("&")[0] for uri in uris.values() if "Signature=" in uri]
    for secret in {SECRET, USED, *signatures}:
        found = [path for path, content in written.items() if secret.encode() in content]
        assert not found, (secret, found)
    record.fault, record.times = "secrets in URIs and options, searched for", len(written)
    record.rows_lost = record.rows_doubled = "–"

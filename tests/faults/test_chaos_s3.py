"""A job that lives on object storage: its input, its checkpoint, its output; nothing of it on this machine's disk."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

import model
from pipeline.inputs.write import prompts_table, videos_table
from pipeline.storage.parquet import parquet_bytes
from pipeline.storage.uris import open_filesystem
from pipeline.text import counted
from tests.faults.conftest import Inputs
from tests.support.fault_jobs import RunningJob, Tables, read_tables, run, statuses
from tests.support.record import Record
from tests.support.s3_server import S3Server

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(900)]

SECRET = "not-a-secret"


def _without_weights(found: Tables) -> Tables:
    """Weights in a bucket are known by what the store says of their files, those on a disk by their content."""
    return replace(found, tracks=found.tracks.drop_columns(["weights"]))


def test_label_stop_resume_add_and_read(
    few: Inputs, tmp_path: Path, s3_server: S3Server, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, options = s3_server.new_folder(), s3_server.options()
    store, root = open_filesystem(bucket, options)
    for path in few.folder.iterdir():
        store.pipe_file(f"{root}/in/{path.name}", path.read_bytes())
    for path in (Path(model.__file__).parent / "checkpoints" / "sam2.1-mini").iterdir():
        store.pipe_file(f"{root}/weights/{path.name}", path.read_bytes())
    output = f"{bucket}/out"
    arguments = [
        "conf=label",
        f"videos={bucket}/in/videos.parquet",
        f"prompts={bucket}/in/prompts.parquet",
        f"output={output}",
        f"model.checkpoint={bucket}/weights",
        "cluster.actors=1",
        "worker.beat_seconds=1",
        "flush.seconds=1",
        "storage_options.key=tests",
        f"storage_options.secret={SECRET}",
        f"storage_options.client_kwargs.endpoint_url=http://127.0.0.1:{s3_server.port}",
    ]
    with RunningJob(tmp_path, *arguments) as job:
        job.wait_until(lambda: len(store.glob(f"{root}/out/masks/*.parquet")) >= 2, "two segments")
        job.signal(signal.SIGTERM)
        assert job.wait() == 143, job.log
    before = statuses(output, options)
    assert 0 < len(before) < few.num_videos, "the signal did not come in mid-work"

    with RunningJob(tmp_path, *arguments) as again:
        again.wait_until(lambda: store.exists(f"{root}/out/_owner.json"), "an owner")
        second = run(tmp_path, *arguments)
        assert second.process.returncode == 3, second.log
        assert again.wait() == 0, again.log
    assert f"this run {counted(few.num_videos - len(before), 'video')}," in again.log
    record.times, record.redone = 2, few.redone(job, again)
    record.compare(_without_weights(read_tables(output, options)), _without_weights(few.expected))

    videos = pq.read_table(Path(few.videos)).to_pylist()
    prompts = pq.read_table(Path(few.prompts)).to_pylist()
    videos.append({"video_id": "new", "uri": "clip-000.mp4"})
    prompts += [{**row, "video_id": "new"} for row in prompts if row["video_id"] == "clip-000"]
    store.pipe_file(f"{root}/in/videos.parquet", parquet_bytes(videos_table(videos)))
    store.pipe_file(f"{root}/in/prompts.parquet", parquet_bytes(prompts_table(prompts)))
    # This time the credentials and the endpoint come from the usual environment.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_server.port}")
    more = run(tmp_path, *(word for word in arguments if not word.startswith("storage_options")))
    assert more.process.returncode == 0, more.log
    assert "this run 1 video," in more.log

    filesystem = pa_fs.S3FileSystem(
        access_key="tests", secret_key=SECRET, endpoint_override=f"127.0.0.1:{s3_server.port}", scheme="http"
    )
    masks = pq.read_table(f"{root}/out/masks", filesystem=filesystem)
    assert masks.num_rows == few.expected.masks.num_rows + 8
    assert coco.decode(masks["rle"][0].as_py()).shape == (96, 128)
    for path in store.find(f"{root}/out"):
        assert SECRET.encode() not in store.cat_file(path), path
    assert SECRET not in job.log + again.log + more.log

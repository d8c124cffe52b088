"""A whole job whose videos, prompts and results are in Google Cloud Storage or in Azure."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import tables
from pipeline.run import main
from pipeline.storage.uris import open_filesystem
from tests.support.azure_server import KEY, AzureServer
from tests.support.gcs_server import GcsServer
from tests.support.jobs import JobFolder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> JobFolder:
    """The same job, whose tables and results are on this machine's disk."""
    job = JobFolder(tmp_path_factory.mktemp("local"), small_checkpoint).write(["one"])
    assert job.run() == 0
    return job


def test_a_job_lies_in_the_cloud_from_its_videos_to_its_masks(
    cloud: GcsServer | AzureServer,
    on_disk: JobFolder,
    small_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    options = cloud.options()
    if isinstance(cloud, AzureServer):  # whose client reads the environment
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", options["connection_string"])
        options, words = {}, []
    else:
        words = [f"storage_options.{name}={value}" for name, value in options.items()]
    place = cloud.new_folder()
    store, root = open_filesystem(place, options)
    for path in (on_disk.folder / "in").iterdir():
        store.put_file(str(path), f"{root}/in/{path.name}")
    job = [f"videos={place}/in/videos.parquet", f"prompts={place}/in/prompts.parquet", f"output={place}/out"]
    job += ["cluster=serial", f"model.checkpoint={small_checkpoint}", *words]
    assert main(job) == 0
    found = tables.open(f"{place}/out", options)
    assert found.masks().to_table().equals(on_disk.tables().masks)
    before = {path: info["size"] for path, info in store.find(f"{root}/out/masks", detail=True).items()}
    assert main([*job, f"videos={place}/in/*.mp4"]) == 0, "a folder of the store is as good as a table"
    assert before == {path: info["size"] for path, info in store.find(f"{root}/out/masks", detail=True).items()}
    printed = capfd.readouterr()
    texts = [printed.out.encode(), printed.err.encode(), *(store.cat_file(path) for path in store.find(f"{root}/out"))]
    assert not any(KEY.encode() in text for text in texts)

"""The examples of `docs/storage.md`, run against servers of Google Cloud Storage and of Azure on this machine."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from pipeline.storage.azure import AzureBlobStorage
from pipeline.storage.google_cloud import GoogleCloudStorage
from pipeline.storage.schemes import SCHEMES
from pipeline.storage.uris import open_filesystem
from tests.support.azure_server import AzureServer, azure_server
from tests.support.gcs_server import GcsServer, gcs_server
from tests.test_docs import ROOT, run_page, write_clips

__all__ = ["azure_server", "gcs_server"]

PAGE = ROOT / "docs" / "storage.md"


@pytest.mark.slow
def test_the_examples_run_and_print_what_the_page_says(
    tmp_path: Path, gcs_server: GcsServer, azure_server: AzureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clips(tmp_path, "drifting", "turning")
    monkeypatch.chdir(tmp_path)
    text = azure_server.options()["connection_string"]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{gcs_server.port}")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    for kind in (AzureBlobStorage, GoogleCloudStorage):
        kind.clear_instance_cache()
    open_filesystem("gs://clips")[0].mkdir("clips")
    open_filesystem("az://clips", azure_server.options())[0].mkdir("clips")
    # The class that gcsfs makes itself asks for the kind of a bucket by gRPC, which this server does not speak.
    usual = fsspec.get_filesystem_class("gs")
    fsspec.register_implementation("gs", GoogleCloudStorage, clobber=True)
    try:
        run_page(PAGE, {})
    finally:
        fsspec.register_implementation("gs", usual, clobber=True)


def test_the_page_names_every_store_that_may_hold_an_output() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for scheme in SCHEMES:
        if scheme.can_create and scheme.client.install:
            assert any(f"| `{name}://" in page for name in scheme.names), scheme.names
            assert scheme.client.how_to_install() in page

"""How storage accounts of Azure are named, and that no account's credentials go to another one."""

from __future__ import annotations

import pytest

from pipeline.errors import UnknownScheme
from pipeline.storage.azure import AzureBlobStorage
from pipeline.storage.uris import open_filesystem

KEY = "bm90LWEtc2VjcmV0"
TEXT = f"AccountName=ours;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:9/ours"
CREDENTIALS = (
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_CONNECTION_STRING",
)


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    AzureBlobStorage.clear_instance_cache()  # an open one would still have the credentials of another test


@pytest.mark.parametrize(
    ("uri", "account_url"),
    [
        ("az://clips/day/a.mp4", "https://ours.blob.core.windows.net"),
        ("abfs://clips/day/a.mp4", "https://ours.blob.core.windows.net"),
        ("abfs://clips@ours.dfs.core.windows.net/day/a.mp4", "https://ours.blob.core.windows.net"),
        ("abfss://clips@ours.dfs.core.windows.net/day/a.mp4", "https://ours.blob.core.windows.net"),
        ("abfss://clips@ours.blob.core.windows.net/day/a.mp4", "https://ours.blob.core.windows.net"),
        ("abfss://clips@ours.dfs.core.usgovcloudapi.net/day/a.mp4", "https://ours.blob.core.usgovcloudapi.net"),
        ("abfss://clips@ours.dfs.core.chinacloudapi.cn/day/a.mp4", "https://ours.blob.core.chinacloudapi.cn"),
    ],
)
def test_a_blob_has_one_path_however_its_uri_is_written(uri: str, account_url: str) -> None:
    filesystem, path = open_filesystem(uri, {"account_name": "ours", "account_key": KEY})
    assert path == "clips/day/a.mp4"
    assert filesystem.service_client.url.rstrip("/") == account_url
    long = str(filesystem.unstrip_protocol(path))
    assert "@ours.dfs.core." in long
    again, path_again = open_filesystem(long, {"account_key": KEY})
    assert (again.service_client.url, path_again) == (filesystem.service_client.url, path)


def test_paths_of_an_account_that_a_connection_string_names_are_written_without_it() -> None:
    filesystem, path = open_filesystem("az://clips/a.mp4", {"connection_string": TEXT})
    assert filesystem.unstrip_protocol(path) == "abfs://clips/a.mp4"


def theirs(name: str = "theirs") -> str:
    return f"abfs://clips@{name}.dfs.core.windows.net/a.mp4"


@pytest.mark.parametrize(
    ("uri", "options"),
    [
        (theirs(), {"account_name": "ours", "account_key": KEY}),
        (theirs(), {"connection_string": TEXT}),
        ("abfs://clips@ours.evil.example/a.mp4", {"account_name": "ours", "account_key": KEY}),
        ("abfs://clips@ours.dfs.core.windows.net.evil.example/a.mp4", {"sas_token": "sig=hunter2"}),
    ],
)
def test_credentials_of_one_account_are_not_used_for_another(uri: str, options: dict[str, str]) -> None:
    with pytest.raises(UnknownScheme, match=r"theirs|no storage account") as caught:
        open_filesystem(uri, options)
    assert "check the URI and storage_options" in str(caught.value)
    assert not any(secret in str(caught.value) for secret in (KEY, "hunter2"))


def test_credentials_of_the_environment_are_those_of_one_account_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "ours")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sig=hunter2")
    assert open_filesystem(theirs("ours"))[1] == "clips/a.mp4"
    with pytest.raises(UnknownScheme, match="is in the account theirs, and the credentials are those of ours"):
        open_filesystem(theirs())
    assert open_filesystem(theirs(), {"account_key": KEY})[1] == "clips/a.mp4", "the job has credentials for it"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", TEXT)
    with pytest.raises(UnknownScheme, match="is in the account theirs, and the credentials are those of ours"):
        open_filesystem(theirs())


def test_an_account_without_credentials_is_told_what_is_missing() -> None:
    with pytest.raises(
        UnknownScheme, match=r"Must provide either a connection_string or account_name.*storage_options"
    ):
        open_filesystem("az://clips/a.mp4")

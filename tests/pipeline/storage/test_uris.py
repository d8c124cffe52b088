from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec import AbstractFileSystem

from pipeline.storage.schemes import problem_of_password
from pipeline.storage.uris import absolute_uri, is_local, local_path, open_filesystem, parent, split_tar_member
from pipeline.storage.web_sessions import new_session


@pytest.mark.parametrize(
    ("uri", "folder", "expected"),
    [
        ("a.mp4", "/data/tables", "/data/tables/a.mp4"),
        ("../clips/a b.mp4", "/data/tables", "/data/clips/a b.mp4"),
        ("frames/", "/data", "/data/frames"),
        ("/abs/a.mp4", "s3://bucket/tables", "/abs/a.mp4"),
        ("gs://other/a.mp4", "/data", "gs://other/a.mp4"),
        ("a.mp4", "s3://bucket/tables", "s3://bucket/tables/a.mp4"),
        ("../clips/a.mp4", "s3://bucket/tables", "s3://bucket/clips/a.mp4"),
        ("frames/", "s3://bucket", "s3://bucket/frames/"),
        ("a.mp4", "file:///data", "/data/a.mp4"),
        ("../shards/x.tar::clips/../a.mp4", "/data/tables", "/data/shards/x.tar::clips/../a.mp4"),
        ("tar://a.mp4::x.tar", "s3://bucket/tables", "s3://bucket/tables/x.tar::a.mp4"),
        ("s3://other/x.tar::a.mp4", "/data", "s3://other/x.tar::a.mp4"),
        ("file:/abs/a.mp4", "s3://bucket/tables", "/abs/a.mp4"),
        ("file:///abs/a.mp4", "/data", "file:///abs/a.mp4"),
        ("~/a.mp4", "/data", str(Path.home() / "a.mp4")),
        ("~nobody-of-that-name/a.mp4", "/data", "~nobody-of-that-name/a.mp4"),
        ("file.mp4", "/data", "/data/file.mp4"),
        ("file:name.mp4", "/data", "/data/file:name.mp4"),
    ],
)
def test_a_relative_uri_counts_from_its_folder(uri: str, folder: str, expected: str) -> None:
    assert absolute_uri(uri, folder) == expected


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("x.tar::a.mp4", ("x.tar", "a.mp4")),
        ("s3://b/x.TAR::dir/a::b.mp4", ("s3://b/x.TAR", "dir/a::b.mp4")),
        ("x.tar.gz::a.mp4", ("x.tar.gz", "a.mp4")),
        ("tar://dir/a.mp4::https://host/x.tar?sig=1", ("https://host/x.tar?sig=1", "dir/a.mp4")),
        ("x.tar", None),
        ("a::b.mp4", None),
        ("simplecache::s3://bucket/a.mp4", None),
    ],
)
def test_a_member_of_a_tar_is_told_from_a_file(uri: str, expected: tuple[str, str] | None) -> None:
    assert split_tar_member(uri) == expected


def test_a_file_has_one_path_however_its_uri_is_written(tmp_path: Path) -> None:
    clip = tmp_path / "my clips" / "Käse #1.mp4"
    clip.parent.mkdir()
    clip.write_bytes(b"x")
    for uri in (
        str(clip),
        f"file://{clip}",
        f"file:{clip}",
        f"file://localhost{clip}",
        clip.as_uri(),
        f"local://{clip}",
    ):
        assert local_path(uri) == str(clip)
        filesystem, path = open_filesystem(uri)
        assert filesystem.cat_file(path) == b"x"
    literal = tmp_path / "my%20clips"
    literal.mkdir()
    assert local_path(literal.as_uri()) == str(literal)
    assert local_path(f"file://{literal}") == str(literal)  # a name as earlier jobs have written it
    assert local_path(f"{tmp_path}/a%20b") == f"{tmp_path}/a%20b"  # a path is no URI
    assert local_path("~/a/") == local_path("file://~/a/") == f"{Path.home()}/a/"


def test_two_colons_may_stand_in_a_name(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.pipe_file("/colons/a::b.mp4", b"x")
    filesystem, path = open_filesystem("memory://colons/a::b.mp4")
    assert filesystem.cat_file(path) == b"x"
    (tmp_path / "a::b.mp4").write_bytes(b"y")
    filesystem, path = open_filesystem(f"{tmp_path}/a::b.mp4")
    assert filesystem.cat_file(path) == b"y"
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("in.mp4", b"z")
    filesystem, path = open_filesystem(f"zip://in.mp4::file://{tmp_path}/z.zip")
    assert filesystem.cat_file(path) == b"z"
    filesystem, path = open_filesystem("s3://bucket/a::b.mp4", {"key": "k", "secret": "s"})
    assert (filesystem.protocol[0], path) == ("s3", "bucket/a::b.mp4")


def test_the_folder_of_a_file() -> None:
    assert parent("/data/a.parquet") == "/data"
    assert parent("s3://bucket/tables/a.parquet") == "s3://bucket/tables"
    assert parent("https://host/tables/a.parquet?signature=x/y") == "https://host/tables"
    assert parent("s3://bucket/what?/a.parquet") == "s3://bucket/what?"


def test_local_is_what_has_no_scheme_or_that_of_files() -> None:
    assert [is_local(uri) for uri in ("/a", "a", "file:///a", "s3://a", "memory://a")] == [
        True,
        True,
        True,
        False,
        False,
    ]


class Bucket(AbstractFileSystem):  # type: ignore[misc]  # fsspec ships no types
    """Stands for a store whose package is not installed."""

    protocol = "smb"
    cachable = False


def test_a_client_that_writes_into_its_options_changes_nobody_elses() -> None:
    first, _ = open_filesystem("s3://bucket/a", {"key": "first"})
    first.storage_options["config_kwargs"]["retries"]["total_max_attempts"] = 1  # as botocore does
    second, _ = open_filesystem("s3://bucket/a", {"key": "second"})
    assert second.storage_options["config_kwargs"]["retries"] == {"max_attempts": 0}


def test_storage_options_reach_the_stores_that_they_are_for() -> None:
    fsspec.register_implementation("smb", Bucket, clobber=True)
    seen: dict[str, dict[str, Any]] = {}
    options = {"key": "k", "client_kwargs": {"endpoint_url": "http://x"}, "https": {"timeout": 3}}
    for uri in ("s3://bucket/a", "smb://bucket/a", "https://host/a", "http://host/a", "/a", "memory://a"):
        seen[uri] = open_filesystem(uri, options)[0].storage_options
    own = {"key": "k", "client_kwargs": {"endpoint_url": "http://x"}}
    fresh = {"use_listings_cache": False}
    assert seen["s3://bucket/a"].items() >= (own | fresh).items()
    assert seen["s3://bucket/a"]["config_kwargs"]["retries"] == {"max_attempts": 0}
    assert seen["smb://bucket/a"] == own | fresh
    session = {"get_client": new_session}
    assert seen["https://host/a"] == {"timeout": 3} | fresh | session
    assert seen["http://host/a"] == fresh | session
    assert seen["memory://a"] == fresh
    assert seen["/a"] == {"of": "maskmill"}  # none of the user's


@pytest.mark.parametrize(("named", "uri"), [("az", "abfs://c/a"), ("abfs", "az://c/a"), ("gcs", "gs://b/a")])
def test_options_of_a_scheme_are_those_of_its_other_names(named: str, uri: str) -> None:
    text = "AccountName=ours;AccountKey=eA==;BlobEndpoint=http://127.0.0.1:9/ours"
    own = {"token": "anon"} if named == "gcs" else {"connection_string": text}
    filesystem, _ = open_filesystem(uri, {named: own, "key": "k"})
    assert filesystem.storage_options.items() >= own.items()
    assert "key" not in filesystem.storage_options


@pytest.mark.parametrize(
    "uri",
    [
        "reference://video.mp4::/data/references.json",
        "reference://video.mp4::https://host/references.json",
        "zip://video.mp4::reference://shard.zip::/data/references.json",
        "simplecache::https://host/video.mp4",
        "filecache::s3://bucket/video.mp4",
        "generic://host/video.mp4",
        "dir:///data/video.mp4",
        "asyncwrapper:///data/video.mp4",
    ],
)
def test_a_uri_that_leads_to_other_files_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="give the uri of the file itself"):
        open_filesystem(uri)


def test_a_local_path_opens_as_a_file_system() -> None:
    filesystem, path = open_filesystem("/data/a b.mp4", {"key": "k"})
    assert isinstance(filesystem, fsspec.implementations.local.LocalFileSystem)
    assert path == "/data/a b.mp4"


def test_a_password_before_a_bucket_is_refused_before_any_request() -> None:
    with pytest.raises(ValueError, match="takes no user name or password before its bucket") as caught:
        open_filesystem("s3://AKIA:hush@bucket/a.mp4")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/a:b@2x.mp4",
        "s3://arn:aws:s3:us-west-2:123:accesspoint/mine/a@2x.mp4",
        "abfs://container@account.dfs.core.windows.net/a:b@c.mp4",
        "hf://datasets/me/clips@main/a:b.mp4",
        "ftp://user:pw@host/a.mp4",
        "https://user:pw@host/a.mp4",
        "/data/s3:me@home.mp4",
    ],
)
def test_a_uri_may_hold_a_colon_and_an_at_elsewhere(uri: str) -> None:
    assert not problem_of_password(uri)


@pytest.mark.parametrize(
    ("uri", "options", "said"),
    [
        (
            "s3://bucket/a",
            {"endpont_url": "http://x"},
            "no option endpont_url: did you mean storage_options.endpoint_url",
        ),
        ("s3://bucket/a", {"s3": {"keey": "x"}}, "no option keey: did you mean storage_options.key"),
        ("gs://bucket/a", {"tokenn": "anon"}, "no option tokenn: did you mean storage_options.token"),
        ("s3://bucket/a", {"S3": {"key": "x"}}, "storage_options.S3: a scheme is written in small letters, as s3"),
        ("s3://bucket/a", {"gs": "x"}, "storage_options.gs are the options of gs://"),
    ],
)
def test_an_option_that_the_store_would_ignore_is_refused(uri: str, options: dict[str, Any], said: str) -> None:
    """Its client would ask another store instead, or with other credentials."""
    with pytest.raises(ValueError, match=said):
        open_filesystem(uri, options)


def test_options_of_several_stores_stand_together() -> None:
    options = {
        "account_name": "a",
        "account_key": "eA==",
        "key": "k",
        "secret": "s",
        "token": "anon",
        "blocksize": 1 << 20,
    }
    for uri in ("s3://bucket/a", "gs://bucket/a", "az://container/a"):
        open_filesystem(uri, options)


def test_options_are_compared_once_however_often_a_store_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store is opened for each file that is read of it, and comparing took five times as long as opening."""
    compared = []

    def noted(name: str, *others: Any) -> list[str]:
        compared.append(name)
        return []

    monkeypatch.setattr("pipeline.storage.option_names.get_close_matches", noted)
    for _ in range(3):
        open_filesystem("s3://bucket/a", {"key": "k", "of_another_store": 1})
    assert compared == ["of_another_store"]

"""Versions of files: another file in the same place has another one, and asking costs no more than it must."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from pipeline.storage.file_versions import FileVersion, current_versions, version_of, version_on_disk
from tests.support.calls import num_calls
from tests.support.s3_server import S3Server


def test_a_local_file_has_its_size_and_its_time_of_change(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"12345")
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    assert version_on_disk(path) == FileVersion(5, "2023-11-14T22:13:20.123+00:00")
    assert version_on_disk(tmp_path) is None
    assert version_on_disk(tmp_path / "nowhere") is None
    assert version_on_disk("a\0b") is None


@pytest.mark.parametrize(
    ("info", "version"),
    [
        ({"size": 7, "ETag": '"abc"', "LastModified": datetime(2024, 1, 1, tzinfo=UTC)}, FileVersion(7, "abc")),
        ({"size": 7, "type": "file", "etag": 'W/"abc"'}, FileVersion(7, "abc")),
        (
            {"size": 7, "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"},
            FileVersion(7, "Wed, 21 Oct 2015 07:28:00 GMT"),
        ),
        ({"size": 7, "created": datetime(2024, 1, 1, 12)}, FileVersion(7, "2024-01-01T12:00:00.000+00:00")),
        ({"size": 7, "mtime": 1_700_000_000.5}, FileVersion(7, "2023-11-14T22:13:20.500+00:00")),
        ({"size": 7}, None),
        ({"size": None, "ETag": "abc"}, None),
        ({"size": 0, "type": "directory", "ETag": "abc"}, None),
    ],
)
def test_what_a_file_system_says_of_a_file_tells_its_version(
    info: dict[str, object], version: FileVersion | None
) -> None:
    assert version_of(info) == version


def test_size_and_version_both_count() -> None:
    digests = {FileVersion(*values).digest() for values in [(1, "a"), (2, "a"), (1, "b"), (12, "a"), (1, "2 a")]}
    assert len(digests) == 5
    assert all(len(digest) == 16 for digest in digests)


@pytest.mark.slow
def test_a_store_tells_the_same_version_in_a_listing_and_of_one_object(s3_server: S3Server) -> None:
    folder, options = s3_server.new_folder(), s3_server.options()
    filesystem, path = fsspec.url_to_fs(folder, **options, use_listings_cache=False)
    filesystem.pipe_file(f"{path}/a.mp4", b"first")
    (listed,) = filesystem.find(path, detail=True).values()
    before = version_of(filesystem.info(f"{path}/a.mp4"))
    assert before is not None
    assert version_of(listed) == before
    filesystem.pipe_file(f"{path}/a.mp4", b"other")
    uris = [("a", f"{folder}/a.mp4"), ("gone", f"{folder}/gone.mp4"), ("web", "http://127.0.0.1:9/a.mp4")]
    assert dict(current_versions(uris, options, ask_stores=False)) == {}
    found = dict(current_versions(uris, options, ask_stores=True))
    assert found.keys() == {"a"}
    assert found["a"] != before


def test_members_of_an_archive_have_its_version_which_is_looked_up_once(tmp_path: Path) -> None:
    (tmp_path / "shard.tar").write_bytes(b"tar")
    (tmp_path / "one.mp4").write_bytes(b"one")
    uris = [*((f"m{n}", f"{tmp_path}/shard.tar::{n}.mp4") for n in range(3)), ("one", str(tmp_path / "one.mp4"))]
    found = dict(current_versions(uris, ask_stores=False))
    assert {name: version.num_bytes for name, version in found.items()} == {"m0": 3, "m1": 3, "m2": 3, "one": 3}
    assert found["m0"] == version_on_disk(tmp_path / "shard.tar")


def test_a_million_local_files_would_be_looked_at_in_a_minute(tmp_path: Path) -> None:
    """70 calls a file take 14 µs."""
    (tmp_path / "a.mp4").touch()
    uris = ((str(number), str(tmp_path / "a.mp4")) for number in range(2_000))
    found: list[object] = []
    assert num_calls(lambda: found.extend(current_versions(uris, ask_stores=False))) < 140 * 2_000
    assert len(found) == 2_000

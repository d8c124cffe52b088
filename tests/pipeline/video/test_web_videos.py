"""Videos on web servers that know ranges or not, refuse, redirect, lie, hang up, or change files under the reader."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest

from model import MediaError
from pipeline.errors import StorageError
from pipeline.storage.addresses import AddressRules
from pipeline.storage.retry import Backoff
from pipeline.video.media import open_media
from tests.support.media_files import item
from tests.support.web_server import Page, WebServer, web

__all__ = ["web"]

T = TypeVar("T")
DATA = os.urandom(6 << 20)  # more than one block of 4 MiB
IMPATIENT = Backoff(patience_seconds=0.0)


@dataclass(frozen=True)
class Counting(Backoff):
    """Does not wait, and keeps how long it would."""

    waits: list[float] = field(default_factory=list)

    def run(self, what: str, call: Callable[[], T], sleep: Callable[[float], None] = time.sleep) -> T:
        return super().run(what, call, self.waits.append)


def read(web: WebServer, name: str, backoff: Backoff = IMPATIENT) -> bytes:
    """All bytes of a file, in pieces, from its start."""
    opened = open_media(item(f"{web.address}{name}"), rules=web.rules, backoff=backoff)
    with opened as media, media.files[0]() as file:
        return b"".join(iter(lambda: file.read(1 << 20), b""))


@pytest.mark.parametrize("etag", ["", '"abc"', 'W/"abc"'])
def test_a_file_is_read_by_ranges_each_block_once(web: WebServer, etag: str) -> None:
    web.pages["/a.mp4"] = Page(DATA, etag)
    assert read(web, "/a.mp4") == DATA
    assert [asked for method, _, asked in web.requests if method == "GET"] == [
        "bytes=0-0",
        f"bytes=0-{(4 << 20) - 1}",
        f"bytes={4 << 20}-{(6 << 20) - 1}",
    ]


def test_a_server_without_ranges_sends_the_file_once(web: WebServer) -> None:
    web.pages["/a.mp4"] = Page(DATA, knows_ranges=False)
    assert read(web, "/a.mp4") == DATA
    assert web.num_gets() == 2  # one that is broken off, and the download


def own_rules(web: WebServer, name: str) -> AddressRules:
    """Rules of a test's own, so that no session of another one is taken."""
    return AddressRules(hosts=(*(web.rules.hosts or ()), f"{name}.example"))


@pytest.mark.slow
def test_a_slow_server_is_listened_to_as_long_as_bytes_come(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself the client ends every request after a while, so that a file that takes longer never came."""
    monkeypatch.setattr("aiohttp.client.DEFAULT_TIMEOUT", aiohttp.ClientTimeout(total=0.5))
    web.pages["/a.mp4"] = Page(DATA, knows_ranges=False, pause_seconds=0.2)
    opened = open_media(item(f"{web.address}/a.mp4"), rules=own_rules(web, "slow"), backoff=IMPATIENT)
    with opened as media, media.files[0]() as file:
        assert file.read() == DATA


@pytest.mark.slow
def test_a_server_that_says_nothing_does_not_hold_a_request(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.storage.web_sessions._SILENT_SECONDS", 0.2)
    web.pages["/a.mp4"] = Page(DATA, pause_seconds=3.0)
    opened = open_media(item(f"{web.address}/a.mp4"), rules=own_rules(web, "mute"), backoff=IMPATIENT)
    with pytest.raises(StorageError, match=r"[Tt]imeout"), opened:
        pass


@pytest.mark.parametrize("told_bytes", [1, 100, 7 << 20])
@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_wrong_length_in_the_answer_to_head_does_not_cut_a_file(
    web: WebServer, told_bytes: int, knows_ranges: bool
) -> None:
    web.pages["/a.mp4"] = Page(DATA, knows_ranges=knows_ranges, told_bytes=told_bytes)
    assert read(web, "/a.mp4") == DATA


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_an_answer_that_is_cut_is_a_fault_of_storage(web: WebServer, knows_ranges: bool) -> None:
    web.pages["/a.mp4"] = Page(DATA, knows_ranges=knows_ranges, sent_bytes=1000)
    with pytest.raises(StorageError, match=r"reading http://127.0.0.1:\d+/a.mp4 failed 1 times") as caught:
        read(web, "/a.mp4")
    assert caught.value.transient


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (Page(DATA, '"1"'), Page(DATA[::-1], '"2"'), "it has another ETag"),
        (Page(DATA), Page(DATA + b"more"), r"it has 6291460 bytes and had 6291456"),
        (Page(DATA), Page(DATA, knows_ranges=False), "the server sends no ranges any more"),
    ],
)
def test_a_file_that_changes_while_it_is_read_is_given_back(
    web: WebServer, before: Page, after: Page, said: str
) -> None:
    """No waiting helps, and half of the one with half of the other is no video."""
    web.pages["/a.mp4"] = before
    with open_media(item(f"{web.address}/a.mp4"), rules=web.rules) as media, media.files[0]() as file:
        assert file.read(1000) == DATA[:1000]
        web.pages["/a.mp4"] = after
        file.seek(5 << 20)
        with pytest.raises(StorageError, match=f"a.mp4 was changed while it was read: {said}") as caught:
            file.read(1000)
    assert not caught.value.transient
    assert read(web, "/a.mp4") == after.data


def test_etags_that_differ_from_machine_to_machine_of_one_site_are_not_believed(web: WebServer) -> None:
    class Machines(dict[str, Page]):
        def get(self, path: str, default: Page | None = None) -> Page | None:  # type: ignore[override]
            return Page(DATA, f'"{len(web.requests)}"')

    web.pages = Machines()
    assert read(web, "/a.mp4") == DATA


def test_the_pause_that_a_server_asks_for_is_kept(web: WebServer) -> None:
    web.pages["/a.mp4"] = Page(DATA, refusals=((429, {"Retry-After": "7"}), (429, {"Retry-After": "7"})))
    patient = Counting(patience_seconds=60)
    assert read(web, "/a.mp4", patient) == DATA
    assert patient.waits[0] == 7.0
    web.pages["/a.mp4"] = Page(DATA, refusals=((503, {"Retry-After": "600"}),) * 2)
    with pytest.raises(StorageError, match="503"):
        read(web, "/a.mp4", Counting(patience_seconds=60))


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "may not be read; check its permissions, and whether its address was signed for a time that is over"),
        (404, "there is no such file"),
        (410, "the server refuses it .HTTP 410.; check the uri"),
        (451, "the server refuses it .HTTP 451.; check the uri"),
    ],
)
def test_a_refusal_is_the_videos_fault_and_shows_no_secret(web: WebServer, status: int, message: str) -> None:
    web.pages["/a.mp4"] = Page(DATA, refusals=((status, {}),) * 9)
    with pytest.raises(MediaError, match=message) as caught:
        read(web, "/a.mp4?X-Amz-Signature=hunter2&sig=hunter2")
    assert "hunter2" not in str(caught.value)


def test_an_address_that_is_signed_for_get_alone_is_read(web: WebServer) -> None:
    web.pages["/a.mp4"] = Page(DATA, refusals=((403, {}),))  # to HEAD, which is asked first
    assert read(web, "/a.mp4?sig=1") == DATA
    assert web.requests[0][0] == "HEAD"


def test_a_redirection_is_followed_and_its_secrets_are_not_told(web: WebServer) -> None:
    web.pages["/old.mp4"] = Page(refusals=((302, {"Location": "/new.mp4?sig=hunter2"}),) * 9)
    web.pages["/new.mp4"] = Page(DATA)
    assert read(web, "/old.mp4") == DATA
    web.pages["/old.mp4"] = Page(refusals=((302, {"Location": "/gone.mp4?sig=hunter2"}),) * 9)
    web.pages["/gone.mp4"] = Page(refusals=((500, {}),) * 9)
    with pytest.raises(StorageError) as caught:
        read(web, "/old.mp4")
    assert "hunter2" not in str(caught.value)


def test_a_redirection_leads_to_no_file_of_this_machine(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    web.pages["/a.mp4"] = Page(refusals=((302, {"Location": (tmp_path / "secret.mp4").as_uri()}),) * 9)
    with pytest.raises(MediaError, match="the server redirects to something that is no web address"):
        read(web, "/a.mp4")
    web.pages["/b.mp4"] = Page(refusals=((302, {"Location": "/b.mp4"}),) * 50)
    with pytest.raises(MediaError, match="the server redirects in a circle"):
        read(web, "/b.mp4")


def test_a_member_of_a_tar_is_read_by_the_ranges_of_its_headers_and_its_own(web: WebServer) -> None:
    archive = io.BytesIO()
    members = {"first.mp4": os.urandom(3 << 20), "clip.mp4": DATA[:100_000], "last.mp4": os.urandom(3 << 20)}
    with tarfile.open(fileobj=archive, mode="w") as file:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
    page = Page(archive.getvalue(), '"1"')
    web.pages["/shard.tar"] = page
    assert read(web, "/shard.tar::clip.mp4") == members["clip.mp4"]
    spans = [asked.removeprefix("bytes=").split("-") for _, _, asked in web.requests if asked]
    assert sum(int(last) - int(first) + 1 for first, last in spans) < 500_000 < len(page.data)
    assert read(web, "/shard.tar::last.mp4") == members["last.mp4"]
    web.pages["/shard.tar"] = replace(page, knows_ranges=False)
    assert read(web, "/shard.tar::last.mp4") == members["last.mp4"]

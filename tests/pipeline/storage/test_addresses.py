"""Which addresses of tables are read: none that lead into the machine that reads them, unless the job says so."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from model import MediaError
from pipeline.config.compose import job_config
from pipeline.errors import ConfigError
from pipeline.inputs.address_rules import address_rules
from pipeline.inputs.durations import FileSizes
from pipeline.storage.addresses import AddressRules, RefusedAddress
from pipeline.storage.file_versions import current_versions
from pipeline.video.media import open_media
from tests.support.media_files import item

OF_THE_MACHINE = [
    "http://127.0.0.1/latest/meta-data/iam",
    "http://127.8.9.1:8080/a.mp4",
    "https://localhost/a.mp4",
    "https://me:key@videos.localhost./a.mp4",
    "http://0.0.0.0/a.mp4",
    "http://[::]/a.mp4",
    "http://[::1]:9/a.mp4",
    "http://[::ffff:127.0.0.1]/a.mp4",
    "http://[::ffff:a9fe:a9fe]/a.mp4",
    "http://[64:ff9b::7f00:1]/a.mp4",
    "http://[2002:7f00:1::]/a.mp4",
    "http://169.254.169.254/latest/meta-data",
    "http://[fe80::1]/a.mp4",
    "http://[fd00:ec2::254]/latest/meta-data",
    "http://100.100.100.200/latest/meta-data",
    "ftp://127.0.0.1/a.mp4",
    "sftp://localhost/a.mp4",
    "unheard-of://127.0.0.1/a.mp4",
    "http://127.0.0.1/shard.tar::a.mp4",
    "tar://a.mp4::http://127.0.0.1/shard.tar",
    "zip://a.mp4::http://127.0.0.1/a.zip",
]
OTHERS = [
    *(
        "https://videos.example.com/a.mp4",
        "http://10.0.0.7/a.mp4",
        "http://[2001:db8::1]/a.mp4",
        "s3://127.0.0.1/a.mp4",
    ),
    *("gs://localhost/a.mp4", "/videos/a.mp4", "file:///videos/a.mp4", "a.tar::a.mp4", "memory://a.mp4"),
]


@pytest.mark.parametrize("uri", OF_THE_MACHINE)
def test_no_table_names_an_address_of_the_machine_that_reads_it(uri: str) -> None:
    with pytest.raises(RefusedAddress, match=r"no table may name by default; input\.hosts=\['\*',.+\] allows it"):
        AddressRules().check(uri)
    with pytest.raises(MediaError, match=r"input\.hosts"), open_media(item(uri)):
        pass


@pytest.mark.parametrize("uri", OTHERS)
def test_other_addresses_are_let_pass(uri: str) -> None:
    AddressRules().check(uri)


def rules_of(*words: str) -> AddressRules:
    return address_rules(job_config("label", ["output=out", *words]))


@pytest.mark.slow
def test_a_table_in_a_store_names_no_paths_of_a_disk_and_a_local_one_does() -> None:
    remote = rules_of("prompts=s3://bucket/prompts.parquet")
    for uri in ("/etc/passwd", "file:///etc/passwd", "~/a.mp4", "/a.tar::a.mp4", "zip://a.mp4::/a.zip", "memory://a"):
        assert not remote.allows(uri), uri
    for uri in ("s3://bucket/a.mp4", "https://example.com/a.mp4", "gs://bucket/a.mp4", "hf://datasets/a/b/c.mp4"):
        assert remote.allows(uri), uri
    local = rules_of("prompts=prompts.parquet")
    for uri in ("/videos/a.mp4", "s3://bucket/a.mp4", "https://example.com/a.mp4", "unheard-of://bucket/a.mp4"):
        assert local.allows(uri), uri
    # The table with the addresses decides.
    assert rules_of("prompts=s3://bucket/p.parquet", "videos=videos.parquet").allows("/videos/a.mp4")
    assert not rules_of("prompts=p.parquet", "videos=s3://bucket/videos.parquet").allows("/videos/a.mp4")


@pytest.mark.slow
def test_what_the_keys_list_is_read_and_nothing_else() -> None:
    rules = rules_of(
        "prompts=s3://bucket/p.parquet", "input.schemes=[file,https]", "input.hosts=['*.example.com',10.0.0.7]"
    )
    assert rules.allows("/videos/a.mp4")
    assert rules.allows("https://a.example.com/b.mp4")
    assert rules.allows("https://10.0.0.7/b.mp4")
    for uri in (
        "http://a.example.com/b.mp4",
        "s3://bucket/a.mp4",
        "https://example.org/a.mp4",
        "https://10.0.0.8/a.mp4",
    ):
        assert not rules.allows(uri), uri
    assert rules_of("prompts=p.parquet", "input.schemes=s3").allows("s3a://bucket/a.mp4")
    for key in ("input.schemes=s3://", "input.hosts=http://a.example.com"):
        with pytest.raises(ConfigError, match=key.partition("=")[0]):
            rules_of("prompts=p.parquet", key)


def test_a_scheme_is_listed_by_each_of_its_names() -> None:
    """A listing of az:// tells names of abfs://."""
    AddressRules(schemes=frozenset({"az"})).check("abfs://clips/a.mp4")
    AddressRules(schemes=frozenset({"gs"})).check("gcs://clips/a.mp4")
    with pytest.raises(RefusedAddress, match=r"may not name http:// addresses"):
        AddressRules(schemes=frozenset({"https"})).check("http://host/a.mp4")


def test_a_server_that_the_job_names_itself_may_be_on_this_machine() -> None:
    assert rules_of("prompts=p.parquet", "videos=http://127.0.0.1:8000/clips/").allows(
        "http://127.0.0.1:8000/clips/a.mp4"
    )


def test_messages_do_not_tell_whether_a_forbidden_file_is_there(tmp_path: Path) -> None:
    (tmp_path / "there.mp4").write_bytes(b"a secret")
    rules = rules_of("prompts=s3://bucket/prompts.parquet")
    said = []
    for name in ("there.mp4", "gone.mp4", ""):
        with pytest.raises(MediaError, match=r"input\.schemes=\[.*file.*\] allows it") as caught:
            open_media(item(tmp_path / name), rules=rules).__enter__()
        said.append(str(caught.value).partition(": ")[2])
    assert len(set(said)) == 1
    uri = str(tmp_path / "there.mp4")
    assert FileSizes([uri], ask_stores=True, rules=rules).seconds()[0] == 0
    assert not list(current_versions([("a", uri)], ask_stores=True, rules=rules))
    assert list(current_versions([("a", uri)], ask_stores=True))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[http.server.ThreadingHTTPServer]:
    """Serves `tmp_path` on loopback. `/to/HOST/NAME` redirects to it by another name."""
    (tmp_path / "clip.mp4").write_bytes(b"a video")

    class Handler(http.server.SimpleHTTPRequestHandler):
        given: ClassVar[list[str]] = []

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def do_GET(self) -> None:
            if self.path.startswith("/to/"):
                _, _, host, name = self.path.split("/")
                self.send_response(302)
                self.send_header("Location", f"http://{host}:{self.server.server_address[1]}/{name}")
                self.end_headers()
            else:
                self.given.append(self.path)
                super().do_GET()

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True).start()
    yield serving
    serving.shutdown()
    serving.server_close()


def given(server: http.server.ThreadingHTTPServer) -> list[str]:
    found: list[str] = server.RequestHandlerClass.given  # type: ignore[attr-defined]
    return found


def test_a_redirection_is_held_to_the_rules(server: http.server.ThreadingHTTPServer) -> None:
    uri = f"http://127.0.0.1:{server.server_address[1]}/to/{{}}/clip.mp4"
    rules = AddressRules(hosts=("127.0.0.1", "*"))
    with open_media(item(uri.format("127.0.0.1")), rules=rules) as media, media.files[0]() as file:
        assert file.read() == b"a video"
    given(server).clear()
    for host in ("localhost", "169.254.169.254", "127.0.0.2"):
        with pytest.raises(MediaError, match=rf"the host {host} leads to"):
            open_media(item(uri.format(host)), rules=rules).__enter__()
    with pytest.raises(MediaError, match=r"the host localhost is none that the job's tables may name"):
        open_media(item(uri.format("localhost")), rules=AddressRules(hosts=("127.0.0.1",))).__enter__()
    assert given(server) == []


def test_a_name_is_held_to_what_it_leads_to(
    server: http.server.ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def resolved(host: str | None, *arguments: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host == "videos.example" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    uri = f"http://videos.example:{server.server_address[1]}/clip.mp4"
    with pytest.raises(MediaError, match=r"the host videos\.example leads to a loopback address .*input\.hosts"):
        open_media(item(uri)).__enter__()
    with pytest.raises(MediaError, match="leads to a loopback address"):
        open_media(item("sftp://videos.example/clip.mp4")).__enter__()
    assert given(server) == []
    with open_media(item(uri), rules=AddressRules(hosts=("videos.example",))) as media, media.files[0]() as file:
        assert file.read() == b"a video"

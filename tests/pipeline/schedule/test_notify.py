"""Somebody is told: a command and an address, with faults of both, and without a word of their secrets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.commits.run_document import RunDocument
from pipeline.schedule.notify import Tries, is_wanted, tell

SECRET = "T0P-secret"
DOCUMENT = b'{"exit_code": 4}'


@dataclass
class Webhook:
    """A server on loopback that answers one request after the other as `answers` says, and then with 200."""

    answers: list[int] = field(default_factory=list)
    got: list[tuple[str, str, bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/services/{SECRET}?token={SECRET}"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            hook.got.append((f"{self.command} {self.path}", self.headers.get("Content-Type", ""), body))
            answer = hook.answers.pop(0) if hook.answers else 200
            if not answer:
                self.close_connection = True
                return
            self.send_response(answer)
            if answer in (301, 302):
                self.send_header("Location", f"http://127.0.0.1:{hook.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET = handle_any

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def waited() -> list[float]:
    return []


@pytest.fixture
def tries(waited: list[float]) -> Tries:
    return Tries(sleep=waited.append)


def test_an_address_gets_the_document_as_json(webhook: Webhook, tries: Tries) -> None:
    assert tell(webhook.address, DOCUMENT, tries)
    path = f"/services/{SECRET}?token={SECRET}"
    assert webhook.got == [(f"POST {path}", "application/json", DOCUMENT)]


@pytest.mark.parametrize("answer", [500, 503, 429, 0])
def test_what_may_pass_is_tried_again(
    answer: int, webhook: Webhook, tries: Tries, waited: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    webhook.answers = [answer, answer]
    assert tell(webhook.address, DOCUMENT, tries)
    assert len(webhook.got) == 3
    assert waited == [2.0, 4.0]
    assert "not delivered, try 2 of 3: 127.0.0.1" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("answer", [301, 302, 400, 403, 404])
def test_what_will_not_pass_is_told_at_once_and_no_redirection_is_followed(
    answer: int, webhook: Webhook, tries: Tries, caplog: pytest.LogCaptureFixture
) -> None:
    webhook.answers = [answer]
    assert not tell(webhook.address, DOCUMENT, tries)
    assert len(webhook.got) == 1
    assert f"127.0.0.1 answered with {answer}" in caplog.text
    assert "nobody was told how this run ended" in caplog.text
    assert SECRET not in caplog.text


def test_an_address_where_nobody_listens_is_tried_three_times(
    webhook: Webhook, tries: Tries, caplog: pytest.LogCaptureFixture
) -> None:
    webhook.answers = [0, 0, 0, 0]
    assert not tell(webhook.address, DOCUMENT, tries)
    assert len(webhook.got) == 3
    assert SECRET not in caplog.text


def test_a_command_gets_the_document_on_its_standard_input(tmp_path: Path, tries: Tries) -> None:
    assert tell(f"cat > '{tmp_path}/a place'", DOCUMENT, tries)
    assert (tmp_path / "a place").read_bytes() == DOCUMENT


def test_a_command_that_fails_is_tried_again_and_nothing_of_it_is_shown(
    tmp_path: Path, tries: Tries, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    line = f"echo {SECRET}; echo {SECRET} >&2; echo x >> {tmp_path}/tries; exit 9"
    assert not tell(line, DOCUMENT, tries)
    assert (tmp_path / "tries").read_text() == "x\n" * 3
    assert "the command ended with 9" in caplog.text
    printed = capfd.readouterr()
    assert SECRET not in caplog.text + printed.out + printed.err


def test_a_command_that_hangs_is_ended_with_all_that_it_has_started(
    tmp_path: Path, waited: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """What it has started holds the other end of a pipe: reading ends when all of them have."""
    pipe = tmp_path / "pipe"
    line = f"mkfifo {pipe}; sleep 1000 > {pipe} & cat {pipe}"
    assert not tell(line, DOCUMENT, Tries(count=1, command_seconds=0.2, sleep=waited.append))
    assert "it took longer than 0.2 s" in caplog.text


def test_a_command_that_reads_nothing_is_fine(tries: Tries) -> None:
    assert tell("exit 0", b"x" * 1_000_000, tries)


@pytest.mark.parametrize(
    ("exit_code", "worse", "wanted"),
    [
        (0, [], {"always"}),
        (0, ["40% failed"], {"always", "worse"}),
        (4, [], {"always", "failure", "worse"}),
        (5, [], {"always", "failure", "worse"}),
        (3, [], {"always"}),
        (143, [], {"always"}),
    ],
)
def test_who_wants_to_be_told_of_which_end(exit_code: int, worse: list[str], wanted: set[str]) -> None:
    facts = {"started_at": "", "ended_at": "", "seconds": 1.0, "state": "done", "message": ""}
    ended = RunDocument(output="o", exit_code=exit_code, worse=worse, **facts)
    assert {when for when in ("always", "failure", "worse") if is_wanted(when, ended)} == wanted


def test_this_machine_is_reached_without_a_proxy(
    webhook: Webhook, tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert tell(webhook.address, DOCUMENT, tries)


def test_a_process_that_is_about_to_be_killed_tries_once(webhook: Webhook, waited: list[float]) -> None:
    webhook.answers = [503]
    assert not tell(webhook.address, DOCUMENT, Tries(sleep=waited.append).at_once())
    assert len(webhook.got) == 1
    assert waited == []

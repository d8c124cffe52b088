"""Tells a person's program how a run ended: a command gets the end document on its standard input, an address by POST.

Neither the address nor the command is ever printed, because webhooks have their secret in the path. A document that is
not delivered changes nothing of the run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from http.client import HTTPException
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from pipeline.command import ExitCode
from pipeline.commits.run_document import RunDocument
from pipeline.config.schedule_config import LOOPBACK, is_web_address
from pipeline.schedule.processes import Command, run

_log = logging.getLogger(__name__)


def is_wanted(notify_on: str, document: RunDocument) -> bool:
    """Whether `notify_on=` asks for this end. No person is needed when another driver, or a signal, ended the run."""
    needs_somebody = document.exit_code not in (ExitCode.DONE, ExitCode.OWNED, ExitCode.STOPPED)
    return {
        "always": True,
        "failure": needs_somebody,
        "worse": needs_somebody or bool(document.worse),
    }[notify_on]


@dataclass(frozen=True)
class Tries:
    """How often a document is sent, with which pause, and how long one try may take."""

    count: int = 3
    pause_seconds: float = 2.0
    address_seconds: float = 15.0
    command_seconds: float = 60.0
    sleep: Callable[[float], None] = time.sleep

    def at_once(self) -> Tries:
        """One short try, for a process that has not much time."""
        return replace(self, count=1, address_seconds=5.0, command_seconds=5.0)


class _NotDelivered(Exception):
    """One try has failed. `is_final`: another one would fail in the same way."""

    def __init__(self, message: str, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


class _NoRedirects(HTTPRedirectHandler):
    """A document goes to nobody but the address that was given: a redirection turns a POST into a GET."""

    def redirect_request(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: object, newurl: str) -> None:
        return None


def tell(notify: str, document: bytes, tries: Tries | None = None) -> bool:
    """Deliver a document and say whether that succeeded. Raises nothing: a failure is a warning in the log."""
    tries = tries or Tries()
    deliver = _post if is_web_address(notify) else _run
    for number in range(1, tries.count + 1):
        try:
            deliver(notify, document, tries)
            return True
        except _NotDelivered as error:
            _log.warning("notify=: not delivered, try %d of %d: %s", number, tries.count, error)
            if error.is_final:
                break
        if number < tries.count:
            tries.sleep(tries.pause_seconds * 2 ** (number - 1))
    _log.error("notify=: nobody was told how this run ended; last_run.json says it")
    return False


def _post(address: str, document: bytes, tries: Tries) -> None:
    """Post to an address. Messages name its host alone."""
    host = urlsplit(address).hostname
    request = Request(address, document, {"Content-Type": "application/json"}, method="POST")
    try:
        # What is on this machine is reached without the proxy that the environment may name.
        proxies = [ProxyHandler({})] if host in LOOPBACK else []
        with build_opener(_NoRedirects, *proxies).open(request, timeout=tries.address_seconds):
            return
    except HTTPError as error:
        error.close()
        is_final = error.code < 500 and error.code not in (408, 425, 429)
        raise _NotDelivered(f"{host} answered with {error.code}", is_final) from None
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise _NotDelivered(f"{host}: {type(reason).__name__}") from None


def _run(line: str, document: bytes, tries: Tries) -> None:
    """Run a command. What it prints is not shown, because it may hold what the command was given as a secret."""
    try:
        ended = run(Command.of_a_user(line), document, tries.command_seconds, is_heard=False)
    except OSError as error:
        raise _NotDelivered(f"the command cannot be started: {error.strerror}") from None
    if ended.code:
        raise _NotDelivered(f"the command ended with {ended.code}{f': {ended.last_word}' if ended.last_word else ''}")

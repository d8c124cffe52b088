"""Commands in processes of their own: maskmill's by their names and keys, and those of users, which the shell runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from pipeline.packages import ROOT

_ENDS_WITHIN_SECONDS = 20.0
_LINGERS_SECONDS = 10.0
_SHELL = "/bin/sh"

PLACES = ("output", "to")
"""Keys of maskmill's commands that name a folder, a file or a URI."""


@dataclass(frozen=True)
class Command:
    """Arguments of a process, and what is added to its environment, where nobody else can read secrets."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_maskmill(
        cls, door: str, keys: Mapping[str, Any], options: Mapping[str, Any], as_typed: Collection[str] = PLACES
    ) -> Command:
        """`python -m pipeline.{door}` with these keys, and with `options` as its `storage_options`.

        The command takes texts of the keys `as_typed` letter by letter, so that quotes would be a part of them. Options
        go through the environment, because the arguments of a process can be read by all users.
        """
        secrets: dict[str, str] = {}
        words = []
        for path, value in _leaves({**keys, "storage_options": options}):
            is_option = ".storage_options." in f".{path}".replace("to_storage_options", "storage_options")
            if is_option and value not in (None, "") and not isinstance(value, bool):
                name = f"MASKMILL_OPTION_{len(secrets)}"
                secrets[name] = str(value)
                read = f"${{oc.env:{name}}}"
                words.append(f"{path}={read if isinstance(value, str) else f'${{oc.decode:{read}}}'}")
                continue
            is_as_it_is = path in as_typed and isinstance(value, str)
            words.append(f"{path}={value if is_as_it_is else _typed(value)}")
        # With -P and without -m, which would put the current folder in front of our own packages.
        find = f"import sys; {str(ROOT)!r} in sys.path or sys.path.insert(0, {str(ROOT)!r})"
        start = f"{find}; from pipeline.doors import main; sys.exit(main())"
        return cls([sys.executable, "-P", "-c", start, door, *words], secrets)

    @classmethod
    def of_a_user(cls, line: str) -> Command:
        """A line for the shell."""
        return cls([_SHELL, "-c", line])


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, and its last word on the standard error. A signal is a code below 0."""

    code: int
    last_word: str


def run(
    command: Command,
    given: bytes,
    most_seconds: float,
    *,
    is_heard: bool = True,
    linger_seconds: float = _LINGERS_SECONDS,
) -> Ended:
    """Run a command to its end with `given` on its standard input.

    What it prints goes where this process prints, unless it is not to be heard. A command that takes longer than
    `most_seconds`, or is at work when a signal ends this process, is ended with all processes that it has started.
    One that it has left running, as a server, is left alone, and not listened to for longer than `linger_seconds`.
    Raises `OSError` if it cannot be started.
    """
    out = None if is_heard else subprocess.DEVNULL
    process = subprocess.Popen(
        command.arguments,
        env={**os.environ, **command.environment},
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=subprocess.PIPE if is_heard else subprocess.DEVNULL,
        start_new_session=True,
    )
    is_late = threading.Event()

    def end_it() -> None:
        is_late.set()
        _end(process)

    timer = threading.Timer(most_seconds, end_it)
    timer.daemon = True
    with _ended_with_us(process):
        timer.start()
        try:
            heard = _Heard(process)  # before it is given anything: it may say much before it reads
            _give(process, given)
            code = process.wait()
            heard.join(linger_seconds)
        finally:
            timer.cancel()
    if is_late.is_set():
        return Ended(code or 1, f"it took longer than {most_seconds:g} s")
    return Ended(code, heard.last_word)


def _give(process: subprocess.Popen[bytes], given: bytes) -> None:
    """Write to the standard input of a process, which need not read it."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(given)


class _Heard(threading.Thread):
    """Prints what a process writes to its standard error. `last_word` is the last line that says something."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(name="maskmill-step", daemon=True)
        self.last_word = ""
        self._lines = process.stderr
        self.start()

    def run(self) -> None:
        """Until the process has closed it, and all that it has started."""
        for line in self._lines or ():
            text = line.decode(errors="replace")
            with contextlib.suppress(OSError):
                print(text, end="", file=sys.stderr, flush=True)
            self.last_word = text.strip() or self.last_word


@contextlib.contextmanager
def _ended_with_us(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process when this block is left before it has ended by itself, as by a signal to this process."""
    try:
        yield
    finally:
        if process.poll() is None:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process and all that it has started to end. Kill what is left when it has ended, after 20 s at most."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_ENDS_WITHIN_SECONDS)


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping, by its full name."""
    for name, value in values.items():
        full = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping):
            yield from _leaves(value, full)
        else:
            yield full, value


def _typed(value: Any) -> str:
    """A value as a command takes it. A text that would be read as something else stands in quotes."""
    if isinstance(value, str):
        with contextlib.suppress(yaml.YAMLError):
            if yaml.safe_load(value) == value:
                return value
        return json.dumps(value)
    return json.dumps(list(value) if isinstance(value, tuple) else value)

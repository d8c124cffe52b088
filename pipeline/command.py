"""What all commands share: their exit codes, the log on the terminal, and the arguments of those on an existing job.

`pipeline.status` and `pipeline.compact` are commands on an existing job: `main` runs them.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from difflib import get_close_matches
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field

from pipeline.config.fields import Group, group_of, keys
from pipeline.config.key_help import describe_key
from pipeline.config.kinds import Place
from pipeline.config.mistakes import checked, no_pair
from pipeline.errors import (
    ClusterDown,
    ConfigError,
    InputError,
    NewerVersion,
    NoHistory,
    StorageError,
    UnusableStore,
)
from pipeline.redact import redact
from pipeline.text import complain, escaped, is_utf8, say, say_at_once, set_in, why_no_utf8

_STANDARD_ERROR = 2  # the number of the stream


class ExitCode(IntEnum):
    """What a command returns to the shell. `meaning` says it in one sentence, which README.md repeats."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> ExitCode:
        """A number of the shell with its sentence."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "All videos are processed, and no more of them failed than `max_failed_fraction` allows."
    ENVIRONMENT = (
        1,
        "The model does not load, or storage, Hub or Ray do not answer: run the same command again later.",
    )
    REFUSED = (
        2,
        "The command line, the config or a table is wrong, the job has other options, or the run would remove masks "
        "and nobody has asked for that.",
    )
    OWNED = 3, "Another driver works on this job."
    FAILURES = (
        4,
        "More failed than `max_failed_fraction` allows; with `check=true`, a video or an object will fail; "
        "with `conf=verify`, no video can be read.",
    )
    AFTER = 5, "The videos are processed, and a step after the run (`after.`) failed: `last_run.json` says which."
    STOPPED = 143, "A signal stopped the job and the work in flight is saved: run the same command again at any time."


def describe_exit_codes() -> str:
    """Each exit code with its sentence, a line each."""
    return "\n".join(f"  {code:<3} {code.meaning}" for code in ExitCode)


def explain(error: Exception) -> ExitCode:
    """Print why a command ends, in one line without secrets, and return its exit code."""
    complain(redact(str(error)))
    return ExitCode.ENVIRONMENT if isinstance(error, StorageError | ClusterDown) else ExitCode.REFUSED


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Have SIGTERM and Ctrl-C end a command by `KeyboardInterrupt` and one line while this is open.

    A job that has videos in flight takes its own handlers over these, because it has work to save. Outside of the main
    thread this does nothing, because Python forbids it there.
    """

    def end(*_: object) -> None:
        say_at_once("maskmill: stopped by a signal; run the same command again at any time")
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def set_up_logging() -> None:
    """Send the log to the terminal, a line a record. A program that has set up logging before keeps what it has.

    Of libraries only warnings are shown: clients of stores and of the Hub tell on the level of information what they
    ask and where they have found an address or credentials.

    A terminal that lacks a letter gets an escape for it, because a name in another alphabet must not end a command.
    """
    open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not logging.root.handlers:
        for package in OWN_LOGGERS:
            logging.getLogger(package).setLevel(logging.INFO)
    log_to_terminal(logging.WARNING, "%(asctime)s %(levelname)s %(message)s")
    # torch quiets itself at the end of its import. A signal in the middle of that left statistics at the exit.
    logging.getLogger("torch").setLevel(logging.WARNING)


def open_closed_streams() -> None:
    """Send the standard streams that were closed by whoever started this program nowhere, as `2>&-` of a shell does.

    Python has no `sys.stderr` then. The next file that is opened would get the number of the closed stream, so that
    what a library or a process of ours says on its standard error would stand in the middle of a table.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        os.set_inheritable(number, True)
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  # until the end


OWN_LOGGERS = ("pipeline", "model")
"""Whose log is that of maskmill."""


class TerminalLines(logging.Formatter):
    """Records as they may stand on a terminal: with control characters escaped, and each but the first line set in."""

    def format(self, record: logging.LogRecord) -> str:
        return set_in(super().format(record))


def log_to_terminal(level: int, form: str) -> None:
    """Send the log of this process to the standard error, unless somebody has set it up already."""
    handler = logging.StreamHandler()
    handler.setFormatter(TerminalLines(form, datefmt="%H:%M:%S"))
    logging.basicConfig(level=level, handlers=[handler])


class JobArguments(Group):
    """The keys that each command on an existing job takes."""

    output: Place = Field(description="The folder or URI of the job.")
    storage_options: dict[str, Any] = Field(
        default_factory=dict, description="Credentials and endpoints of its store, as in storage_options.anon=true."
    )


class TargetArguments(Group):
    """The keys that each command takes which writes elsewhere than it reads."""

    storage_options: dict[str, Any] = Field(
        default_factory=dict, description="Credentials and endpoints of the stores, as in storage_options.anon=true."
    )
    to_storage_options: dict[str, Any] | None = Field(
        default=None, description="Credentials and endpoints for to=; null: those of storage_options."
    )

    @property
    def to_options(self) -> dict[str, Any]:
        """The credentials and endpoints for `to=`."""
        return self.options_of(self.to_storage_options)

    def options_of(self, own: dict[str, Any] | None) -> dict[str, Any]:
        """The credentials and endpoints of a place: its own where it has some, `{}` included."""
        return self.storage_options if own is None else own


_TOLD = (
    ConfigError,
    InputError,
    FileNotFoundError,
    NewerVersion,
    NoHistory,
    UnusableStore,
    StorageError,
    ClusterDown,
)

Arguments = TypeVar("Arguments", bound=Group)


def describe_arguments(kind: type[Group]) -> str:
    """The keys of a command for its help."""
    return "\n".join(map(describe_key, keys(kind)))


def parse(kind: type[Arguments], words: Sequence[str]) -> Arguments:
    """The arguments of a command. `--a-b` is `a_b=true`. Raises `ConfigError` naming the key and what is allowed."""
    names = {field.alias or name for name, field in kind.model_fields.items() if field.default is False}
    check_surroundings(words)
    flags = {f"--{name.replace('_', '-')}": name for name in names}
    pairs = [f"{flags[word]}=true" if word in flags else word for word in words]
    for place, word in enumerate(pairs):
        key, equals, _ = word.partition("=")
        if not equals or not key or key.startswith("-"):
            raise ConfigError(no_pair(pairs, place, "output=s3://bucket/labels"))
    groups = {name for name, field in kind.model_fields.items() if group_of(field)}
    pairs = [word.replace("=", ".kind=", 1) if word.partition("=")[0] in groups else word for word in pairs]
    every = list(keys(kind))
    letter_by_letter = {key.path for key in every if key.is_as_typed}
    options = tuple(f"{key.path}." for key in every if key.path.endswith("storage_options"))
    as_typed = [word for word in pairs if _is_as_typed(word, letter_by_letter, options)]
    values = _read([word for word in pairs if word not in as_typed])
    for word in as_typed:
        path, _, text = word.partition("=")
        *above, name = path.split(".")
        group = values
        for part in above:
            if not isinstance(group.setdefault(part, {}), dict):
                raise ConfigError(f"{word.partition('=')[0]}= is given, and {part}= too: give one of them")
            group = group[part]
        group[name] = text
    known = {field.alias or name for name, field in kind.model_fields.items()}
    for name, field in kind.model_fields.items():
        key = field.alias or name
        if field.is_required() and values.get(key) in (None, ""):
            strange = [str(name) for name in values if name not in known]
            if meant := get_close_matches(key, strange, n=1):
                raise ConfigError(f"unknown key {meant[0]}=: did you mean {key}=?")
            told = (field.description or "").rstrip(".")
            unknown = f"; {strange[0]}= is no key of this command" if strange else ""
            raise ConfigError(f"{key}= is missing: give {told[:1].lower()}{told[1:]}{unknown}")
    return checked(kind, values)


def check_surroundings(words: Sequence[str]) -> None:
    """Raises `ConfigError` for a word with bytes that are no UTF-8: tables, `job.json` and stores could not name it.

    So it does where the current folder has such a name, or was deleted, because places on disk are noted from the root.
    """
    try:
        here = str(Path.cwd())
    except FileNotFoundError as error:
        raise ConfigError("the current folder was deleted: change to another one, as by cd") from error
    if not is_utf8(here):
        raise ConfigError(f"the current folder {here!r} {why_no_utf8()}, or change to another one")
    for word in words:
        if not is_utf8(word):
            key = word.partition("=")[0]  # the value may be a secret
            raise ConfigError(f"{escaped(key)}=… {why_no_utf8()}")


def _is_as_typed(word: str, letter_by_letter: Collection[str], options: tuple[str, ...]) -> bool:
    """Whether a word's value is a text whatever stands in it, as in a run: a key of a store may be `0123` or `[x`."""
    key, _, value = word.partition("=")
    if key in letter_by_letter:
        return value != "null"
    is_structure = value[:1] in ("'", '"', "{", "[") or "${" in value  # the latter is resolved, as in ${oc.env:KEY}
    return key.startswith(options) and not is_structure and value.lower() not in _CONSTANTS


_CONSTANTS = ("", "null", "true", "false")


def _read(words: Sequence[str]) -> dict[str, Any]:
    """Words whose values are YAML, as plain values. Raises `ConfigError` naming the key of one that is none."""
    for word in words:
        try:
            OmegaConf.from_dotlist([word])
        except (OmegaConfBaseException, yaml.YAMLError) as error:
            # The value may be a secret.
            key = word.partition("=")[0]
            raise ConfigError(
                f"{key}=… cannot be read: is a quote or a bracket open? Quotes make a text of it"
            ) from error
    try:
        values = OmegaConf.to_container(OmegaConf.from_dotlist(list(words)), resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"the arguments cannot be read: {str(error).splitlines()[0]}") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def main(
    help_text: str,
    kind: type[Arguments],
    command: Callable[[Arguments], ExitCode],
    words: Sequence[str] | None = None,
) -> int:
    """Run a command on an existing job and return its exit code, an `ExitCode`.

    It is `REFUSED` for wrong arguments, where there is no job, and for a job of a newer version of this program;
    `ENVIRONMENT` when the store fails, `STOPPED` after a signal; else what the command says.
    """
    set_up_logging()
    words = list(sys.argv[1:] if words is None else words)
    if any(word in ("--help", "-h") for word in words):
        say(help_text.rstrip())
        return ExitCode.DONE
    try:
        with ended_by_signals():
            return command(parse(kind, words))
    except _TOLD as error:
        return explain(error)
    except KeyboardInterrupt:
        return ExitCode.STOPPED

"""What all commands share: their exit codes, the log on the terminal, and the arguments of those on an existing job.

`pipeline.status` and `pipeline.compact` are commands on an existing job: `main` runs them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field

from pipeline.config.fields import Group, keys
from pipeline.config.job_config import OptionalLocalPlace, Place
from pipeline.config.key_help import describe_key
from pipeline.config.mistakes import checked
from pipeline.errors import ConfigError, NewerVersion, StorageError, UnusableStore
from pipeline.redact import redact
from pipeline.text import say


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
    ENVIRONMENT = 1, "The model does not load or the storage does not answer: run the same command again later."
    REFUSED = 2, "The command line, the config or an input table is wrong, or the job was made with other options."
    OWNED = 3, "Another driver works on this job."
    FAILURES = 4, "More videos failed than `max_failed_fraction` allows."
    STOPPED = 143, "A signal stopped the job and the work in flight is saved: run the same command again at any time."


def describe_exit_codes() -> str:
    """Each exit code with its sentence, a line each."""
    return "\n".join(f"  {code:<3} {code.meaning}" for code in ExitCode)


def explain(error: Exception) -> ExitCode:
    """Print why a command ends, in one line without secrets, and return its exit code."""
    print(f"maskmill: {redact(str(error))}", file=sys.stderr)
    return ExitCode.ENVIRONMENT if isinstance(error, StorageError) else ExitCode.REFUSED


def describe_arguments(names: Sequence[str]) -> str:
    """The keys that a command on an existing job takes, for its help."""
    return "\n".join(describe_key(key) for key in keys(JobArguments) if key.path in names)


def set_up_logging() -> None:
    """Send the log to the terminal, a line a record. A program that has set up logging before keeps what it has."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")


class JobArguments(Group):
    """The keys of a command on an existing job."""

    output: Place = Field(description="The folder or URI of the job.")
    storage_options: dict[str, Any] = Field(
        default_factory=dict, description="Credentials and endpoints of its store, as in storage_options.anon=true."
    )
    spool_dir: OptionalLocalPlace = Field(
        default=None, description="A local folder for about 1 GB of temporary files; null is the system's own."
    )


def parse(words: Sequence[str]) -> JobArguments:
    """The arguments of a command. Raises `ConfigError` naming the key, the value and what is allowed."""
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals or key.startswith("-"):
            raise ConfigError(f"{word!r} is not key=value (as in output=s3://bucket/labels); --help shows the keys")
    try:
        values = OmegaConf.to_container(OmegaConf.from_dotlist(list(words)), resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"the arguments cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict) or not values.get("output"):
        raise ConfigError("output= is missing: give the folder or URI of the job")
    return checked(JobArguments, values)


def main(help_text: str, command: Callable[[JobArguments], None], words: Sequence[str] | None = None) -> int:
    """Run a command on an existing job and return its exit code, an `ExitCode`.

    It is `REFUSED` for wrong arguments, where there is no job, and for a job of a newer version of this program;
    `ENVIRONMENT` when the store fails.
    """
    set_up_logging()
    words = list(sys.argv[1:] if words is None else words)
    if any(word in ("--help", "-h") for word in words):
        say(help_text.rstrip())
        return ExitCode.DONE
    try:
        command(parse(words))
    except (ConfigError, FileNotFoundError, NewerVersion, UnusableStore, StorageError) as error:
        return explain(error)
    return ExitCode.DONE

"""Commands on a job that exists: `python -m pipeline.compact output=…`, `python -m pipeline.status output=…`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config.typed import build
from pipeline.errors import ConfigError, NewerVersion, StorageError, UnusableStore
from pipeline.redact import redact
from pipeline.text import say


@dataclass(frozen=True)
class JobArguments:
    """What the command line says. `spool_dir`: local disk for temporary files; null: the system's folder."""

    output: str
    storage_options: dict[str, Any] = field(default_factory=dict)
    spool_dir: str | None = None


def parse(words: Sequence[str]) -> JobArguments:
    """The arguments of a command. Raises `ConfigError` naming the key, the value and what is allowed."""
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals or key.startswith("-"):
            raise ConfigError(f"{word!r} is not key=value (as in output=s3://bucket/labels)")
    try:
        values = OmegaConf.to_container(OmegaConf.from_dotlist(list(words)), resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"the arguments cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict) or not values.get("output"):
        raise ConfigError("output= is missing: give the folder or URI of the job")
    return build(JobArguments, values, "")


def main(help_text: str, command: Callable[[JobArguments], None], words: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done; 1 the store failed, try again; 2 wrong arguments or no job.

    A job of a newer version of this program is exit code 2 as well.
    """
    words = list(sys.argv[1:] if words is None else words)
    if any(word in ("--help", "-h") for word in words):
        say(help_text.rstrip())
        return 0
    try:
        command(parse(words))
    except (ConfigError, FileNotFoundError, NewerVersion, UnusableStore) as error:
        print(f"maskmill: {redact(str(error))}", file=sys.stderr)
        return 2
    except StorageError as error:
        print(f"maskmill: {redact(str(error))}", file=sys.stderr)
        return 1
    return 0

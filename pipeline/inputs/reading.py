"""Calls that read what `videos=` or `prompts=` names: repeated while storage is away, faults told as `InputError`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pipeline.errors import InputError, UnknownScheme
from pipeline.redact import redact, redact_uri
from pipeline.storage.faults import http_status, is_from_client, message_of, problem_of_redirection, web_cause
from pipeline.storage.links import dangling_link
from pipeline.storage.retry import Backoff

T = TypeVar("T")


@dataclass(frozen=True)
class ReadPolicy:
    """How many rows are read at a time, and how long to go on trying while storage does not answer."""

    batch_rows: int = 1 << 13
    backoff: Backoff = field(default_factory=Backoff)


def read_input(key: str, uri: str, policy: ReadPolicy, function: Callable[[], T]) -> T:
    """`function()`, repeated while storage does not answer. `key` and `uri` say in errors what is read.

    Raises `InputError` where nothing is there or it may not be read, and `StorageError` if storage stays away. Other
    errors pass.
    """
    shown = redact_uri(uri)
    try:
        return policy.backoff.run(f"reading {shown}", function)
    except FileNotFoundError as error:
        told = dangling_link(error)
        raise InputError(f"{key}: {shown}{f': {told}' if told else f' {_refusal(web_cause(error))}'}") from error
    except PermissionError as error:
        raise InputError(f"{key}: {shown} may not be read; check its permissions or storage_options") from error
    except UnknownScheme as error:
        raise InputError(f"{key}: {shown}: {redact(str(error))}") from error
    except (OSError, ValueError):
        raise
    except Exception as error:
        if not is_from_client(error):
            raise
        if http_status(error) == 403:
            raise InputError(f"{key}: {shown} {_refusal(error)}") from error
        raise InputError(f"{key}: {shown}: {message_of(error)}; check storage_options") from error


def _refusal(error: Exception) -> str:
    """What a store or a web server says of a file, in words."""
    status = http_status(error)
    if problem := problem_of_redirection(error):
        return f"cannot be read: {problem}; check the address"
    if status == 403:
        return "may not be read; check its permissions or storage_options"
    if status not in (None, 404):
        return f"is refused by its server (HTTP {status}); check the address"
    return "does not exist; check the path"

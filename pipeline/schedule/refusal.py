"""A run that is refused for its arguments or its job file: `log_file=` and `notify=` learn of it all the same."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from pipeline.command import ExitCode
from pipeline.config import compose
from pipeline.config.schedule_config import Notify
from pipeline.errors import ConfigError, StorageError
from pipeline.redact import redact, redact_uri
from pipeline.storage.uris import absolute_place

if TYPE_CHECKING:
    from pipeline.schedule.notify import Tries

_KEYS = ("output", "log_file", "storage_options", "notify", "notify_on")


def tell_of_refusal(words: Sequence[str], error: Exception, tries: Tries | None = None) -> None:
    """Write the log of the run and tell whoever wants to know, as far as the arguments and the job file say so rightly.

    A key that is wrong itself is as one that is not given. Raises nothing of its own.
    """
    known = _known(words)
    notify = _checked_notify(known.get("notify"))
    if known.get("log_file") is not None:
        _write_log(known, error)
    if notify is not None:
        _tell(notify, known, error, tries)


def _write_log(known: Mapping[str, Any], error: Exception) -> None:
    # Here, because a mistake on the command line is answered at once, without what a run needs.
    from pipeline.driver.run_record import record_refusal

    record_refusal(known["log_file"], known["output"], known["storage_options"], error)


def _tell(notify: str, known: Mapping[str, Any], error: Exception, tries: Tries | None) -> None:
    from pipeline.commits.run_document import RunDocument, utc_now  # here for the same reason
    from pipeline.schedule.notify import is_wanted, tell

    now = utc_now().isoformat(timespec="seconds")
    code = ExitCode.REFUSED if isinstance(error, ConfigError) else ExitCode.ENVIRONMENT
    document = RunDocument(
        output=redact_uri(absolute_place(str(known["output"]))) if known["output"] else "",
        started_at=now,
        ended_at=now,
        seconds=0.0,
        state="refused" if code is ExitCode.REFUSED else "crashed",
        exit_code=int(code),
        message=redact(str(error)),
    )
    asked = known["notify_on"]
    if is_wanted(asked if asked in ("always", "failure", "worse") else "always", document):
        tell(notify, document.to_json(indent=2), tries)


def _known(words: Sequence[str]) -> dict[str, Any]:
    """The keys of `_KEYS` that can be made out; none where not even those of the command line can."""
    told = [word for word in words if word.startswith(tuple(f"{key}{end}" for key in _KEYS for end in "=."))]
    jobs = [word.removeprefix("conf=") for word in words if word.startswith("conf=")]
    for job in (*jobs[:1], "label"):
        for overrides in (told, [word for word in told if not word.startswith("notify")]):
            with contextlib.suppress(ConfigError, StorageError):
                known = compose.plain(compose.composed_of(_KEYS, job, overrides))
                return {key: known[key] for key in _KEYS}
    return {}


def _checked_notify(value: Any) -> str | None:
    """The address or command; `None` for one that a run would refuse."""
    with contextlib.suppress(ValidationError):
        found: str | None = TypeAdapter(Notify).validate_python(value)
        return found
    return None

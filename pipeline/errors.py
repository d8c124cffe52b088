"""Every error that crosses a room of the pipeline, and how an error is told in one line.

An error of a video file is `MediaError`, of `model`.
"""

from __future__ import annotations

import re

from pipeline.redact import redact, redact_uri


class StorageError(Exception):
    """Storage did not answer in time, or refused: nothing that a video can be blamed for. `transient` = may pass."""

    def __init__(self, message: str, transient: bool = True) -> None:
        super().__init__(message, transient)
        self.message = message
        self.transient = transient

    def __str__(self) -> str:
        return self.message


class AlreadyExists(Exception):
    """A create-only write was refused: another writer's object has that name."""


class ConfigError(Exception):
    """A job that cannot start as asked: names the key, the value and the remedy. Exit code 2."""


class NotInJob(KeyError):
    """A video, object or frame that is asked for and that the job does not have: names those that it has."""

    def __str__(self) -> str:
        return str(self.args[0])


class CannotMend(ValueError):
    """A mask cannot be corrected as asked: names the job, the object or the frame, and the remedy."""


class WasClosed(CannotMend):
    """A correction that was under way is not known any more: many others were opened since, or the server was."""


class NoHistory(LookupError):
    """The log does not tell what is asked for: the entries were erased, or there are none. Says what it can tell."""

    def __init__(self, message: str, first_entry: int) -> None:
        super().__init__(message, first_entry)
        self.first_entry = first_entry

    def __str__(self) -> str:
        return str(self.args[0])


class NoRound(ConfigError, LookupError):
    """A round of reviews whose tables are asked for and cannot be read: names those that can."""


class UnusableStore(ValueError):
    """The place of `output=` can hold no job: nothing serves its scheme, it is a file, or its store is unsafe.

    A store is unsafe if it cannot refuse a second driver, and the job does not rule one out.
    """


class InputError(Exception):
    """An input table that cannot be used: names the file, the column and the remedy.

    Raised in the driver, it keeps the job from starting; raised in a worker, it fails the video.
    """


class TableChanged(InputError):
    """Rows are no longer those that the job's plan has seen. The next run plans anew, and labels their videos."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(
            f"{redact_uri(file)}: was changed while the job ran ({reason}); the same command labels the video again"
        )


class OtherFile(ValueError):
    """The file at a video's place is not the one that was labeled."""


class UnknownScheme(ValueError):
    """No installed file system serves the scheme of a URI."""


class NewerVersion(ValueError):
    """A newer version of this program has written to the job, so this one cannot read it: exit code 2."""


class ClusterDown(Exception):
    """Ray did not start on this machine, or its cluster does not answer: exit code 1."""


class StoppedAtStart(Exception):
    """A signal came while Ray started, before any video was begun: exit code 143."""


class OwnedByAnother(Exception):
    """Another driver works on this job: exit code 3."""


class LostOwnership(OwnedByAnother):
    """Another driver has taken this job over: stop at once, write nothing more."""


class NotFinite(Exception):
    """The network computed nan or inf for a video, so that its masks would say nothing."""


class WorkerBroken(RuntimeError):
    """This process can go on with no video; another one may."""


# What torch says after an error of a GPU or of its compiler, for people who work on torch.
_AFTERWORD = re.compile(
    r"^\s*(CUDA kernel errors might be|Search for `cuda|For debugging consider passing|Compile with `TORCH_|"
    r"Set TORCHDYNAMO_VERBOSE|from user code:)",
    re.MULTILINE,
)


def describe(error: BaseException) -> str:
    """An error in one line, without secrets: its class and the last line that says something."""
    text = str(error)
    found = _AFTERWORD.search(text)
    lines = [line.strip() for line in text[: found.start() if found else None].splitlines() if line.strip()]
    return redact(f"{type(error).__name__}: {lines[-1] if lines else ''}")[:2000]

"""Which errors are those of storage, and which of them pass by themselves.

A video is never blamed for a fault of storage. Errors are told apart without the libraries that raise them, because
only the library that serves the job's URI is installed.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pipeline.errors import StorageError
from pipeline.redact import HIDDEN, redact
from pipeline.storage.schemes import CLIENT_LIBRARIES

# `user:password@bucket`, as a client quotes it that has taken it for a name. A path has a slash before it.
_BARE_USER = re.compile(r"(?<![^\s'\"(=,])[^\s/'\"<>:@]+:[^\s'\"<>]*[^\s/'\"<>]@(?=\w)")
_TRANSIENT_STATUS = {401, 408, 409, 425, 429} | set(range(500, 600)) - {501, 505}
_TRANSIENT_ERRNO = {
    errno.EAGAIN,
    errno.EBUSY,
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.EINTR,
    errno.EIO,
    errno.ENETDOWN,
    errno.ENETRESET,
    errno.ENETUNREACH,
    errno.ENODEV,
    errno.ENOLCK,
    errno.ENOLINK,
    errno.ENOTCONN,
    errno.ENXIO,
    errno.EPIPE,
    errno.EPROTO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    *(getattr(errno, name) for name in ("ECOMM", "EREMOTEIO") if hasattr(errno, name)),  # Linux only
}
# Error codes in the body of an answer whose HTTP status (400 or 403) does not say that the error can pass.
_EXPIRED_CODE = (
    "expired",
    "tokenrefreshrequired",
    "invalid credentials",  # Google
    "not valid in the specified time frame",  # Azure, of a shared access signature
)
_TRANSIENT_CODE = (
    *_EXPIRED_CODE,
    "requesttimetooskewed",
    "requesttimeout",
    "slowdown",
    "throttl",
    "rate limit",
    "reduce your request rate",
    "incompletebody",
    "baddigest",
    "contentsha256mismatch",
)
# Such codes whose HTTP status (401 or 409) says that the error can pass, though it does not.
_PERMANENT_CODE = (
    "anonymous caller",  # Google, where no credentials were found
    "noauthenticationinformation",  # Azure, the same
    "publicaccessnotpermitted",
    "blobarchived",
    "containerdisabled",
)
# Class names of the HTTP and cloud clients: connection lost, cut short, timed out; or a busy service of credentials.
_TRANSIENT_CLASS = {
    "ChunkedEncodingError",
    "ClientConnectionError",
    "ClientPayloadError",
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "ConnectionError",
    "CredentialRetrievalError",
    "EndpointConnectionError",
    "FSTimeoutError",
    "HTTPClientError",
    "IncompleteRead",
    "IncompleteReadError",
    "ProxyConnectionError",
    "ReadTimeoutError",
    "ResponseParserError",
    "ResponseStreamingError",
    "ServiceRequestError",
    "ServiceResponseError",
    "Timeout",
    "TransportError",
    "error_temp",
    "gaierror",
}
# Clients whose errors hold the answer of the server as `message`, and Azure's its code as `error_code`.
_ANSWERING = ("azure", "gcsfs")
# The Hub answers 401, which elsewhere means expired credentials, for a repository that does not exist.
_ABSENT_CLASS = "RepositoryNotFoundError"


def is_transient(error: BaseException) -> bool:
    """Whether `error` can pass by itself: time-out, 5xx, reset, throttling, expired credentials.

    The chain of causes counts, because file systems wrap the client's error in an `OSError` that says less.
    """
    for link in _chain(error):
        # Azure refuses a create-only write with status 409, which elsewhere means two writers at the same moment.
        if _ABSENT_CLASS in _class_names(link) or isinstance(link, FileExistsError):
            return False
        if any(code in _answer(link).lower() for code in _PERMANENT_CODE):
            return False
        if _is_transient(link):
            return True
    return False


def transient_cause(error: BaseException) -> BaseException:
    """The link of the chain that can pass by itself, because it says more: no route, no such host, refused.

    fsspec's web client raises `FileNotFoundError` with an address, whatever has happened. It is `error` itself if no
    link can pass.
    """
    return next((link for link in _chain(error) if _is_transient(link)), error)


def has_expired(error: BaseException) -> bool:
    """Whether `error` says that credentials have expired, so that they should be read again."""
    return any(code in _answer(link).lower() for link in _chain(error) for code in _EXPIRED_CODE)


def is_from_client(error: BaseException) -> bool:
    """Whether `error` is of a store's client library itself, such as missing credentials."""
    return type(error).__module__.split(".")[0] in CLIENT_LIBRARIES


def is_from_storage(error: BaseException) -> bool:
    """Whether `error` comes from a disk or a store's client library, and not from the program."""
    return isinstance(error, OSError) or is_from_client(error)


def is_from_full_disk(error: BaseException) -> bool:
    """Whether a disk of this machine takes no more, or too many files are open: nothing to blame a video for.

    A disk takes no more if it is full, a quota is used up, or a file is as long as it may be.
    """
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE)
    return isinstance(error, OSError) and error.errno in full and not _is_from_ffmpeg(error)


def web_cause(error: Exception) -> Exception:
    """What a web server answered, where fsspec's client calls every error of it a `FileNotFoundError`; else `error`."""
    cause = error.__cause__
    if not isinstance(error, FileNotFoundError) or not isinstance(cause, Exception):
        return error
    says_more = isinstance(cause, ValueError) or http_status(cause) is not None or problem_of_redirection(cause)
    return cause if says_more else error


def problem_of_redirection(error: BaseException) -> str:
    """What is wrong with a redirection that the web client has not followed, in words; empty for other errors."""
    names = _class_names(error)
    if "NonHttpUrlRedirectClientError" in names:  # to a file of this machine, for instance
        return "the server redirects to something that is no web address"
    return "the server redirects in a circle" if "TooManyRedirects" in names else ""


def is_refused_create(error: BaseException) -> bool:
    """Whether `error` is the refusal of a create-only write. It surfaces as `FileExistsError` or as HTTP status 412."""
    return any(isinstance(link, FileExistsError) or http_status(link) == 412 for link in _chain(error))


def http_status(error: BaseException) -> int | None:
    """HTTP status that an error of botocore, aiohttp, gcsfs, azure, requests or huggingface_hub carries, if it does."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if isinstance(status, int):
            return status
    for holder in (error, response):
        status = next((getattr(holder, name) for name in ("status_code", "status", "code") if hasattr(holder, name)), 0)
        if isinstance(status, int) and 100 <= status < 600:
            return status
    return None


def asked_pause(error: BaseException) -> float:
    """For how many seconds the server asks not to be asked again (`Retry-After`), 0 if it says nothing."""
    for link in _chain(error):
        response = getattr(link, "response", None)
        if isinstance(response, dict):
            headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        else:
            headers = getattr(link, "headers", None) or getattr(response, "headers", None) or {}
        told = next((str(headers[name]) for name in ("Retry-After", "retry-after") if name in headers), "")
        if told:
            return _seconds_until(told)
    return 0.0


def _seconds_until(told: str) -> float:
    """Of `Retry-After`, which is a number of seconds or a date."""
    if told.isdecimal():
        return float(told)
    with contextlib.suppress(ValueError, TypeError):
        return max((parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds(), 0.0)
    return 0.0


def said(error: BaseException) -> str:
    """What an error says, as `message_of` it, after the name of its class."""
    return f"{type(error).__name__}: {message_of(error)}"


def message_of(error: BaseException) -> str:
    """What an error says, without secrets: of Azure its code and one line, because its whole answer follows."""
    text = str(error)
    if type(error).__module__.startswith("azure."):
        text = f"{getattr(error, 'error_code', None) or ''} {text.partition(chr(10))[0]}".strip()
    return _BARE_USER.sub(f"{HIDDEN}@", redact(text))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _class_names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _is_from_ffmpeg(error: BaseException) -> bool:
    """Whether FFmpeg says it, of a video's bytes: its codes are those of the system, and PyAV's classes `OSError`s."""
    return type(error).__module__.split(".")[0] == "av"


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, StorageError):
        return error.transient
    if _is_from_ffmpeg(error):
        return False
    if isinstance(error, (TimeoutError, ConnectionError)):
        return True
    if _class_names(error) & _TRANSIENT_CLASS:
        return True
    if http_status(error) in _TRANSIENT_STATUS:
        return True
    if isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNO:
        return True
    text = _answer(error).lower()
    return any(code in text for code in _TRANSIENT_CODE)


def _answer(error: BaseException) -> str:
    """Code and message of the server's answer; never the name of a file, which may contain any of our words."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        body = response.get("Error", {})
        return f"{body.get('Code', '')} {body.get('Message', '')}"
    if http_status(error) is not None and type(error).__module__.split(".")[0] in _ANSWERING:
        return f"{getattr(error, 'error_code', '')} {getattr(error, 'message', '')}"
    return ""

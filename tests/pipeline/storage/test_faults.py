"""Which errors pass by themselves, and how long they are waited for."""

from __future__ import annotations

import errno
import ftplib
from types import SimpleNamespace

import aiohttp
import av
import botocore.exceptions
import pytest
from fsspec.exceptions import FSTimeoutError
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from s3fs.errors import translate_boto_error

from pipeline.errors import StorageError
from pipeline.storage import retry
from pipeline.storage.faults import http_status, is_from_full_disk, is_refused_create, is_transient, transient_cause
from pipeline.storage.retry import Backoff


def s3_error(code: str, status: int, message: str = "") -> BaseException:
    """What s3fs raises for an answer of the server."""
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return translate_boto_error(botocore.exceptions.ClientError(answer, "PutObject"))


def answer(status: int) -> SimpleNamespace:
    """An answer as the libraries requests and httpx hold it."""
    return SimpleNamespace(status_code=status, headers={}, request=None)


class RequestsError(OSError):
    """What requests raises for an answer of the server."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status} Server Error")
        self.response = answer(status)


def ffmpeg_error(code: int) -> av.FFmpegError:
    """What PyAV raises where FFmpeg ends with a code of the system."""
    with pytest.raises(av.FFmpegError) as caught:
        av.error.err_check(-code)
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError(),
        ConnectionResetError(),
        FSTimeoutError(),
        OSError(errno.EHOSTUNREACH, "no route"),
        s3_error("InternalError", 500),
        s3_error("ServiceUnavailable", 503),
        s3_error("SlowDown", 503),
        s3_error("SomethingNew", 502),
        s3_error("TooManyRequests", 429),
        s3_error("ConditionalRequestConflict", 409),
        s3_error("ExpiredToken", 400),
        s3_error("AccessDenied", 403, "Request has expired"),
        s3_error("RequestTimeTooSkewed", 403),
        botocore.exceptions.EndpointConnectionError(endpoint_url="http://h"),
        botocore.exceptions.ReadTimeoutError(endpoint_url="http://h"),
        botocore.exceptions.ConnectionClosedError(endpoint_url="http://h"),
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientPayloadError(),
        StorageError("given up for now"),
        *(HfHubHTTPError(f"{status}", response=answer(status)) for status in (429, 500, 503)),
        RequestsError(503),
        ftplib.error_temp("421 Service not available, closing control connection"),
        # A disk that is failing, or a file system in user space whose process is gone.
        *(OSError(code, "/mnt/a.mp4") for code in (errno.EIO, errno.ENOTCONN, errno.ENODEV, errno.ENXIO)),
        *(OSError(code, "/mnt/a.mp4") for code in (errno.EREMOTEIO, errno.ENOLINK, errno.ECOMM, errno.EPROTO)),
        OSError(errno.ENOLCK, "/mnt/a.mp4"),
    ],
    ids=repr,
)
def test_these_pass_by_themselves(error: BaseException) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("expired-slowdown.mp4"),
        PermissionError("AccessDenied"),
        ValueError("throttled.mp4 is not a video"),
        OSError(errno.ENOSPC, "No space left"),
        s3_error("NoSuchKey", 404),
        s3_error("AccessDenied", 403),
        s3_error("PreconditionFailed", 412),
        StorageError("refused", transient=False),
        HfHubHTTPError("404", response=answer(404)),
        RequestsError(403),
        ftplib.error_perm("550 No such file"),
    ],
    ids=repr,
)
def test_these_do_not_pass_by_themselves(error: BaseException) -> None:
    assert not is_transient(error)


@pytest.mark.parametrize("code", [errno.EIO, errno.EAGAIN, errno.ETIMEDOUT, errno.EPIPE, errno.ENOSPC, errno.EPROTO])
def test_what_ffmpeg_says_of_a_videos_bytes_is_no_fault_of_storage(code: int) -> None:
    assert not is_transient(ffmpeg_error(code))
    assert not is_from_full_disk(ffmpeg_error(code))


def test_a_repository_that_does_not_exist_is_no_expired_login() -> None:
    """The Hub answers 401 for both; a login that has expired comes as the plain class."""
    absent = FileNotFoundError("datasets/a/b")
    absent.__cause__ = RepositoryNotFoundError("401", response=answer(401))
    absent.__cause__.__cause__ = RequestsError(401)
    assert not is_transient(absent)
    assert is_transient(HfHubHTTPError("Invalid credentials", response=answer(401)))


def test_the_cause_counts_but_not_what_was_hidden_on_purpose() -> None:
    wrapped = RuntimeError("could not read")
    wrapped.__cause__ = TimeoutError()
    assert is_transient(wrapped)
    hiding = ValueError("a different matter")
    hiding.__context__, hiding.__suppress_context__ = TimeoutError(), True  # raise ... from None
    assert not is_transient(hiding)


def test_a_refused_create_is_known_in_each_shape() -> None:
    assert is_refused_create(s3_error("PreconditionFailed", 412))
    assert is_refused_create(FileExistsError())
    assert not is_refused_create(s3_error("ConditionalRequestConflict", 409))
    assert not is_refused_create(OSError(errno.EINVAL, "invalid"))
    assert http_status(s3_error("PreconditionFailed", 412).__cause__ or OSError()) == 412


def test_waits_grow_and_end_with_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(retry, "time", SimpleNamespace(monotonic=lambda: 1000.0 + sum(waits)))

    def fail() -> None:
        raise TimeoutError("no answer from http://h/x?sig=1")

    with pytest.raises(StorageError, match=r"read it failed \d+ times within 0 s; last: TimeoutError.*\?\*\*\*"):
        Backoff(patience_seconds=0.3, first_seconds=0.01, longest_seconds=0.05).run("read it", fail, waits.append)
    assert 0.25 - 1e-9 <= sum(waits) <= 0.3
    assert 0.005 <= waits[0] <= 0.01
    assert 0.025 <= max(waits) <= 0.05
    assert len(waits) >= 6


def test_other_errors_are_raised_at_once() -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise FileNotFoundError("x")

    with pytest.raises(FileNotFoundError):
        Backoff().run("read it", fail)
    assert calls == [1]


def test_what_is_told_of_an_error_is_the_link_that_can_pass() -> None:
    """Fsspec's web client says `FileNotFoundError` and an address, whatever has happened."""
    refused = ConnectionRefusedError(111, "Connection refused")
    wrapped = FileNotFoundError("https://gone.example/x.mp4")
    wrapped.__cause__ = refused
    assert transient_cause(wrapped) is refused
    other = ValueError("not transient at all")
    assert transient_cause(other) is other

    def call() -> None:
        raise wrapped

    with pytest.raises(StorageError, match=r"last: ConnectionRefusedError: .*Connection refused"):
        Backoff(patience_seconds=0.0).run("reading x", call)

"""Which errors pass by themselves, and how long they are waited for."""

from __future__ import annotations

import errno
import time

import aiohttp
import botocore.exceptions
import pytest
from fsspec.exceptions import FSTimeoutError
from s3fs.errors import translate_boto_error

from pipeline.faults import Backoff, StorageError, http_status, is_refused_create, is_transient


def s3_error(code: str, status: int, message: str = "") -> BaseException:
    """What s3fs raises for an answer of the server."""
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return translate_boto_error(botocore.exceptions.ClientError(answer, "PutObject"))


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
    ],
    ids=repr,
)
def test_these_do_not_pass_by_themselves(error: BaseException) -> None:
    assert not is_transient(error)


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


def test_waits_grow_and_end_with_patience() -> None:
    waits: list[float] = []

    def fail() -> None:
        raise TimeoutError("no answer from http://h/x?sig=1")

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        time.sleep(seconds)

    started = time.monotonic()
    with pytest.raises(StorageError, match=r"read it failed \d+ times within 0 s; last: TimeoutError.*\?\*\*\*"):
        Backoff(patience_seconds=0.3, first_seconds=0.01, longest_seconds=0.05).run("read it", fail, sleep)
    assert time.monotonic() - started <= 0.35
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

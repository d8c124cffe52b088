"""Which errors pass by themselves, and how long they are waited for."""

from __future__ import annotations

import errno
import ftplib
from types import SimpleNamespace

import aiohttp
import av
import botocore.exceptions
import google.auth.exceptions
import pytest
import requests
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)
from fsspec.exceptions import FSTimeoutError
from gcsfs.retry import HttpError
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from s3fs.errors import translate_boto_error

from pipeline.errors import StorageError
from pipeline.redact import HIDDEN
from pipeline.storage import retry
from pipeline.storage.faults import (
    asked_pause,
    has_expired,
    http_status,
    is_from_full_disk,
    is_refused_create,
    is_transient,
    message_of,
    said,
    transient_cause,
)
from pipeline.storage.retry import Backoff


def s3_error(code: str, status: int, message: str = "") -> BaseException:
    """What s3fs raises for an answer of the server."""
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return translate_boto_error(botocore.exceptions.ClientError(answer, "PutObject"))


def gcs_error(status: int, message: str = "") -> BaseException:
    """What our file system of Google Cloud Storage raises."""
    return HttpError({"code": status, "message": message})


def azure_error(code: str, status: int, message: str = "") -> BaseException:
    """What the client of Azure raises for an answer of the server."""
    response = SimpleNamespace(
        status_code=status, reason="", headers={"x-ms-error-code": code}, content_type="text/plain", text=lambda: ""
    )
    error = HttpResponseError(message, response=response)  # type: ignore[arg-type]
    error.error_code = code  # type: ignore[attr-defined]  # as `azure.storage.blob` sets it
    return error


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
        *(gcs_error(status) for status in (408, 429, 500, 502, 503, 504)),
        gcs_error(401, "Invalid Credentials"),
        gcs_error(403, "The project exceeded the rate limit for creating and deleting buckets."),
        requests.exceptions.ProxyError(),  # gcsfs makes one of 502
        google.auth.exceptions.TransportError("no answer of the metadata server"),
        azure_error("ServerBusy", 503, "Egress is over the account limit."),
        azure_error("OperationTimedOut", 500),
        azure_error("TooManyRequests", 429),
        azure_error("ContainerBeingDeleted", 409),
        azure_error("InvalidAuthenticationInfo", 401, "Lifetime validation failed. The token is expired."),
        azure_error("AuthenticationFailed", 403, "Signature not valid in the specified time frame"),
        ServiceRequestError("Cannot connect to host ours.blob.core.windows.net:443"),
        ServiceResponseError("Connection timeout to host"),
        IncompleteReadError("short"),
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
        gcs_error(403, "maskmill@project does not have storage.objects.create access"),
        gcs_error(401, "Anonymous caller does not have storage.objects.get access to the object."),
        google.auth.exceptions.DefaultCredentialsError("no credentials"),
        azure_error("AuthorizationFailure", 403, "This request is not authorized to perform this operation."),
        azure_error("AuthenticationFailed", 403, "Server failed to authenticate the request."),
        azure_error("NoAuthenticationInformation", 401),
        azure_error("PublicAccessNotPermitted", 409),
        azure_error("BlobArchived", 409, "This operation is not permitted on an archived blob."),
        azure_error("ContainerNotFound", 404),
        ClientAuthenticationError("DefaultAzureCredential failed to retrieve a token from the included credentials."),
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


def test_a_refused_create_of_azure_is_an_answer_and_no_conflict_that_passes() -> None:
    """Its status is 409, with which S3 says that two writers came at the same moment."""
    refused = FileExistsError("_log/0.json")
    refused.__context__ = azure_error("BlobAlreadyExists", 409)
    assert is_refused_create(refused)
    assert not is_transient(refused)


@pytest.mark.parametrize(
    ("error", "expired"),
    [
        (s3_error("ExpiredToken", 400), True),
        (gcs_error(401, "Invalid Credentials"), True),
        (azure_error("InvalidAuthenticationInfo", 401, "The token is expired."), True),
        (azure_error("AuthenticationFailed", 403, "Signature not valid in the specified time frame"), True),
        (azure_error("ServerBusy", 503), False),
        (gcs_error(403, "does not have access"), False),
    ],
    ids=repr,
)
def test_credentials_that_have_expired_are_known(error: BaseException, expired: bool) -> None:
    assert has_expired(error) is expired


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (SimpleNamespace(headers={"Retry-After": "12"}), 12),
        (SimpleNamespace(headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), 0),
        (SimpleNamespace(headers={"Retry-After": "soon"}), 0),
        (SimpleNamespace(headers={}), 0),
        (SimpleNamespace(response={"ResponseMetadata": {"HTTPHeaders": {"retry-after": "3"}}}), 3),
        (SimpleNamespace(response=SimpleNamespace(headers={"Retry-After": "4"})), 4),
    ],
)
def test_the_pause_that_a_server_asks_for_is_read_wherever_its_client_keeps_it(
    error: SimpleNamespace, seconds: float
) -> None:
    raised = OSError()
    raised.__cause__ = OSError()
    vars(raised.__cause__).update(vars(error))
    assert asked_pause(raised) == seconds


def test_azure_says_what_is_wrong_in_one_line() -> None:
    message = "The specified container does not exist.\nRequestId:8edc\nTime:2026\nContent: <?xml version='1.0'?>"
    assert said(azure_error("ContainerNotFound", 404, message)) == (
        "HttpResponseError: ContainerNotFound The specified container does not exist."
    )


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
    with pytest.raises(
        StorageError, match=r"Connection refused\. Check the network, then run the same command again\.$"
    ):
        Backoff(patience_seconds=0.0).run("reading x", call, check="the network")


def test_a_client_that_quotes_a_password_without_its_scheme_is_not_repeated() -> None:
    error = ValueError('Invalid bucket name "AKIA:hush@bucket": Bucket name must match; path bucket/a:b@2x.mp4')
    assert message_of(error) == f'Invalid bucket name "{HIDDEN}@bucket": Bucket name must match; path bucket/a:b@2x.mp4'

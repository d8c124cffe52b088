"""Google Cloud Storage as a file system of fsspec: gcsfs, made to leave trying again to our own back-off."""

from __future__ import annotations

from typing import Any, cast

import aiohttp
from gcsfs.core import GCSFileSystem
from gcsfs.retry import HttpError

# A request that says nothing for so long is lost; uploads of 50 MiB take longer as a whole.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
_REQUEST_ONCE = GCSFileSystem._request.__wrapped__


class GoogleCloudStorage(GCSFileSystem):  # type: ignore[misc]  # gcsfs ships no types
    """The JSON interface of Google Cloud Storage. gcsfs would repeat each request up to 5 times with pauses of 30 s.

    It is not the class that gcsfs makes by default, which first asks for the kind of each bucket by gRPC, and without
    an answer waits for a minute.
    """

    # gcsfs repeats a request in this way too.
    _get_file_request = GCSFileSystem._get_file_request.__wrapped__

    requests_timeout: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.requests_timeout is None:
            self.requests_timeout = _TIMEOUT

    async def _request(self, method: str, path: str, *arguments: Any, **options: Any) -> tuple[Any, Any, Any, bytes]:
        """One request. A refusal is an `HttpError` with its status, which gcsfs keeps to itself for 403 and 400.

        Raises `FileNotFoundError` for 404 and `FileExistsError` for 412, as gcsfs does.
        """
        try:
            return cast(tuple[Any, Any, Any, bytes], await _REQUEST_ONCE(self, method, path, *arguments, **options))
        except (OSError, ValueError) as error:
            status = 403 if type(error) is OSError else 400
            kind, _, message = str(error).partition("\n")
            if not kind.startswith(("Forbidden: ", "Bad Request: ")):
                raise
            raise HttpError({"code": status, "message": message}) from error

    def list_page(self, bucket: str, prefix: str, start: str = "", token: str = "") -> tuple[list[dict[str, Any]], str]:
        """What gcsfs says of up to 1000 objects, in the order of their names' bytes, and the token of the next page.

        It begins at `start`, or where `token` says; the token of the last page is empty.
        """
        asked = {"prefix": prefix, "startOffset": start, "pageToken": token}
        page = self.call(
            "GET",
            "b/{}/o",
            bucket,
            maxResults=1000,
            json_out=True,
            **{key: value for key, value in asked.items() if value},
        )
        return [self._process_object(bucket, one) for one in page.get("items", ())], page.get("nextPageToken", "")

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        """A file that asks for the ranges that are read. gcsfs would fetch 5 MiB with each."""
        return super()._open(path, mode=mode, **{"cache_type": "none", **options})

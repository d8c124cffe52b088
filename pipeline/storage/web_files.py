"""A file on a web server, read by byte ranges: each answer says which version of which length it is a part of.

fsspec asks for the length alone and hands on the bytes. A file that is replaced while it is read would become a video
half of the one and half of the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import fsspec
from fsspec.asyn import sync

from pipeline.errors import StorageError
from pipeline.redact import redact_uri

_CONTENT_RANGE = re.compile(r"bytes (?P<start>\d+)-(?P<last>\d+)/(?P<total>\d+|\*)")
_PARTIAL, _OUT_OF_RANGE = 206, 416


class WebFile:
    """One address. `info` is what the file system says of it: the answer to `HEAD`, or to `GET` without the bytes."""

    def __init__(self, filesystem: fsspec.AbstractFileSystem, path: str, info: Mapping[str, Any]) -> None:
        self._filesystem = filesystem
        self._path = path
        self._num_bytes: int | None = info.get("size")
        self._tag: str | None = info.get("ETag")

    def num_bytes(self) -> int | None:
        """The length of the file; `None` where it is to be downloaded, because its server knows no ranges.

        The server is asked for the first byte. What it says then counts, because some servers answer `HEAD` with the
        length of something else. An ETag that has changed already is that of a machine and not of the file, and is not
        looked at any more.
        """
        answer = sync(self._filesystem.loop, self._get, 0, 1)
        if answer is None:
            return None
        headers, data = answer
        if len(data) != 1:
            return None
        told = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if told is not None and told["total"] != "*":
            self._num_bytes = int(told["total"])
        if headers.get("ETag") != self._tag:
            self._tag = None
        return self._num_bytes

    def fetch(self, start: int, stop: int) -> bytes:
        """Bytes `[start, stop)`.

        Raises `StorageError`, which no waiting helps against, if they are of another file than the first byte was.
        """
        answer = sync(self._filesystem.loop, self._get, start, stop)
        if answer is None:
            raise self._changed("the server sends no ranges any more")
        headers, data = answer
        told = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if told is not None and told["total"] not in ("*", str(self._num_bytes)):
            raise self._changed(f"it has {told['total']} bytes and had {self._num_bytes}")
        if told is not None and int(told["start"]) != start:
            raise self._changed(f"the server sends bytes from {told['start']} on where {start} was asked for")
        if self._tag is not None and headers.get("ETag", self._tag) != self._tag:
            raise self._changed("it has another ETag")
        return bytes(data)

    async def _get(self, start: int, stop: int) -> tuple[Mapping[str, str], bytes] | None:
        """Headers and bytes of a range; `None` if the server has another answer, whose bytes are not fetched."""
        filesystem = self._filesystem
        session = await filesystem.set_session()
        options = dict(filesystem.kwargs)
        wanted = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        options["headers"] = {**options.get("headers", {}), **wanted}
        async with session.get(filesystem.encode_url(self._path), **options) as answer:
            if answer.status == 404:
                raise FileNotFoundError(self._path)
            if answer.status != _OUT_OF_RANGE:
                answer.raise_for_status()
            if answer.status != _PARTIAL:
                answer.close()
                return None
            return answer.headers, await answer.read()

    def _changed(self, what: str) -> StorageError:
        return changed_meanwhile(self._path, what)


def changed_meanwhile(path: str, what: str) -> StorageError:
    """The error for a file that was replaced while it was read. What has read of it begins anew."""
    return StorageError(
        f"{redact_uri(path)} was changed while it was read: {what}. It is read again from its start.", transient=False
    )

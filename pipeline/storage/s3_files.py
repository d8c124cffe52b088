"""An object of S3, read by byte ranges: each answer says which version of which length it is a part of.

s3fs hands on the bytes alone. A video that is replaced while it is read would become half of the one and half of the
other.
"""

from __future__ import annotations

from typing import Any

import fsspec
from fsspec.asyn import sync

from pipeline.storage.web_files import changed_meanwhile


class S3File:
    """One object, of `num_bytes` as its store has told. Any number of threads may read."""

    def __init__(self, filesystem: fsspec.AbstractFileSystem, path: str, num_bytes: int) -> None:
        self._filesystem = filesystem
        self._path = path
        self._num_bytes = num_bytes
        self._tag: str | None = None

    def fetch(self, start: int, stop: int) -> bytes:
        """Bytes `[start, stop)`.

        Raises `StorageError`, which no waiting helps against, if they are of another object than the first ones were.
        """
        answer, data = sync(self._filesystem.loop, self._get, start, stop)
        _, _, total = str(answer.get("ContentRange", "")).rpartition("/")
        if total.isdecimal() and int(total) != self._num_bytes:
            raise changed_meanwhile(self._path, f"it has {total} bytes and had {self._num_bytes}")
        tag = answer.get("ETag")
        self._tag = self._tag or tag
        if tag != self._tag:
            raise changed_meanwhile(self._path, "it has another ETag")
        return bytes(data)

    async def _get(self, start: int, stop: int) -> tuple[dict[str, Any], bytes]:
        bucket, key, version = self._filesystem.split_path(self._path)
        wanted = {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{stop - 1}"}
        if version:
            wanted["VersionId"] = version
        answer = await self._filesystem._call_s3("get_object", **wanted)  # as cat_file does, which drops the answer
        try:
            return answer, await answer["Body"].read()
        finally:
            answer["Body"].close()

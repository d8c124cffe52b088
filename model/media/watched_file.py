"""A file for libraries that take errors of storage for the end of the file, as FFmpeg does. It remembers them."""

from __future__ import annotations

import errno
import io
from typing import Any

from model.media.errors import MediaError
from model.media.sources import OpenFile

_BUFFER_BYTES = 64 << 10


class WatchedFile:
    """The file that FFmpeg or Pillow reads. Whoever uses them calls `raise_failure` whenever they stop early.

    Raises `MediaError` if the file may not be opened or is gone.
    """

    def __init__(self, name: str, open_file: OpenFile) -> None:
        self._name = name
        self._failure: Exception | None = None
        try:
            self._file: Any = open_file()
        except (FileNotFoundError, PermissionError) as error:
            raise self._fault(error) from error

    def read(self, num_bytes: int = -1) -> bytes:
        """Up to `num_bytes` bytes."""
        try:
            data: bytes = self._file.read(num_bytes)
        except (FileNotFoundError, PermissionError) as error:
            self._failure = self._fault(error)
            raise self._failure from error
        except Exception as error:
            self._failure = error
            raise
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move as in any file. For a place that no file has, FFmpeg's own error code is returned, and nothing raised.

        A damaged file may lead FFmpeg to such a place; that is no error of storage.
        """
        try:
            return int(self._file.seek(offset, whence))
        except ValueError:
            return -errno.EINVAL
        except OSError as error:
            if error.errno == errno.EINVAL:
                return -errno.EINVAL
            self._failure = error
            raise

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()

    def buffered(self) -> io.BufferedReader:
        """The same file for libraries that expect all that Python's files can do. It does not close this one."""
        return _Buffered(_Raw(self), _BUFFER_BYTES)

    def raise_failure(self) -> None:
        """Raise the error that reading has met, if it has met one."""
        if self._failure is not None:
            raise self._failure

    def _fault(self, error: OSError) -> MediaError:
        if isinstance(error, PermissionError):
            what = "may not be read; check its permissions or storage_options"
        else:
            what = "was removed while it was read; put it back"
        return MediaError(f"{self._name}: {what} and run again with retry=failed")


class _Buffered(io.BufferedReader):
    """A buffered file that takes no memory for bytes that it has not, whatever number a damaged file asks for."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _BUFFER_BYTES:
            here = self.tell()
            size = min(size, max(0, self.seek(0, io.SEEK_END) - here))
            self.seek(here)
        return super().read(size)


class _Raw(io.RawIOBase):
    """A watched file as one of Python's raw files."""

    def __init__(self, file: WatchedFile) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        place = self._file.seek(offset, whence)
        if place < 0:
            raise ValueError(f"the file has no place {offset}")
        return place

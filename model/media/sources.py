"""The bytes of one video, opened by whoever knows where they lie. Readers get files, never names of files."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

OpenFile = Callable[[], io.IOBase]


@dataclass(frozen=True)
class Media:
    """A video's bytes. Each call of an entry of `files` opens a new seekable file, independent of the others.

    `files` has one entry, or for a folder of frames one per image, in their order (`file_names.image_names`). `name`
    and `file_names`, the images' own names, are for messages and hold no secrets. `num_bytes` and `version` are size
    and ETag or time of change of the file, or of the archive that holds it; `version` is empty where nobody tells it.
    """

    name: str
    files: tuple[OpenFile, ...]
    is_folder: bool = False
    file_names: tuple[str, ...] = ()
    num_bytes: int | None = None
    version: str = ""

    def extent(self) -> str:
        """Number of bytes of a file, or of images of a folder. It mostly differs when a file was replaced."""
        if self.is_folder:
            return f"{len(self.files)} images"
        with self.files[0]() as file:
            return f"{file.seek(0, io.SEEK_END)} bytes"

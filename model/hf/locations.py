"""Files and folders that a user names, by a path or any fsspec URI, opened for the readers of `model.media`."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

import fsspec

from model.media.errors import MediaError
from model.media.file_names import image_names
from model.media.formats import IMAGE_SUFFIXES
from model.media.sources import Media


def media_at(location: str | Path) -> Media:
    """The bytes of a video file, an image or a folder of images.

    Raises `FileNotFoundError` where there is nothing, `MediaError` for a folder without images. Other errors of storage
    pass through.
    """
    filesystem, path = fsspec.core.url_to_fs(str(location))
    name = f"video {location}"
    if not (str(location).endswith("/") or filesystem.info(path)["type"] == "directory"):
        return Media(name, (partial(_open, filesystem, path),))
    entries = filesystem.ls(path, detail=True)
    images = image_names(entry["name"] for entry in entries if entry["type"] == "file")
    if not images:
        raise MediaError(f"{name}: the folder holds no images ({', '.join(IMAGE_SUFFIXES)})")
    files = tuple(partial(_open, filesystem, image) for image in images)
    return Media(name, files, is_folder=True, file_names=tuple(image.rpartition("/")[2] for image in images))


def _open(filesystem: Any, path: str) -> io.IOBase:
    file: io.IOBase = filesystem.open(path, "rb")
    return file

"""Writes a page to `to=`: a path or any fsspec URI. The file is whole, or stays what it was."""

from __future__ import annotations

from pipeline.storage.destinations import save_file
from pipeline.storage.uris import StorageOptions


def save_page(to: str, html: str, storage_options: StorageOptions | None = None) -> int:
    """Write the page, with the folders above it, and return its size in bytes.

    Raises:
        ConfigError: `to` is a folder, or nothing serves its scheme.
        StorageError: the store or the disk refuses, or does not answer.
    """
    return save_file(to, html.encode("utf-8", "replace"), storage_options)

"""Which folders a glob names that hold something of a known name."""

from __future__ import annotations

from pipeline.redact import redact_uri
from pipeline.storage.retry import Backoff
from pipeline.storage.uris import StorageOptions, is_local, open_filesystem


def is_glob(uri: str) -> bool:
    """Whether a place has a character that stands for others."""
    return any(character in uri for character in "*?[")


def folders_with(uri: str, name: str, storage_options: StorageOptions | None = None) -> list[str]:
    """The folders that a glob matches and in which `name` lies, as URIs, ascending; `uri` itself if it is no glob.

    A folder of this very name, as `runs [v2]`, is no glob. Raises `FileNotFoundError` if there is none, and
    `StorageError` if the store does not answer.
    """
    if not is_glob(uri):
        return [uri]
    filesystem, path = open_filesystem(uri, storage_options)
    pattern = f"{path.rstrip('/')}/{name}"

    def find() -> list[str] | None:
        return None if filesystem.exists(pattern) else [str(one) for one in filesystem.glob(pattern)]

    found = Backoff().run(f"listing {redact_uri(uri)}", find)
    if found is None:
        return [uri]
    if not found:
        raise FileNotFoundError(f"{redact_uri(uri)} matches no folder that holds {name}; check the path")
    absolute = str if is_local(uri) else filesystem.unstrip_protocol
    return sorted(str(absolute(one.rstrip("/")[: -len(name) - 1])) for one in found)

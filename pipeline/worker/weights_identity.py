"""What names the weights of a job: their content, or what an object store says of their files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model import weight_names
from pipeline.errors import ConfigError
from pipeline.redact import redact, redact_uri
from pipeline.storage.faults import is_from_storage
from pipeline.storage.retry import Backoff
from pipeline.storage.uris import open_filesystem

# What a store may say of a file that changes with its content, in order of preference: ETags of object stores and web
# servers, the blob of the Hub's files, the check sum of a member of a zip, and times.
_TAGS = (
    "ETag",
    "etag",
    "blob_id",
    "CRC",
    "Content-MD5",
    "mtime",
    "modificationTime",
    "last_write_time",
    "modify",
    "last_modified",
    "Last-Modified",
    "created",
)


def content_hash(path: Path) -> str:
    """SHA-256 of the config and the weights in a folder, or of one file.

    Raises `ConfigError` for a folder without weights.
    """
    files = [path]
    if path.is_dir():
        files = [path / name for name in weight_names(file.name for file in path.iterdir() if file.is_file())]
    if not files:
        raise ConfigError(
            f"model.checkpoint={path}: the folder holds neither config.json nor weights (model.safetensors, its shards "
            "or pytorch_model.bin); a single file, .pt or .safetensors, is given by its own name"
        )
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as data:
            digest.update(hashlib.file_digest(data, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:32]}"


def listing_identity(source: str, storage_options: Mapping[str, Any], backoff: Backoff) -> str:
    """What names weights in an object store: names, sizes and tags of its files. Nothing is downloaded for that.

    Files of which the store tells no tag are named by the whole address: weights of one network have the same names
    and sizes, and those of another address must not be taken for them.

    Raises `ConfigError` for what the store refuses, `StorageError` when it is away.
    """

    def listing() -> dict[str, dict[str, Any]]:
        filesystem, path = open_filesystem(source, storage_options)
        filesystem.invalidate_cache()
        found: dict[str, dict[str, Any]] = filesystem.find(path, detail=True)
        # The listing of a web server has names alone.
        return {name: info if _tag(info) else {**info, **filesystem.info(name)} for name, info in found.items()}

    shown = redact_uri(source)
    try:
        found = backoff.run(f"listing model.checkpoint={shown}", listing)
    except Exception as error:
        if not (isinstance(error, ValueError) or is_from_storage(error)):
            raise
        reason = " ".join(redact(str(error)).split())
        raise ConfigError(
            f"model.checkpoint={shown} cannot be listed ({reason}); check the address and storage_options"
        ) from error
    if not found:
        raise ConfigError(f"model.checkpoint={shown}: there is nothing; give the folder of the checkpoint")
    facts = [
        (name.rpartition("/")[2], info.get("size"), _tag(info) or f"at {source}")
        for name, info in sorted(found.items())
    ]
    return f"listing:{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]}"


def _tag(info: Mapping[str, Any]) -> str | None:
    """What a store says of a file that changes with its content."""
    return next((str(info[tag]) for tag in _TAGS if info.get(tag)), None)


def check_unchanged(source: str, identity: str, now: str) -> None:
    """Raises `ConfigError` if the weights that a process is about to load are not those of its job."""
    if now != identity:
        raise ConfigError(
            f"model.checkpoint={redact_uri(source)}: the files there have been replaced since this job looked at them; "
            "put the old ones back, or start the job again: then it knows of the new ones. Weights are best kept "
            "where each version has a name of its own"
        )

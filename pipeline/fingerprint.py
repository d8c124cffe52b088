"""What made a job's tables: the checkpoint, the options that change masks, the versions. Kept in `job.json`.

A job goes on only with the same fingerprint, because masks of two models in one table are worth nothing.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.config import BUNDLED, ConfigError, JobConfig
from pipeline.faults import Backoff, is_from_storage
from pipeline.redact import redact, redact_uri
from pipeline.schema import SCHEMA_VERSION
from pipeline.storage import JobStorage, UnusableStore
from pipeline.uris import is_local, local_path, open_filesystem

_PATH = "job.json"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_VERSIONED = ("maskmill", "torch", "av", "ray", "pyarrow")


@dataclass(frozen=True)
class Checkpoint:
    """Exactly which weights. `source` and `revision` are what `load_model` takes; `identity` names their content."""

    source: str
    revision: str | None
    identity: str

    def __str__(self) -> str:
        return f"{redact_uri(self.source)}@{self.identity}"


@dataclass(frozen=True)
class JobRecord:
    """The content of `job.json`. `config` is redacted; `files` are size and time of checkpoint files on local disk."""

    fingerprint: dict[str, Any]
    config: dict[str, Any]
    checkpoint: dict[str, Any]
    files: dict[str, Any]
    versions: str
    written_at: str

    @property
    def config_hash(self) -> str:
        """The fingerprint in 16 characters, as the tables carry it."""
        return config_hash(self.fingerprint)

    @property
    def has_single_driver(self) -> bool:
        """Whether the job's driver relies on `single_driver=true`."""
        return bool(self.config.get("single_driver"))


def read_record(storage: JobStorage) -> JobRecord | None:
    """What an earlier run wrote; `None` for a new job. Raises `ConfigError` for a file that is not ours."""
    try:
        return JobRecord(**json.loads(storage.read(_PATH)))
    except FileNotFoundError:
        return None
    except UnusableStore:
        raise
    except (ValueError, TypeError) as error:
        raise ConfigError(f"output={storage}: {_PATH} is not one of maskmill's; name another output") from error


def write_record(storage: JobStorage, record: JobRecord) -> None:
    """Write `job.json`, whether or not it exists."""
    storage.replace(_PATH, json.dumps(asdict(record), indent=2, ensure_ascii=False).encode())


def make_record(config: JobConfig, checkpoint: Checkpoint) -> JobRecord:
    """What this run would write."""
    return JobRecord(
        fingerprint=fingerprint(config, checkpoint),
        config=redact(asdict(config)),
        checkpoint={
            "source": redact_uri(checkpoint.source),
            "asked_revision": config.model.revision,
            "revision": checkpoint.revision,
            "identity": checkpoint.identity,
        },
        files=_local_files(checkpoint.source),
        versions=versions(),
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def fingerprint(config: JobConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    """Everything that changes masks and is the same for all videos of a job."""
    return {
        "checkpoint": checkpoint.identity,
        "model.dtype": config.model.dtype,
        "propagate.direction": config.propagate.direction,
        "propagate.max_prompted_memories": config.propagate.max_prompted_memories,
        "frames.stride": config.frames.stride,
        "frames.fps": config.frames.fps,
        "schema_version": SCHEMA_VERSION,
    }


def config_hash(values: Mapping[str, Any]) -> str:
    """16 characters that differ where fingerprints do."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two fingerprints, a line each; empty if nothing does."""
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return "\n".join(f"  {key}: {before.get(key)} in the output, {now.get(key)} now" for key in keys)


def versions() -> str:
    """Versions of what computes and writes, as `maskmill 0.1.0, torch 2.14.1, …`."""
    found = []
    for name in _VERSIONED:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def resolve_checkpoint(config: JobConfig, record: JobRecord | None) -> Checkpoint:
    """Which weights `model.checkpoint` means now. What an earlier run of the job found out is not found out again.

    Raises `ConfigError` for a folder, object or Hub repository that is not there, `StorageError` when a store is away.
    """
    source, revision = config.model.checkpoint, config.model.revision
    if source in BUNDLED:
        # Found without importing `model`, because the driver does without torch.
        folder = Path(__file__).resolve().parent.parent / "model" / "checkpoints" / BUNDLED[source]
        return Checkpoint(source, None, _content_hash(folder))
    if is_local(source) and Path(local_path(source)).expanduser().exists():
        path = Path(local_path(source)).expanduser().absolute()
        files = _local_files(source)
        same = record is not None and record.files == files and record.checkpoint["source"] == str(path)
        return Checkpoint(str(path), None, record.checkpoint["identity"] if record and same else _content_hash(path))
    if "://" in source:
        return Checkpoint(source, None, _remote_identity(source, config.storage_options))
    if not _HUB_ID.fullmatch(source):
        raise ConfigError(
            f"model.checkpoint={source}: no such folder; give mini, a folder, a URI or an id of the Hub (owner/name)"
        )
    known = record.checkpoint if record else {}
    if known.get("source") == source and known.get("asked_revision") == revision:
        return Checkpoint(source, known["revision"], known["identity"])
    commit = _hub_commit(source, revision)
    return Checkpoint(source, commit, commit)


def _local_files(source: str) -> dict[str, Any]:
    """Size and time of change of a local checkpoint's files; empty for one that is not on local disk."""
    path = Path(local_path(source)).expanduser()
    if not is_local(source) or not path.exists():
        return {}
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()}


def _content_hash(path: Path) -> str:
    """SHA-256 of a checkpoint's config and weights."""
    names = ("config.json", "model.safetensors")
    files = [path / name for name in names if (path / name).is_file()] if path.is_dir() else [path]
    if not files:
        raise ConfigError(f"model.checkpoint={path}: holds neither {names[0]} nor {names[1]}")
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as data:
            digest.update(hashlib.file_digest(data, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:32]}"


def _remote_identity(source: str, storage_options: Mapping[str, Any]) -> str:
    """A checkpoint in an object store, by what the store says of its files: nothing is downloaded for that.

    Raises `ConfigError` for what the store refuses, `StorageError` when it is away.
    """

    def listing() -> dict[str, dict[str, Any]]:
        filesystem, path = open_filesystem(source, storage_options)
        found: dict[str, dict[str, Any]] = filesystem.find(path, detail=True)
        return found

    shown = redact_uri(source)
    try:
        found = Backoff().run(f"listing model.checkpoint={shown}", listing)
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
        (name.rpartition("/")[2], info.get("size"), str(info.get("ETag") or info.get("etag") or info.get("mtime")))
        for name, info in sorted(found.items())
    ]
    return f"listing:{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]}"


def _hub_commit(repository: str, revision: str | None) -> str:
    """The commit that a revision of a Hub repository means, from the Hub or, offline, from the cache."""
    if revision and _COMMIT.fullmatch(revision):
        return revision
    import huggingface_hub
    from huggingface_hub import constants

    try:
        commit = huggingface_hub.HfApi().model_info(repository, revision=revision).sha
        if commit:
            return str(commit)
    except Exception as error:  # noqa: BLE001  # errors of the network have the classes of whatever client the Hub uses
        reason = (str(error) or type(error).__name__).splitlines()[0]
    else:
        reason = "the Hub names no commit"
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "refs" / (revision or "main")
    if folder.is_file():
        return folder.read_text().strip()
    raise ConfigError(
        f"model.checkpoint={repository}: neither the Hub nor its cache on this machine has it ({redact(reason)}); "
        "check the name and the network, or give a folder"
    )

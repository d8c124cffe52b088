"""`job.json`: what made a job's tables, which are the weights, the options that change masks, and the versions.

A job goes on only with the same fingerprint, because masks of two models in one table are worth nothing.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.config.discover_config import DiscoverConfig
from pipeline.config.job_config import JobConfig
from pipeline.errors import ConfigError, NewerVersion, UnusableStore
from pipeline.output.layout import JOB
from pipeline.output.schema import SCHEMA_VERSION
from pipeline.records import Weights
from pipeline.redact import redact, redact_uri
from pipeline.storage.documents import Document
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.on_disk import is_there
from pipeline.storage.uris import is_local, local_path

_TABLE_KEYS = ("videos", "prompts", "corrections", "detections")
_FIRST_KEYS_OF_DISCOVER = (
    "every_seconds",
    "points_per_side",
    "min_predicted_iou",
    "min_stability",
    "min_area",
    "sure_score",
    "max_objects",
)
_VERSIONED = ("maskmill", "torch", "av", "ray", "pyarrow")


class JobRecord(Document):
    """The content of `job.json`. `config` is redacted; `files` are size and time of the weights on local disk.

    The tables in `config` are those of the last run, everything else is from the run that began the job.
    """

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

    def job_config(self) -> JobConfig:
        """The config as it was, with the tables of the last run; keys that there are no more are left out."""
        known = {name: value for name, value in self.config.items() if name in JobConfig.model_fields}
        return JobConfig.model_validate(known, strict=False)

    @property
    def has_single_driver(self) -> bool:
        """Whether the job's driver relies on `single_driver=true`."""
        return bool(self.config.get("single_driver"))

    @property
    def tables(self) -> dict[str, Any]:
        """Where the tables of the last run are, by key; URIs without secrets."""
        return {key: self.config.get(key) for key in _TABLE_KEYS}

    def differences(self, later: JobRecord) -> str:
        """What differs in the options of a later run, a line each; empty if nothing does. Weights have their names."""
        named = [
            {**one.fingerprint, "checkpoint": f"{one.checkpoint.get('source')} ({one.fingerprint.get('checkpoint')})"}
            for one in (self, later)
        ]
        same_weights = self.fingerprint.get("checkpoint") == later.fingerprint.get("checkpoint")
        return difference(self.fingerprint, later.fingerprint) if same_weights else difference(*named)

    def other_source(self, later: JobRecord) -> str:
        """In a sentence: where the objects come from, if that is elsewhere than in a later run; else empty."""
        found, finds = (any(key.startswith("discover.") for key in one.fingerprint) for one in (self, later))
        if found == finds:
            return ""
        if finds:
            return (
                "labeled with a table of prompts, and this run would find its objects by itself (conf=discover). "
                "To go on with it, give its prompts= and leave conf=discover out"
            )
        usual = {f"discover.{name}": value for name, value in DiscoverConfig().model_dump(mode="json").items()}
        own = [_word(key, value) for key, value in self.fingerprint.items() if key in usual and value != usual[key]]
        return (
            "made by discovery: it found its objects by itself, and this run takes them from prompts=. "
            f"To go on with it, give {' '.join(['conf=discover', *own])} and leave prompts= out"
        )

    def with_tables_of(self, later: JobRecord) -> JobRecord:
        """This record with the tables that a later run reads. All else stays what it was when the job began."""
        return self.model_copy(update={"config": {**self.config, **later.tables}})


def read_record(storage: JobStorage) -> JobRecord | None:
    """What an earlier run wrote; `None` for a new job.

    Raises:
        ConfigError: the file is not ours.
        NewerVersion: a newer version of this program wrote it.
        StorageError: the store does not answer.
    """
    try:
        return JobRecord.from_json(storage.read(JOB), f"{storage}/{JOB}")
    except FileNotFoundError:
        return None
    except (NewerVersion, UnusableStore):
        raise
    except ValueError as error:
        raise ConfigError(f"output={storage}: {JOB} is not one of maskmill's; name another output") from error


def write_record(storage: JobStorage, record: JobRecord) -> None:
    """Write `job.json`, whether or not it exists."""
    storage.replace(JOB, record.to_json(indent=2))


def make_record(config: JobConfig, checkpoint: Weights) -> JobRecord:
    """What this run would write."""
    return JobRecord(
        fingerprint=fingerprint(config, checkpoint),
        config=redact(config.model_dump()),
        checkpoint={
            "source": redact_uri(checkpoint.source),
            "asked_revision": config.model.revision,
            "revision": checkpoint.revision,
            "identity": checkpoint.identity,
        },
        files=local_files(checkpoint.source),
        versions=versions(),
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def fingerprint(config: JobConfig, checkpoint: Weights) -> dict[str, Any]:
    """Everything that changes masks and is the same for all videos of a job."""
    found = {} if config.discover is None else config.discover.model_dump(mode="json")
    return {
        **{f"discover.{name}": value for name, value in found.items() if not _is_as_before(name, value)},
        # Times of a table are part of a video's prompts, and so is that they are left aside.
        **({"shots": "detect"} if config.shots == "detect" else {}),
        "checkpoint": checkpoint.identity,
        "model.dtype": config.model.dtype,
        "propagate.direction": config.propagate.direction,
        "propagate.max_prompted_memories": config.propagate.max_prompted_memories,
        "frames.stride": config.frames.stride,
        "frames.fps": config.frames.fps,
        "schema_version": SCHEMA_VERSION,
    }


def _word(key: str, value: Any) -> str:
    """`key=value` as a shell takes it."""
    return shlex.quote(f"{key}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}")


def _is_as_before(name: str, value: Any) -> bool:
    """Whether a key of `discover` is one that came later, and asks for what earlier programs did without it."""
    return name not in _FIRST_KEYS_OF_DISCOVER and value == DiscoverConfig().model_dump(mode="json")[name]


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


def device_in(versions: str) -> str:
    """On what a video was labeled, by its `versions`: they name our packages, and then the device in words."""
    parts = versions.split(", ")
    return ", ".join(part for part in parts if part.partition(" ")[0] not in _VERSIONED)


def local_files(source: str) -> dict[str, Any]:
    """Size and time of change of the files of weights, by name; empty if they are not on local disk."""
    path = Path(local_path(source))
    if not is_local(source) or not is_there(path):
        return {}
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()}

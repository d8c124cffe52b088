"""Which weights `model.checkpoint=` means. The driver finds this out once for a job, and without torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from model import HUB_REMEDY, bundled_folder, hub_answer_seconds, is_hub_id
from pipeline.commits.job_record import JobRecord, local_files
from pipeline.config.job_config import JobConfig
from pipeline.errors import ConfigError, StorageError
from pipeline.records import Weights
from pipeline.redact import redact, redact_uri
from pipeline.storage.faults import http_status
from pipeline.storage.on_disk import is_file, is_there
from pipeline.storage.retry import Backoff
from pipeline.storage.uris import is_local, local_path
from pipeline.worker.weights_identity import content_hash, listing_identity

_COMMIT = re.compile(r"[0-9a-f]{40}")


class Hub(Protocol):
    """What is asked of the Hub: `huggingface_hub.HfApi`, or a fake in tests."""

    def model_info(self, repo_id: str, *, revision: str | None, timeout: float | None) -> Any:
        """Facts about a repository; `sha` is the commit that a revision means. It may take `timeout` seconds."""


def resolve_weights(
    config: JobConfig, record: JobRecord | None, backoff: Backoff | None = None, hub: Hub | None = None
) -> Weights:
    """Which weights `model.checkpoint` means now. `record` is what an earlier run of the job found out, if any.

    Files that have not changed since then are not read again, and the Hub is not asked again. `backoff` says how long
    a store is asked. Raises `ConfigError` for a folder, object or Hub repository that is not there, and `StorageError`
    when a store or the Hub is away.
    """
    source, revision = config.model.checkpoint, config.model.revision
    placed = _placed_weights(config, record, backoff)
    if placed is not None:
        if revision is not None:
            raise ConfigError(
                f"model.revision={revision} is for a repository of the Hub (owner/name), and model.checkpoint="
                f"{redact_uri(source)} is none: leave it out (model.revision=null where a job file has it), or name "
                "the repository"
            )
        return placed
    if not is_hub_id(source):
        raise ConfigError(
            f"model.checkpoint={source}: no such file or folder; give mini, a file, a folder, a URI or an id of the "
            "Hub (owner/name)"
        )
    known = record.checkpoint if record else {}
    if known.get("source") == source and known.get("asked_revision") == revision:
        return Weights(source, known["revision"], known["identity"])
    commit = _hub_commit(source, revision, backoff or Backoff(), hub)
    return Weights(source, commit, commit)


def _placed_weights(config: JobConfig, record: JobRecord | None, backoff: Backoff | None) -> Weights | None:
    """Weights that lie in our code, on a disk or at a URI; `None` for those of a Hub repository."""
    source = config.model.checkpoint
    if (folder := bundled_folder(source)) is not None:
        return Weights(source, None, content_hash(Path(folder)))
    if is_local(source) and is_there(Path(local_path(source))):
        path = Path(local_path(source)).absolute()
        files = local_files(source)
        same = record is not None and record.files == files and record.checkpoint["source"] == str(path)
        return Weights(str(path), None, record.checkpoint["identity"] if record and same else content_hash(path))
    if "://" in source:
        return Weights(source, None, listing_identity(source, config.storage_options, backoff or Backoff()))
    return None


def _hub_commit(repository: str, revision: str | None, backoff: Backoff, hub: Hub | None) -> str:
    """The commit that a revision of a Hub repository means. Without a network the Hub's local cache says it.

    Raises `ConfigError` for what neither of them has, `StorageError` when the Hub is away: that may pass.
    """
    if revision and _COMMIT.fullmatch(revision):
        return revision
    import huggingface_hub
    from huggingface_hub import constants

    asked = hub or huggingface_hub.HfApi()
    cached = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "refs" / (revision or "main")
    is_asked_once = constants.HF_HUB_OFFLINE or is_file(cached)

    def commit() -> str:
        seconds = hub_answer_seconds(is_cached=is_asked_once)
        found = asked.model_info(repository, revision=revision, timeout=seconds).sha
        if not found:
            raise ValueError("the Hub names no commit")
        return str(found)

    try:
        return (
            commit()
            if is_asked_once
            else _in_time(f"asking the Hub for model.checkpoint={repository}", commit, backoff)
        )
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001  # errors of the network have the classes of whatever client the Hub uses
        reason = (str(error) or type(error).__name__).splitlines()[0]
    if is_file(cached):
        return cached.read_text().strip()
    raise ConfigError(
        f"model.checkpoint={repository}: neither the Hub nor its cache on this machine has it ({redact(reason)}); "
        f"check the name and the network; without one, give {HUB_REMEDY}"
    )


def _in_time(what: str, commit: Callable[[], str], backoff: Backoff) -> str:
    """What the Hub answers. One that is busy is asked again for as long as `backoff` says.

    One that gives no answer at all is given up after a few seconds, because a machine without a network gets none by
    waiting. Raises `StorageError` for both.
    """
    check = "the network, and HF_ENDPOINT if it is set"
    short = replace(backoff, patience_seconds=min(backoff.patience_seconds, hub_answer_seconds(is_cached=False)))
    try:
        return short.run(what, commit, check=check)
    except StorageError as error:
        if error.__cause__ is None or http_status(error.__cause__) is None:
            raise StorageError(f"{error} Without a network, give model.checkpoint {HUB_REMEDY}.") from error
    return backoff.run(what, commit, check=check)

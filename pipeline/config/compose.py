"""From a job's name and the command line to a typed config, through Hydra.

A job file has the keys of the command line. `model: tiny` and `cluster: serial` pick a group; with a `defaults` list of
its own a file is taken by Hydra as it is, and may build on `base`.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config.job_config import JobConfig, from_hydra
from pipeline.errors import ConfigError
from pipeline.redact import HIDDEN, redact, redact_uri
from pipeline.storage.faults import is_from_storage
from pipeline.storage.retry import Backoff

GROUPS = ("model", "cluster")
PATH_KEYS = ("videos", "prompts", "output", "log_file", "model.checkpoint", "worker.spool_dir")


def job_config(job: str, overrides: Sequence[str]) -> JobConfig:
    """The typed config of `conf={job}` and the overrides that follow.

    Raises `ConfigError`, and `StorageError` when the store of a job file at a URI is away.
    """
    return from_hydra(composed(job, overrides))


def composed(job: str, overrides: Sequence[str]) -> DictConfig:
    """What Hydra makes of a job and overrides: `base`, then the job file, then the command line."""
    text, folder = _read_job(job)
    ConfigStore.instance().store(name="__job__", node=_with_defaults(_parse(text, job), job))
    search = [f"hydra.searchpath=[{_quoted('file://' + folder)}]"] if folder else []
    try:
        with initialize_config_module(config_module="conf", version_base="1.3"):
            return hydra_compose("__job__", overrides=[*search, *map(_for_hydra, overrides)])
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_without_secrets(_explanation(error), overrides)) from error


def job_names() -> list[str]:
    """The jobs that `conf=NAME` finds."""
    entries = importlib.resources.files("jobs").iterdir()
    return sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml"))


def _read_job(job: str) -> tuple[str, str]:
    """The text of a job file and, for one on this machine's disk, its folder: Hydra finds what it builds on there."""
    if not job.endswith((".yaml", ".yml")):
        if job not in job_names():
            raise ConfigError(
                f"conf={job}: no such job; there are {', '.join(job_names())}, or give a path to a .yaml file"
            )
        return importlib.resources.files("jobs").joinpath(f"{job}.yaml").read_text(encoding="utf-8"), ""
    try:
        if "://" not in job:
            path = Path(job).expanduser().resolve()
            return path.read_text(encoding="utf-8"), str(path.parent)
        return Backoff().run(f"reading conf={redact_uri(job)}", partial(_read_remote, job)), ""
    except Exception as error:
        if not (isinstance(error, ValueError) or is_from_storage(error)):
            raise
        reason = " ".join(redact(str(error)).split())
        raise ConfigError(f"conf={redact_uri(job)} cannot be read: {reason}") from error


def _read_remote(uri: str) -> str:
    from pipeline.storage.uris import open_filesystem

    filesystem, path = open_filesystem(uri)
    content: bytes = filesystem.cat_file(path)
    return content.decode("utf-8")


def _parse(text: str, job: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeError) as error:
        raise ConfigError(f"conf={job} is not YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"conf={job}: expected keys with values, got {type(values).__name__}")
    return values


def _with_defaults(values: dict[str, Any], job: str) -> dict[str, Any]:
    """A job file without a `defaults` list builds on `base`, with the groups that it names."""
    if "defaults" in values:
        return values
    chosen = {group: values[group] for group in GROUPS if isinstance(values.get(group), str)}
    for group, name in chosen.items():
        _check_group(group, name, f" in conf={job}")
    rest = {key: value for key, value in values.items() if key not in chosen}
    return {"defaults": ["base", *({f"override {group}": name} for group, name in chosen.items()), "_self_"], **rest}


def base_file() -> str:
    """The file that says what every job has."""
    return str(importlib.resources.files("conf").joinpath("base.yaml"))


def group_names(group: str) -> list[str]:
    """What `{group}=` may be, as in `model=tiny`."""
    entries = importlib.resources.files(f"conf.{group}").iterdir()
    return sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml"))


def _for_hydra(override: str) -> str:
    """An override in Hydra's grammar, with three things made easier for people.

    Paths and storage options may hold what the grammar gives a meaning to (blanks, commas, brackets). A new key needs
    no `+`, because the typed config refuses unknown ones and says what was meant. A group that does not exist is named.
    """
    key, separator, value = override.partition("=")
    if not separator or not key[:1].isalpha():
        return override
    if key in GROUPS:
        _check_group(key, value, "")
        return override
    is_path, is_option = key in PATH_KEYS, key.startswith("storage_options.")
    has_structure = value[:1] in ("'", '"') or (is_option and value[:1] in ("{", "["))
    if (is_path or is_option) and not has_structure and value.lower() not in ("", "null", "true", "false"):
        value = _quoted(value)
    return override if key.partition(".")[0] == "hydra" else f"++{key}={value}"


def _check_group(group: str, name: str, where: str) -> None:
    if name not in group_names(group):
        raise ConfigError(f"{group}={name}{where}: allowed are {', '.join(group_names(group))}")


def _quoted(value: str) -> str:
    """`value` as a string of Hydra's grammar, where a backslash only matters before a quote."""
    return "'" + re.sub(r"(\\*)'", r"\1\1\\'", re.sub(r"(\\+)$", r"\1\1", value)) + "'"


def _explanation(error: Exception) -> str:
    """Hydra's message and its cause's, which names the key, without advice for programmers of Hydra."""
    parts = [str(error)]
    if error.__cause__ is not None:
        parts.append(str(error.__cause__))
    lines = [line.strip().replace("++", "") for part in parts for line in part.splitlines()]
    noise = ("full_key:", "object_type=", "To append", "See https", "3. To sweep")
    return "; ".join(dict.fromkeys(line for line in lines if line and not line.startswith(noise)))


def _without_secrets(message: str, overrides: Sequence[str]) -> str:
    """A message about overrides, which quotes them, without the values of secret options."""
    for override in overrides:
        key, _, value = override.partition("=")
        if value and redact({key: value})[key] == HIDDEN:
            message = message.replace(value, HIDDEN)
    return redact(message)


def as_yaml(config: DictConfig) -> str:
    """The composed config as text, for `--cfg`; secrets are hidden, interpolations shown as they are."""
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    hidden = redact({str(key): value for key, value in plain.items()})
    return str(yaml.safe_dump(hidden, sort_keys=False, allow_unicode=True))

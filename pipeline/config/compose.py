"""From a job's name and the command line to a typed config, through Hydra.

Hydra puts four layers over each other: the defaults of the fields in `job_config`, the files of `conf/`, the job file
and the command line. A job file has the keys of the command line, in groups or with dots (`frames.fps: 2`); in it,
`model: tiny` and `cluster: serial` pick a file of `conf/`. Hydra takes a job file with a `defaults` list as it is, but
for the dots, and the list may name `base`, which has all keys.
"""

from __future__ import annotations

import copy
import importlib.resources
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config.fields import defaults, keys
from pipeline.config.job_config import JobConfig, from_hydra, resolved
from pipeline.config.job_text import values_of
from pipeline.config.mistakes import no_pair
from pipeline.errors import ConfigError
from pipeline.redact import HIDDEN, redact, redact_uri
from pipeline.storage.faults import is_from_storage
from pipeline.storage.retry import Backoff

GROUPS = ("model", "cluster")
"""Groups of keys that have files in `conf/`, one of which is picked by its name: `model=tiny`."""

_LISTS = ("after.export",)
"""Keys that take a list of keys with values, of which one may stand alone."""

_TABLES = ("videos=", "prompts=", "corrections=", "detections=")


def job_config(job: str, overrides: Sequence[str], backoff: Backoff | None = None) -> JobConfig:
    """The typed config of `conf={job}` and the overrides that follow.

    `backoff` says how long a store is asked for a job file at a URI. Raises `ConfigError`, and `StorageError` when that
    store does not answer.
    """
    return from_hydra(composed(job, overrides, backoff))


def split_job(words: Sequence[str]) -> tuple[str, list[str]]:
    """The value of `conf=` and the other arguments. Without `conf=` it is `label` if tables are named, else `demo`."""
    jobs = [word.removeprefix("conf=") for word in words if word.startswith("conf=")]
    others = [word for word in words if not word.startswith("conf=")]
    for place, word in enumerate(words):
        if word.startswith("-"):
            raise ConfigError(f"unknown option {word}: options are --help and --cfg, everything else is key=value")
        if ("=" not in word or word.startswith("=")) and not word.startswith("~"):
            raise ConfigError(meant_job(word) or no_pair(words, place, "model=tiny"))
    if len(jobs) > 1:
        raise ConfigError(f"conf= is given {len(jobs)} times ({', '.join(jobs)}): give one")
    if jobs:
        return jobs[0], others
    return ("label" if any(word.startswith(_TABLES) for word in others) else "demo"), others


def meant_job(word: str) -> str:
    """What is said of a word that names a job and lacks `conf=`; empty for other words."""
    if word.endswith((".yaml", ".yml")) or word in job_names():
        return f"{word!r} is a job: give it as conf={word}"
    return ""


def composed(job: str, overrides: Sequence[str], backoff: Backoff | None = None) -> DictConfig:
    """What Hydra makes of a job and overrides, with all keys; arguments and errors as in `job_config`."""
    known = _of_known_layers(job, overrides) if job in job_names() else None
    if known is not None:
        return known
    text, folder = _read_job(job, backoff or Backoff())
    values = _with_defaults(values_of(text, job), job)
    _check_mandatory(values, job, {word.partition("=")[0].lstrip("+") for word in overrides})
    return _composed(values, folder, overrides)


def _of_known_layers(job: str, overrides: Sequence[str]) -> DictConfig | None:
    """What Hydra would make of a job of `jobs/`, without composing it anew for other values of keys.

    A test, a plan or a schedule composes the same few jobs again and again, and the layers below the command line are
    the same each time. `None` if a word is more than a key's value, or wrong: then Hydra answers.
    """
    words = [_for_hydra(override) for override in overrides]
    choices = tuple(word for word in words if word.partition("=")[0] in GROUPS)
    try:
        values = _parser().parse_overrides([word for word in words if word not in choices])
        if not all(value.is_force_add() and not value.package and not value.is_sweep_override() for value in values):
            return None
        config = copy.deepcopy(_layers(job, choices))
        for value in values:
            OmegaConf.update(config, value.key_or_group, value.value(), merge=True, force_add=True)
    except (HydraException, OmegaConfBaseException):
        return None
    return config


@cache
def _layers(job: str, choices: tuple[str, ...]) -> DictConfig:
    """What is below the command line. It is shared: whoever changes it takes a copy."""
    text, folder = _read_job(job, Backoff())
    return _composed(_with_defaults(values_of(text, job), job), folder, choices)


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def composed_of(names: Sequence[str], job: str, overrides: Sequence[str], backoff: Backoff | None = None) -> DictConfig:
    """The same with these keys of the job file alone, whatever is wrong with its others."""
    values = values_of(_read_job(job, backoff or Backoff())[0], job)
    kept = {key: value for key, value in values.items() if str(key).partition(".")[0] in names}
    return _composed(_with_defaults(kept, job), "", overrides)


def _composed(entry: dict[str, Any], folder: str, overrides: Sequence[str]) -> DictConfig:
    words = [_for_hydra(override) for override in overrides]
    search = [f"hydra.searchpath=[{_quoted('file://' + folder)}]"] if folder else []
    try:
        with _in_hydras_store(entry), initialize_config_module(config_module="conf", version_base="1.3"):
            return hydra_compose("__job__", overrides=[*search, *words])
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        # Hydra tells of a defaults list that it cannot read by a plain ValueError.
        _check_readable(words, overrides)
        raise ConfigError(_without_secrets(_explanation(error), overrides)) from error
    except RecursionError as error:
        raise ConfigError("the job file names itself, in its defaults list or by an alias of YAML") from error


@contextmanager
def _in_hydras_store(job: dict[str, Any]) -> Iterator[None]:
    """Lets Hydra find the job, and the fields with which `base` begins.

    Hydra's own groups (launchers, sweepers, logging) are left out meanwhile, because nothing here uses them and they
    are half of the time of composing. They are put back for a program that uses Hydra itself.
    """
    store = ConfigStore.instance()
    store.store(name="__fields__", node=_fields())
    store.store(name="__job__", node=job)
    groups = store.repo["hydra"]
    own = groups["config.yaml"]
    groups["config.yaml"] = _without_groups()
    try:
        yield
    finally:
        groups["config.yaml"] = own


@cache
def _fields() -> DictConfig:
    return OmegaConf.create(defaults(JobConfig))


@cache
def _without_groups() -> ConfigNode:
    """Hydra's own config without its groups; Hydra copies what it takes from the store."""
    return ConfigNode("config.yaml", OmegaConf.structured(HydraConf(defaults=[])), "hydra", package=None, provider=None)


def job_names() -> list[str]:
    """The jobs that `conf=NAME` finds."""
    entries = importlib.resources.files("jobs").iterdir()
    return sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml"))


def _read_job(job: str, backoff: Backoff) -> tuple[str, str]:
    """The text of a job file and, if it is on local disk, its folder, in which Hydra looks for what the file names."""
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
        return backoff.run(f"reading conf={redact_uri(job)}", partial(_read_remote, job)), ""
    except Exception as error:
        if not (isinstance(error, ValueError) or is_from_storage(error)):
            raise
        reason = " ".join(redact(str(error)).split())
        if isinstance(error, FileNotFoundError):
            reason = "there is no such file; check the path"
        raise ConfigError(f"conf={redact_uri(job)} cannot be read: {reason}") from error


def _read_remote(uri: str) -> str:
    from pipeline.storage.uris import open_filesystem

    filesystem, path = open_filesystem(uri)
    content: bytes = filesystem.cat_file(path)
    return content.decode("utf-8")


def _with_defaults(values: dict[str, Any], job: str) -> dict[str, Any]:
    """A job file without a `defaults` list gets one: `base` and the files of `conf/` that it picks."""
    if "defaults" in values:
        _check_defaults(values, job)
        return _without_dots(values, job)
    chosen = {group: values[group] for group in GROUPS if isinstance(values.get(group), str)}
    for group, name in chosen.items():
        _check_group(group, name, f" in conf={job}")
    rest = _without_dots({key: value for key, value in values.items() if key not in chosen}, job)
    return {"defaults": ["base", *({f"override {group}": name} for group, name in chosen.items()), "_self_"], **rest}


def _check_defaults(values: dict[str, Any], job: str) -> None:
    """Raises `ConfigError` for a `defaults` list that Hydra does not read, or after which no key of the file counts."""
    entries = values["defaults"]
    if not isinstance(entries, list):
        raise ConfigError(f"conf={job}: defaults: expected a list, as in defaults: [base, _self_]; or leave it out")
    if "_self_" in entries and "base" in entries[entries.index("_self_") :] and len(values) > 1:
        raise ConfigError(
            f"conf={job}: _self_ stands before base in defaults, so that the defaults of base would take the place of "
            "what this file says: put _self_ last"
        )


def _without_dots(values: dict[str, Any], job: str) -> dict[str, Any]:
    """Keys of a job file that are written as on the command line (`frames.fps: 2`), as keys of their groups.

    So are those in a group, as in `storage_options: {client_kwargs.endpoint_url: …}`: a store would not know that name.
    """
    values = dict(_dots_first(values))
    for name in values:
        if isinstance(values[name], list) and isinstance(_fields().get(name), DictConfig):
            raise ConfigError(f"conf={job}: {name} is a list, expected keys with values: leave out the dashes")
    nested = {key: value for key, value in values.items() if "." not in str(key)}
    for path in (str(key) for key in values if "." in str(key)):
        *groups, name = path.split(".")
        group = nested
        for depth, part in enumerate(groups, 1):
            inner = group.get(part)
            if inner is not None and not isinstance(inner, dict):
                shown = ".".join(groups[:depth])
                raise ConfigError(f"conf={job}: {shown}={redact(str(inner))} is no group of keys, but {path} needs one")
            group[part] = group = dict(inner or {})
        if name in group:
            raise ConfigError(f"conf={job}: {path} is given twice, with a dot and in its group; keep one of them")
        group[name] = values[path]
    return _with_lists(nested)


def _dots_first(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The same keys, where one with a dot that stands in a group has its full name."""
    for key, value in values.items():
        dotted = {name for name in value if "." in str(name)} if isinstance(value, dict) else set()
        if not dotted:
            yield key, value
            continue
        yield key, {name: one for name, one in value.items() if name not in dotted}
        yield from ((f"{key}.{name}", value[name]) for name in value if name in dotted)


def _with_lists(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    """The same with lists of one, where a key that takes a list has keys with values: Hydra would merge the two."""
    found = {}
    for name, value in values.items():
        full = f"{path}.{name}" if path else str(name)
        if isinstance(value, dict):
            value = [value] if full in _LISTS else _with_lists(value, full)
        found[name] = value
    return found


def _check_mandatory(values: dict[str, Any], job: str, given: Collection[str], path: str = "") -> None:
    """Raises `ConfigError` for `???`, with which a job file asks for a key of the command line that is not there.

    Hydra would keep the value below, which is mostly that of a key that nobody gave.
    """
    for name, value in values.items():
        full = f"{path}.{name}" if path else str(name)
        if isinstance(value, dict):
            _check_mandatory(value, job, given, full)
        elif value == "???" and full not in given:
            raise ConfigError(f"{full}= is missing: conf={job} asks for it by ???, so give it on the command line")


def group_names(group: str) -> list[str]:
    """What `{group}=` may be, as in `model=tiny`."""
    entries = importlib.resources.files(f"conf.{group}").iterdir()
    return sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml"))


def _for_hydra(override: str) -> str:
    """An override in Hydra's grammar, with three things made easier for people.

    Paths and storage options may hold characters that have a meaning in the grammar (blanks, commas, brackets). A key
    that Hydra does not know needs no `+`, because the typed config refuses it and says which one was meant. The message
    for a file that `conf/` does not have names those that it has.
    """
    key, separator, value = override.partition("=")
    if separator and key.lstrip("+") in GROUPS:
        key = key.lstrip("+")  # `base` has a file of each group, so that none can be added
        _check_group(key, value, "")
        return f"{key}={value}"
    if not separator or not key[:1].isalpha():
        return override
    if key == "hydra":
        raise ConfigError(f"unknown key {override}: no key of Hydra itself changes a run, leave it out")
    if key in _LISTS and value.startswith("{"):
        value = f"[{value}]"
    is_path, is_option = key in _paths(), key.startswith("storage_options.")
    has_structure = value[:1] in ("'", '"') or (is_option and value[:1] in ("{", "["))
    if (is_path or is_option) and not has_structure and value.lower() not in ("", "null", "true", "false"):
        value = _quoted(value)
    if key.partition(".")[0] == "hydra":
        return override
    return f"++{key}={value}" if has_structure or _is_readable(key, value) else f"++{key}={_quoted(value)}"


def _is_readable(key: str, value: str) -> bool:
    """Whether Hydra's grammar takes a word. Of a list without brackets it says by itself how to write it.

    Any other word is quoted, because Hydra's own message names neither the word nor the key. Then the typed config says
    whether the key or the value is wrong.
    """
    try:
        is_several = _parser().parse_override(f"{key}={value}").is_sweep_override()
    except HydraException:
        return False
    return not is_several or key in _known()


@cache
def _known() -> frozenset[str]:
    return frozenset(key.path for key in keys(JobConfig))


def _check_readable(words: Sequence[str], typed: Sequence[str]) -> None:
    """Raises `ConfigError` for the first word that Hydra's grammar does not take, as it was typed."""
    for word, as_typed in zip(words, typed, strict=True):
        try:
            _parser().parse_override(word)
        except HydraException as error:
            told = f"{as_typed} cannot be read as key=value: is a quote or a bracket open, or the key misspelled?"
            raise ConfigError(_without_secrets(told, typed)) from error


@cache
def _paths() -> frozenset[str]:
    """Keys whose values are taken letter by letter, such as paths and URIs."""
    return frozenset(key.path for key in keys(JobConfig) if key.is_as_typed)


def _check_group(group: str, name: str, where: str) -> None:
    if name not in group_names(group):
        hint = f"; weights of your own are model.checkpoint={name}" if group == "model" and "/" in name else ""
        raise ConfigError(f"{group}={name}{where}: allowed are {', '.join(group_names(group))}{hint}")


def _quoted(value: str) -> str:
    """`value` as a string of Hydra's grammar, where a backslash only matters before a quote."""
    return "'" + re.sub(r"(\\*)'", r"\1\1\\'", re.sub(r"(\\+)$", r"\1\1", value)) + "'"


def _explanation(error: Exception) -> str:
    """Hydra's message and its cause's, which names the key, without advice for programmers of Hydra."""
    if (found := re.match(r"Could not delete from config\. '(.+)' does not exist", str(error))) is not None:
        is_key = found[1] in _known()
        told = "nothing gives this key a value, so that none can be taken away: leave it out"
        return f"~{found[1]}: {told if is_key else 'there is no such key; --help shows all keys'}"
    parts = [str(error)]
    if error.__cause__ is not None:
        parts.append(str(error.__cause__))
    lines = [line.strip().replace("++", "") for part in parts for line in part.splitlines()]
    noise = ("full_key:", "object_type=", "To append", "See https", "3. To sweep")
    told = "; ".join(dict.fromkeys(line for line in lines if line and not line.startswith(noise)))
    path = next((path for line in lines if (path := line.removeprefix("full_key:").strip()) != line), "")
    return told if not path or path in told else f"{path}: {told}"


def _without_secrets(message: str, overrides: Sequence[str]) -> str:
    """A message about overrides, which quotes them, without the values of secret options."""
    for override in overrides:
        key, _, value = override.partition("=")
        if value and redact({key: value})[key] == HIDDEN:
            message = message.replace(value, HIDDEN)
    return redact(message)


def plain(config: DictConfig) -> dict[str, Any]:
    """The composed config as plain values. Raises `ConfigError` for what cannot be resolved."""
    values = resolved(config)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def as_yaml(config: DictConfig) -> str:
    """The composed config as text, for `--cfg`; secrets are hidden, interpolations shown as they are."""
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    hidden = redact({str(key): value for key, value in plain.items()})
    return str(yaml.safe_dump(hidden, sort_keys=False, allow_unicode=True))

"""From the config that a job's `job.json` holds back to the command that a person typed: `key=value`, a word each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.config.compose import composed, group_names, plain
from pipeline.redact import redact

# What a run was asked to do once, what check=true alone reads, and what a schedule does around its runs. The next run
# is asked anew.
_ASKED_ONCE = ("retry", "relabel", "changed", "prune", "check", "check_videos")
_OF_A_SCHEDULE = ("stop_after", "max_cost", "price_per_hour", "notify", "notify_on", "after")


def as_words(config: Mapping[str, Any]) -> list[str]:
    """The arguments of `pipeline.run` that make this config from the job `label`: only what differs from defaults.

    Secrets are in it as `job.json` has them, which is `***`. Numbers that `model.dtype=auto` would take again by itself
    are left out.
    """
    chosen = [f"{group}={name}" for group, name in _files(config) if name in group_names(group)]
    usual = redact(plain(composed("label", chosen)))
    words = []
    for path, value in _leaves(config):
        if path.partition(".")[0] in (*_ASKED_ONCE, *_OF_A_SCHEDULE) or value == _at(usual, path):
            continue
        if path == "model.dtype" and value in ("float32", "bfloat16"):
            continue
        words.append(_word(path, value))
    first = [word for word in words if word.startswith(("videos=", "prompts=", "corrections=", "output="))]
    return [*first, *chosen, *(word for word in words if word not in first)]


def _files(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The files of `conf/` that the config seems to come from."""
    for group, key in (("model", "name"), ("cluster", "kind")):
        values = config.get(group)
        if isinstance(values, Mapping):
            yield group, str(values.get(key))


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its value, by its full name."""
    for name, value in values.items():
        full = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, full)
        elif not isinstance(value, Mapping):
            yield full, value


def _at(values: Mapping[str, Any], path: str) -> Any:
    """The value at a full name; a list as such, because JSON knows no tuples."""
    found: Any = values
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return list(found) if isinstance(found, tuple) else found


def _word(path: str, value: Any) -> str:
    """`key=value`. Several corrections are a list of Hydra's grammar, which `++` asks for."""
    if path == "corrections" and isinstance(value, list):
        return f"{path}={value[0]}" if len(value) == 1 else f"++{path}={_typed(value)}"
    return f"{path}={_typed(value)}"


def _typed(value: Any) -> str:
    """A value as the command line takes it."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(json.dumps(one) if isinstance(one, str) else _typed(one) for one in value)}]"
    return str(value)

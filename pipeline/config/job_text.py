"""The text of a job file as plain values: YAML whose scalars mean what they mean on the command line.

YAML 1.1 makes a date of `2026-11-29`, 90 of `1:30` and 83 of `0123`. No key is any of these, and who wrote them meant
a text.
"""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

import yaml

from pipeline.errors import ConfigError

_OWN = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
_TEXTS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$")
_FLOAT = re.compile(r"[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$|\.nan$")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # the library has no types
    """Reads numbers in the ways that the command line knows, and no dates."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _OWN]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def values_of(text: str, job: str) -> dict[str, Any]:
    """The keys of a job file, which `conf={job}` names. Raises `ConfigError` for text that has none."""
    try:
        _check_once_each(yaml.compose(text, _Loader))
        values = yaml.load(text, _Loader)  # which is a safe one
    except (yaml.YAMLError, UnicodeError) as error:
        raise ConfigError(f"conf={job} is not YAML: {error}") from error
    except ValueError as error:
        raise ConfigError(f"conf={job}: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"conf={job}: expected keys with values, got {type(values).__name__}")
    try:
        json.dumps(values, skipkeys=True, default=str)
    except ValueError as error:
        raise ConfigError(f"conf={job}: an alias names what it stands in, so that the file has no end") from error
    return values


def _check_once_each(root: Any) -> None:
    """Raises `ValueError` for a key that stands twice: the last one would count, and the first go without a word.

    So it does for a key that is no text, as `no` and `1` are none. What an alias names again is looked at once.
    """
    waiting, looked_at = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in looked_at or not isinstance(node, yaml.CollectionNode):
            continue
        looked_at.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
            continue
        seen = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else key
            line = f"line {key.start_mark.line + 1}"
            if name in seen:
                raise ValueError(f"{name} stands twice in one place, again in {line}; keep one of them")
            if isinstance(key, yaml.ScalarNode) and key.tag not in _TEXTS:
                raise ValueError(f"the key {name or 'without a name'} in {line} is no text; put it in quotes")
            seen.add(name)
            waiting.append(value)

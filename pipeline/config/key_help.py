"""The keys of a group for `--help`: two lines a key, made from the fields."""

from __future__ import annotations

import textwrap

from pipeline.config.fields import Group, Key, group_of, keys

_WIDTH = 118


def describe_groups(group: type[Group]) -> str:
    """All keys of a config as text: first the keys that stand alone, then group after group with its subject."""
    alone = [key for key in keys(group) if "." not in key.path]
    parts = ["\n".join(map(describe_key, alone))]
    for name, field in group.model_fields.items():
        inner = group_of(field)
        if inner is not None:
            heading = textwrap.fill(f"{name}: {' '.join((inner.__doc__ or '').split())}", _WIDTH)
            parts.append("\n".join([heading, *map(describe_key, keys(inner, name))]))
    return "\n\n".join(part for part in parts if part)


def describe_key(key: Key) -> str:
    """A key in two lines or more: what to type, with the default, and what may be given; then its sentence."""
    indented = textwrap.fill(key.sentence, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return f"  {f'{key.path}={key.default}':<40} {key.allowed}\n{indented}"

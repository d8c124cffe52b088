"""JSON files of many records, written from streams a record at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def json_object(values: Mapping[str, Any], arrays: Mapping[str, Iterable[bytes]]) -> Iterator[bytes]:
    """The pieces of an object with these values, then these arrays, whose records are JSON already."""
    yield b"{"
    separator = b""
    for name, value in values.items():
        yield separator + f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=False)}".encode()
        separator = b",\n"
    for name, records in arrays.items():
        yield separator + f"{json.dumps(name)}:".encode()
        yield from json_array(records)
        separator = b",\n"
    yield b"}\n"


def json_array(records: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of an array, a record a line."""
    yield b"["
    separator = b"\n"
    for record in records:
        yield separator + record
        separator = b",\n"
    yield b"]"

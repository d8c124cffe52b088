"""JSON files of many records, written from streams a record at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def json_object(values: Mapping[str, Any], arrays: Mapping[str, Iterable[bytes]]) -> Iterator[bytes]:
    """The pieces of an object with these values, then these arrays, each made of the chunks of a stream of JSON."""
    yield b"{"
    separator = b""
    for name, value in values.items():
        yield separator + f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=False)}".encode()
        separator = b",\n"
    for name, chunks in arrays.items():
        yield separator + f"{json.dumps(name)}:".encode()
        yield from json_array(chunks)
        separator = b",\n"
    yield b"}\n"


def json_array(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of an array of the records of a stream, which come in chunks: `ExportFolder.chunks`.

    A record of a long track takes more memory than there is, so that chunks end anywhere.
    """
    yield b"[\n"
    ends_line = False
    for chunk in chunks:
        if ends_line:
            yield b",\n"
        ends_line = chunk.endswith(b"\n")
        yield chunk.removesuffix(b"\n").replace(b"\n", b",\n")
    yield b"]"

"""JSON files of any size, an entry at a time: only the entry that is looked at is in memory.

`json.JSONDecoder` reads each entry. This module only finds where they begin, so that a file of a million detections
needs no more memory than one of them, and says at which byte a file is broken.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pipeline.errors import InputError

_CHUNK_BYTES = 1 << 20
_CUT_LETTERS = 64
"""A fault so near to the end of what was read may be a value that is cut off there: `tru`, `1.5e`, an escape."""

_AFTER_VALUE = tuple(",]}: \t\r\n")

_BLANKS = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()

Read = Callable[[int], bytes]


class Entry(NamedTuple):
    """A value of the outermost object or list, or of a list that is a value of the outermost object.

    `key` is the name in the outermost object, None in a list. `number` counts the values of a list from 0.
    """

    key: str | None
    number: int | None
    value: Any

    @property
    def place(self) -> str:
        """The entry in messages: `annotations[17]`."""
        if self.key is None:
            return f"entry {self.number}"
        return self.key if self.number is None else f"{self.key}[{self.number}]"


def entries(read: Read, name: str) -> Iterator[Entry]:
    """The entries of a JSON file whose bytes `read(num_bytes)` gives; `name` is what messages call it.

    Raises `InputError` that says at which byte the file is no JSON.
    """
    text = _Text(read, name)
    if text.next_is("["):
        for number, value in _values(text):
            yield Entry(None, number, value)
    elif text.next_is("{"):
        yield from _members(text)
    else:
        raise text.fault("the file begins with neither { nor [")
    if text.peek():
        raise text.fault("more text follows after the end")


def json_lines(read: Read, name: str) -> Iterator[Entry]:
    """The values of a file with one JSON text a line; empty lines count and are left out. `number` counts from 1."""
    for number, line in _lines(read):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name}, line {number}: no JSON ({error}); write the line again") from error
        yield Entry(None, number, value)


def _lines(read: Read) -> Iterator[tuple[int, bytes]]:
    rest, number = b"", 0
    while chunk := read(_CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            number += 1
            yield number, line
    if rest:
        yield number + 1, rest


def _members(text: _Text) -> Iterator[Entry]:
    if text.next_is("}"):
        return
    while True:
        key = text.value()
        if not isinstance(key, str) or not text.next_is(":"):
            raise text.fault('expected a name and ":"')
        if text.next_is("["):
            for number, value in _values(text):
                yield Entry(key, number, value)
        else:
            yield Entry(key, None, text.value())
        if text.next_is("}"):
            return
        if not text.next_is(","):
            raise text.fault('expected "," or "}"')


def _values(text: _Text) -> Iterator[tuple[int, Any]]:
    if text.next_is("]"):
        return
    number = 0
    while True:
        yield number, text.value()
        number += 1
        if text.next_is("]"):
            return
        if not text.next_is(","):
            raise text.fault('expected "," or "]"')


class _Text:
    """What was read of a file and not used yet."""

    def __init__(self, read: Read, name: str) -> None:
        self._read = read
        self._name = name
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text = ""
        self._at = 0
        self._bytes_before = 0  # of the file, before `_text`
        self._bytes_read = 0
        self._ended = False

    def peek(self) -> str:
        """The next letter that is no blank; empty at the end."""
        while True:
            self._at = _BLANKS.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches nothing too
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._fill(_CHUNK_BYTES)

    def next_is(self, letter: str) -> bool:
        """Whether the next letter is this one, which is then behind us."""
        if self.peek() != letter:
            return False
        self._at += 1
        return True

    def value(self) -> Any:
        """The next value. Raises `InputError` where there is none."""
        self.peek()
        wanted = _CHUNK_BYTES
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                is_cut = error.pos >= len(self._text) - _CUT_LETTERS or error.msg.startswith("Unterminated string")
                if self._ended or not is_cut:
                    raise self.fault(error.msg, error.pos) from error
            except (ValueError, RecursionError) as error:
                raise self.fault(str(error)) from error
            else:
                # A number at the end of what was read may go on: `1`, or `1.5e`, of which 1.5 was taken.
                if self._ended or self._text[end : end + 1] in _AFTER_VALUE:
                    self._at = end
                    return value
                if end < len(self._text) - _CUT_LETTERS:
                    raise self.fault("a letter follows a value", end)
            self._fill(wanted)
            wanted *= 2

    def fault(self, what: str, at: int | None = None) -> InputError:
        """An error that says where the file is broken."""
        letters = self._text[: self._at if at is None else at]
        byte = self._bytes_before + len(letters.encode())
        return InputError(
            f"{self._name}: broken JSON at byte {byte}: {what}; write the file again, or fetch it "
            "again if it is cut off"
        )

    def _fill(self, num_bytes: int) -> None:
        used = self._text[: self._at]
        self._bytes_before += len(used) if used.isascii() else len(used.encode())
        chunk = self._read(num_bytes)
        self._ended = not chunk
        try:
            self._text = self._text[self._at :] + self._decode(chunk, self._ended)
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self._name}: broken JSON at about byte {self._bytes_read + error.start}: no UTF-8; save the file as "
                "UTF-8"
            ) from error
        self._bytes_read += len(chunk)
        self._at = 0

"""JSON documents with a version: older and newer programs read what they can, and say what they cannot."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest

from pipeline.errors import NewerVersion
from pipeline.storage.documents import Document


class Note(Document):
    """An example, in its second version."""

    VERSION: ClassVar[int] = 2

    text: str
    num_read: int = 0


def test_a_document_survives_and_says_its_version() -> None:
    note = Note(text="é\n", num_read=3)
    assert Note.from_json(note.to_json(), "note.json") == note
    assert Note.from_json(note.to_json(indent=2), "note.json") == note
    assert json.loads(note.to_json()) == {"version": 2, "text": "é\n", "num_read": 3}


def test_what_a_reader_does_not_know_is_ignored_and_what_is_missing_has_its_default() -> None:
    assert Note.from_json('{"version": 2, "text": "x", "found_later": [1]}', "note.json") == Note(text="x")


def test_one_without_a_version_is_of_the_first() -> None:
    assert Note.from_json('{"text": "x"}', "note.json") == Note(text="x")


def test_a_newer_one_is_refused_in_one_line_with_its_name_and_both_versions() -> None:
    with pytest.raises(NewerVersion) as caught:
        Note.from_json('{"version": 3, "words": "x"}', "s3://bucket/job/note.json")
    assert str(caught.value) == (
        "s3://bucket/job/note.json was written by a newer maskmill, in version 3; this one reads versions up to 2. "
        "Use the newer maskmill for this output."
    )


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[1]", b"null", b"{}", b'{"text": []}', b'{"version": "2", "text": "x"}', b"\xff"]
)
def test_what_is_no_such_document_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        Note.from_json(data, "note.json")
    assert not isinstance(caught.value, NewerVersion)

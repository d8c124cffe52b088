"""JSON documents with a version. The names of their fields are those on disk: to rename one is a new version.

A field that a reader does not know is ignored, because an older program reads what a newer one of the same version has
written. A document of a newer version is refused: reading half of it would be worse than not reading it.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from pipeline.errors import NewerVersion


def check_version(name: str, written: int, known: int) -> None:
    """Raise `NewerVersion` if a document was written in a version that this program does not know.

    `name` is where the document lies, as a person would name it.
    """
    if written > known:
        raise NewerVersion(
            f"{name} was written by a newer maskmill, in version {written}; this one reads versions up to {known}. "
            "Use the newer maskmill for this output."
        )


class Document(BaseModel):
    """A JSON object with a version. The names of its fields are those on disk.

    A new field with a default is the same version. A field that is renamed, removed or changes its meaning makes a new
    one: raise `VERSION` then. Documents without a version are from before versions were written, and count as 1.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    VERSION: ClassVar[int] = 1
    VERSION_KEY: ClassVar[str] = "version"

    @classmethod
    def from_json(cls, data: bytes | str, name: str) -> Self:
        """The document in `data`; `name` says in messages where it lies.

        Raises:
            NewerVersion: a newer version of this program wrote it.
            ValueError: this is no such document.
        """
        fields = json.loads(data)
        if not isinstance(fields, dict):
            raise ValueError(f"{name} is no JSON object")
        written = fields.get(cls.VERSION_KEY, 1)
        if not isinstance(written, int):
            raise ValueError(f"{name}: {cls.VERSION_KEY} is {written!r}, expected a whole number")
        check_version(name, written, cls.VERSION)
        return cls.model_validate(fields)

    def to_dict(self) -> dict[str, Any]:
        """Version and fields, as `to_json` writes them."""
        return {self.VERSION_KEY: self.VERSION, **self.model_dump()}

    def to_json(self, indent: int | None = None) -> bytes:
        """The document as UTF-8 text: for people with an `indent`, else as short as can be."""
        if indent:
            return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False).encode()
        fields = self.model_dump_json()  # at once, because the entries of a large job have millions of values
        return f'{{"{self.VERSION_KEY}":{self.VERSION}{"," if fields != "{}" else ""}{fields[1:]}'.encode()

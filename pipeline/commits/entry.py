"""One entry of the commit log, as it is written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline.output.schema import SCHEMA_VERSION, check_version
from pipeline.output.segments import segment_from_json, segment_to_json
from pipeline.records import Segment


def encode_entry(entry: Entry) -> bytes:
    """JSON of a log entry."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "writer_id": entry.writer_id,
        "epoch": entry.epoch,
        "written_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "add": [segment_to_json(segment) for segment in entry.add],
        "remove": list(entry.remove),
        "forget": list(entry.forget),
        "strikes": dict(entry.strikes),
        **({"compaction": True} if entry.compaction else {}),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def decode_entry(data: bytes) -> Entry:
    """The inverse of `encode_entry`.

    Raises:
        NewerVersion: the entry was written by a newer version of this program.
    """
    document = json.loads(data)
    check_version(document["schema_version"])
    return Entry(
        writer_id=document["writer_id"],
        epoch=document["epoch"],
        add=tuple(segment_from_json(segment) for segment in document["add"]),
        remove=tuple(document["remove"]),
        forget=tuple(document["forget"]),
        strikes=document["strikes"],
        compaction=document.get("compaction", False),
    )


@dataclass(frozen=True)
class Entry:
    """One log entry, the unit of commitment. It is applied in this order: forget, remove, add, strikes.

    `forget` are finished videos that become unfinished; every other video of a removed segment must be in an added
    one. `strikes` are new totals; 0 clears. A `compaction` moves finished videos between segments and changes nothing
    else; it may come from another process than the driver.
    """

    writer_id: str
    epoch: int
    add: tuple[Segment, ...] = ()
    remove: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    strikes: Mapping[str, int] = field(default_factory=dict)
    compaction: bool = False

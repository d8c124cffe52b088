"""What was handed out to be reviewed in another program, as that program was told of it.

What comes back is held against it, and not against the masks: a polygon cannot say holes, and a shape that nobody has
touched is no correction, whatever the format has lost.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import AlreadyExists, ConfigError, InputError
from pipeline.output.layout import REVIEWS, handout_object, id_of_handout, is_handout
from pipeline.storage.documents import check_version
from pipeline.storage.job_storage import JobStorage

HANDOUTS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("object_id", pa.int64()),  # null: the frame itself, which was handed out whatever is on it
        pa.field("frame_index", pa.int32(), nullable=False),  # as `masks` counts them
        pa.field("tool_frame", pa.int32(), nullable=False),  # as the other program counts them
        pa.field("shape", pa.string()),  # as the format writes it; null: the object is not shown here
        pa.field("counts", pa.string()),  # COCO's compressed code of the mask that the shape stands for
        pa.field("category", pa.string()),
        pa.field("is_chosen", pa.bool_()),  # false: it goes along with those that shall be looked at
        pa.field("is_audit", pa.bool_()),  # the queue had drawn the track by lot; null: it was not in a queue
        pa.field("name", pa.string(), nullable=False),  # of the video in the export
        pa.field("uri", pa.string()),  # of the video's file
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("labeled_at", pa.timestamp("ms", tz="UTC")),  # `finished_at` of the labels that were handed out
    ]
)
"""A row for each object on each frame that was handed out, and one for each frame."""

_VERSION = 1
_ROWS_AT_A_TIME = 20_000
_KEY = b"maskmill.handout"


@dataclass(frozen=True)
class HandedShape:
    """An object on a frame. `shape` is the format's text for it, None where it is not shown; `counts` that of RLE."""

    shape: str | None
    counts: str | None


@dataclass(frozen=True)
class HandedTrack:
    """An object as it was handed out. `is_chosen` says that somebody was asked to look at it."""

    category: str | None
    is_chosen: bool
    is_audit: bool | None
    shapes: Mapping[int, HandedShape]


@dataclass(frozen=True)
class HandedVideo:
    """A video as it was handed out. `frames` are frames of the job by those of the other program."""

    video_id: str
    name: str
    uri: str | None
    size_hw: tuple[int, int]
    labeled_at: datetime | None
    frames: Mapping[int, int]
    tracks: Mapping[int, HandedTrack]


@dataclass(frozen=True)
class Handout:
    """All of it. `is_whole`: every frame of its tracks was handed out."""

    id: str
    format: str
    is_whole: bool
    videos: Mapping[str, HandedVideo]


def write_handout(storage: JobStorage, handout: str, told: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> str:
    """Write what was handed out, once, and return its path below `output=`. `told` are `format` and `is_whole`.

    The same export has the same hash, so that it may be there already. Raises `StorageError`.
    """
    document = {"version": _VERSION, **told}
    path = handout_object(handout)
    written = io.BytesIO()
    remaining = iter(rows)
    with pq.ParquetWriter(written, HANDOUTS.with_metadata({_KEY: json.dumps(document)})) as file:
        while some := list(islice(remaining, _ROWS_AT_A_TIME)):
            file.write_table(pa.Table.from_pylist([dict(row) for row in some], file.schema))
    with contextlib.suppress(AlreadyExists):
        storage.create(path, written.getvalue())
    return path


def list_handouts(storage: JobStorage) -> list[str]:
    """The ids of all handouts of a job. Raises `StorageError` if the store does not answer."""
    return [id_of_handout(stored.path) for stored in storage.listing(REVIEWS) if is_handout(stored.path)]


def read_handout(storage: JobStorage, handout: str) -> Handout:
    """What was handed out under this id.

    Raises `ConfigError` if there is none, `InputError` for a file that is none, and `StorageError`.
    """
    path = handout_object(handout)
    (data,) = storage.read_existing([path])
    if data is None:
        raise ConfigError(
            f"to_review={storage}: nothing was handed out of it as {handout}: name the output that the export was of"
        )
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        document = json.loads((file.schema_arrow.metadata or {})[_KEY])
        check_version(f"{storage}/{path}", document["version"], _VERSION)
        rows = file.read(columns=[name for name in HANDOUTS.names if name in file.schema_arrow.names]).to_pylist()
        return Handout(handout, document["format"], document["is_whole"], _videos(rows))
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{storage}/{path} is none of maskmill's: {error}") from error


def _videos(rows: Iterable[Mapping[str, Any]]) -> dict[str, HandedVideo]:
    firsts: dict[str, Mapping[str, Any]] = {}
    frames: dict[str, dict[int, int]] = {}
    shapes: dict[tuple[str, int], dict[int, HandedShape]] = {}
    tracks: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        video_id, object_id = row["video_id"], row["object_id"]
        firsts.setdefault(video_id, row)
        # Handouts of earlier commits have several frames of one number, of which the document shows the first.
        frames.setdefault(video_id, {}).setdefault(row["tool_frame"], row["frame_index"])
        if object_id is not None:
            tracks.setdefault(video_id, {}).setdefault(object_id, row)
            of_track = shapes.setdefault((video_id, object_id), {})
            of_track[row["frame_index"]] = HandedShape(row["shape"], row["counts"])
    return {
        video_id: HandedVideo(
            video_id,
            first["name"],
            first["uri"],
            (first["height"], first["width"]),
            first["labeled_at"],
            frames[video_id],
            {
                object_id: HandedTrack(
                    row["category"], bool(row["is_chosen"]), row.get("is_audit"), shapes[video_id, object_id]
                )
                for object_id, row in tracks.get(video_id, {}).items()
            },
        )
        for video_id, first in firsts.items()
    }

"""What a recording of Rerun says of one video. Importing this needs `rerun-sdk`.

Chunks of several frames are made here and written by Rerun's own writer of files. Its `RecordingStream` is not used,
because that only logs that a disk is full, and then waits forever.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rerun as rr
from pycocotools import mask as coco
from rerun.chunk import Chunk, LazyChunkStream

from pipeline.errors import ConfigError
from pipeline.formats.frame_images import encoded
from pipeline.formats.overlap import UInt16Array, paint
from pipeline.formats.plan import PlannedTrack
from pipeline.formats.rows import MaskRow
from pipeline.formats.source import ExportVideo
from pipeline.formats.writers.frames import frames_with_pictures
from pipeline.masks.overlay import color_of
from pipeline.text import escaped

_APPLICATION = "maskmill"
_CHUNK_BYTES = 16 << 20
_CHUNK_FRAMES = 64


def record(video: ExportVideo, path: Path) -> None:
    """Write the recording of a video to a file. Raises `OSError` where the disk refuses it."""
    failures: list[Exception] = []

    def guarded() -> Iterator[Chunk]:
        try:
            yield from chunks(video)
        except Exception as error:  # Rerun hands on its text alone
            failures.append(error)
            raise

    name = f"{video.planned.number}-{video.name}"
    was_strict = rr.strict_mode()
    rr.set_strict_mode(True)  # else Rerun leaves out what it cannot take, with a warning
    try:
        LazyChunkStream.from_iter(guarded()).write_rrd(path, application_id=_APPLICATION, recording_id=name)
    except RuntimeError as error:
        if failures:
            raise failures[0] from None
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error
    finally:
        rr.set_strict_mode(was_strict)


def chunks(video: ExportVideo) -> Iterator[Chunk]:
    """A recording in pieces: its name, the names of the objects, then a bounded number of frames at a time."""
    infos = [rr.AnnotationInfo(one.number, _label(one), color_of(one.object_id)) for one in video.tracks]
    yield _static("/__properties", rr.archetypes.RecordingInfo(name=escaped(video.video_id)))
    yield _static("video", rr.AnnotationContext(infos))
    for track in video.tracks:
        if review := track.reviewed:
            said = rr.AnyValues(drop_untyped_nones=True, **{name: [value] for name, value in review.items()})
            yield _static(f"tracks/{track.number}", said)
    batch = _Batch(video)
    for place, (frame_index, rows, pixels_HW3) in enumerate(frames_with_pictures(video)):
        if pixels_HW3 is not None:
            batch.add_blob(place, encoded(pixels_HW3, video.content.frames))
        batch.add_masks(place, frame_index, rows)
        if batch.num_bytes > _CHUNK_BYTES or len(batch.boxes) == _CHUNK_FRAMES:
            yield from batch.chunks()
    yield from batch.chunks()


@dataclass
class _Batch:
    """What is said of some frames, by place among the labeled frames of the video."""

    video: ExportVideo
    num_bytes: int = 0
    blobs: dict[int, bytes] = field(default_factory=dict)
    boxes: dict[int, list[MaskRow]] = field(default_factory=dict)
    pictures: dict[str, dict[int, UInt16Array]] = field(default_factory=dict)  # by entity
    clears: dict[str, list[int]] = field(default_factory=dict)
    covered: frozenset[str] = frozenset()  # entities of the objects that others cover on the last frame

    def add_blob(self, place: int, data: bytes) -> None:
        self.blobs[place] = data
        self.num_bytes += len(data)

    def add_masks(self, place: int, frame_index: int, rows: Sequence[MaskRow]) -> None:
        numbers = {track.object_id: track.number for track in self.video.tracks}
        try:
            labels_HW, lost = paint(rows, numbers, self.video.size_hw, self.video.content.overlap)
        except ConfigError as error:
            raise ConfigError(f"video {self.video.video_id!r}: {error}") from error
        self._add_picture("video/masks", place, labels_HW)
        covered = {f"video/objects/{numbers[row.object_id]}": row for row in rows if lost.get(row.object_id)}
        for entity, row in covered.items():
            self._add_picture(entity, place, coco.decode(row.rle).astype(np.uint16) * np.uint16(numbers[row.object_id]))
        for entity in sorted(self.covered.difference(covered)):
            self.clears.setdefault(entity, []).append(place)
        self.covered = frozenset(covered)
        self.boxes[place] = [row for row in rows if row.area]

    def _add_picture(self, entity: str, place: int, labels_HW: UInt16Array) -> None:
        self.pictures.setdefault(entity, {})[place] = labels_HW
        self.num_bytes += labels_HW.nbytes

    def chunks(self) -> Iterator[Chunk]:
        """The frames so far; then the batch is empty."""
        if self.blobs:
            media_type = f"image/{'jpeg' if self.video.content.frames == 'jpg' else 'png'}"
            columns = rr.EncodedImage.columns(blob=list(self.blobs.values()), media_type=[media_type] * len(self.blobs))
            yield Chunk.from_columns("video/frame", self._times(list(self.blobs)), columns)
        for entity, pictures in self.pictures.items():
            yield Chunk.from_columns(entity, self._times(list(pictures)), _picture_columns(list(pictures.values())))
        for entity, places in self.clears.items():
            columns = rr.Clear.columns(is_recursive=[False] * len(places))
            yield Chunk.from_columns(entity, self._times(places), columns)
        if self.boxes:
            yield Chunk.from_columns("video/boxes", self._times(list(self.boxes)), self._box_columns())
        self.num_bytes = 0
        for said in (self.blobs, self.boxes, self.pictures, self.clears):
            said.clear()

    def _times(self, places: Sequence[int]) -> list[rr.TimeColumn]:
        times = [rr.TimeColumn("frame_index", sequence=self.video.frame_indexes[places])]
        if not np.isnan(self.video.pts).any():
            times.append(rr.TimeColumn("pts_seconds", duration=self.video.pts[places]))
        return times

    def _box_columns(self) -> rr.ComponentColumnList:
        numbers = {track.object_id: track.number for track in self.video.tracks}
        rows = [row for some in self.boxes.values() for row in some]
        boxes = np.array([row.bbox_xywh for row in rows], np.float32).reshape(-1, 4)
        columns = rr.Boxes2D.columns(
            centers=boxes[:, :2] + boxes[:, 2:] / 2,
            half_sizes=boxes[:, 2:] / 2,
            class_ids=[numbers[row.object_id] for row in rows],
        )
        return columns.partition([len(some) for some in self.boxes.values()])


def _static(entity: str, said: rr.AsComponents) -> Chunk:
    """A chunk of what holds at all times."""
    columns = [rr.ComponentColumn(one.component_descriptor(), one) for one in said.as_component_batches()]
    return Chunk.from_columns(entity, [], columns)


def _picture_columns(pictures: Sequence[UInt16Array]) -> rr.ComponentColumnList:
    """Pictures of numbers, in bytes where all of them fit."""
    fits = max(int(picture.max()) for picture in pictures) < 256
    height, width = pictures[0].shape
    kind = rr.ChannelDatatype.U8 if fits else rr.ChannelDatatype.U16
    image_format = rr.components.ImageFormat(width=width, height=height, channel_datatype=kind)
    data = [(picture.astype(np.uint8) if fits else picture).tobytes() for picture in pictures]
    return rr.SegmentationImage.columns(buffer=data, format=[image_format] * len(data))


def _label(track: PlannedTrack) -> str:
    return escaped(f"{track.category} {track.object_id}")

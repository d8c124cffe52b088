"""What one video says to a recording of Rerun. Importing this needs `rerun-sdk`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rerun as rr
from pycocotools import mask as coco

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


def record(video: ExportVideo, path: Path) -> None:
    """Write the recording of a video to a file."""
    with rr.RecordingStream(_APPLICATION, recording_id=f"{video.planned.number}-{video.name}") as recording:
        recording.save(path)
        _Log(recording, video).write()
        recording.disconnect()


class _Log:
    """What one video says to its recording."""

    def __init__(self, recording: rr.RecordingStream, video: ExportVideo) -> None:
        self._recording = recording
        self._video = video
        self._tracks = {track.object_id: track for track in video.tracks}
        self._numbers = {track.object_id: track.number for track in video.tracks}
        self._covered: set[int] = set()  # numbers of objects that have a mask of their own on the last frame

    def write(self) -> None:
        self._recording.send_recording_name(escaped(self._video.video_id))
        infos = [
            rr.AnnotationInfo(id=one.number, label=_label(one), color=color_of(one.object_id))
            for one in self._video.tracks
        ]
        self._recording.log("video", rr.AnnotationContext(infos), static=True)
        for place, (frame_index, rows, pixels_HW3) in enumerate(frames_with_pictures(self._video)):
            self._recording.set_time("frame_index", sequence=frame_index)
            if not np.isnan(self._video.pts[place]):
                self._recording.set_time("pts_seconds", duration=float(self._video.pts[place]))
            if pixels_HW3 is not None:
                kind = self._video.content.frames
                media_type = "image/jpeg" if kind == "jpg" else "image/png"
                image = rr.EncodedImage(contents=encoded(pixels_HW3, kind), media_type=media_type)
                self._recording.log("video/frame", image)
            self._masks(rows)
            self._boxes([row for row in rows if row.area])

    def _masks(self, rows: Sequence[MaskRow]) -> None:
        order = self._video.content.overlap
        try:
            labels_HW, lost = paint(rows, self._numbers, self._video.size_hw, order)
        except ConfigError as error:
            raise ConfigError(f"video {self._video.video_id!r}: {error}") from error
        self._recording.log("video/masks", _image(labels_HW))
        covered = set()
        for row in rows:
            if lost.get(row.object_id):
                number = self._numbers[row.object_id]
                whole_HW = coco.decode(row.rle).astype(np.uint16) * np.uint16(number)
                self._recording.log(f"video/objects/{number}", _image(whole_HW))
                covered.add(number)
        for number in sorted(self._covered - covered):
            self._recording.log(f"video/objects/{number}", rr.Clear(recursive=False))
        self._covered = covered

    def _boxes(self, rows: Sequence[MaskRow]) -> None:
        boxes = rr.Boxes2D(
            array=np.array([row.bbox_xywh for row in rows], np.float32).reshape(-1, 4),
            array_format=rr.Box2DFormat.XYWH,
            class_ids=[self._numbers[row.object_id] for row in rows],
        )
        self._recording.log("video/boxes", boxes)


def _image(labels_HW: UInt16Array) -> rr.SegmentationImage:
    """A picture of numbers, in bytes where they fit."""
    return rr.SegmentationImage(labels_HW.astype(np.uint8) if labels_HW.max() < 256 else labels_HW)


def _label(track: PlannedTrack) -> str:
    return escaped(f"{track.category} {track.object_id}")

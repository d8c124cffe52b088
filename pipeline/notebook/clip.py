"""One labeled video: its frames with masks drawn, its masks as arrays, its tracks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from pycocotools import mask as coco

from model import MediaError
from pipeline.arrays import BoolArray, Int64Array, UInt8Array
from pipeline.errors import StorageError
from pipeline.masks.overlay import draw_masks
from pipeline.notebook.filmstrip import filmstrip
from pipeline.notebook.html import card
from pipeline.notebook.pictures import Picture
from pipeline.notebook.source_frames import SourceFile
from pipeline.notebook.track import MaskRows, Track
from pipeline.records import FramePosition
from pipeline.text import counted

_SHOWN_OBJECTS = 50


class Clip:
    """See the module. `row` is the video's row in `videos`, `tracks` its rows in `tracks`, by object."""

    def __init__(self, row: Mapping[str, Any], tracks: pa.Table, rows: MaskRows, source: SourceFile) -> None:
        self.row = dict(row)
        self.video_id: str = row["video_id"]
        self.tracks = tracks
        self._rows = rows
        self._source = source
        self._frame_indexes: Int64Array | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels. Raises `ValueError` for a video of which no frame was read."""
        if self.row["height"] is None:
            raise ValueError(f"video {self.video_id!r}: no frame of it was read: {self.row['message']}")
        return self.row["height"], self.row["width"]

    @property
    def object_ids(self) -> list[int]:
        """Ids of its objects, ascending; also those that failed."""
        ids: list[int] = self.tracks["object_id"].to_pylist()
        return ids

    @property
    def frame_indexes(self) -> Int64Array:
        """Indexes of its frames that have rows, ascending, `[T]`: 0, 4, 8 with a stride of 4."""
        if self._frame_indexes is None:
            found = [np.asarray(batch["frame_index"]) for batch in self._rows(["frame_index"])]
            self._frame_indexes = np.unique(np.concatenate(found)).astype(np.int64) if found else np.zeros(0, np.int64)
        return self._frame_indexes

    def track(self, object_id: int) -> Track:
        """One object. Raises `KeyError` naming those that there are."""
        for row in self.tracks.to_pylist():
            if row["object_id"] == object_id:
                return Track(row, self.size_hw, self._rows)
        raise KeyError(f"video {self.video_id!r} has no object {object_id}; it has {_listed(self.object_ids)}")

    def masks(self, frame_index: int) -> dict[int, BoolArray]:
        """The masks on one frame by object, bool `[H, W]`; a hidden object has an empty one.

        An object has none before it starts. Raises `KeyError` for a frame without rows.
        """
        return _decoded(self._rows_on(frame_index))

    def mask(self, object_id: int, frame_index: int) -> BoolArray:
        """One object's mask on one frame, bool `[H, W]`. Raises `KeyError` if there is none."""
        masks = self.masks(frame_index)
        if object_id not in masks:
            raise KeyError(
                f"video {self.video_id!r} has no mask of object {object_id} on frame {frame_index}; there it has "
                f"{_listed(sorted(masks))}"
            )
        return masks[object_id]

    def labels(self, frame_index: int) -> Int64Array:
        """Object ids by pixel on one frame, int64 `[H, W]`, and -1 where there is none, because 0 may be an id.

        Where masks overlap, the object with the higher score wins. Raises `KeyError` for a frame without rows.
        """
        found = np.full(self.size_hw, -1, np.int64)
        for row in sorted(self._rows_on(frame_index), key=lambda row: (row["object_score"], row["object_id"])):
            found[coco.decode(row["rle"]).astype(bool)] = row["object_id"]
        return found

    def frame(self, frame_index: int, *, object_ids: Sequence[int] | None = None, strength: float = 0.5) -> Picture:
        """One frame with the masks and ids of its objects drawn on it, or of `object_ids` alone.

        `strength` is the share of the tint, 0 … 1. Raises `KeyError` for a frame without rows, `MediaError` if the
        video's file is gone, and `OtherFile` if another one lies in its place.
        """
        ((_, shown, pixels_HW3),) = self._drawn([frame_index], object_ids, strength)
        return Picture(pixels_HW3, f"frame {frame_index} of video {self.video_id!r}, objects {_listed(shown)}")

    def filmstrip(self, num_frames: int = 6, *, object_ids: Sequence[int] | None = None) -> Picture:
        """Frames over the whole video with their masks, side by side, from the first to the last with masks.

        Raises like `frame`, and `ValueError` for a video without masks.
        """
        indexes = self.frame_indexes
        if not len(indexes):
            raise ValueError(f"video {self.video_id!r} has no masks; {self._frames_in_words()}")
        chosen = np.unique(np.linspace(0, len(indexes) - 1, num_frames).round().astype(int))
        drawn = self._drawn([int(indexes[one]) for one in chosen], object_ids, 0.5)
        strip = filmstrip([(f"frame {index}", pixels_HW3) for index, _, pixels_HW3 in drawn])
        return Picture(strip, f"{counted(len(chosen), 'frame')} of video {self.video_id!r}")

    def _drawn(
        self, frame_indexes: Sequence[int], object_ids: Sequence[int] | None, strength: float
    ) -> Iterator[tuple[int, list[int], UInt8Array]]:
        """Frames with masks and the ids that they show, in the order of the file.

        Rows and file are opened once. One frame is in memory at a time.
        """
        rows = self._rows_by_frame(frame_indexes)
        wanted: dict[FramePosition, int] = {}
        for index in frame_indexes:
            pts = rows[index][0]["pts_seconds"]
            wanted[FramePosition(index if pts is None else None, pts)] = index
        for position, pixels_HW3 in self._source.frames(list(wanted)):
            index = wanted[position]
            shown = [row for row in rows[index] if object_ids is None or row["object_id"] in object_ids]
            masks = _decoded(shown)
            yield index, list(masks), draw_masks(pixels_HW3, masks, strength=strength)

    def _rows_on(self, frame_index: int) -> list[dict[str, Any]]:
        return self._rows_by_frame([frame_index])[frame_index]

    def _rows_by_frame(self, frame_indexes: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
        """The rows of each of these frames, by object. Raises `KeyError` for a frame without rows."""
        columns = ["frame_index", "object_id", "pts_seconds", "object_score", "rle"]
        found: dict[int, list[dict[str, Any]]] = {index: [] for index in frame_indexes}
        for batch in self._rows(columns, ds.field("frame_index").isin(list(frame_indexes))):
            for row in batch.to_pylist():
                found[row["frame_index"]].append(row)
        for index, rows in found.items():
            if not rows:
                raise KeyError(f"video {self.video_id!r} has no masks on frame {index}; {self._frames_in_words()}")
        return found

    def _frames_in_words(self) -> str:
        indexes = self.frame_indexes
        if not len(indexes):
            return "it has none at all: " + ", ".join(filter(None, (self.row["status"], self.row["message"])))
        gaps = set(np.diff(indexes).tolist())
        step = f", every {gaps.pop()}" if len(gaps) == 1 and gaps != {1} else ""
        return f"those with masks are {indexes[0]} to {indexes[-1]}{step}"

    def _repr_html_(self) -> str:
        """For Jupyter: the facts, the objects, and a filmstrip where its file can be read."""
        columns = ["object_id", "category", "status", "num_visible", "num_masks", "predicted_iou_mean", "message"]
        try:
            strip: Picture | None = self.filmstrip()
            note = ""
        except (MediaError, StorageError, ValueError) as error:
            strip, note = None, str(error)
        return card(repr(self).strip("<>"), self.tracks.select(columns).slice(0, _SHOWN_OBJECTS), strip, note)

    def __repr__(self) -> str:
        status, frames = self.row["status"], counted(self.row["num_frames"], "frame")
        return f"<video {self.video_id!r}: {status}, {frames}, objects {_listed(self.object_ids)}>"


def _decoded(rows: Sequence[Mapping[str, Any]]) -> dict[int, BoolArray]:
    return {row["object_id"]: coco.decode(row["rle"]).astype(bool) for row in rows}


def _listed(ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, ids[:8]))
    return f"{shown}, …" if len(ids) > 8 else shown or "none"

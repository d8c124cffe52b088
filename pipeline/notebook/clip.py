"""One labeled video: its frames with masks drawn, its masks as arrays, its tracks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from PIL import Image
from pycocotools import mask as coco

from pipeline.arrays import BoolArray, Float64Array, Int64Array, UInt8Array
from pipeline.errors import NotInJob
from pipeline.masks.overlay import Look, draw_masks
from pipeline.masks.shrink import shrunk, shrunk_mask
from pipeline.notebook.contact_sheet import TILE_WIDTH, Strip, Tile, draw_sheet
from pipeline.notebook.film import Film, Pace, film
from pipeline.notebook.filmstrip import filmstrip
from pipeline.notebook.frame_rows import MaskRows, rows_by_frame
from pipeline.notebook.html import THUMBNAIL_PIXELS, card, pictures_or_why
from pipeline.notebook.pictures import Picture
from pipeline.notebook.rows import plain
from pipeline.notebook.source_frames import SourceFile
from pipeline.notebook.track import Track
from pipeline.records import FramePosition
from pipeline.text import counted, escaped

if TYPE_CHECKING:
    import torch

Labels = Literal["ids", "categories", "none"]
_SHOWN_OBJECTS = 50
_NUM_SHOWN = 6
_STRIP_PIXELS = 160  # the height of a filmstrip
_CUT_OUT_PIXELS = 120


@dataclass(frozen=True)
class DrawnFrame:
    """A frame with masks drawn on it, uint8 RGB `[H, W, 3]`, its time in the file, and the objects with rows there."""

    frame_index: int
    pts_seconds: float | None
    object_ids: tuple[int, ...]
    pixels_HW3: UInt8Array


class Clip:
    """See the module. `row` is the video's row in `videos`, `tracks` its rows in `tracks`, by object.

    Those that are `rejected` are not among them.
    """

    def __init__(
        self,
        row: Mapping[str, Any],
        tracks: pa.Table,
        rows: MaskRows,
        source: SourceFile,
        rejected: Collection[int] = (),
    ) -> None:
        self.row = dict(row)
        self.video_id: str = row["video_id"]
        self.tracks = tracks
        self.rejected = frozenset(rejected)
        self._rows = rows
        self._source = source
        self._times: tuple[Int64Array, Float64Array] | None = None
        self._places: dict[int, int] | None = None

    # What it is

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
        return self._known_times()[0]

    @property
    def frame_times(self) -> Float64Array:
        """Times in the file of the frames of `frame_indexes`, in seconds, `[T]`; nan where the file has none."""
        return self._known_times()[1]

    def frame_index_at(self, seconds: float) -> int:
        """The frame with rows that is nearest to a time of the file. Raises `ValueError` where times are unknown."""
        indexes, times = self._known_times()
        if not len(indexes) or np.isnan(times).all():
            raise ValueError(f"video {self.video_id!r} has no frames with times; {self.frames_in_words()}")
        return int(indexes[np.nanargmin(np.abs(times - seconds))])

    def add_frames_without_rows(self, stride: int = 1, fps: float | None = None) -> int:
        """From now on `frame_indexes` has all frames that a job of this stride or rate takes, up to the last with rows.

        So a person may look at frames before the first prompt, on which nothing was labeled. Returns how many are new.
        Raises like `frame`.
        """
        indexes, times = self._known_times()
        if not len(indexes):
            return 0
        known, last = (
            FramePosition(int(indexes[place]), None if np.isnan(times[place]) else float(times[place]))
            for place in (0, -1)
        )
        found = dict(zip(indexes.tolist(), times.tolist(), strict=True))
        for one in self._source.every_frame(known, last, stride, fps):
            found.setdefault(one.frame_index, np.nan if one.pts_seconds is None else one.pts_seconds)
        every = sorted(found.items())
        self._times = np.array([one for one, _ in every], np.int64), np.array([at for _, at in every], np.float64)
        return len(every) - len(indexes)

    def track(self, object_id: int) -> Track:
        """One object. Raises `KeyError` naming those that there are."""
        return Track(self._track_row(object_id), self.size_hw, self._rows, self._cut_out)

    def _track_row(self, object_id: int) -> dict[str, Any]:
        """The row of one object in `tracks`. Raises like `track`."""
        object_id = plain(object_id)
        if self._places is None:
            self._places = {one: place for place, one in enumerate(self.object_ids)}
        if object_id in self._places:
            row: dict[str, Any] = self.tracks.slice(self._places[object_id], 1).to_pylist()[0]
            return row
        if object_id in self.rejected:
            raise NotInJob(
                f"object {object_id} of video {self.video_id!r} was rejected by a reviewer; "
                "job.video(…, rejected=True) shows it"
            )
        raise NotInJob(f"video {self.video_id!r} has no object {object_id!r}; it has {_listed(self.object_ids)}")

    def check_objects(self, object_ids: Sequence[int]) -> None:
        """Raises `NotInJob` for an object that there is not, or that failed."""
        for object_id in object_ids:
            row = self._track_row(object_id)
            if row["status"] != "ok":
                raise NotInJob(
                    f"object {object_id} of video {self.video_id!r} failed and has no masks: {row['message']}; correct "
                    "its prompts and run the same command with retry=failed"
                )

    def check_frames(self, frame_indexes: Sequence[int]) -> None:
        """Raises `NotInJob`, a `KeyError`, for a frame that has no masks."""
        known = set(self.frame_indexes.tolist())
        for index in frame_indexes:
            if index not in known:
                raise self._no_frame(index)

    def frames_in_words(self) -> str:
        """Which of its frames have masks, or why none has."""
        indexes = self.frame_indexes
        if not len(indexes):
            return "it has none at all: " + ", ".join(filter(None, (self.row["status"], self.row["message"])))
        gaps = set(np.diff(indexes).tolist())
        step = f", every {gaps.pop()}" if len(gaps) == 1 and gaps != {1} else ""
        return f"those with masks are {indexes[0]} to {indexes[-1]}{step}"

    # Masks

    def masks(self, frame_index: int) -> dict[int, BoolArray]:
        """The masks on one frame by object, bool `[H, W]`; a hidden object has an empty one.

        An object has none before it starts. Raises `KeyError` for a frame without rows.
        """
        return _decoded(self._rows_on(frame_index))

    def mask(self, object_id: int, frame_index: int) -> BoolArray:
        """One object's mask on one frame, bool `[H, W]`. Raises `KeyError` if there is none."""
        object_id = plain(object_id)
        self.check_objects([object_id])
        masks = self.masks(frame_index)
        if object_id not in masks:
            raise NotInJob(
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

    def torch_masks(self, frame_index: int) -> torch.Tensor:
        """The masks on one frame as a bool tensor `[N, H, W]` on the CPU, in the order of `object_ids`.

        All False stands for an object that is hidden, has not started or failed. Raises `KeyError` like `masks`.
        """
        import torch

        masks = self.masks(frame_index)
        stacked = np.zeros((len(self.object_ids), *self.size_hw), bool)
        for number, object_id in enumerate(self.object_ids):
            if object_id in masks:
                stacked[number] = masks[object_id]
        return torch.from_numpy(stacked)

    # Pictures

    def frame(
        self,
        frame_index: int,
        *,
        object_ids: Sequence[int] | None = None,
        strength: float = 0.5,
        contours: bool = True,
        labels: Labels = "ids",
    ) -> Picture:
        """One frame with the masks of its objects drawn on it, or of `object_ids` alone.

        `strength` is the share of the tint, 0 … 1; `contours` are lines around the masks; `labels` stand on them.
        Raises `KeyError` for a frame without rows, `MediaError` if the video's file is gone, and `OtherFile` if another
        one lies in its place.
        """
        look = self.look(strength=strength, contours=contours, labels=labels)
        (drawn,) = self.drawn([frame_index], object_ids=object_ids, look=look)
        shown = _listed(drawn.object_ids)
        return Picture(drawn.pixels_HW3, f"frame {frame_index} of video {self.video_id!r}, objects {shown}")

    def filmstrip(self, num_frames: int = _NUM_SHOWN, *, object_ids: Sequence[int] | None = None) -> Picture:
        """Frames over the whole video with their masks, side by side, from the first to the last with masks.

        Raises like `frame`, and `ValueError` for a video without masks.
        """
        chosen = self.spread(num_frames)
        height, width = self.size_hw
        most_pixels = round(_STRIP_PIXELS * max(1.0, width / height))
        drawn = self.drawn(chosen, object_ids=object_ids, most_pixels=most_pixels)
        strip = filmstrip([(f"frame {one.frame_index}", one.pixels_HW3) for one in drawn], _STRIP_PIXELS)
        return Picture(strip, f"{counted(len(chosen), 'frame')} of video {self.video_id!r}")

    def contact_sheet(self, num_frames: int = 24, columns: int = 6) -> Picture:
        """Frames over the whole video with masks, below each other, with the objects in their colors beside them."""
        chosen = self.spread(num_frames)
        height, width = self.size_hw
        most_pixels = round(TILE_WIDTH * max(1.0, height / width))
        tiles = [
            Tile(one.pixels_HW3, f"frame {one.frame_index}{_at(one.pts_seconds)}")
            for one in self.drawn(chosen, most_pixels=most_pixels)
        ]
        strip = Strip(
            f"{counted(self.row['num_frames'], 'frame')}", self.row["message"], self._objects_in_words(), tuple(tiles)
        )
        sheet = draw_sheet(self.video_id, [], [strip], columns=columns)
        return Picture(sheet, f"contact sheet of video {self.video_id!r}")

    def play(
        self,
        start: int = 0,
        stop: int | None = None,
        *,
        object_ids: Sequence[int] | None = None,
        labels: Labels = "ids",
        most_pixels: int = 640,
        most_bytes: int = 8_000_000,
    ) -> Film:
        """The frames with rows from index `start` to before `stop` with their masks, as a video in the page.

        It is made smaller to `most_pixels` on its longer side, and ends before it has `most_bytes`, because the page
        holds it; its caption says so. `python -m pipeline.overlay` makes whole videos. Raises like `filmstrip`.
        """
        indexes = self.frame_indexes
        chosen = indexes[(indexes >= start) & (indexes < (np.inf if stop is None else stop))].tolist()
        if not chosen:
            where = f"from frame {start} {'on' if stop is None else f'to before frame {stop}'}"
            raise ValueError(f"video {self.video_id!r} has no masks {where}; {self.frames_in_words()}")
        drawn = self.drawn(chosen, object_ids=object_ids, look=self.look(labels=labels), most_pixels=most_pixels)
        frames = ((one.pixels_HW3, one.pts_seconds) for one in drawn)
        made, num_frames = film(frames, Pace.of(self.row), most_pixels=most_pixels, most_bytes=most_bytes)
        title = f"frames {chosen[0]} to {chosen[num_frames - 1]} of video {self.video_id!r}"
        left = (
            "" if num_frames == len(chosen) else f"the rest would be too large: go on with play({chosen[num_frames]})"
        )
        return Film(made, title, left)

    def look(self, *, strength: float = 0.5, contours: bool = True, labels: Labels = "ids") -> Look:
        """How the masks of this video are drawn. Raises `ValueError` for what is no such look."""
        if not 0 <= strength <= 1:
            raise ValueError(f"strength={strength}: give a share from 0 (no tint) to 1 (the color alone)")
        if labels not in ("ids", "categories", "none"):
            raise ValueError(f"labels={labels!r}: give 'ids', 'categories' or 'none'")
        rows = [] if labels == "none" else self.tracks.select(["object_id", "category"]).to_pylist()
        words = {
            row["object_id"]: f"{row['object_id']} {row['category']}"
            if labels == "categories" and row["category"]
            else str(row["object_id"])
            for row in rows
        }
        return Look(strength, contours, words)

    def spread(self, num_frames: int) -> list[int]:
        """Indexes of so many frames, from the first to the last with rows. Raises `ValueError` if it has none."""
        indexes = self.frame_indexes
        if not len(indexes):
            raise ValueError(f"video {self.video_id!r} has no masks; {self.frames_in_words()}")
        places = np.unique(np.linspace(0, len(indexes) - 1, num_frames).round().astype(int))
        return [int(indexes[place]) for place in places]

    def drawn(
        self,
        frame_indexes: Sequence[int],
        *,
        object_ids: Sequence[int] | None = None,
        look: Look | None = None,
        most_pixels: int | None = None,
    ) -> Iterator[DrawnFrame]:
        """Frames with masks drawn on them, in the order of the file. A few are in memory at a time.

        They are made smaller to `most_pixels` on their longer side before. Raises like `frame`.
        """
        chosen = None if object_ids is None else {plain(object_id) for object_id in object_ids}
        self.check_objects(sorted(chosen or ()))
        frames = self.pixels(frame_indexes)
        for (index, seconds, pixels_HW3), masks in zip(frames, self.masks_on(frame_indexes), strict=True):
            small = shrunk(pixels_HW3, most_pixels)
            shown = {
                object_id: shrunk_mask(mask, small.shape[:2])
                for object_id, mask in masks.items()
                if chosen is None or object_id in chosen
            }
            yield DrawnFrame(index, seconds, tuple(shown), draw_masks(small, shown, look=look))

    def pixels(
        self, frame_indexes: Sequence[int], *, reading: Literal["all", "apart", "walk"] = "all"
    ) -> Iterator[tuple[int, float | None, UInt8Array]]:
        """Index, time and pixels, uint8 RGB `[H, W, 3]`, of frames with rows, ascending. Raises like `frame`.

        `apart` is faster for a few frames far from each other, `walk` for all frames from one on, of which a reader may
        take the first alone.
        """
        self.check_frames(frame_indexes)
        indexes, times = self._known_times()
        wanted: dict[FramePosition, int] = {}
        for index in sorted(set(frame_indexes)):
            place = int(np.searchsorted(indexes, index))
            pts = None if np.isnan(times[place]) else float(times[place])
            wanted[FramePosition(index, pts)] = index
        if not wanted:
            return
        source = self._source
        read = {"all": source.frames, "apart": source.frames_apart, "walk": source.walk}[reading]
        for position, pixels_HW3 in read(list(wanted)):
            yield wanted[position], position.pts_seconds, pixels_HW3

    def masks_on(self, frame_indexes: Sequence[int]) -> Iterator[dict[int, BoolArray]]:
        """The masks on each of these frames, ascending; none on a frame without rows. A few are in memory at a time."""
        wanted = sorted(set(frame_indexes))
        for _, rows in rows_by_frame(self._rows, wanted, ["object_id", "rle"], len(self.object_ids)):
            yield _decoded(rows)

    # Inside

    def _known_times(self) -> tuple[Int64Array, Float64Array]:
        if self._times is None:
            found = [
                np.stack([np.asarray(batch["frame_index"]), np.asarray(batch["pts_seconds"].cast(pa.float64()))])
                for batch in self._rows(["frame_index", "pts_seconds"])
            ]
            every = np.concatenate(found, axis=1) if found else np.zeros((2, 0))
            indexes, places = np.unique(every[0], return_index=True)
            self._times = indexes.astype(np.int64), every[1][places].astype(np.float64)
        return self._times

    def _rows_on(self, frame_index: int) -> list[dict[str, Any]]:
        columns = ["object_id", "object_score", "rle"]
        ((_, rows),) = rows_by_frame(self._rows, [frame_index], columns, len(self.object_ids))
        if not rows:
            raise self._no_frame(frame_index)
        return rows

    def _no_frame(self, frame_index: int) -> NotInJob:
        return NotInJob(f"video {self.video_id!r} has no masks on frame {frame_index!r}; {self.frames_in_words()}")

    def _objects_in_words(self) -> tuple[tuple[int, str], ...]:
        columns = ["object_id", "category", "num_visible", "num_masks", "status"]
        return tuple(
            (
                row["object_id"],
                f"{row['category'] or ''} {row['num_visible']} of {row['num_masks']}".strip()
                if row["status"] == "ok"
                else row["status"],
            )
            for row in self.tracks.select(columns).slice(0, _SHOWN_OBJECTS).to_pylist()
        )

    def thumbnails(self, frame_indexes: Sequence[int]) -> list[tuple[str, Picture]]:
        """Small pictures of these frames with masks, and the words below each. Raises like `frame`."""
        return [
            (f"frame {one.frame_index}", Picture(one.pixels_HW3, f"frame {one.frame_index} of video {self.video_id!r}"))
            for one in self.drawn(frame_indexes, most_pixels=THUMBNAIL_PIXELS)
        ]

    def _cut_out(self, track: Track, num_frames: int = _NUM_SHOWN) -> list[tuple[str, Picture]]:
        """An object on some of the frames that show it, with a margin around its box."""
        seen = np.flatnonzero(track.areas)
        if not len(seen):
            return []
        places = seen[np.unique(np.linspace(0, len(seen) - 1, num_frames).round().astype(int))]
        boxes = {int(track.frame_indexes[place]): track.boxes[place] for place in places}
        drawn = self.drawn(list(boxes), object_ids=[track.object_id], look=Look(strength=0.3, words={}))
        title = f"object {track.object_id} of video {self.video_id!r}"
        return [
            (f"frame {one.frame_index}", Picture(_around(one.pixels_HW3, boxes[one.frame_index]), title))
            for one in drawn
        ]

    def _repr_html_(self) -> str:
        """For Jupyter: the facts, the objects, and a filmstrip where its file can be read."""
        columns = ["object_id", "category", "status", "num_visible", "num_masks", "predicted_iou_mean", "message"]
        figures, note = pictures_or_why(lambda: self.thumbnails(self.spread(_NUM_SHOWN)))
        return card(repr(self).strip("<>"), figures, note, self.tracks.select(columns).slice(0, _SHOWN_OBJECTS))

    def __repr__(self) -> str:
        status, frames = self.row["status"], counted(self.row["num_frames"], "frame")
        if status != "ok":
            return f"<video {self.video_id!r}: {status}, {escaped(self.row['message'])}>"
        return f"<video {self.video_id!r}: {status}, {frames}, objects {_listed(self.object_ids)}>"


def _decoded(rows: Sequence[Mapping[str, Any]]) -> dict[int, BoolArray]:
    return {row["object_id"]: coco.decode(row["rle"]).astype(bool) for row in rows}


def _around(pixels_HW3: UInt8Array, box_xyxy: Float64Array) -> UInt8Array:
    """A part of a frame around a box, twice as large as the box's longer side, as far as the frame goes; 120 pixels."""
    center = (box_xyxy[:2] + box_xyxy[2:]) / 2
    half = max(16.0, float((box_xyxy[2:] - box_xyxy[:2]).max()))
    x0, y0 = (int(max(0.0, value - half)) for value in center)
    x1, y1 = (int(value + half) + 1 for value in center)
    part = pixels_HW3[y0:y1, x0:x1]
    image = Image.fromarray(part)
    scale = _CUT_OUT_PIXELS / max(part.shape[:2])
    size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def _at(seconds: float | None) -> str:
    return "" if seconds is None else f", {seconds:.2f} s"


def _listed(ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, ids[:8]))
    return f"{shown}, …" if len(ids) > 8 else shown or "none"

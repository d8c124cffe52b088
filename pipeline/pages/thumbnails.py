"""Small pictures of tracks: a strip of frames with the mask of one object, cut to where it is.

Pictures are WebP in the page itself. A video whose file is gone has none, and the strip says why.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from PIL import Image
from pycocotools import mask as coco

from model import MediaError
from pipeline.arrays import BoolArray, Float64Array, UInt8Array
from pipeline.errors import OtherFile, StorageError, describe
from pipeline.masks.overlay import Look, draw_masks
from pipeline.redact import redact
from pipeline.storage.faults import is_from_storage
from pipeline.tables import JobTables

if TYPE_CHECKING:
    from pipeline.notebook.clip import Clip  # which needs torch

_SIDE = 256
_LOOK = Look(strength=0.35, words={})
_QUALITY = 72
_SMALLEST_CUT = 0.3
_MOST_FAILURES = 3
_MOST_CLIPS = 50
_MOST_BYTES = 15_000_000

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


@dataclass(frozen=True)
class Thumbnail:
    """One picture as a data URI, its size in pixels, the words below it and for those who do not see it."""

    uri: str
    width: int
    height: int
    words: str
    alt: str
    is_marked: bool = False


@dataclass(frozen=True)
class Strip:
    """Pictures of a track; if there are none, `why_empty` says why."""

    pictures: tuple[Thumbnail, ...] = ()
    why_empty: str = ""


class Tries:
    """Makes strips of pictures of videos. Where their store has failed three times, it is not asked again."""

    def __init__(self) -> None:
        self._num_failures = 0

    def strip(self, make: Callable[[], Iterable[Thumbnail]]) -> Strip:
        """What `make` makes, or why there is no picture."""
        if self._num_failures >= _MOST_FAILURES:
            return Strip(why_empty="No picture: the store of the videos did not answer before.")
        try:
            return Strip(tuple(make()))
        except (MediaError, OtherFile, ValueError, KeyError) as error:
            return Strip(why_empty=f"No picture: {redact(str(error.args[0] if error.args else error))}")
        except Exception as error:
            if not (isinstance(error, StorageError) or is_from_storage(error)):
                raise
            self._num_failures += 1
            return Strip(why_empty=f"No picture: {describe(error)}")


class StripMaker:
    """Makes strips of tracks of one job, up to about `most_bytes` of all of them."""

    def __init__(self, job: JobTables, videos_root: str | None = None, most_bytes: int = _MOST_BYTES) -> None:
        self._job = job
        self._videos_root = videos_root
        self._tries = Tries()
        self._bytes_left = most_bytes
        self._clips: dict[str, Clip] = {}

    def strip(self, clip: Clip, object_id: int, frames: Sequence[int], marked: int | None = None) -> Strip:
        """The object on these frames, in the order of the video."""
        if self._bytes_left <= 0:
            return Strip(why_empty="No picture: the page has as many as it can hold; give a smaller top=.")

        def make() -> Iterable[Thumbnail]:
            rows = self._rows(clip.video_id, object_id, frames)
            return _pictures(clip, object_id, rows, sorted(set(frames)), marked)

        found = self._tries.strip(make)
        self._bytes_left -= sum(len(picture.uri) for picture in found.pictures)
        return found

    def _rows(self, video_id: str, object_id: int, frames: Sequence[int]) -> pa.Table:
        where = (ds.field("object_id") == object_id) & ds.field("frame_index").isin(list(frames))
        return self._job.masks([video_id], columns=["frame_index", "rle"], where=where).to_table()

    def clip(self, video_id: str) -> Clip:
        """One video. Raises `KeyError` if the job has it no more."""
        if video_id not in self._clips:
            if len(self._clips) >= _MOST_CLIPS:
                self._clips.clear()
            self._clips[video_id] = self._job.video(video_id, videos_root=self._videos_root)
        return self._clips[video_id]


def frames_to_show(
    frame_indexes: Sequence[int], areas: Sequence[int], marked: int | None, prompt: int | None, most: int = 5
) -> list[int]:
    """Frames of a track that tell most: the prompt's, those around the marked one, and others evenly between."""
    place = {frame: number for number, frame in enumerate(frame_indexes)}
    visible = [frame for frame, area in zip(frame_indexes, areas, strict=True) if area] or list(frame_indexes)
    chosen: list[int] = []
    if marked in place:
        at = place[marked]
        chosen += [frame_indexes[one] for one in (at, at - 1, at + 1) if 0 <= one < len(frame_indexes)]
    if prompt in place:
        chosen.append(prompt)
    for share in (1.0, 0.0, 0.5, 0.25, 0.75):
        chosen.append(visible[round(share * (len(visible) - 1))])
    return sorted(list(dict.fromkeys(chosen))[:most])


def _pictures(
    clip: Clip, object_id: int, rows: pa.Table, frames: Sequence[int], marked: int | None
) -> Iterable[Thumbnail]:
    """`rows` have the masks of the object on these frames."""
    track = clip.track(object_id)
    boxes = dict(zip(track.frame_indexes.tolist(), track.boxes, strict=True))
    cut = SmallCut(cut_around([boxes[frame] for frame in frames if frame in boxes], clip.size_hw), _SIDE)
    masks = {row["frame_index"]: row["rle"] for row in rows.to_pylist()}
    for plain in clip.drawn(frames, object_ids=[]):
        frame = plain.frame_index
        mask_HW = coco.decode(masks[frame]).astype(bool) if frame in masks else np.zeros(clip.size_hw, bool)
        small = {object_id: cut.mask(mask_HW)}
        image = Image.fromarray(draw_masks(cut.pixels(plain.pixels_HW3), small, look=_LOOK))
        is_marked = frame == marked
        at = "" if plain.pts_seconds is None else f" · {plain.pts_seconds:.1f} s"
        words = f"{'look at ' if is_marked else ''}frame {frame}{at}{'' if mask_HW.any() else ' · hidden'}"
        alt = f"Frame {frame}: object {object_id} {'is outlined' if mask_HW.any() else 'is hidden'}"
        yield Thumbnail(data_uri(image), image.width, image.height, words, alt, is_marked)


def cut_around(boxes: Sequence[Float64Array], size_hw: tuple[int, int]) -> Box:
    """The part of the frame to show: around all boxes, in the frame's own shape, and never very small."""
    height, width = size_hw
    seen = np.array([box for box in boxes if not np.isnan(box).any()], np.float64).reshape(-1, 4)
    if not len(seen):
        return 0, 0, width, height
    left, top = seen[:, :2].min(axis=0)
    right, bottom = seen[:, 2:].max(axis=0)
    share = max((right - left) / width, (bottom - top) / height) * 1.6
    if share > 0.8:
        return 0, 0, width, height
    share = max(share, _SMALLEST_CUT)
    cut_width, cut_height = round(share * width), round(share * height)
    x = int(np.clip((left + right - cut_width) / 2, 0, width - cut_width))
    y = int(np.clip((top + bottom - cut_height) / 2, 0, height - cut_height))
    return x, y, x + cut_width, y + cut_height


@dataclass(frozen=True)
class SmallCut:
    """A part of a frame, made to fit into a square of `side` pixels: masks are drawn there, so that lines survive."""

    box: Box
    side: int

    @property
    def _size(self) -> tuple[int, int]:
        width, height = self.box[2] - self.box[0], self.box[3] - self.box[1]
        scale = min(self.side / width, self.side / height)
        return max(1, round(width * scale)), max(1, round(height * scale))

    def pixels(self, pixels_HW3: UInt8Array) -> UInt8Array:
        """The part of a frame in small, uint8 RGB `[h, w, 3]`."""
        image = Image.fromarray(pixels_HW3).crop(self.box)
        return np.asarray(image.resize(self._size, Image.Resampling.LANCZOS))

    def mask(self, mask_HW: BoolArray) -> BoolArray:
        """The part of a mask in small, bool `[h, w]`."""
        image = Image.fromarray(mask_HW.astype(np.uint8) * 255).crop(self.box)
        small: BoolArray = np.asarray(image.resize(self._size, Image.Resampling.BOX)) > 127
        return small


def data_uri(image: Image.Image) -> str:
    """A picture as a WebP in the page itself."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"

"""Small pictures of tracks: a strip of frames with the mask of one object, cut to where it is.

Pictures are WebP in the page itself. A video whose file is gone has none, and the strip says why.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
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
from pipeline.masks.overlay import color_of, outline
from pipeline.redact import redact
from pipeline.storage.faults import is_from_storage
from pipeline.tables import JobTables

if TYPE_CHECKING:
    from pipeline.notebook.clip import Clip  # which needs torch

_WIDTH, _MOST_HEIGHT = 256, 256
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


class StripMaker:
    """Makes strips of tracks of one job, up to about `most_bytes` of all of them.

    A store that failed three times is not asked again.
    """

    def __init__(self, job: JobTables, videos_root: str | None = None, most_bytes: int = _MOST_BYTES) -> None:
        self._job = job
        self._videos_root = videos_root
        self._num_failures = 0
        self._bytes_left = most_bytes
        self._clips: dict[str, Clip] = {}

    def strip(self, clip: Clip, object_id: int, frames: Sequence[int], marked: int | None = None) -> Strip:
        """The object on these frames, in the order of the video."""
        if self._num_failures >= _MOST_FAILURES:
            return Strip(why_empty="No picture: the store of the videos did not answer before.")
        if self._bytes_left <= 0:
            return Strip(why_empty="No picture: the page has as many as it can hold; give a smaller top=.")
        try:
            rows = self._rows(clip.video_id, object_id, frames)
            pictures = tuple(_pictures(clip, object_id, rows, sorted(set(frames)), marked))
            self._bytes_left -= sum(len(picture.uri) for picture in pictures)
            return Strip(pictures)
        except (MediaError, OtherFile, ValueError, KeyError) as error:
            return Strip(why_empty=f"No picture: {redact(str(error))}")
        except Exception as error:
            if not (isinstance(error, StorageError) or is_from_storage(error)):
                raise
            self._num_failures += 1
            return Strip(why_empty=f"No picture: {describe(error)}")

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
    cut = cut_around([boxes[frame] for frame in frames if frame in boxes], clip.size_hw)
    masks = {row["frame_index"]: row["rle"] for row in rows.to_pylist()}
    for plain in clip.drawn(frames, object_ids=[]):
        frame = plain.frame_index
        mask_HW = coco.decode(masks[frame]).astype(bool) if frame in masks else np.zeros(clip.size_hw, bool)
        image = _drawn(plain.pixels_HW3, mask_HW, cut, object_id)
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


def _drawn(pixels_HW3: UInt8Array, mask_HW: BoolArray, cut: Box, object_id: int) -> Image.Image:
    """The cut in small, with the mask tinted and outlined there, so that thin outlines survive."""
    width, height = cut[2] - cut[0], cut[3] - cut[1]
    scale = min(_WIDTH / width, _MOST_HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray(pixels_HW3).crop(cut).resize(size, Image.Resampling.LANCZOS)
    inside = Image.fromarray(mask_HW.astype(np.uint8) * 255).crop(cut).resize(size, Image.Resampling.BOX)
    small_mask = np.asarray(inside) > 127
    color = np.array(color_of(object_id), np.float32)
    canvas = np.asarray(small).astype(np.float32)
    canvas[small_mask] += 0.35 * (color - canvas[small_mask])
    canvas[outline(small_mask, thickness_px=2)] = color
    return Image.fromarray(canvas.round().astype(np.uint8))


def data_uri(image: Image.Image) -> str:
    """A picture as a WebP in the page itself."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"

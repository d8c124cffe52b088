"""One label of any format: what it says of one object on one frame, in the words of the format.

Names of videos, keys of objects and numbers of frames are those of the format. `pipeline.prompts` and
`pipeline.evaluate` hold them against the videos of a job.

Legend: H, W pixels of the labeled picture.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from pycocotools import mask as coco

from pipeline.arrays import BoolArray, Int64Array
from pipeline.errors import ConfigError
from pipeline.masks.rle import MAX_PIXELS, compress, decode_rle, parse_counts
from pipeline.masks.run_lengths import run_lengths
from pipeline.storage.uris import StorageOptions

_LAST_NUMBER = re.compile(r"\d+(?=\D*$)")

_MOST_CHARACTERS = 7  # of one run: 35 bits, more than the pixels of any mask

_MOST_OUTSIDE = 16  # times the longer side: a point of a polygon that is so far away is no point of the picture

SizeHW = tuple[int, int]
ObjectKey = int | str


@dataclass(frozen=True, slots=True)
class LabelFrame:
    """Which frame is meant: its number from 0, its time in the file, the name of its picture, or several of them."""

    index: int | None = None
    pts_seconds: float | None = None
    file_name: str | None = None


@dataclass(frozen=True)
class LabelMask:
    """A mask as COCO's compressed counts, which were checked when it was made."""

    size_hw: SizeHW
    counts: str

    @property
    def rle(self) -> dict[str, Any]:
        """`size` and `counts`, as `pycocotools` and the column `mask_rle` take them."""
        return {"size": list(self.size_hw), "counts": self.counts}

    @cached_property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(coco.area(self.rle))

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """The box around the mask, in pixels."""
        x, y, width, height = coco.toBbox(self.rle).tolist()
        return x, y, x + width, y + height

    def decoded(self) -> BoolArray:
        """Its pixels, bool `[H, W]`."""
        return decode_rle(self.size_hw, self.counts)


@dataclass(frozen=True, slots=True)
class LabelBox:
    """A box by two corners, in pixels or in fractions of the picture's width and height."""

    xyxy: tuple[float, float, float, float]
    is_fraction: bool = False


@dataclass(frozen=True, slots=True)
class LabelPolygons:
    """Rings `x, y, x, y …` in fractions of a picture whose size the format does not say. They are one mask together."""

    rings: tuple[tuple[float, ...], ...]

    def mask(self, size_hw: SizeHW) -> LabelMask | None:
        """The mask in a picture of this size, None if it is empty.

        Points are centers of pixels, and the line is painted too, as OpenCV finds and paints rings and as ultralytics
        trains on the texts of YOLO. They go to the nearest pixel, because texts have few digits. Raises `ConfigError`
        if OpenCV is not installed, which paints.
        """
        try:
            from pipeline.formats.polygons import filled
        except ModuleNotFoundError as error:
            raise ConfigError(f'polygons of YOLO need {error.name}: pip install "maskmill[export]"') from error
        height, width = size_hw
        rings = [np.array(ring).reshape(-1, 2) * (width, height) for ring in self.rings]
        pixels_HW = filled([np.floor(ring + 0.5).astype(np.int32) for ring in rings], size_hw)
        return mask_of_pixels(pixels_HW) if pixels_HW.any() else None


@dataclass(frozen=True, slots=True)
class LabelPoints:
    """Clicks in pixels, each with 1 (on the object) or 0 (not on it)."""

    points_xy: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LabelOther:
    """A shape that says neither a mask nor a box, as a line does. `kind` is its name in the format."""

    kind: str


@dataclass(frozen=True, slots=True)
class LabelCrowd:
    """A region of many things, as COCO's `iscrowd` says, which no id makes one object."""

    region: LabelMask | LabelBox | LabelPolygons | LabelPoints | LabelOther


Shape = LabelMask | LabelBox | LabelPolygons | LabelPoints | LabelOther | LabelCrowd


@dataclass(frozen=True, slots=True)
class LabelSeed:
    """What found the object, where nobody prompted it (`grid`, `detections`), and how stable this mask of it is."""

    source: str
    stability: float | None


@dataclass(frozen=True, slots=True)
class Label:
    """One object on one frame.

    `video` is empty where the format names none. `object_key` is None where nothing says which object of other frames
    this is. `shape` is None where the object is hidden; with `object_key` None too, the frame is labeled and empty.
    `place` says in messages where the label stands: the file and the entry.
    """

    video: str
    frame: LabelFrame
    object_key: ObjectKey | None
    shape: Shape | None
    category: str | None = None
    score: float | None = None
    place: str = ""
    seed: LabelSeed | None = None

    @property
    def is_hidden(self) -> bool:
        """Whether the format says that the object does not show on this frame."""
        return self.shape is None

    @property
    def frame_index(self) -> int | None:
        """The number of the frame: the one that the format says, or the last number in the name of the picture."""
        if self.frame.index is not None or self.frame.file_name is None:
            return self.frame.index
        return number_in_name(self.frame.file_name)

    def mask(self, size_hw: SizeHW | None = None) -> LabelMask | None:
        """The mask; None if the label is hidden or has none. Polygons in fractions need the size of the picture."""
        if isinstance(self.shape, LabelPolygons) and size_hw is not None:
            return self.shape.mask(size_hw)
        return self.shape if isinstance(self.shape, LabelMask) else None


@dataclass(frozen=True)
class ReadOptions:
    """How labels are read, where the format leaves it open.

    `columns` are names of columns of tables of boxes by standard name; `box_format` is the form of their boxes.
    `images` is the COCO or YouTube-VIS file whose ids a list of results names. `first_frame` is the number of the
    first frame where a format has it otherwise than usual. `size_hw` is the size of pictures that no file says.
    `is_of_export`: an export of maskmill wrote them, whose manifest tells what is labeled, and which objects are whose.
    """

    storage_options: StorageOptions | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    box_format: str | None = None
    images: str | None = None
    first_frame: int | None = None
    size_hw: SizeHW | None = None
    is_of_export: bool = False


def frame_number(frame: LabelFrame, first_number: int) -> int | None:
    """The number of a frame, from 0; None where only its time is known, or its picture has no number.

    A number in the name of a picture counts from `first_number`; readers of formats with numbers have subtracted it.
    Raises `ValueError` for a frame before the first one.
    """
    number = frame.index
    if number is None and frame.file_name is not None and (found := number_in_name(frame.file_name)) is not None:
        number = found - first_number
    if number is not None and number < 0:
        raise ValueError(f"frame {number}: frames count from 0 here; correct first_frame, or the frame")
    return number


def number_in_name(file_name: str) -> int | None:
    """The last number in the name of a picture without its ending: 12 of `cam1/frame_00012.jpg`; None without one."""
    found = _LAST_NUMBER.search(posixpath.splitext(posixpath.basename(file_name))[0])
    return int(found[0]) if found else None


def mask_of_rle(value: Any, size_hw: SizeHW | None = None) -> LabelMask | None:
    """The mask of COCO run lengths: a mapping with `size` and `counts`, as text, bytes or numbers. Empty ones are None.

    `size_hw` is the size of the picture, if it is known. Raises `ValueError` for what is no code of its size, and for
    one of another size than the picture.
    """
    if not isinstance(value, Mapping) or "counts" not in value or not _is_size(value.get("size")):
        raise ValueError("a mask is no run-length code with size [height, width] and counts")
    height, width = (int(number) for number in value["size"])
    _check_pixels((height, width))
    if size_hw is not None and size_hw != (height, width):
        raise ValueError(f"the mask's size is {[height, width]} (height, width), that of its picture {list(size_hw)}")
    counts = value["counts"]
    if isinstance(counts, str | bytes):
        runs = _runs(counts, height * width)
        code = counts if isinstance(counts, str) else counts.decode("ascii")
    else:
        runs = np.asarray(counts)
        if runs.ndim != 1 or not np.issubdtype(runs.dtype, np.integer) or (runs < 0).any():
            raise ValueError("counts of a mask must be a text or whole numbers from 0")
        if int(runs.sum()) != height * width:
            raise ValueError(f"counts of a mask covers {int(runs.sum())} pixels, its size has {height * width}")
        code = compress(runs.astype(np.int64)).decode("ascii")
    return LabelMask((height, width), code) if runs[1::2].any() else None


def _check_pixels(size_hw: SizeHW) -> None:
    """Raises `ValueError` for a size that no picture has, before memory is taken for it."""
    height, width = size_hw
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"size {[height, width]} (height, width) is not that of a picture")


def _runs(counts: str | bytes, num_pixels: int) -> Int64Array:
    """As `parse_counts`, by a few operations on the whole code, because a loop over characters takes twice as long.

    What is not plainly right goes to `parse_counts`, which says what is wrong.
    """
    code = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    digits = np.frombuffer(code, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(digits & 32 == 0)
    if not len(ends) or ends[-1] != len(digits) - 1 or digits.min() < 0 or digits.max() > 63:
        return parse_counts(counts, num_pixels)
    if np.diff(ends, prepend=-1).max() > _MOST_CHARACTERS:
        return parse_counts(counts, num_pixels)
    runs = run_lengths(code.decode("ascii"))
    if runs.min() < 0 or runs.sum() != num_pixels:
        return parse_counts(counts, num_pixels)
    return runs


def _is_size(size: Any) -> bool:
    return isinstance(size, list | tuple) and len(size) == 2 and all(_is_whole(one) and one > 0 for one in size)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def mask_of_polygons(rings: Any, size_hw: SizeHW) -> LabelMask:
    """The mask of polygons `[[x, y, x, y, …], …]` in pixels, filled by COCO's rule and joined.

    Raises `ValueError` for a ring that is no list of at least three points with finite coordinates.
    """
    _check_pixels(size_hw)
    farthest = _MOST_OUTSIDE * max(size_hw)
    for ring in rings:
        if not isinstance(ring, list | tuple) or len(ring) < 6 or len(ring) % 2:
            raise ValueError("a polygon needs at least three points x, y, x, y …")
        points = np.asarray(ring, dtype=np.float64)
        if not np.isfinite(points).all():
            raise ValueError("a polygon has a coordinate that is no finite number")
        if np.abs(points).max() > farthest:  # pycocotools walks along each line, step by step
            raise ValueError(
                f"a polygon has the coordinate {points[np.abs(points).argmax()]:g}, far outside its picture"
            )
    joined = coco.merge(coco.frPyObjects([list(map(float, ring)) for ring in rings], *size_hw))
    return LabelMask(size_hw, joined["counts"].decode("ascii"))


def mask_of_runs(runs_text: str, box_xywh: tuple[int, int, int, int], size_hw: SizeHW) -> LabelMask:
    """The mask of run lengths `0, 3, 1` that go row by row through a box, those of background first, as CVAT has them.

    Raises `ValueError` for a box that does not lie in the picture, and for runs that do not cover it.
    """
    left, top, width, height = box_xywh
    if left < 0 or top < 0 or width < 1 or height < 1 or top + height > size_hw[0] or left + width > size_hw[1]:
        raise ValueError(f"a mask of {width} × {height} pixels at {left}, {top} does not lie in {list(size_hw)} pixels")
    if size_hw[0] * size_hw[1] > MAX_PIXELS:
        raise ValueError(f"size {list(size_hw)} is not that of an image")
    try:
        runs = np.array([int(part) for part in runs_text.split(",")], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"its rle is no list of whole numbers ({error})") from error
    if (runs < 0).any() or runs.sum() != width * height:
        raise ValueError(f"its rle covers {int(runs.sum())} pixels, its box has {width * height}")
    pixels_HW = np.zeros(size_hw, dtype=bool)
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    pixels_HW[top : top + height, left : left + width] = inside
    return mask_of_pixels(pixels_HW)


def mask_of_pixels(pixels_HW: BoolArray) -> LabelMask:
    """The mask of pixels."""
    code = coco.encode(np.asfortranarray(pixels_HW.astype(np.uint8)))
    height, width = pixels_HW.shape
    return LabelMask((height, width), code["counts"].decode("ascii"))

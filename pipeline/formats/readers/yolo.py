"""YOLO: a text a picture, a line an object, all numbers in fractions of the picture.

A box is `class cx cy w h`, with its score and the number of its track behind it where a detector writes them. A
polygon is `class x y x y …`, also with a score behind it. The text's name is that of its picture. Sizes come from
`images/…` beside `labels/…` if the pictures are there, else from the videos. Names of classes come from `data.yaml`.
Source: docs.ultralytics.com, "Detect", "Segment", `Results.save_txt`.
"""

from __future__ import annotations

import io
import math
import posixpath
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import yaml
from PIL import Image

from model import IMAGE_SUFFIXES
from pipeline.errors import InputError
from pipeline.formats.label import (
    Label,
    LabelFrame,
    LabelPolygons,
    ObjectKey,
    ReadOptions,
    Shape,
    SizeHW,
)
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.readers.boxes import box_of
from pipeline.formats.readers.coco import video_and_picture

_NOT_LABELS = ("classes.txt", "labels.txt", "train.txt", "val.txt", "test.txt", "README.txt", "obj.names")
_NOT_VIDEOS = ("labels", "train", "val", "test")


def read_boxes(files: LabelFiles, options: ReadOptions) -> Iterator[Label]:
    """The labels of texts of boxes."""
    yield from _read(files, options, is_seg=False)


def read_polygons(files: LabelFiles, options: ReadOptions) -> Iterator[Label]:
    """The labels of texts of polygons; a line of five numbers is a box."""
    yield from _read(files, options, is_seg=True)


def _read(files: LabelFiles, options: ReadOptions, *, is_seg: bool) -> Iterator[Label]:
    names = [name for name in files.ending_in(".txt") if posixpath.basename(name) not in _NOT_LABELS]
    if not names:
        raise InputError(f"{files.key}: {files.shown} holds no .txt file of labels")
    classes = _classes(files)
    pictures = {posixpath.splitext(name)[0]: name for name in files.ending_in(*IMAGE_SUFFIXES)}
    for name in sorted(names, key=posixpath.split):
        stem = posixpath.splitext(name)[0]
        video, picture = video_and_picture(_without_layout(stem))
        frame = LabelFrame(file_name=picture)
        size_hw = partial(_size_of, files, _picture_of(stem, pictures), options.size_hw) if is_seg else None
        is_empty = True
        for number, line in enumerate(files.read(name).decode("utf-8", "replace").splitlines(), 1):
            if not line.strip():
                continue
            place = f"{files.shown_name(name)}, line {number}"
            try:
                category, shape, score, key = _parsed(line.split(), classes, is_seg=is_seg)
            except ValueError as error:
                raise InputError(f"{place}: {error}; correct the line or leave it out") from error
            if isinstance(shape, LabelPolygons) and size_hw is not None and (known := size_hw()) is not None:
                shape = shape.mask(known)
            is_empty = False
            yield Label(video, frame, key, shape, category, score, place)
        if is_empty:
            yield Label(video, frame, None, None, place=files.shown_name(name))


def _parsed(
    words: Sequence[str], classes: dict[int, str], *, is_seg: bool
) -> tuple[str, Shape | None, float | None, ObjectKey | None]:
    """Category, shape, score and object of a line."""
    try:
        class_id, values = int(float(words[0])), [float(word) for word in words[1:]]
    except ValueError as error:
        raise ValueError(f"it has a word that is no number ({error})") from error
    if not all(map(math.isfinite, values)):
        raise ValueError("it has a number that is not finite")
    score: float | None = None
    key: ObjectKey | None = None
    if is_seg and len(values) >= 6:
        if len(values) % 2:
            *values, score = values
        shape: Shape | None = LabelPolygons((tuple(values),))
    elif len(values) in (4, 5, 6):
        shape = box_of(values[:4], "cxcywhn")
        for further in values[4:]:
            if score is None and 0 <= further <= 1:
                score = further
            else:
                key = int(further)
    else:
        raise ValueError(f"it has {len(words)} numbers; a box has 5 to 7, and a polygon an odd number from 7 on")
    if max(values[:4]) > 1.01 or min(values) < -0.01:
        raise ValueError("its coordinates are no fractions of the picture, 0 to 1")
    return classes.get(class_id, str(class_id)), shape, score, key


def _without_layout(stem: str) -> str:
    """The path of a text without the folders that YOLO's layout puts above it: `labels/train`, `train/labels`."""
    parts = stem.split("/")
    while len(parts) > 1 and parts[0] in _NOT_VIDEOS:
        parts = parts[1:]
    return "/".join(parts)


def _picture_of(stem: str, pictures: dict[str, str]) -> str | None:
    """The picture of a text: the last folder `labels` of its path is `images` there."""
    before, labels, after = stem.rpartition("labels/")
    return pictures.get(f"{before}images/{after}" if labels else stem) or pictures.get(stem)


def _size_of(files: LabelFiles, picture: str | None, otherwise: SizeHW | None) -> SizeHW | None:
    if picture is None:
        return otherwise
    try:
        with Image.open(io.BytesIO(files.read(picture))) as opened:
            return opened.height, opened.width
    except (OSError, ValueError, SyntaxError) as error:
        raise files.fault(picture, f"no picture that can be read ({error}); write it again") from error


def _classes(files: LabelFiles) -> dict[int, str]:
    """The names of classes in `data.yaml` or another YAML file with `names`, else in `classes.txt`."""
    for name in files.ending_in(".yaml", ".yml"):
        try:
            found: Any = yaml.safe_load(files.read(name))
        except yaml.YAMLError as error:
            raise files.fault(name, f"no YAML ({str(error).splitlines()[0]}); write it again") from error
        names = found.get("names") if isinstance(found, dict) else None
        if isinstance(names, dict):
            try:
                return {int(number): str(text) for number, text in names.items()}
            except (TypeError, ValueError) as error:
                raise files.fault(name, f"the numbers of names are no whole numbers ({error}); correct them") from error
        if isinstance(names, list):
            return {number: str(text) for number, text in enumerate(names)}
    for name in files.names:
        if posixpath.basename(name) in ("classes.txt", "obj.names"):
            lines = files.read(name).decode("utf-8", "replace").splitlines()
            return {number: line.strip() for number, line in enumerate(lines) if line.strip()}
    return {}

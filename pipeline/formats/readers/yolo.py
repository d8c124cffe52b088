"""YOLO: a text a picture, a line an object, all numbers in fractions of the picture.

A box is `class cx cy w h`, a polygon `class x y x y …`. Behind them a detector writes the score (`save_conf`) and a
tracker the number of the track, each of them or none. A number alone is a score if it is a fraction, and a track if it
is more than 1; of 0 and 1 the other lines of the folder tell it. The text's name is that of its picture. Sizes come
from `images/…` beside `labels/…` if the pictures are there, else from the videos. Names of classes come from
`data.yaml`.
Source: docs.ultralytics.com, "Detect", "Segment", `Results.save_txt`.
"""

from __future__ import annotations

import io
import math
import posixpath
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
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

_NOT_LABELS = ("classes.txt", "labels.txt", "train.txt", "val.txt", "test.txt", "obj.names")
_NOT_VIDEOS = ("labels", "train", "val", "valid", "test", "obj_train_data", "obj_valid_data", "obj_test_data")


def read_boxes(files: LabelFiles, options: ReadOptions) -> Iterator[Label]:
    """The labels of texts of boxes."""
    yield from _read(files, options, is_seg=False)


def read_polygons(files: LabelFiles, options: ReadOptions) -> Iterator[Label]:
    """The labels of texts of polygons; a line of five numbers is a box."""
    yield from _read(files, options, is_seg=True)


def _read(files: LabelFiles, options: ReadOptions, *, is_seg: bool) -> Iterator[Label]:
    names = [name for name in files.ending_in(".txt") if _is_of_labels(posixpath.basename(name))]
    if not names:
        raise InputError(f"{files.key}: {files.shown} holds no .txt file of labels")
    classes, tails = _classes(files), _Tails(files, names, is_seg=is_seg)
    pictures = {posixpath.splitext(name)[0]: name for name in files.ending_in(*IMAGE_SUFFIXES)}
    for name in sorted(names, key=posixpath.split):
        stem = posixpath.splitext(name)[0]
        video, picture = video_and_picture(_without_layout(name))
        frame = LabelFrame(file_name=picture)
        size_hw = partial(_size_of, files, _picture_of(stem, pictures), options.size_hw) if is_seg else None
        is_empty = True
        for number, line in enumerate(files.read(name).decode("utf-8", "replace").splitlines(), 1):
            if not line.strip():
                continue
            place = f"{files.shown_name(name)}, line {number}"
            try:
                category, shape, score, key = _parsed(line.split(), classes, tails)
            except ValueError as error:
                raise InputError(f"{place}: {error}; correct the line or leave it out") from error
            if isinstance(shape, LabelPolygons) and size_hw is not None and (known := size_hw()) is not None:
                shape = shape.mask(known)
            is_empty = False
            yield Label(video, frame, key, shape, category, score, place)
        if is_empty:
            yield Label(video, frame, None, None, place=files.shown_name(name))


class _Tails:
    """What stands behind boxes and polygons. All texts of a folder were written alike: with scores or without."""

    def __init__(self, files: LabelFiles, names: Sequence[str], *, is_seg: bool) -> None:
        self._files = files
        self._names = names
        self.is_seg = is_seg

    @cached_property
    def _have_scores(self) -> bool:
        """Whether a line tells that lines have scores. Two boxes of a picture with one number are no two tracks."""
        for name in self._names:
            alone: set[float] = set()
            for words in map(str.split, self._files.read(name).decode("utf-8", "replace").splitlines()):
                try:
                    values = [float(word) for word in words[1:]]
                except ValueError:
                    continue  # whoever reads the line tells it
                if len(values) in (4, 5, 6):
                    rest = values[4:]
                else:
                    rest = values[-1:] if len(values) % 2 else values[-2:] if values and values[-1] > 1 else []
                if len(rest) == 2 or (rest and (not rest[0].is_integer() or rest[0] in alone)):
                    return True
                if rest and rest[0] > 1:
                    return False
                alone.update(rest)
        return False

    def split(self, values: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
        """The numbers of the shape, and those behind it."""
        if len(values) % 2 == 0 and len(values) > 6 and values[-1].is_integer():
            has_two = values[-1] > 1 or (values[-1] == 1 and self._have_scores)
            return (values[:-2], values[-2:]) if has_two else (values, ())
        return (values[:-1], values[-1:]) if len(values) % 2 else (values, ())

    def score_and_track(self, rest: Sequence[float]) -> tuple[float | None, ObjectKey | None]:
        """What the numbers behind a shape are. Raises `ValueError` for what is neither a score nor a track."""
        *before, last = rest or (None,)
        if last is None:
            return None, None
        is_score = not before and (not last.is_integer() or (last in (0, 1) and self._have_scores))
        score = before[0] if before else last if is_score else None
        if score is not None and not 0 <= score <= 1:
            raise ValueError(f"its score is {score:g}, not 0 to 1")
        if not is_score and (not last.is_integer() or last < 0):
            raise ValueError(f"the number of its track is {last:g}, not a whole number from 0")
        return score, None if is_score else int(last)


def _parsed(
    words: Sequence[str], classes: dict[int, str], tails: _Tails
) -> tuple[str, Shape | None, float | None, ObjectKey | None]:
    """Category, shape, score and object of a line."""
    try:
        class_id, values = int(float(words[0])), [float(word) for word in words[1:]]
    except ValueError as error:
        raise ValueError(f"it has a word that is no number ({error})") from error
    if not all(map(math.isfinite, values)):
        raise ValueError("it has a number that is not finite")
    if tails.is_seg and len(values) >= 6:
        numbers, rest = tails.split(values)
        shape: Shape | None = LabelPolygons((tuple(numbers),))
    elif len(values) in (4, 5, 6):
        numbers, rest = values[:4], values[4:]
        shape = box_of(numbers, "cxcywhn")
    else:
        raise ValueError(f"it has {len(words)} numbers; a box has 5 to 7, and a polygon an odd number from 7 on")
    if max(numbers) > 1.01 or min(numbers) < -0.01:
        raise ValueError("its coordinates are no fractions of the picture, 0 to 1")
    return classes.get(class_id, str(class_id)), shape, *tails.score_and_track(rest)


def _is_of_labels(name: str) -> bool:
    return name not in _NOT_LABELS and not name.startswith("README")


def _without_layout(name: str) -> str:
    """The path of a text without the folders that YOLO's layout puts above it, as `labels/train` or `train/labels`."""
    parts = name.split("/")
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

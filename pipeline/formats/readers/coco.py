"""COCO: images, annotations and categories; with `videos` as CocoVID writes it; and lists of results.

An image's video is the one that `video_id` names, else the folder in its `file_name`, else what stands before the last
number in the name. Its frame is `frame_id`, counted from 0, else the number in the name. The object of an annotation is
its `instance_id`, `track_id` or `object_id`; plain COCO has none. With `iscrowd` an annotation without such an id is a
region of many things. A list of results has no images: `images=` names the file that has them. Source: cocodataset.org,
"Data format" and "Results format"; mmdet `base_video_dataset.py`.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from model import IMAGE_SUFFIXES
from pipeline.errors import InputError
from pipeline.formats.folder import MANIFEST
from pipeline.formats.json_stream import Entry, entries
from pipeline.formats.label import (
    Label,
    LabelBox,
    LabelCrowd,
    LabelFrame,
    ObjectKey,
    ReadOptions,
    Shape,
    SizeHW,
    mask_of_polygons,
    mask_of_rle,
)
from pipeline.formats.label_files import LabelFiles

NO_TRACK = -1
"""What trackers write for a detection without a track. As an `object_id` it is the number of an object."""

_OBJECT_KEYS = ("instance_id", "track_id", "object_id")
_NO_NAMES = ("frame", "frames", "image", "img", "im", "picture")
_BEFORE_NUMBER = re.compile(r"^(.*?)[ _.-]*\d+$")
_ROBOFLOW = re.compile(r"[._]([A-Za-z]{3,4})\.rf\.[0-9A-Za-z]+$")
"""What Roboflow puts behind a name: `cup_00012.jpg` is `cup_00012_jpg.rf.4a3f….jpg` there."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of a COCO file: its video and frame, in the words of the file, and its size if the file says it."""

    video: str
    frame: LabelFrame
    size_hw: SizeHW | None


@dataclass
class Catalog:
    """What annotations refer to by id. `first_frame` is the number that the file gives the first frame."""

    first_frame: int = 0
    lacks_videos: bool = False  # an image named a video that was not read yet
    pictures: dict[Any, Picture] = field(default_factory=dict)
    videos: dict[Any, str] = field(default_factory=dict)
    categories: dict[Any, str] = field(default_factory=dict)


def read(files: LabelFiles, options: ReadOptions) -> Iterator[Label]:
    """The labels of a COCO file, or of all in a folder, in the order of their annotations.

    Raises `InputError` naming the annotation that refers to nothing, or whose box or mask is none.
    """
    for name in annotation_files(files):
        yield from _read_file(files, name, options)


def annotation_files(files: LabelFiles) -> list[str]:
    """The JSON files of a folder that may hold annotations, or the one file."""
    found = [name for name in files.ending_in(".json") if posixpath.basename(name) != MANIFEST]
    if not files.is_folder:
        return list(files.names)
    if not found:
        raise InputError(f"{files.key}: {files.shown} holds no .json file; name the file of annotations")
    return found


def _read_file(files: LabelFiles, name: str, options: ReadOptions) -> Iterator[Label]:
    """The labels of a file; at its end one of each picture that no annotation names, which is labeled and empty."""
    first_frame = options.first_frame or 0
    catalog = Catalog(first_frame)
    shown = files.shown_name(name)
    seen: set[Any] = set()
    is_whole = True
    with files.open(name) as file:
        for entry in entries(file.read, shown):
            if entry.key is None:
                if entry.number == 0:
                    catalog = catalog_of_images(options)
                yield _label(entry, catalog, options, shown)
            elif entry.key == "annotations" and entry.number is not None:
                if not catalog.pictures or not catalog.categories or catalog.lacks_videos:
                    is_whole = False
                    break
                yield _label(entry, catalog, options, shown)
                seen.add(entry.value["image_id"])
            else:
                take_in(catalog, entry, shown)
    if not is_whole:  # annotations stand before what they refer to, so that the file is read twice
        catalog = read_catalog(files, name, first_frame)
        with files.open(name) as file:
            for entry in entries(file.read, shown):
                if entry.key == "annotations" and entry.number is not None:
                    yield _label(entry, catalog, options, shown)
                    seen.add(entry.value["image_id"])
    if options.images is None:
        for image_id, picture in catalog.pictures.items():
            if image_id not in seen:
                yield Label(picture.video, picture.frame, None, None, place=f"{shown}, image {image_id}")


def catalog_of_images(options: ReadOptions) -> Catalog:
    """What the file says that `images=` names; nothing if none is named."""
    if options.images is None:
        return Catalog()
    files = LabelFiles(options.images, options.storage_options, key="images")
    return read_catalog(files, files.names[0], options.first_frame or 0)


def read_catalog(files: LabelFiles, name: str, first_frame: int = 0) -> Catalog:
    """All images, videos and categories of a file."""
    catalog = Catalog(first_frame)
    shown = files.shown_name(name)
    waiting: list[Entry] = []
    with files.open(name) as file:
        for entry in entries(file.read, shown):
            if entry.key == "images" and isinstance(entry.value, Mapping) and "video_id" in entry.value:
                waiting.append(entry)  # `videos` may follow
            else:
                take_in(catalog, entry, shown)
    for entry in waiting:
        take_in(catalog, entry, shown)
    return catalog


def take_in(catalog: Catalog, entry: Entry, shown: str) -> None:
    """Add an image, a video or a category to a catalog; other entries are left out."""
    if entry.number is None or entry.key not in ("images", "videos", "categories"):
        return
    value = entry.value
    try:
        if entry.key == "images":
            is_other = takes_another(catalog.pictures, value["id"], _picture(value, catalog))
        elif entry.key == "videos":
            name = str(value.get("name") or value.get("file_name") or value["id"])
            is_other = takes_another(catalog.videos, value["id"], name)
        else:
            is_other = takes_another(catalog.categories, value["id"], str(value["name"]))
    except KeyError as error:
        raise InputError(f"{shown}, {entry.place}: it lacks {error}; write it as COCO has it") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{shown}, {entry.place}: it is not as COCO has it ({error}); write it again") from error
    if is_other:
        raise two_of_one_id(entry, shown)


def takes_another(known: dict[Any, Any], key: Any, value: Any) -> bool:
    """Put a value under its id; whether another one stood there, as in files that were joined with their ids."""
    return bool(known.setdefault(key, value) != value)


def two_of_one_id(entry: Entry, shown: str) -> InputError:
    """An error about a picture, a video or a category whose id another one has."""
    return InputError(
        f"{shown}, {entry.place}: another one of {entry.key} has the id {entry.value['id']!r} too, so that annotations "
        "do not say which of the two they mean; give each an id of its own, if files were joined"
    )


def _picture(image: Mapping[str, Any], catalog: Catalog) -> Picture:
    file_name = str(image.get("file_name") or "")
    size = (image.get("height"), image.get("width"))
    size_hw = (int(size[0]), int(size[1])) if size[0] and size[1] else None
    video_id, frame_id = image.get("video_id"), image.get("frame_index", image.get("frame_id"))
    video, picture = video_and_picture(file_name)
    if video_id is not None:
        catalog.lacks_videos |= video_id not in catalog.videos
        video = catalog.videos.get(video_id, video)
    index = None if frame_id is None else int(frame_id) - catalog.first_frame
    return Picture(video, LabelFrame(index, file_name=picture or None), size_hw)


def video_and_picture(file_name: str) -> tuple[str, str]:
    """The video and the picture that a path names: `cup` of `cup/00012.jpg` and of `cup_00012.jpg`.

    A name such as `frame_00012.jpg` names no video, which is empty then. What Roboflow has put behind a name is left
    out. The name has an ending, because what follows its last dot is taken for one.
    """
    folder, picture = posixpath.split(file_name.replace("\\", "/"))
    stem, _ = posixpath.splitext(picture)
    if renamed := _ROBOFLOW.search(stem):
        picture = f"{stem[: renamed.start()]}.{renamed[1]}"
    if folder:
        return folder, picture
    before = _BEFORE_NUMBER.match(posixpath.splitext(picture)[0])
    name = before[1] if before else ""
    return ("" if name.lower() in _NO_NAMES else name), picture


def _label(entry: Entry, catalog: Catalog, options: ReadOptions, shown: str) -> Label:
    annotation = entry.value
    try:
        if not isinstance(annotation, Mapping):
            raise ValueError("it is no object with image_id and a box or a mask")
        picture, key = _picture_of(annotation, catalog, options), object_key(annotation)
        shape = shape_of(annotation, picture.size_hw or options.size_hw)
        return Label(
            picture.video,
            picture.frame,
            key,
            crowd_of(annotation, shape) if key is None else shape,
            category_of(annotation, catalog),
            score_of(annotation),
            f"{shown}, {entry.place}",
        )
    except (ValueError, TypeError) as error:
        raise InputError(f"{shown}, {entry.place}: {error}; correct the entry or leave it out") from error


def _picture_of(annotation: Mapping[str, Any], catalog: Catalog, options: ReadOptions) -> Picture:
    image_id = annotation.get("image_id")
    picture = catalog.pictures.get(image_id)
    if picture is not None:
        return picture
    if isinstance(image_id, str) and not catalog.pictures:
        has_ending = image_id.lower().endswith(IMAGE_SUFFIXES)  # Ultralytics writes names without one
        video, name = video_and_picture(image_id if has_ending else f"{image_id}.jpg")
        return Picture(video, LabelFrame(file_name=name), None)
    if image_id is None:
        raise ValueError("it has no image_id")
    if not catalog.pictures and options.images is None:
        raise ValueError(f"image_id {image_id} is an id of a file with images; give images=, the path of that file")
    raise ValueError(f"no image has the id {image_id!r}")


def object_key(annotation: Mapping[str, Any]) -> ObjectKey | None:
    """What says which object an annotation is of; None in plain COCO."""
    attributes = annotation.get("attributes")
    for known in (annotation, attributes if isinstance(attributes, Mapping) else {}):
        for name in _OBJECT_KEYS:
            key = known.get(name)
            if key == NO_TRACK and name != "object_id":
                continue
            if isinstance(key, int | str) and not isinstance(key, bool):
                return key
            if isinstance(key, float) and key.is_integer():
                return int(key)
    return None


def category_of(annotation: Mapping[str, Any], catalog: Catalog) -> str | None:
    """The name of the category; of a list of results without `images=` its number. Raises `ValueError` for no such."""
    category_id = annotation.get("category_id")
    if category_id is None:
        return None
    if catalog.categories and category_id not in catalog.categories:
        known = ", ".join(map(repr, list(catalog.categories)[:5]))
        raise ValueError(f"no category has the id {category_id!r} (the ids are {known} …)")
    return catalog.categories.get(category_id, str(category_id))


def score_of(annotation: Mapping[str, Any]) -> float | None:
    """The score. Raises `ValueError` if it is no finite number."""
    score = annotation.get("score")
    if score is None:
        return None
    if not math.isfinite(float(score)):
        raise ValueError(f"its score is {score}")
    return float(score)


def shape_of(annotation: Mapping[str, Any], size_hw: SizeHW | None) -> Shape | None:
    """The mask, or else the box; None where both are empty. Raises `ValueError` for what is neither."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, Mapping):
        return mask_of_rle(segmentation, size_hw)
    if isinstance(segmentation, list):
        segmentation = [ring for ring in segmentation if ring != []]  # `[[]]` beside a box says that there is no mask
    if segmentation:
        if size_hw is None:
            raise ValueError("its polygon needs the size of the image, and the image has no height and width")
        if isinstance(segmentation, list) and not isinstance(segmentation[0], list):
            segmentation = [segmentation]
        return mask_of_polygons(segmentation, size_hw)
    attributes = annotation.get("attributes")
    turned = attributes.get("rotation") if isinstance(attributes, Mapping) else None
    if turned:  # CVAT writes the box as it was before it was turned
        raise ValueError(f"its box is turned by {turned} degrees, and boxes are upright")
    return box_of_xywh(annotation.get("bbox"))


def crowd_of(annotation: Mapping[str, Any], shape: Shape | None) -> Shape | None:
    """The shape, as a crowd where `iscrowd` says that it is one."""
    if shape is None or isinstance(shape, LabelCrowd) or not annotation.get("iscrowd"):
        return shape
    return LabelCrowd(shape)


def box_of_xywh(bbox: Any) -> LabelBox | None:
    """A box of x, y, width and height in pixels; None for one that is missing or has no area."""
    if bbox is None or bbox == []:
        return None
    if not isinstance(bbox, list | tuple) or len(bbox) != 4:
        raise ValueError(f"its box is {bbox!r}, not x, y, width, height")
    x, y, width, height = map(float, bbox)
    if not all(map(math.isfinite, (x, y, width, height))):
        raise ValueError(f"its box is {bbox}: each of the four must be a finite number")
    return LabelBox((x, y, x + width, y + height)) if width > 0 and height > 0 else None

"""The formats that labels are read from: `read_labels` gives labels of any of them, one after the other.

Import and evaluation read through this door. A new format is a reader in `readers/` and a line in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pipeline.errors import InputError, describe
from pipeline.formats.exported import check_is_whole, export_of, options_of_export, with_names_of_the_job
from pipeline.formats.guess import format_of
from pipeline.formats.label import Label, LabelCrowd, ReadOptions
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.readers import (
    boxes,
    coco,
    cvat,
    label_studio,
    maskmill,
    mots,
    palette_png,
    parquet,
    sa_v,
    yolo,
    youtube_vis,
)

Reader = Callable[[LabelFiles, ReadOptions], Iterator[Label]]


@dataclass(frozen=True)
class Format:
    """A format: its reader, what it is in a line, and which keys about the reading it takes."""

    read: Reader
    sentence: str
    takes: tuple[str, ...] = ("first_frame",)


_OF_TABLES = ("columns", "box_format", "first_frame")
_OF_COCO = ("images", "first_frame", "size")

FORMATS: dict[str, Format] = {
    "boxes": Format(
        boxes.read,
        "A detector's boxes as CSV, TSV, JSON lines or a JSON list; columns.NAME= names columns.",
        _OF_TABLES,
    ),
    "coco": Format(
        coco.read,
        "COCO JSON of images; or a list of results, whose images images= names.",
        _OF_COCO,
    ),
    "coco_video": Format(coco.read, "CocoVID: COCO with videos, frame_id and instance_id.", _OF_COCO),
    "cvat_images": Format(cvat.read, "CVAT for images 1.1.", ("first_frame", "size")),
    "cvat_video": Format(
        cvat.read, "CVAT for video 1.1: tracks of boxes, polygons or points.", ("first_frame", "size")
    ),
    "davis": Format(palette_png.read, "Folders of palette PNG, as DAVIS and YouTube-VOS have them."),
    "hf_datasets": Format(parquet.read, "Parquet shards as Hugging Face datasets reads them.", _OF_TABLES),
    "label_studio": Format(label_studio.read, "Video rectangles of Label Studio, its JSON export."),
    "maskmill": Format(maskmill.read, "The output of a job of maskmill.", ()),
    "mots": Format(mots.read, "MOTS: 16-bit PNG or text with COCO codes."),
    "parquet": Format(
        parquet.read,
        "A Parquet table of masks or boxes; columns.NAME= names columns.",
        _OF_TABLES,
    ),
    "png": Format(sa_v.read_png, "PNG of masks, {video}/{object}/{frame}.png; pixels above 0 are the object."),
    "sa_v": Format(sa_v.read, "SA-V: *_manual.json, *_auto.json, or its PNG."),
    "yolo": Format(yolo.read_boxes, "YOLO text of boxes, with scores and tracks where they are written."),
    "yolo_seg": Format(yolo.read_polygons, "YOLO text of polygons.", ("first_frame", "size")),
    "youtube_vis": Format(youtube_vis.read, "YouTube-VIS, truth or, with images=, results.", ("images", "first_frame")),
}
"""All formats by name."""

AUTO = "auto"


def read_labels(
    uri: str, format_name: str, options: ReadOptions | None = None, *, key: str = "from"
) -> Iterator[Label]:
    """The labels in a file or folder, in the order in which the format has them, in bounded memory.

    Args:
        uri: the path or URI of the file, or of the folder that holds the format's files.
        format_name: one of `FORMATS`, or `AUTO`, which looks at names and first entries.
        options: what the format leaves open.
        key: the key of the command that named `uri`, for messages.

    A frame that is labeled and shows nothing has a label too, where the format lists its frames. Raises `InputError`
    for a format that nobody knows and for what is not in the format, naming file, entry and remedy; `StorageError`
    if the store does not answer.
    """
    if format_name not in (AUTO, *FORMATS):
        raise InputError(f"format={format_name}: allowed are {AUTO}, {', '.join(FORMATS)}")
    options = options or ReadOptions()
    files = LabelFiles(uri, options.storage_options, key=key)
    check_is_whole(files)
    if format_name == AUTO:
        format_name = format_of(files, FORMATS)
    if format_name not in FORMATS:
        raise InputError(f"{files.shown}: labels of format {format_name} cannot be read; give format= if it is another")
    _check_used(format_name, options)
    export = export_of(files)
    if export is None:
        return _told(FORMATS[format_name].read(files, options), files, format_name)
    labels = FORMATS[format_name].read(files, options_of_export(export, files, format_name, options))
    return with_names_of_the_job(_told(labels, files, format_name), export, files, format_name)


def crowds_as_objects(labels: Iterator[Label]) -> Iterator[Label]:
    """The same labels, where each crowd is taken for one object."""
    for label in labels:
        yield replace(label, shape=label.shape.region) if isinstance(label.shape, LabelCrowd) else label


def _check_used(format_name: str, options: ReadOptions) -> None:
    """Raises `InputError` for a key that this format does not take: the labels would be read without it."""
    given = {
        "columns": options.columns,
        "box_format": options.box_format,
        "images": options.images,
        "first_frame": options.first_frame,
        "size": options.size_hw,
    }
    for key, value in given.items():
        if value and key not in FORMATS[format_name].takes:
            others = ", ".join(name for name, one in FORMATS.items() if key in one.takes)
            raise InputError(f"{key}= is nothing that format {format_name} takes: leave it out. It is for {others}")


def _told(labels: Iterator[Label], files: LabelFiles, format_name: str) -> Iterator[Label]:
    """The labels. What a reader stumbles over, because a file has a list where a number belongs, is told in a line.

    Readers name file and entry of what they look for; there is no end to what a damaged file may have in its place.
    """
    last = ""
    try:
        for label in labels:
            last = label.place
            yield label
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        where = f" after {last}" if last else ""
        raise InputError(
            f"{files.shown}: what stands{where} is not as {format_name} has it ({describe(error)}); write the file "
            "again, or give another format="
        ) from error

"""The formats that labels are read from: `read_labels` gives labels of any of them, one after the other.

Import and evaluation read through this door. A new format is a reader in `readers/` and a line in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.formats.label import Label, ReadOptions
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.readers import coco, maskmill, palette_png

Reader = Callable[[LabelFiles, ReadOptions], Iterator[Label]]


@dataclass(frozen=True)
class Format:
    """A format: its reader, and what it is in a line."""

    read: Reader
    sentence: str


FORMATS: dict[str, Format] = {
    "coco": Format(coco.read, "COCO JSON of images or, with videos, CocoVID; or a list of results with images=."),
    "davis": Format(palette_png.read, "Folders of palette PNG, as DAVIS and YouTube-VOS have them."),
    "maskmill": Format(maskmill.read, "The output of a job of maskmill."),
}
"""All formats by name."""


def read_labels(
    uri: str, format_name: str, options: ReadOptions | None = None, *, key: str = "from"
) -> Iterator[Label]:
    """The labels in a file or folder, in the order in which the format has them, in bounded memory.

    Args:
        uri: the path or URI of the file, or of the folder that holds the format's files.
        format_name: one of `FORMATS`.
        options: what the format leaves open.
        key: the key of the command that named `uri`, for messages.

    Every labeled frame of a video has a label, be it one without an object. Raises `InputError` for a format that
    nobody knows and for what is not in the format, naming file, entry and remedy; `StorageError` if the store does not
    answer.
    """
    if format_name not in FORMATS:
        raise InputError(f"format={format_name}: allowed are {', '.join(FORMATS)}")
    options = options or ReadOptions()
    files = LabelFiles(uri, options.storage_options, key=key)
    return FORMATS[format_name].read(files, options)

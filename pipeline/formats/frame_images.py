"""The labeled frames of a video as image files of an export."""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image

from pipeline.arrays import UInt8Array
from pipeline.formats.folder import PartFolder
from pipeline.formats.source import ExportVideo

_QUALITY = 95


def file_name(video: ExportVideo, frame_index: int) -> str:
    """The name of a frame's image, `00037.jpg`, whether or not images are written."""
    return f"{frame_index:05d}.{'jpg' if video.content.frames == 'none' else video.content.frames}"


def write_frames(
    video: ExportVideo, out: PartFolder, folder: str, stem_of: Callable[[int], str] = "{:05d}".format
) -> None:
    """Write the frames into a folder of the export; nothing with `frames=none`.

    `stem_of` names the file of a frame, without its ending.
    """
    kind = video.content.frames
    if kind == "none":
        return
    for frame_index, pixels_HW3 in video.images():
        with out.open(f"{folder}/{stem_of(frame_index)}.{kind}") as file:
            file.write(encoded(pixels_HW3, kind))


def encoded(pixels_HW3: UInt8Array, kind: str) -> bytes:
    """An image file of uint8 RGB `[H, W, 3]`; `kind` is jpg or png."""
    written = io.BytesIO()
    image = Image.fromarray(pixels_HW3)
    if kind == "jpg":
        image.save(written, "JPEG", quality=_QUALITY)
    else:
        image.save(written, "PNG", compress_level=3)
    return written.getvalue()

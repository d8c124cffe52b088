"""Pictures for tests of still images: drawn, encoded by Pillow, and read through both doors of the program."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

from model import Media, load_video
from pipeline.arrays import UInt8Array
from pipeline.video.frames import VideoFrames
from pipeline.video.media import open_media
from tests.support.media_files import item


def scene(place: int = 0, size_hw: tuple[int, int] = (60, 80)) -> UInt8Array:
    """A gradient without symmetry, with a disk that moves by 6 pixels a picture."""
    height, width = size_hw
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 2 % 256, y * 3 % 256, (x + y) % 256], axis=-1).astype(np.uint8)
    pixels[(x - 20 - 6 * place) ** 2 + (y - 25 - 3 * place) ** 2 < 100] = (240, 140, 30)
    return pixels


def gray(place: int = 0) -> UInt8Array:
    """The scene in gray."""
    return np.array(Image.fromarray(scene(place)).convert("L"))


def encoded(pixels: Any, kind: str, **options: Any) -> bytes:
    """A picture, or several, as a file of one of Pillow's formats."""
    images = [Image.fromarray(one) for one in (pixels if isinstance(pixels, list) else [pixels])]
    buffer = io.BytesIO()
    several: dict[str, Any] = {"save_all": True, "append_images": images[1:]} if len(images) > 1 else {}
    images[0].save(buffer, kind, **several, **options)
    return buffer.getvalue()


def heic(pixels: UInt8Array) -> bytes:
    """A picture as a HEIC photo, nearly without loss."""
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(buffer, quality=-1, chroma=444)
    return buffer.getvalue()


def in_memory(data: bytes, name: str = "photo") -> Media:
    """A file in memory as the readers get it."""
    return Media(name, (lambda: io.BytesIO(data),))


def read_by_both(path: Path) -> tuple[UInt8Array, str]:
    """All frames of a file or folder `[T, H, W, 3]` and the message of the job. The job and `load_video` must agree."""
    with open_media(item(path)) as media, VideoFrames(media) as frames:
        of_job = np.stack([frame.pixels_HW3.numpy() for frame in frames.forward(0)])
        message = "; ".join(frames.remarks())
    loaded, metadata = load_video(path)
    assert np.array_equal(loaded, of_job)
    assert (metadata.total_num_frames, metadata.height, metadata.width) == of_job.shape[:3]
    return of_job, message


def refusal(path: Path) -> str:
    """The message with which a job refuses a file; `load_video` must say the same."""
    messages = []
    for read in (_label, load_video):
        try:
            read(path)
        except ValueError as error:
            messages.append(str(error).partition(path.name)[2])
    assert len(messages) == 2, f"{path} was read"
    assert messages[0] == messages[1]
    return messages[0]


def _label(path: Path) -> None:
    with open_media(item(path)) as media, VideoFrames(media) as frames:
        list(frames.forward(0))

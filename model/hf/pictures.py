"""Pictures of users to frames: PIL images, arrays and tensors, alone, in lists, from iterators and from video files.

Legend: T frames, H, W pixels, S side of the model's square input; frames are uint8 RGB `[H, W, 3]`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.hf.locations import media_at
from model.media.levels import Levels, Values, levels_of, sample_places
from model.media.picture_files import damaged
from model.media.raw_frames import VideoInfo
from model.media.readers import open_reader
from model.media.stills import PILLOW_ERRORS, is_deep, values_of
from model.pixels.orientation import UInt8Array
from model.pixels.transforms import resize_frame
from model.tracking.frames import ArrayFrames, FrameSource

_log = logging.getLogger(__name__)

Device = torch.device | str


@dataclass(frozen=True)
class VideoMetadata:
    """What `load_video` found: the number of frames decoded, their size as displayed, frames per second if known."""

    total_num_frames: int
    height: int
    width: int
    fps: float | None


def load_video(location: str | Path) -> tuple[UInt8Array, VideoMetadata]:
    """All frames of a video as displayed, uint8 RGB `[T, H, W, 3]`, numbered as the job numbers them.

    `location` is a path or any fsspec URI: of a video file, an image, a GIF or a folder of images. Frames of another
    size than the first are scaled to it. Raises `ValueError` for what is no video, `FileNotFoundError` where there is
    nothing.
    """
    info, pictures = _read(location)
    frames = list(pictures)
    if not frames:
        raise ValueError(f"video {location}: no frame could be decoded; check that the file is whole")
    height, width = info.size_hw
    return np.stack(frames), VideoMetadata(len(frames), height, width, info.fps)


def to_frames(
    video: Any, image_size: int, *, processing_device: Any = "cpu", storage_device: Any = "cpu"
) -> FrameSource:
    """The frames of a video in one of the forms that a user may give.

    Such a form is a path or URI; a picture, which makes a video of one frame; a list or an iterator of pictures; an
    array or tensor `[T, H, W, 3]` or `[T, 3, H, W]`; a batch of one of these; or a `FrameSource`, which is passed on.
    Frames are resized one by one on `processing_device`, and only the resized ones are kept, on `storage_device`.
    Raises `ValueError` naming the frame that is no RGB picture or has another size than the first.
    """
    if isinstance(video, FrameSource):
        return video
    size_hw: tuple[int, int] | None = None
    kept: list[Tensor] = []
    is_stream = not isinstance(video, (np.ndarray, Tensor, Sequence))
    pictures = _pictures(video)
    levels = _levels(pictures)
    for index, picture in enumerate(pictures):
        levels = levels or _levels([picture])
        pixels_HW3 = to_rgb(picture, f"frame {index}", levels)
        if size_hw is None:
            size_hw = (pixels_HW3.shape[0], pixels_HW3.shape[1])
        if tuple(pixels_HW3.shape[:2]) != size_hw:
            raise ValueError(
                f"frame {index}: is {list(pixels_HW3.shape[:2])} (height, width), the first frame {list(size_hw)}"
            )
        resized = resize_frame(pixels_HW3.to(processing_device), image_size).to(storage_device)
        if is_stream and resized.data_ptr() == pixels_HW3.data_ptr():
            resized = resized.clone()  # an iterator may read each picture into the same buffer
        kept.append(resized)
    return ArrayFrames(kept, size_hw)


def to_rgb(picture: Any, name: str, levels: Levels | None = None) -> Tensor:
    """A PIL image of any mode, or a uint8 array or tensor `[H, W, 3]` or `[3, H, W]`, as uint8 RGB `[H, W, 3]`.

    A PIL image is turned as its EXIF says, as those of files are. One that is deeper than 8 bits is brought to bytes by
    `levels`, or by its own. Raises `ValueError` beginning with `name` for anything else.
    """
    if isinstance(picture, Image.Image):
        values = _values(picture, name)
        return torch.from_numpy((levels or levels_of(name, [values])).to_rgb(values))
    if not isinstance(picture, (np.ndarray, Tensor)):
        raise ValueError(f"{name}: expected a PIL image, an array or a tensor, got {type(picture).__name__}")
    if isinstance(picture, np.ndarray):
        picture = np.ascontiguousarray(picture)  # torch takes no views that go backward, as BGR turned to RGB
    pixels = torch.as_tensor(picture)
    if pixels.dtype != torch.uint8:
        raise ValueError(f"{name}: expected uint8 pixels of 0 to 255, got {pixels.dtype}")
    if 0 in pixels.shape:
        raise ValueError(f"{name}: has no pixels, its shape is {list(pixels.shape)}")
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return pixels
    if pixels.ndim == 3 and pixels.shape[0] == 3:
        return pixels.permute(1, 2, 0)
    raise ValueError(f"{name}: expected RGB of shape [H, W, 3] or [3, H, W], got {list(pixels.shape)}")


def _levels(pictures: Iterable[Any]) -> Levels | None:
    """The levels of a video that is given as PIL images, told from some of a list; `None` if they are not known yet."""
    if not isinstance(pictures, (list, tuple)):
        return None
    some = ((place, pictures[place]) for place in sample_places(len(pictures)))
    deep = [(place, image) for place, image in some if isinstance(image, Image.Image) and is_deep(image)]
    return levels_of("video", (_values(image, f"frame {place}") for place, image in deep)) if deep else None


def _values(image: Image.Image, name: str) -> Values:
    try:
        return values_of(name, image)
    except PILLOW_ERRORS as error:
        raise damaged(name, error) from error


def _pictures(video: Any) -> Iterable[Any]:
    """The pictures of what a user calls a video, one by one. A batch of one video counts as that video."""
    if _is_batch(video):
        if len(video) != 1:
            raise ValueError(f"video: a session has one video, got a batch of {len(video)}")
        return _pictures(video[0])
    if isinstance(video, (str, Path)):
        return _read(video)[1]
    if isinstance(video, (np.ndarray, Tensor)) and video.ndim == 4:
        return video
    if isinstance(video, (np.ndarray, Tensor, Image.Image)):
        return [video]
    if isinstance(video, Iterable):
        return video
    raise ValueError(f"video: expected frames, a path or a URI, got {type(video).__name__}")


def _is_batch(video: Any) -> bool:
    """Whether these are videos and not pictures: arrays of five dimensions, or a list of locations or of videos."""
    if isinstance(video, (np.ndarray, Tensor)):
        return video.ndim == 5
    if not isinstance(video, (list, tuple)) or not video:
        return False
    first = video[0]
    is_stack = isinstance(first, (np.ndarray, Tensor)) and first.ndim == 4
    return isinstance(first, (str, Path, list, tuple)) or is_stack


def _read(location: str | Path) -> tuple[VideoInfo, Iterator[UInt8Array]]:
    """What a file says of itself, and the pixels of its frames one by one."""
    reader = open_reader(media_at(location))
    info = reader.info()

    def pictures() -> Iterator[UInt8Array]:
        for number, raw in enumerate(reader.read()):
            if raw.is_damaged:
                _log.warning("video %s: frame %d is damaged", location, number)
            yield raw.picture.pixels(info.size_hw)
        for remark in reader.remarks():
            _log.warning("video %s: %s", location, remark)

    return info, pictures()

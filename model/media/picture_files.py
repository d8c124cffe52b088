"""Files of pictures that Pillow reads, and what each kind of file offers to the one reader of them all.

Legend: H, W pixels; values are bytes RGB `[H, W, 3]`, or deeper ones (see `levels`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import av
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from model.media.errors import MediaError
from model.media.levels import Levels, Values
from model.media.stills import PILLOW_ERRORS, check_size, open_image, turned, values_of

_STILLS = ("JPEG", "PNG", "BMP", "JPEG2000", "PPM", "TGA")
_ANIMATIONS = ("WEBP", "AVIF")
_PNG_BITS_OFFSET = 24  # in the file: the number of bits of a channel
_FULL_LEVELS = Levels(16)
# Pillow's names of formats that FFmpeg calls otherwise, and what FFmpeg says of EXIF's orientations, in degrees.
_CODECS = {"jpeg": "mjpeg", "mpo": "mjpeg"}
_DEMUXERS = {"mpo": "jpeg_pipe"}
_ROTATIONS = {2: -180, 3: -180, 5: -90, 6: -90, 7: 90, 8: 90}


@dataclass(frozen=True)
class Decoded:
    """One picture of a file, upright, with FFmpeg's names for its format. `seconds`: its time, if it has one."""

    values: Values
    format: str
    codec: str
    rotation_degrees: int = 0
    seconds: float | None = None


class PictureFile(Protocol):
    """An open file, or a folder, of pictures. `remarks` are what the user should know of what it holds."""

    num_pictures: int
    has_times: bool
    remarks: tuple[str, ...]

    def decode(self, place: int) -> Decoded:
        """A picture. Raises `MediaError` if it cannot be read."""

    def name_of(self, place: int) -> str:
        """The name of a picture in messages."""


class PillowFile:
    """A `PictureFile` of one picture, or an animation."""

    def __init__(self, name: str, image: Image.Image, remarks: tuple[str, ...] = ()) -> None:
        self.num_pictures = int(getattr(image, "n_frames", 1)) if image.format in _ANIMATIONS else 1
        self.has_times = self.num_pictures > 1
        self.remarks = remarks
        self._name = name
        self._image = image

    def decode(self, place: int) -> Decoded:
        """See `PictureFile`."""
        image = self._image
        rotation = rotation_degrees(image)  # Pillow forgets it when it has turned the pixels
        try:
            if self.num_pictures > 1:
                image.seek(place)
            values = values_of(self._name, image)
        except PILLOW_ERRORS as error:
            raise damaged(self._name, error) from error
        except MemoryError as error:
            if image.format != "JPEG2000":  # its tiles may be larger than the picture, which has been checked
                raise
            raise damaged(self._name, error) from error
        if image.format in ("PPM", "JPEG2000"):  # these say their largest value, and Pillow has scaled by it
            values = _FULL_LEVELS.to_rgb(values)
        seconds = image.info.get("timestamp", 0) / 1000 if self.has_times else None
        return decoded(values, image, rotation, seconds)

    def name_of(self, place: int) -> str:
        """See `PictureFile`."""
        return self._name


class DeepPng:
    """A `PictureFile` of a PNG with 16 bits in each of several channels, of which Pillow gives the upper 8 only."""

    num_pictures = 1
    has_times = False
    remarks: tuple[str, ...] = ()

    def __init__(self, name: str, image: Image.Image, file: Any) -> None:
        self._name = name
        self._image = image
        self._file = file

    def decode(self, place: int) -> Decoded:
        """See `PictureFile`."""
        self._file.seek(0)
        decoder: Any = av.CodecContext.create("png", "r")
        try:
            (picture,) = decoder.decode(av.Packet(self._file.read()))
            values = picture.reformat(format="rgb48le", threads=1).to_ndarray()
        except (av.FFmpegError, ValueError) as error:
            raise damaged(self._name, error) from error
        values = np.ascontiguousarray(turned(values, orientation_of(self._image)))
        return decoded(values, self._image, rotation_degrees(self._image))

    def name_of(self, place: int) -> str:
        """See `PictureFile`."""
        return self._name


def open_with_pillow(name: str, file: Any, max_pixels: int, *, animated: bool) -> PictureFile:
    """A file of a kind that Pillow reads. Raises `MediaError` for one that it cannot read or that is too large."""
    try:
        image = open_image(file, _ANIMATIONS if animated else _STILLS)
        check_size(name, image.height, image.width, max_pixels)
        if image.format == "PNG" and image.mode != "I;16":
            file.seek(_PNG_BITS_OFFSET)
            if file.read(1) == b"\x10":
                return DeepPng(name, image, file)
        return PillowFile(name, image)
    except PILLOW_ERRORS as error:
        raise damaged(name, error) from error


def open_heif(name: str, file: Any, max_pixels: int) -> PictureFile:
    """A HEIC photo: its main picture, put together from its tiles, cut and turned as it says.

    Raises `MediaError` for one that cannot be read, and where `pillow-heif` is not installed.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise MediaError(
            f"{name}: is a HEIC photo, and pillow-heif is not installed, which reads them: pip install 'maskmill[heif]'"
        ) from error
    try:
        image: Any = pillow_heif.HeifImageFile(file)  # type: ignore[no-untyped-call]
    except PILLOW_ERRORS as error:
        raise damaged(name, error) from error
    check_size(name, image.height, image.width, max_pixels)
    num_others = image.n_frames - 1
    remarks = (f"holds {num_others} more than its main picture, which alone is labeled",) if num_others else ()
    return PillowFile(name, image, remarks)


def damaged(name: str, error: Exception) -> MediaError:
    """What is said of a picture that Pillow cannot read; an error that says it already stays as it is."""
    if isinstance(error, MediaError):
        return error
    reason = "its header is damaged" if isinstance(error, UnidentifiedImageError) else str(error)
    return MediaError(f"{name}: cannot be read as a picture ({reason}); check that the file is whole")


def decoded(values: Values, image: Image.Image, rotation: int, seconds: float | None = None) -> Decoded:
    """The values of an image, with what its file says of them."""
    kind = (image.format or "").lower()
    return Decoded(values, _DEMUXERS.get(kind, f"{kind}_pipe"), _CODECS.get(kind, kind), rotation, seconds)


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation of an image, 1 to 8. EXIF that cannot be read says nothing."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except PILLOW_ERRORS:
        return 1


def rotation_degrees(image: Image.Image) -> int:
    """How far an image is turned to be upright, counterclockwise."""
    return _ROTATIONS.get(orientation_of(image), 0)

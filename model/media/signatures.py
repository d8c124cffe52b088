"""What a file is, told from its bytes. Names are not asked, because bytes in tables have none and suffixes lie."""

from __future__ import annotations

import enum
import re
import struct
from typing import Any, NamedTuple

HEAD_BYTES = 64  # of a file, that tell what it is
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_JPEG_BYTES = 32 << 20  # a picture that is larger is no frame of a film
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd8\xff]")  # those that stand between or end the data of pixels


class Kind(enum.Enum):
    """Which reader reads a file."""

    FILM = "film"  # FFmpeg's, or nobody's
    PICTURE = "picture"  # one picture, by Pillow
    ANIMATION = "animation"  # WebP or AVIF: one or more pictures, by Pillow
    TIFF = "tiff"
    HEIF = "heif"


# Beginnings of files that no reader reads, and what people call them.
_REFUSED = (
    (b"8BPS", "a Photoshop document", "a PNG or TIFF file"),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture", "a PNG or TIFF file"),
    (b"\xff\x0a", "a JPEG XL picture", "a PNG or JPEG file"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture", "a PNG or JPEG file"),
    (b"%PDF", "a PDF document", "a PNG file of each page"),
    (b"II*\0\x10\0\0\0CR\x02\0", "a raw photo", "a JPEG or TIFF file"),  # of Canon: a TIFF file of previews
    (b"FUJIFILMCCD-RAW", "a raw photo", "a JPEG or TIFF file"),
    (b"PK\x03\x04", "a zip archive", "files in a folder or a tar"),
    (b"\x1f\x8b", "a gzip file", "the file itself"),
)
_HEIC_FILMS = (b"msf1", b"hevc", b"hevx")  # of which FFmpeg gives one picture


def refused(head: bytes) -> str:
    """For a file that is known and not read: what it is and what to convert it to. Empty for others."""
    if not head:
        return "is empty; make the file anew"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_FILMS and b"avif" not in head:
        return "is a HEIC film, which is not read; convert it to MP4"
    for magic, what, instead in _REFUSED:
        if head.startswith(magic):
            return f"is {what}, which is not read; convert it to {instead}"
    return ""


def kind_of(head: bytes) -> Kind:
    """Which reader reads a file that begins with these bytes. What nothing else claims is tried as a film."""
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return Kind.TIFF
    if head[4:8] == b"ftyp":
        return _kind_of_brands(head)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Kind.ANIMATION
    if head.startswith((b"\xff\xd8\xff", _PNG, b"BM", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")):
        return Kind.PICTURE
    if head[:1] == b"P" and head[1:2] in b"123456f" and head[2:3].isspace():
        return Kind.PICTURE
    return Kind.PICTURE if _is_tga(head) else Kind.FILM


def _kind_of_brands(head: bytes) -> Kind:
    """A file of ISO's family says in its brands what it is: a photo, an animation, or a video."""
    end = min(struct.unpack_from(">I", head)[0], len(head) - len(head) % 4)
    major, *compatible = [head[place : place + 4] for place in (8, *range(16, end, 4))]
    if major in (b"avif", b"avis") or (major in (b"mif1", b"msf1") and b"avif" in compatible):
        return Kind.ANIMATION
    return Kind.HEIF if major in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2") else Kind.FILM


def _is_tga(head: bytes) -> bool:
    """TGA has no signature, so the fields of its header must fit each other."""
    if len(head) < 18:
        return False
    _, has_palette, image_type, _, _, palette_bits, _, _, width, height, bits, descriptor = struct.unpack(
        "<BBBHHBHHHHBB", head[:18]
    )
    fits = {1: (8,), 9: (8,), 2: (16, 24, 32), 10: (16, 24, 32), 3: (8, 16), 11: (8, 16)}.get(image_type, ())
    palette = (palette_bits in (15, 16, 24, 32)) if image_type in (1, 9) else palette_bits == 0
    flags = has_palette == (image_type in (1, 9)) and descriptor < 64
    return bits in fits and palette and flags and width > 0 and height > 0


def is_film_of_pictures(head: bytes, file: Any) -> bool:
    """Whether a file that begins as one JPEG or PNG is a film: an animated PNG, or pictures that follow each other."""
    if head.startswith(b"\x89PNG"):
        return _is_png_film(file)
    return head.startswith(b"\xff\xd8") and _is_motion_jpeg(file)


def _is_png_film(file: Any) -> bool:
    """Whether a PNG has an `acTL` chunk, which stands before its pixels, or another PNG follows it."""
    file.seek(len(_PNG))
    while len(header := file.read(8)) == 8:
        if header[4:] == b"acTL":
            return True
        file.seek(struct.unpack(">I", header[:4])[0] + 4, 1)
        if header[4:] == b"IEND":
            return bool(file.read(len(_PNG)) == _PNG)
    return False


def _is_motion_jpeg(file: Any) -> bool:
    """Whether pictures of one size follow each other in a JPEG file, as in a film. Photos may hold another one, too.

    The second picture of a photo (a gain map, the other eye) has another size or is announced in the first one.
    """
    file.seek(0)
    data = file.read(_MOST_JPEG_BYTES)
    first = _jpeg_at(data, 0)
    second = None if first is None or first.announces_more else _jpeg_at(data, first.end)
    return first is not None and second is not None and first.frame_header == second.frame_header


class _Jpeg(NamedTuple):
    end: int
    frame_header: bytes  # bits, height, width and number of components
    announces_more: bool


def _jpeg_at(data: bytes, start: int) -> _Jpeg | None:
    """The JPEG that begins at a place, if one does and it ends within the data."""
    if not data.startswith(b"\xff\xd8\xff", start):
        return None
    frame_header, announces_more = b"", False
    place = start + 2
    while (marker := _JPEG_MARKER.search(data, place)) is not None:
        code, place = data[marker.start() + 1], marker.end()
        if code == 0xD9:
            return _Jpeg(place, frame_header, announces_more)
        (length,) = struct.unpack(">H", data[place : place + 2].ljust(2, b"\0"))
        segment = data[place + 2 : place + length]
        place += length
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            frame_header = segment[:6]
        announces_more |= code == 0xE2 and segment.startswith(b"MPF\0")
        announces_more |= code == 0xE1 and b"/hdr-gain-map/" in segment
    return None

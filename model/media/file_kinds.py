"""Opens a file for the reader of its kind, which its bytes tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from model.media.errors import MediaError
from model.media.picture_files import PictureFile, open_heif, open_with_pillow
from model.media.signatures import HEAD_BYTES, Kind, is_film_of_pictures, kind_of, refused
from model.media.sources import OpenFile
from model.media.watched_file import WatchedFile


def is_film(name: str, open_file: OpenFile) -> bool:
    """Whether FFmpeg is to read a file. Raises `MediaError` for a kind that is known and that nothing reads."""
    with closing(WatchedFile(name, open_file)) as watched:
        return _kind(name, watched.buffered()) is Kind.FILM


@contextmanager
def open_picture_file(name: str, open_file: OpenFile, max_pixels: int) -> Iterator[PictureFile | None]:
    """The pictures of a file until the context ends, each of so many pixels at most; `None` for a film.

    Raises `MediaError` for a file that cannot be read. Errors of storage pass through.
    """
    with closing(WatchedFile(name, open_file)) as watched:
        try:
            yield _pictures(name, watched.buffered(), max_pixels)
        except MediaError:
            watched.raise_failure()  # what looks like damage may be a file of which storage gave a part only
            raise
        watched.raise_failure()


def _kind(name: str, file: Any) -> Kind:
    head = file.read(HEAD_BYTES)
    if reason := refused(head):
        raise MediaError(f"{name}: {reason}")
    kind = kind_of(head)
    return Kind.FILM if kind is Kind.PICTURE and is_film_of_pictures(head, file) else kind


def _pictures(name: str, file: Any, max_pixels: int) -> PictureFile | None:
    kind = _kind(name, file)
    file.seek(0)
    if kind is Kind.FILM:
        return None
    if kind is Kind.TIFF:
        from model.media.tiff_files import TiffPictures  # tifffile takes half a second to import

        return TiffPictures(name, file, max_pixels)
    if kind is Kind.HEIF:
        return open_heif(name, file, max_pixels)
    return open_with_pillow(name, file, max_pixels, animated=kind is Kind.ANIMATION)

"""Which reader reads a video."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from model.media.errors import MediaError
from model.media.file_kinds import is_film, open_picture_file
from model.media.film_files import MAX_PIXELS
from model.media.films import FilmReader
from model.media.folders import FolderPictures
from model.media.picture_files import PictureFile
from model.media.picture_reader import PictureReader
from model.media.raw_frames import Reader
from model.media.sources import Media, OpenFile


def open_reader(media: Media, num_threads: int = 1, *, max_pixels: int = MAX_PIXELS) -> Reader:
    """The reader for a kind of media. A film is decoded by so many threads, pictures by one.

    `max_pixels`: of a frame. A larger one is refused at the header of its file, before memory is taken for it.
    Raises `MediaError` for a file that is gone, or of a kind that is known and that nothing reads.
    """
    if media.is_folder:
        folder: PictureFile = FolderPictures(media, max_pixels)
        return PictureReader(media.name, lambda: nullcontext(folder))
    name, open_file = media.name, media.files[0]
    if is_film(name, open_file):
        return FilmReader(name, open_file, num_threads, max_pixels=max_pixels)
    return PictureReader(name, partial(_open_again, name, open_file, max_pixels))


@contextmanager
def _open_again(name: str, open_file: OpenFile, max_pixels: int) -> Iterator[PictureFile]:
    with open_picture_file(name, open_file, max_pixels) as pictures:
        if pictures is None:
            raise MediaError(f"{name}: changed while it was read; run again with retry=failed")
        yield pictures

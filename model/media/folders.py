"""A folder of images as one file of pictures, of which each file is one."""

from __future__ import annotations

from contextlib import closing
from itertools import islice

from model.media.errors import MediaError
from model.media.file_kinds import open_picture_file
from model.media.file_names import stems_of_several
from model.media.films import FilmReader
from model.media.picture_files import Decoded
from model.media.sources import Media


class FolderPictures:
    """A `PictureFile` of the images of a folder, in the order of their names.

    A gap in their numbers is no missing picture. A file that holds several pictures is refused, because it has one
    place only.
    """

    has_times = False

    def __init__(self, media: Media, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._media = media
        self._file_names = media.file_names or tuple(f"image {place}" for place in range(len(media.files)))
        self.num_pictures = len(media.files)
        remark = stems_of_several(media.file_names)
        self.remarks: tuple[str, ...] = (remark,) if remark else ()

    def name_of(self, place: int) -> str:
        """See `PictureFile`."""
        return f"{self._media.name.rstrip('/')}/{self._file_names[place]}"

    def decode(self, place: int) -> Decoded:
        """See `PictureFile`."""
        name, open_file = self.name_of(place), self._media.files[place]
        with open_picture_file(name, open_file, self._max_pixels) as pictures:
            if pictures is not None:
                _check_single(name, pictures.num_pictures)
                return pictures.decode(0)
        film = FilmReader(name, open_file, max_pixels=self._max_pixels)
        info = film.info()
        with closing(film.read()) as frames:
            first, *others = islice(frames, 2)
            _check_single(name, 1 + len(others))
            return Decoded(first.picture.pixels(info.size_hw), info.format, info.codec, info.display.rotation_degrees)


def _check_single(name: str, num_pictures: int) -> None:
    if num_pictures != 1:
        raise MediaError(f"{name}: holds several pictures, and a file of a folder is one frame; give it as a video")

"""A folder of images as a video: which files are its frames, in which order, and their reader."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import replace

from model.media.errors import MediaError
from model.media.films import FilmReader
from model.media.formats import IMAGE_SUFFIXES
from model.media.raw_frames import Picture, RawFrame, VideoInfo
from model.media.sources import Media


def image_names(names: Iterable[str]) -> list[str]:
    """Those files of a folder that are its frames, in natural order. A name that begins with a dot is none."""
    shown = [name for name in names if not name.rpartition("/")[2].startswith(".")]
    return sorted((name for name in shown if name.lower().endswith(IMAGE_SUFFIXES)), key=natural_order)


def natural_order(name: str) -> list[tuple[int, str]]:
    """A sorting key that puts `frame9` before `frame10`."""
    pieces = re.findall(r"\d+|\D+", name)
    return [(int(piece), piece) if piece.isdecimal() else (-1, piece) for piece in pieces]


class FolderReader:
    """A folder of images, one frame each, in order of their names. A gap in their numbers is no missing frame."""

    def __init__(self, media: Media) -> None:
        self._images = [FilmReader(media.name, file) for file in media.files]
        self._name = media.name
        self.num_damaged = 0

    def info(self) -> VideoInfo:
        """What the first image that can be decoded says, without times."""
        for image in self._images:
            try:
                info = image.info()
            except MediaError:
                continue
            return replace(info, fps=None, duration_seconds=None, num_frames_claimed=len(self._images), has_times=False)
        raise MediaError(f"{self._name}: none of the {len(self._images)} images of the folder could be decoded")

    def read(self, seek_seconds: float | None = None) -> Generator[RawFrame, None, None]:
        """See `Reader`. The time of an image is its place in the folder: 0, 1, 2 and so on."""
        start = max(0, int(seek_seconds or 0))
        num_damaged = 0
        for place in range(start, len(self._images)):
            picture = self._picture(place)
            if picture is not None:
                yield RawFrame(float(place), True, picture)
            else:
                num_damaged += 1
                self.num_damaged = max(self.num_damaged, num_damaged)

    def _picture(self, place: int) -> Picture | None:
        with closing(self._images[place].read()) as frames:
            try:
                return next(frames).picture
            except (MediaError, StopIteration):
                return None

"""Which reader reads a video."""

from __future__ import annotations

from model.media.films import FilmReader
from model.media.folders import FolderReader
from model.media.raw_frames import Reader
from model.media.sources import Media


def open_reader(media: Media, num_threads: int = 1) -> Reader:
    """The reader for a kind of media. A video is decoded by so many threads, the images of a folder by one."""
    return FolderReader(media) if media.is_folder else FilmReader(media.name, media.files[0], num_threads)

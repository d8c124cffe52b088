"""A folder of images as a video: each file is one frame, and keeps its place whether it can be read or not."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

from model.media.errors import MediaError
from model.media.file_names import stems_of_several
from model.media.films import FilmReader
from model.media.raw_frames import Picture, RawFrame, Unreadable, VideoInfo
from model.media.sources import Media

_MOST_NAMED = 5  # files in one message


class FolderReader:
    """A folder of images, one frame each, in the order of their names. A gap in their numbers is no missing frame."""

    def __init__(self, media: Media) -> None:
        self._name = media.name
        self._files = media.file_names or tuple(f"image {place}" for place in range(len(media.files)))
        self._images = [FilmReader(self._name_of(place), open_file) for place, open_file in enumerate(media.files)]
        self._twins = stems_of_several(media.file_names)
        self._size_hw: tuple[int, int] | None = None
        self._faults: dict[int, str] = {}
        self._sizes_hw: dict[int, tuple[int, int]] = {}

    def remarks(self) -> tuple[str, ...]:
        """See `Reader`: images that cannot be read, of another size, and with the name of another."""
        return tuple(remark for remark in (self._unread(), self._scaled(), self._twins) if remark)

    def info(self) -> VideoInfo:
        """What the first image that can be read says, without times."""
        fault = ""
        for image in self._images:
            try:
                info = image.info()
            except MediaError as error:
                fault = fault or str(error)
                continue
            self._size_hw = info.size_hw
            claimed = len(self._images)
            return replace(info, fps=None, duration_seconds=None, num_frames_claimed=claimed, start_seconds=None)
        raise MediaError(f"{self._name}: none of the {len(self._images)} images can be read; the first: {fault}")

    def read(self, seek_seconds: float | None = None) -> Generator[RawFrame, None, None]:
        """See `Reader`. The time of an image is its place in the folder: 0, 1, 2 and so on."""
        for place in range(max(0, int(seek_seconds or 0)), len(self._images)):
            try:
                picture = self._picture(place)
            except MediaError as error:
                fault = f"{self._files[place]} {str(error).removeprefix(self._name_of(place) + ': ')}"
                self._faults[place] = fault
                yield RawFrame(float(place), True, Unreadable(f"{self._name}: {fault}"), fault)
                continue
            if picture.size_hw != self._size_hw:
                self._sizes_hw[place] = picture.size_hw
            yield RawFrame(float(place), True, picture)

    def _name_of(self, place: int) -> str:
        return f"{self._name.rstrip('/')}/{self._files[place]}"

    def _picture(self, place: int) -> Picture:
        image = self._images[place]
        with closing(image.read()) as frames:
            first = next(frames, None)
        if first is None:
            raise MediaError("holds no picture that can be read; check that the file is whole")
        return first.picture

    def _unread(self) -> str:
        faults = sorted(self._faults.items())
        if not faults:
            return ""
        named = "; ".join(f"frame {place}: {fault}" for place, fault in faults[:_MOST_NAMED])
        more = f"; and {len(faults) - _MOST_NAMED} more" if len(faults) > _MOST_NAMED else ""
        return f"no row for {_images(len(faults))} that cannot be read ({named}{more})"

    def _scaled(self) -> str:
        sizes = sorted(self._sizes_hw.items())
        if not sizes or self._size_hw is None:
            return ""
        place, (height, width) = sizes[0]
        return (
            f"{_images(len(sizes))} of another size than {self._size_hw[1]} x {self._size_hw[0]} scaled to it (frame "
            f"{place}: {self._files[place]} is {width} x {height}); prompts and masks are in pixels of the scaled ones"
        )


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"

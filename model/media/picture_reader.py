"""The reader of pictures: a photo, an animation, a stack, or a folder of images, with one brightness for all."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager

from model.media.errors import MediaError
from model.media.levels import Levels, Values, levels_of, sample_places
from model.media.picture_files import Decoded, PictureFile
from model.media.raw_frames import Display, RawFrame, Unreadable, VideoInfo
from model.media.stills import StillPicture

_MOST_NAMED = 5  # pictures in one message


class PictureReader:
    """Pictures as the frames of a video, in their order. Only those of an animation have times.

    Each picture keeps its place, whether it can be read or not.

    Args:
        name: for messages.
        open_pictures: opens the file, or the folder, anew.
    """

    def __init__(self, name: str, open_pictures: Callable[[], AbstractContextManager[PictureFile]]) -> None:
        self._name = name
        self._open = open_pictures
        self._levels: Levels | None = None
        self._size_hw: tuple[int, int] | None = None
        self._remarks: tuple[str, ...] = ()
        self._faults: dict[int, str] = {}
        self._scaled: dict[int, str] = {}

    def remarks(self) -> tuple[str, ...]:
        """See `Reader`: pictures that cannot be read, or are of another size, and what else a file holds."""
        return tuple(remark for remark in (self._unread_remark(), self._scaled_remark(), *self._remarks) if remark)

    def info(self) -> VideoInfo:
        """What the first picture says that can be read."""
        with self._open() as pictures:
            self._remarks = pictures.remarks
            first = self._first(pictures)
            height, width = first.values.shape[:2]
            self._size_hw = (height, width)
            return VideoInfo(
                display=Display((height, width), first.rotation_degrees),
                fps=None,
                duration_seconds=None,
                num_frames_claimed=pictures.num_pictures,
                start_seconds=first.seconds,
                format=first.format,
                codec=first.codec,
            )

    def listed(self, seek_seconds: float | None = None) -> Generator[RawFrame, None, None]:
        """See `Reader`: none, because only reading a picture tells whether it can be read."""
        yield from ()

    def read(self, seek_seconds: float | None = None) -> Generator[RawFrame, None, None]:
        """See `Reader`. Pictures without times count 0, 1, 2 and so on. An animation is always read from its start."""
        with self._open() as pictures:
            start = 0 if pictures.has_times else max(0, int(seek_seconds or 0))
            for place in range(start, pictures.num_pictures):
                is_key = place == 0 or not pictures.has_times
                count = None if pictures.has_times else float(place)
                try:
                    decoded = pictures.decode(place)
                except MediaError as error:
                    reason = str(error).removeprefix(f"{pictures.name_of(place)}: ")
                    self._faults[place] = f"{self._label(pictures, place)} {reason}".strip()
                    yield RawFrame(count, is_key, Unreadable(str(error)), self._faults[place])
                    continue
                picture = StillPicture(decoded.values, self._levels_for(decoded.values, pictures))
                if self._size_hw not in (None, picture.size_hw) and self._label(pictures, place):
                    height, width = picture.size_hw
                    self._scaled[place] = f"{self._label(pictures, place)} is {width} × {height}"
                yield RawFrame(count if decoded.seconds is None else decoded.seconds, is_key, picture)

    def _first(self, pictures: PictureFile) -> Decoded:
        """The first picture that can be read."""
        fault: MediaError | None = None
        for place in range(pictures.num_pictures):
            try:
                return pictures.decode(place)
            except MediaError as error:
                fault = fault or error
        if fault is not None and pictures.num_pictures == 1:
            raise fault
        raise MediaError(f"{self._name}: none of the {pictures.num_pictures} images can be read; the first: {fault}")

    def _levels_for(self, values: Values, pictures: PictureFile) -> Levels:
        """The levels of the video, told when the first deep picture is met, from others too."""
        if values.dtype == "uint8" or values.dtype == "bool":
            return Levels()
        if self._levels is None:
            self._levels = levels_of(self._name, _samples(pictures))
        return self._levels

    def _label(self, pictures: PictureFile, place: int) -> str:
        """The name of a picture's file in the folder; empty for the pictures of one file."""
        return pictures.name_of(place).removeprefix(self._name).lstrip("/")

    def _unread_remark(self) -> str:
        faults = sorted(self._faults.items())
        if not faults:
            return ""
        named = "; ".join(f"frame {place}: {fault}" for place, fault in faults[:_MOST_NAMED])
        more = f"; and {len(faults) - _MOST_NAMED} more" if len(faults) > _MOST_NAMED else ""
        return f"no row for {_images(len(faults))} that cannot be read ({named}{more})"

    def _scaled_remark(self) -> str:
        if not self._scaled or self._size_hw is None:
            return ""
        place, what = min(self._scaled.items())
        height, width = self._size_hw
        return (
            f"{_images(len(self._scaled))} of another size than {width} × {height} scaled to it (frame {place}: "
            f"{what}); prompts and masks are in pixels of the scaled ones"
        )


def _samples(pictures: PictureFile) -> Iterator[Values]:
    """Values of pictures that are spread over a file or folder, one after the other, to keep one in memory."""
    for place in sample_places(pictures.num_pictures):
        try:
            yield pictures.decode(place).values
        except MediaError:
            continue


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"

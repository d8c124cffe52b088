"""The frames of a labeled video, read again from its file: the very ones that its rows are of.

A row of `masks` names its frame by its number, and by its time in the file where the file has times. Numbers count from
the start of the labeled range, which the tables do not tell, and times decide where the two do not agree. Where they
do, numbers decide: several frames may have one time, as those of 2000 a second in a file that counts milliseconds.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from model import Media, MediaError
from pipeline.arrays import UInt8Array
from pipeline.errors import OtherFile, StorageError, describe
from pipeline.notebook.file_places import places_of
from pipeline.records import FramePosition, VideoSource, WorkItem
from pipeline.redact import redact_uri
from pipeline.storage.faults import http_status, is_from_storage
from pipeline.storage.uris import StorageOptions
from pipeline.video.frame_digest import frame_digest
from pipeline.video.frames import DecodeOptions, VideoFrames
from pipeline.video.media import open_media
from pipeline.video.selection import FrameSelection, last_positions

_SAME_SECONDS = 1e-3
_AROUND_BEGIN = 8  # frames of a range, among which the one is that is meant by its begin
_WALKING_THREADS = min(4, os.cpu_count() or 1)  # somebody waits for the first frame


@dataclass(frozen=True)
class SourceFile:
    """Where a labeled video lies now. `root` is a folder for videos that were moved; their paths end as before.

    `row` is the video's row in `videos`.
    """

    row: Mapping[str, Any]
    root: str | None = None
    storage_options: StorageOptions | None = None

    def frames(self, positions: Sequence[FramePosition]) -> Iterator[tuple[FramePosition, UInt8Array]]:
        """The frames at these positions, uint8 RGB `[H, W, 3]`, upright as its masks are; in the order of the file.

        Raises:
            MediaError: the video's bytes were in a table, or its file is gone or cannot be read.
            OtherFile: another file lies there: its size in bytes or in pixels, its number of frames, their times, or
                pixels of the first or the last one differ.
            StorageError: storage does not answer.
        """
        if self.row["uri"] is None:
            raise MediaError(f"video {self.row['video_id']!r}: its bytes were in the table of videos, it has no file")
        with _told_by_the_store(), self._opened() as media:
            yield from self._frames_of(media, positions)

    def frames_apart(self, positions: Sequence[FramePosition]) -> Iterator[tuple[FramePosition, UInt8Array]]:
        """The same for a few frames far from each other: where they have times, those between are not decoded.

        Raises like `frames`.
        """
        found = []
        try:
            with _told_by_the_store(), self._opened() as media:
                found = [(position, self._frame_at(media, position)) for position in positions]
        except MediaError:
            pass  # a file that is gone, or cannot be entered in its middle
        yield from found or self.frames(positions)

    def walk(self, positions: Sequence[FramePosition]) -> Iterator[tuple[FramePosition, UInt8Array]]:
        """The same for frames in a row, ascending, each decoded when it is taken or shortly before.

        Where frames have times, the file is entered at the first of them, and nothing after the last one that is taken
        need exist. Raises like `frames`.
        """
        is_begun = False
        try:
            with _told_by_the_store(), self._opened() as media:
                for found in self._walked(media, positions):
                    is_begun = True
                    yield found
                return
        except MediaError:
            if is_begun:
                raise
        yield from self.frames(positions)  # the file is gone, or cannot be entered in its middle

    def _walked(self, media: Media, positions: Sequence[FramePosition]) -> Iterator[tuple[FramePosition, UInt8Array]]:
        self._check_bytes(media)
        first, waiting = positions[0], deque(positions)
        options = DecodeOptions(num_threads=_WALKING_THREADS)
        with VideoFrames(media, FrameSelection(start_seconds=_time_of(media, first)), options=options) as frames:
            begin = self._label_at_begin(media, frames, first)
            # The number of the range's first frame, as the tables count.
            before = (first.frame_index or 0) - (frames.position(begin).frame_index or 0)
            for frame in frames.forward(begin):
                here = frames.position(frame.index)
                if _is_before(here, waiting[0], before):
                    continue
                if not _is_same(here, waiting[0]):
                    raise self._other_times(media, waiting[0])
                yield waiting[0], self._checked(media, waiting[0], frame.pixels_HW3.numpy())
                waiting.popleft()
                if not waiting:
                    return
        raise self._other_times(media, waiting[0])

    def _frame_at(self, media: Media, position: FramePosition) -> UInt8Array:
        """The frame at a time, as the first one of a range. Raises `MediaError` where there is no such range."""
        self._check_bytes(media)
        with VideoFrames(media, FrameSelection(start_seconds=_time_of(media, position))) as frames:
            label = self._label_at_begin(media, frames, position)
            frame = next(frames.at([label]))
            return self._checked(media, position, frame.pixels_HW3.numpy())

    def _label_at_begin(self, media: Media, frames: VideoFrames, position: FramePosition) -> int:
        """The label of the frame at a time, of frames that begin there. Raises `MediaError` if several have this time.

        A range begins with the frame that is nearest to its bound, so that a few may come before.
        """
        self._check_size(media, frames.size_hw)
        self._check_length(media, frames.info.num_frames_claimed)
        wanted = position.pts_seconds
        times = [frames.position(label).pts_seconds for label in range(frames.length_up_to(_AROUND_BEGIN))]
        found = [label for label, seconds in enumerate(times) if seconds == wanted]
        if not found:  # a copy in another container has its times rounded otherwise
            found = [label for label in range(len(times)) if _is_same(frames.position(label), position)]
        if not found:
            raise self._other_times(media, position)
        if len(found) > 1:
            raise MediaError(f"{media.name}: several of its frames are at {wanted:.6g} s")
        return found[0]

    def every_frame(
        self, known: FramePosition, last: FramePosition, stride: int = 1, fps: float | None = None
    ) -> list[FramePosition]:
        """The frames up to `last` that a job with this stride or rate labels, also those of which it has no masks.

        `known` and `last` are frames that it has labeled, with number and time; numbers count from the start of the
        labeled range, which `known` tells. Films are counted rather than decoded. Raises like `frames`.
        """
        with _told_by_the_store(), self._opened() as media:
            self._check_bytes(media)
            begin = self._begin(media, known)
            selection = FrameSelection(stride, fps, start_seconds=begin)
            end = FramePosition(last.frame_index, None)
            with VideoFrames(media, selection, prompted=[end]) as frames:
                self._check_size(media, frames.size_hw)
                label = frames.locate(end)
                if label is None or not _is_same(frames.position(label), last):
                    raise self._other_times(media, last)
                return [frames.position(one) for one in range(label + 1)]

    def num_frames_before(self, known: FramePosition) -> int:
        """How many frames of the file lie before the labeled range, of which `known` is a frame with number and time.

        Films are counted rather than decoded. Raises like `frames`.
        """
        with _told_by_the_store(), self._opened() as media:
            self._check_bytes(media)
            return self._before(media, known)[0]

    def _begin(self, media: Media, known: FramePosition) -> float | None:
        """The time at which the labeled range begins; None if it is the begin of the file."""
        return self._before(media, known)[1]

    def _before(self, media: Media, known: FramePosition) -> tuple[int, float | None]:
        """How many frames lie before the labeled range, and the time at which it begins: None if that is the file's."""
        if known.pts_seconds is None or known.frame_index is None:
            return 0, None
        wanted = FramePosition(None, known.pts_seconds)
        with VideoFrames(media, prompted=[wanted]) as frames:
            self._check_size(media, frames.size_hw)
            self._check_length(media, frames.info.num_frames_claimed)
            place = frames.locate(wanted)
            if place is None or place < known.frame_index:
                raise self._other_times(media, known)
            num_before = place - known.frame_index
            return num_before, frames.position(num_before).pts_seconds if num_before else None

    def image_names(self) -> tuple[str, ...]:
        """The files of a folder of images, in the order of the frames; none for a video in one file.

        Raises like `frames`.
        """
        with _told_by_the_store(), self._opened() as media:
            return media.file_names if media.is_folder else ()

    @contextmanager
    def _opened(self) -> Iterator[Media]:
        """The file, at the first place that has one. What goes wrong with that one is not passed over."""
        places = places_of(str(self.row["uri"]), self.root)
        failures: list[MediaError] = []
        with ExitStack() as held:
            for uri in places:
                item = WorkItem(self.row["video_id"], VideoSource(uri), (), "")
                try:
                    media = held.enter_context(open_media(item, self.storage_options))
                    break
                except MediaError as error:
                    if not _may_lie_elsewhere(error):
                        raise
                    failures.append(error)
            else:
                refused = [error for error in failures if not _is_missing(error)]
                raise refused[0] if refused else self._nowhere(failures[0], places)
            yield media

    def _nowhere(self, error: MediaError, places: Sequence[str]) -> MediaError:
        if self.root is None:
            return MediaError(f"{error}. Where the video was moved, name its folder with videos_root=")
        return MediaError(
            f"video {self.row['video_id']!r} is not below videos_root={redact_uri(self.root)}: there is neither "
            f"{redact_uri(places[-1])} nor {redact_uri(places[0])}"
        )

    def _frames_of(
        self, media: Media, positions: Sequence[FramePosition]
    ) -> Iterator[tuple[FramePosition, UInt8Array]]:
        self._check_bytes(media)
        # Each prompted position is decoded to be sure of it, which takes long for many; so only the last ones are.
        numbers = [FramePosition(one.frame_index, None) for one in positions if one.frame_index is not None]
        times = [FramePosition(None, one.pts_seconds) for one in positions if one.pts_seconds is not None]
        with VideoFrames(media, prompted=last_positions([*numbers, *times])) as frames:
            self._check_size(media, frames.size_hw)
            self._check_length(media, frames.info.num_frames_claimed)
            by_label = self._by_number(frames, positions) or {frames.find(_by_time(one)): one for one in positions}
            if None in by_label:
                raise self._other_times(media, by_label[None])
            if len(by_label) < len(positions):
                raise self._other(media, "its frames have other times")
            for frame in frames.at(sorted(label for label in by_label if label is not None)):
                position = by_label[frame.index]
                pts_seconds = frames.position(frame.index).pts_seconds
                wanted = position.pts_seconds
                is_known = wanted is not None and pts_seconds is not None
                if is_known and abs((wanted or 0.0) - (pts_seconds or 0.0)) > _SAME_SECONDS:
                    raise self._other_times(media, position)
                yield position, self._checked(media, position, frame.pixels_HW3.numpy())

    def _by_number(
        self, frames: VideoFrames, positions: Sequence[FramePosition]
    ) -> dict[int | None, FramePosition] | None:
        """Labels of the frames with these numbers, if they lie at the times of these positions; else None.

        The labeled range mostly begins with the file, and else with a frame by which the first position has its time.
        """
        first = positions[0].frame_index if positions else None
        at_time = None if first is None else frames.find(_by_time(positions[0]))
        if first is None or at_time is None:
            return None
        begin = self._noted("first")
        known = positions if begin.frame_index is None else [begin, *positions]
        num_before = max(0, (frames.position(at_time).frame_index or 0) - first)
        for before in (0, *range(num_before, num_before + _AROUND_BEGIN)):
            labels = [_with_number(frames, (one.frame_index or 0) + before, one.pts_seconds) for one in known]
            if None not in labels:
                return dict(zip(labels[len(known) - len(positions) :], positions, strict=True))
        return None

    def _noted(self, end: str) -> FramePosition:
        """The first or the last frame with masks, as the job noted it."""
        return FramePosition(self.row.get(f"{end}_frame_index"), self.row.get(f"{end}_pts_seconds"))

    def _checked(self, media: Media, position: FramePosition, pixels_HW3: UInt8Array) -> UInt8Array:
        """The pixels of a frame; the first and the last one are held against what the job noted of them.

        Files of the same size in bytes are taken as the same, because another processor or another version of a decoder
        may give other pixels. Folders of images have no size.
        """
        if self.row["source_bytes"] and media.num_bytes:
            return pixels_HW3
        for end in ("first", "last"):
            noted = self._noted(end)
            digest = self.row.get(f"{end}_frame_sha256")
            has_other_number = None not in (noted.frame_index, position.frame_index) and (
                noted.frame_index != position.frame_index
            )
            is_timed = (noted.pts_seconds is None) == (position.pts_seconds is None)
            is_it = is_timed and not has_other_number and _is_same(noted, position)
            if digest and is_it and frame_digest(pixels_HW3) != digest:
                raise self._other(media, f"its frame {_named(position)} has other pixels")
        return pixels_HW3

    def _other_times(self, media: Media, position: FramePosition) -> OtherFile:
        return self._other(media, f"it has no frame {_named(position)}")

    def _other(self, media: Media, why: str) -> OtherFile:
        return OtherFile(
            f"{media.name}: is another file than the one that was labeled: {why}; label the video again, or name the "
            "folder of the old file with videos_root="
        )

    def _check_bytes(self, media: Media) -> None:
        labeled, found = self.row["source_bytes"], media.num_bytes
        if labeled and found and labeled != found:
            raise self._other(media, f"{found} bytes, not {labeled}")

    def _check_size(self, media: Media, size_hw: tuple[int, int]) -> None:
        labeled = (self.row["height"], self.row["width"])
        if None not in labeled and size_hw != labeled:
            raise self._other(media, f"{size_hw[1]} x {size_hw[0]} pixels, not {labeled[1]} x {labeled[0]}")

    def _check_length(self, media: Media, num_frames: int | None) -> None:
        labeled = self.row["num_frames_expected"]
        if None not in (labeled, num_frames) and labeled != num_frames:
            raise self._other(media, f"{num_frames} frames, not {labeled}")


@contextmanager
def _told_by_the_store() -> Iterator[None]:
    """Errors of a store and its client, as of one without credentials, become a `StorageError`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MediaError | OtherFile | StorageError) or not is_from_storage(error):
            raise
        raise StorageError(describe(error)) from error


def _is_same(found: FramePosition, wanted: FramePosition) -> bool:
    if None in (found.pts_seconds, wanted.pts_seconds):
        return found.frame_index == wanted.frame_index
    return abs((found.pts_seconds or 0.0) - (wanted.pts_seconds or 0.0)) <= _SAME_SECONDS


def _is_before(here: FramePosition, wanted: FramePosition, num_before: int) -> bool:
    """Whether a frame, by its number behind `num_before` others, comes before a wanted one; by its time without one."""
    if wanted.frame_index is not None:
        return num_before + (here.frame_index or 0) < wanted.frame_index
    return (here.pts_seconds or 0.0) < (wanted.pts_seconds or 0.0) - _SAME_SECONDS


def _named(position: FramePosition) -> str:
    pts = position.pts_seconds
    return f"at {pts:.6g} s" if pts is not None else f"{position.frame_index}"


def _with_number(frames: VideoFrames, number: int, seconds: float | None) -> int | None:
    """The label of the frame with this number of the file; None if there is none at this time, or nobody knows yet."""
    label = frames.find(FramePosition(number, None))
    return label if label is not None and frames.position(label).pts_seconds == seconds else None


def _by_time(position: FramePosition) -> FramePosition:
    """The same by its time alone, or by its number where it has no time."""
    return position if position.pts_seconds is None else FramePosition(None, position.pts_seconds)


def _time_of(media: Media, position: FramePosition) -> float:
    if position.pts_seconds is None:
        raise MediaError(f"{media.name}: its frames have no times")
    return position.pts_seconds


def _may_lie_elsewhere(error: MediaError) -> bool:
    """Whether a place has no file, or may not be asked: S3 says so of missing objects where listing is not allowed."""
    return _is_missing(error) or isinstance(error.__cause__, PermissionError) or _status(error) == 403


def _is_missing(error: MediaError) -> bool:
    return isinstance(error.__cause__, FileNotFoundError | NotADirectoryError) or _status(error) == 404


def _status(error: MediaError) -> int | None:
    return None if error.__cause__ is None else http_status(error.__cause__)

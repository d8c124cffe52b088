"""The frames of one video for a session: selected, turned upright, decoded ahead in a thread, walked both ways.

Only a few frames are in memory at a time, whatever the length of the video. Forward and backward frames are equal bit
for bit: both come from decoding forward. Walking backward decodes a stretch from a key frame on, spools it to local
disk, and hands it out from its end; a video with a single key frame and more frames than the spool's budget holds is
decoded again for each stretch.

Legend: H, W pixels of the video as displayed; frames are uint8 RGB `[H, W, 3]`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, dropwhile
from pathlib import Path

import torch

from model import Frame
from pipeline.arrays import UInt8Array
from pipeline.errors import MediaError
from pipeline.records import FramePosition
from pipeline.video.frame_spool import FrameSpool
from pipeline.video.media import Media
from pipeline.video.prefetch import DecodeAhead
from pipeline.video.readers import RawFrame, RgbConverter, VideoInfo, open_reader
from pipeline.video.selection import FrameIndex, FrameSelection, InconsistentFrames

NumberedFrames = Generator[tuple[int, RawFrame], None, None]
Transform = Callable[[torch.Tensor], torch.Tensor]

_LOOK_AHEAD_FRAMES = 16  # sessions ask whether a video has this many labelled frames
_MIN_SKIPPED_FRAMES = 16  # fewer are decoded sooner than the file is opened again
_DECODED_FROM_START = {"mpeg"}  # formats (MPEG-PS) whose frames have other times where decoding begins elsewhere
_BACKWARD_STRETCH_FRAMES = 64  # labelled frames between two key frames that are worth a new start of the decoder


@dataclass(frozen=True)
class DecodeOptions:
    """Bounds of one video: bytes of frames decoded ahead, bytes and folder of the backward spool."""

    ahead_bytes: int = 48 << 20
    spool_bytes: int = 4 << 30
    spool_folder: Path | None = None


class VideoFrames:
    """A `FrameSource` over a video file, an image, a GIF or a folder of images. Indexes are labels (see `selection`).

    Args:
        media: the video's bytes, from `open_media`; they must stay open while frames are read.
        selection: which frames are labelled.
        prompted: positions of prompts, whose frames are labelled too. They are looked up at once, which decodes as
            far as the last of them.
        transform: applied to each frame in the helper thread, for instance resizing to the model's input.
        options: bounds on memory and disk.

    Raises `MediaError` for a file that is no video, or has no frame in the selected range; errors of storage pass.
    """

    def __init__(
        self,
        media: Media,
        selection: FrameSelection | None = None,
        *,
        prompted: Sequence[FramePosition] = (),
        transform: Transform | None = None,
        options: DecodeOptions | None = None,
    ) -> None:
        self._name = media.name
        self._selection = selection or FrameSelection()
        self._options = options or DecodeOptions()
        self._transform = transform
        self._reader = open_reader(media)
        self._index = FrameIndex(self._selection)
        self._running: weakref.WeakSet[DecodeAhead[Frame]] = weakref.WeakSet()
        self._prepared: dict[int | tuple[int, ...], DecodeAhead[Frame]] = {}
        self.info: VideoInfo = self._reader.info()
        self._check_times(media.is_folder)
        self._can_seek = self.info.format not in _DECODED_FROM_START
        if not self._can_seek:
            self._index.forbid_seeking()
        # A time means nothing where the file has none; such a prompt is nowhere.
        wanted = [one for one in prompted if one.frame_index is not None or self.info.has_times]
        last = _last_positions(wanted)
        self._scan(
            lambda index: index.num_labelled >= _LOOK_AHEAD_FRAMES and all(index.covers(position) for position in last)
        )
        if not self._index.num_known:
            raise MediaError(f"{self._name}: has no frame between start_seconds and end_seconds")
        self._found: dict[FramePosition, int | None] = dict.fromkeys(prompted)
        self._found.update((position, self._index.find(position)) for position in wanted)
        self._index.set_prompted(frame for frame in self._found.values() if frame is not None)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the video in pixels, as displayed."""
        return self.info.size_hw

    @property
    def num_frames(self) -> int | None:
        """Number of labelled frames, `None` until the end of the video has been seen."""
        return self._index.num_labelled if self._index.complete else None

    @property
    def num_decoded(self) -> int:
        """Frames of the range met so far, labelled or not."""
        return self._index.num_known

    @property
    def num_damaged(self) -> int:
        """Damaged frames or packets that were left out, by the worst pass so far."""
        return self._reader.num_damaged

    def length_up_to(self, limit: int) -> int:
        """`min(number of labelled frames, limit)`, exact, whatever the container claims."""
        self._scan(lambda index: index.num_labelled >= limit)
        return min(self._index.num_labelled, limit)

    def locate(self, position: FramePosition) -> int | None:
        """Label of one of the `prompted` positions; `None` beyond the range, or for a time where the file has none."""
        frame = self._found[position]
        return None if frame is None else self._index.label_of(frame)

    def position(self, index: int) -> FramePosition:
        """What a labelled frame, which has been met already, is called in the tables."""
        frame = self._index.frame_of(index)
        return FramePosition(frame, self._index.pts_of(frame) if self.info.has_times else None)

    def prepare(self, prompted: Sequence[int], start: int) -> None:
        """Start decoding what will be asked for first: `at(prompted)` and `forward(start)`."""
        self._prepared[tuple(prompted)] = self._ahead(self._at(prompted))
        self._prepared[start] = self._ahead(self._labelled(start))

    def forward(self, start: int) -> Iterator[Frame]:
        """Labelled frames `start`, `start + 1`, … to the end."""
        return self._prepared.pop(start, None) or self._ahead(self._labelled(start))

    def backward(self, end: int) -> Iterator[Frame]:
        """Labelled frames `end - 1`, `end - 2`, … 0. Raises `ValueError` if the video has fewer than `end`."""
        if self.length_up_to(end) < end:
            raise ValueError(f"{self._name}: has {self.num_frames} labelled frames, so none before {end}")
        return self._ahead(self._backward(end))

    def at(self, indexes: Sequence[int]) -> Iterator[Frame]:
        """The labelled frames of these indexes, ascending and each once; those beyond the end are left out."""
        labels = tuple(sorted(set(indexes)))
        return self._prepared.pop(labels, None) or self._ahead(self._at(labels))

    def close(self) -> None:
        """Stop the helper threads and close their files; iterators under way end."""
        for running in list(self._running):
            running.close()

    def __enter__(self) -> VideoFrames:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _check_times(self, is_folder: bool) -> None:
        if self.info.has_times:
            return
        if self._selection.start_seconds is not None or self._selection.end_seconds is not None:
            raise MediaError(f"{self._name}: has no times; leave start_seconds and end_seconds out")
        if self._selection.fps is not None and is_folder:
            raise MediaError(f"{self._name}: has no times; give frames.stride instead of frames.fps")

    def _ahead(self, frames: Iterator[Frame]) -> DecodeAhead[Frame]:
        height, width = self.size_hw
        max_frames = max(2, min(16, self._options.ahead_bytes // (height * width * 3)))
        running = DecodeAhead(frames, max_frames)
        self._running.add(running)
        return running

    def _scan(self, enough: Callable[[FrameIndex], bool]) -> None:
        """Decode on, without looking at the pictures, until enough is known or the range ends."""
        if self._index.complete or enough(self._index):
            return
        with closing(self._frames_from(max(0, self._index.num_known - 1))) as frames:
            for _ in frames:
                if enough(self._index):
                    return

    def _labelled(self, start: int) -> Generator[Frame, None, None]:
        known = self._index.num_labelled
        first = self._index.frame_of(min(start, known - 1))
        convert = self._converter()
        with closing(self._frames_from(first)) as frames:
            for frame_index, raw in frames:
                label = self._index.label_of(frame_index)
                if label is not None and label >= start:
                    yield convert(label, raw)

    def _at(self, labels: Sequence[int]) -> Iterator[Frame]:
        if labels and labels[0] < 0:
            raise ValueError(f"{self._name}: frame {labels[0]} is before the first one")
        done = 0
        convert = self._converter()
        while done < len(labels):
            known = self._index.num_labelled
            with closing(self._frames_from(self._index.frame_of(min(labels[done], known - 1)))) as frames:
                for frame_index, raw in frames:
                    if self._index.label_of(frame_index) != labels[done]:
                        continue
                    yield convert(labels[done], raw)
                    done += 1
                    if done == len(labels) or self._is_worth_seeking(frame_index, labels[done]):
                        break
                else:
                    return

    def _is_worth_seeking(self, frame_index: int, label: int) -> bool:
        """True when there is a known key frame well between here and a label."""
        if label >= self._index.num_labelled:
            return False
        key = self._index.key_before(self._index.frame_of(label))
        return key is not None and key > frame_index + _MIN_SKIPPED_FRAMES

    def _backward(self, end: int) -> Iterator[Frame]:
        while end > 0:
            wanted = self._index.frame_of(max(0, end - _BACKWARD_STRETCH_FRAMES))
            first = self._index.first_label_from(self._index.key_before(wanted) or 0)
            with closing(FrameSpool(self._options.spool_bytes, self._options.spool_folder)) as spool:
                with closing(self._labelled(first)) as frames:
                    for frame in frames:
                        if frame.index >= end:
                            break
                        spool.put(frame.index, frame.pixels_HW3.numpy())
                while (kept := spool.pop()) is not None:
                    end, pixels = kept
                    yield Frame(end, torch.from_numpy(pixels))

    def _converter(self) -> Callable[[int, RawFrame], Frame]:
        rgb = RgbConverter(self._name, self.size_hw)

        def convert(label: int, raw: RawFrame) -> Frame:
            pixels: UInt8Array = rgb.pixels(raw.picture)
            tensor = torch.from_numpy(pixels)
            return Frame(label, tensor if self._transform is None else self._transform(tensor))

        return convert

    def _frames_from(self, first: int) -> NumberedFrames:
        """Frames of the range in order, from frame `first` on, whether labelled or not."""
        following = first
        key = self._index.key_before(first)
        try:
            if key:
                with closing(self._raws(self._index.pts_of(key))) as raws:
                    for frame_index, raw in self._number(raws, key):
                        if frame_index >= following:
                            yield frame_index, raw
                            following = frame_index + 1
                    return
        except InconsistentFrames:
            self._index.forbid_seeking()
        try:
            with closing(self._raws(self._selection.start_seconds)) as raws:
                for frame_index, raw in self._number(raws, 0):
                    if frame_index >= following:
                        yield frame_index, raw
        except InconsistentFrames as error:
            raise MediaError(f"{self._name}: changed while it was read ({error})") from error

    def _raws(self, from_seconds: float | None) -> Generator[RawFrame, None, None]:
        """Decoded frames from the first one at or after a time; those before it are decoded where they must be."""
        if from_seconds is None:
            yield from self._reader.read()
            return
        # Seeking lands late in some files, or between key frames; then it is tried from further ahead, at last from
        # the start.
        seeks = (from_seconds, from_seconds - 2, from_seconds - 10) if self._can_seek else ()
        for seek_seconds in (*seeks, None):
            with closing(self._reader.read(seek_seconds)) as raws:
                first = next(raws, None)
                is_usable = first is not None and first.is_key and first.pts_seconds <= from_seconds
                if seek_seconds is not None and not is_usable:
                    continue
                # After an open group's key frame follow frames that are shown before it and lack what they refer to.
                everything = chain(() if first is None else (first,), raws)
                yield from dropwhile(lambda raw: raw.pts_seconds < from_seconds, everything)
                return

    def _number(self, frames: Iterable[RawFrame], first: int) -> NumberedFrames:
        """Give frames their ordinals and note them, up to the end of the range."""
        end_seconds = self._selection.end_seconds
        number = first
        for raw in frames:
            if end_seconds is not None and raw.pts_seconds >= end_seconds:
                break
            self._index.record(number, raw.pts_seconds, raw.is_key)
            yield number, raw
            number += 1
        self._index.finish(number)


def _last_positions(positions: Sequence[FramePosition]) -> list[FramePosition]:
    """The last of those by index and the last of those by time: who knows these two knows them all."""
    by_index = [position for position in positions if position.frame_index is not None]
    by_time = [position for position in positions if position.frame_index is None]
    return [
        *sorted(by_index, key=lambda position: position.frame_index or 0)[-1:],
        *sorted(by_time, key=lambda position: position.pts_seconds or 0.0)[-1:],
    ]

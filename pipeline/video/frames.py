"""The frames of one video for a session: selected, turned upright, decoded ahead in a thread, walked both ways.

Only a few frames are in memory at a time, whatever the length of the video. Forward and backward frames are equal bit
for bit, because both are decoded forward. A walk backward decodes a stretch of the video from a key frame on, spools
it to local disk, and hands it out from its end. A video with one key frame and more frames than the spool may hold is
decoded again for each stretch.

Legend: H, W pixels of the video as displayed; frames are uint8 RGB `[H, W, 3]`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from model import Frame, Media, MediaError, RawFrame, VideoInfo, can_seek, clock_may_restart, open_reader
from pipeline.arrays import UInt8Array
from pipeline.config.job_config import DecodeConfig, JobConfig
from pipeline.records import FramePosition
from pipeline.video.begun_pass import BegunPass
from pipeline.video.findings import Findings
from pipeline.video.frame_spool import FrameSpool
from pipeline.video.passes import DecodingPasses, NumberedFrames
from pipeline.video.prefetch import DecodeAhead
from pipeline.video.reading_report import ReadingReport
from pipeline.video.selection import FrameIndex, FrameSelection, InconsistentFrames, last_positions
from pipeline.video.time_range import TimeBounds

Transform = Callable[[torch.Tensor], torch.Tensor]
LabeledRaw = tuple[int, RawFrame]

_LOOK_AHEAD_FRAMES = 16  # as many as a session asks for at its start, to know how many pointers it will read
_MIN_SKIPPED_FRAMES = 16  # to decode fewer takes less time than to open the file again
_MAX_FRAMES_AHEAD = 16
_MAX_PROMPTED_FRAMES_AHEAD = 4
_MAX_RAW_FRAMES = 3  # between the thread that decodes and the one that converts; one of 4K takes 12 MB
_MOST_THREADS_UNASKED = 16  # FFmpeg advises against more

MAX_FRAMES_WAITING = _MAX_FRAMES_AHEAD + _MAX_PROMPTED_FRAMES_AHEAD + 2
"""Frames of one video that are ready and not yet taken: those of a walk, prompted ones, and one in each thread."""


@dataclass(frozen=True)
class Handoff:
    """How frames go from the helper threads to the thread that takes them.

    `place` is the last thing that is done to the pixels in a helper thread: it puts them into the memory from which
    they are taken. `whole`, if given, is called there before, with each frame's index and its pixels at the size of the
    video; as many are decoded ahead as if all of them were kept. `seen` gets the same, and keeps one of them at most.
    `arrived` is called there after each frame; `VideoFrames.ready` may be true after it. `taken` gets the pixels
    in the thread that takes them, at once. `dropped` is called there when frames were dropped that waited.
    """

    place: Transform = lambda pixels: pixels
    arrived: Callable[[], None] = lambda: None
    taken: Callable[[torch.Tensor], None] = lambda _: None
    dropped: Callable[[], None] = lambda: None
    whole: Callable[[int, torch.Tensor], None] | None = None
    seen: Callable[[int, torch.Tensor], None] = lambda _, __: None


@dataclass(frozen=True)
class DecodeOptions:
    """How one video is decoded: bytes of frames that wait to be taken, bytes and folder of the spool for walking back.

    A walk backward decodes about `stretch_frames` labeled frames at a time: fewer mean more new starts of the decoder,
    more mean a longer wait for the first frame. `num_threads` threads share the parts of each frame. `max_pixels`: of a
    frame; a larger one fails its video.
    """

    ahead_bytes: int = 48 << 20
    spool_bytes: int = 4 << 30
    spool_folder: Path | None = None
    stretch_frames: int = 64
    num_threads: int = 1
    max_pixels: int = DecodeConfig().max_pixels

    @classmethod
    def of(cls, config: JobConfig, spool_folder: Path) -> DecodeOptions:
        """What the config of a job says."""
        num_threads = config.decode.threads or min(config.cluster.cpus_per_actor, _MOST_THREADS_UNASKED)
        return cls(spool_folder=spool_folder, num_threads=num_threads, max_pixels=config.decode.max_pixels)


class VideoFrames:
    """A `FrameSource` over a video file, an image, a GIF or a folder of images. Indexes are labels (see `selection`).

    Args:
        media: the video's bytes, from `open_media`, which stays open while frames are read.
        selection: which frames are labeled.
        prompted: positions of prompts, whose frames are labeled too. They are looked up at once: the constructor counts
            frames as far as the last of them, and decodes those that cannot be counted with certainty.
        transform: applied to each frame in the helper thread, for instance resizing to the model's input.
        options: bounds on memory and disk, and a number of threads.
        handoff: what is done where frames are handed over.

    Raises `MediaError` for a file that is no video, or has no frame in the selected range. Errors of storage pass
    through.
    """

    def __init__(
        self,
        media: Media,
        selection: FrameSelection | None = None,
        *,
        prompted: Sequence[FramePosition] = (),
        transform: Transform | None = None,
        options: DecodeOptions | None = None,
        handoff: Handoff | None = None,
    ) -> None:
        self._name = media.name
        self._handoff = handoff or Handoff()
        self._options = options or DecodeOptions()
        self._begun: BegunPass | None = None
        self._transform = transform
        self._reader = open_reader(media, self._options.num_threads, max_pixels=self._options.max_pixels)
        self.info: VideoInfo = self._reader.info()
        selection = selection or FrameSelection()
        self._selection = selection
        self._check_times(selection)
        step_seconds = 1 / self.info.fps if self.info.fps else None
        self._bounds = TimeBounds(selection.start_seconds, selection.end_seconds, step_seconds)
        self._tells_sizes = not media.is_folder
        self._begin()
        self._running: weakref.WeakSet[DecodeAhead[Frame]] = weakref.WeakSet()
        self._prepared: dict[int | tuple[int, ...], DecodeAhead[Frame]] = {}
        # A time means nothing where the file has none, so a prompt by time has no frame there.
        wanted = [one for one in prompted if one.frame_index is not None or self.info.has_times]
        if not self._counts_up_to(wanted):
            self._begin()
        self._found = self._look_up(prompted, wanted)

    def _begin(self) -> None:
        """Nothing is known of the frames."""
        self._drop_begun()
        self._index = FrameIndex(self._selection, self._bounds.step_seconds)
        findings = Findings(tells_sizes=self._tells_sizes)
        self._passes = DecodingPasses(
            self._name,
            self._reader,
            self._index,
            self._bounds,
            can_seek=can_seek(self.info.format),
            clock_may_restart=clock_may_restart(self.info.format),
            findings=findings,
        )
        self._report = ReadingReport(self.info, self._bounds, self._index, findings)

    def _counts_up_to(self, wanted: Sequence[FramePosition]) -> bool:
        """Count frames up to the last prompt without decoding them, if that is far off and certain.

        False: other frames were decoded near a prompt than were counted, so that nothing is certain.
        """
        last = last_positions(wanted)

        def is_enough() -> bool:
            return all(self._index.covers(position) for position in last)

        self._scan(lambda index: index.num_labeled >= _LOOK_AHEAD_FRAMES)
        if self._index.complete or is_enough():
            return True
        try:
            self._passes.count(is_enough)
            for frame_index in {self._index.find(position) for position in wanted}:
                if frame_index is not None and not self._index.is_decoded(frame_index):
                    with closing(self._passes.frames_from(frame_index)) as frames:
                        next(frames, None)
        except (InconsistentFrames, MediaError):
            return False
        return True

    def _look_up(
        self, prompted: Sequence[FramePosition], wanted: Sequence[FramePosition]
    ) -> dict[FramePosition, int | None]:
        """Decode until the prompts' frames are known, and label them."""
        last = last_positions(wanted)
        self._scan(
            lambda index: index.num_labeled >= _LOOK_AHEAD_FRAMES and all(index.covers(position) for position in last)
        )
        if not self._index.num_known:
            raise MediaError(f"{self._name}: has no frame between start_seconds and end_seconds{_from_to(self.info)}")
        found: dict[FramePosition, int | None] = dict.fromkeys(prompted)
        found.update((position, self._index.find(position)) for position in wanted)
        self._index.set_prompted(frame for frame in found.values() if frame is not None)
        if not self._index.num_labeled:
            raise MediaError(f"{self._name}: no frame of the selection can be read; {'; '.join(self.remarks())}")
        return found

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the video in pixels, as displayed."""
        return self.info.size_hw

    @property
    def num_frames(self) -> int | None:
        """Number of labeled frames, `None` until the end of the video has been seen."""
        return self._index.num_labeled if self._index.complete else None

    @property
    def num_decoded(self) -> int:
        """Frames of the range that were decoded or counted so far, labeled or not."""
        return self._index.num_known

    @property
    def num_passed(self) -> int:
        """Frames that have left the decoder. It grows while a walk backward decodes on from a key frame far before."""
        return self._passes.num_passed

    @property
    def num_counted(self) -> int:
        """Those of them that were counted without decoding them."""
        return self._index.num_undecoded

    def remarks(self) -> tuple[str, ...]:
        """What the passes so far have met that the user should know of, each in a few words."""
        return tuple(dict.fromkeys((*self._reader.remarks(), *self._report.remarks())))

    def length_up_to(self, limit: int) -> int:
        """`min(number of labeled frames, limit)`, exact, whatever the container claims."""
        self._scan(lambda index: index.num_labeled >= limit)
        return min(self._index.num_labeled, limit)

    def locate(self, position: FramePosition) -> int | None:
        """Label of one of the `prompted` positions, `None` for one without a label (see `absence`)."""
        frame = self._found[position]
        return None if frame is None else self._index.label_of(frame)

    def find(self, position: FramePosition) -> int | None:
        """Label of a position before the last of the `prompted` ones, `None` where there is no frame with a label.

        Frames that were counted and not decoded are taken at their word: see `position` when they are.
        """
        frame = self._index.find(position)
        return None if frame is None else self._index.label_of(frame)

    def absence(self, position: FramePosition) -> str:
        """Why one of the `prompted` positions has no label, and the remedy."""
        return self._report.absence(position, self._found[position])

    def position(self, index: int) -> FramePosition:
        """The name in the tables of a labeled frame that has been decoded already."""
        frame = self._index.frame_of(index)
        return FramePosition(frame, self._index.pts_of(frame) if self.info.has_times else None)

    def gaps_of(self, frame_index: int) -> tuple[float, float]:
        """See `FrameIndex`. What comes after a frame is known once it was handed out, or a later one has a label."""
        return self._index.gaps_of(frame_index)

    def identity(self) -> str:
        """What is known of the file and of how frames are taken. A saved session goes on if it is the same."""
        # Which frames a rate or a range takes has changed; the sessions of programs before that begin again.
        by_time = self._bounds.is_bounded or self._selection.fps is not None
        return self.info.identity() + (", times within half a frame" if by_time else "")

    def prepare(self, prompted: Sequence[int], start: int) -> None:
        """Start decoding what will be asked for first: `at(prompted)` and `forward(start)`."""
        labels = tuple(prompted)
        self._prepared[labels] = self._ahead(self._at(labels), _MAX_PROMPTED_FRAMES_AHEAD)
        self._prepared[start] = self._ahead(self._labeled(start))

    def forward(self, start: int) -> Iterator[Frame]:
        """Labeled frames `start`, `start + 1`, … to the end."""
        prepared = self._prepared.pop(start, None)
        if prepared is None:
            self._drop_prepared()
            return self._ahead(self._labeled(start))
        return prepared

    def backward(self, end: int) -> Iterator[Frame]:
        """Labeled frames `end - 1`, `end - 2`, … 0. Raises `ValueError` if the video has fewer than `end`."""
        if self.length_up_to(end) < end:
            raise ValueError(f"{self._name}: has {self.num_frames} labeled frames, so none before {end}")
        self._drop_prepared()
        self._drop_begun()
        return self._ahead(self._backward(end))

    def at(self, indexes: Sequence[int]) -> Iterator[Frame]:
        """The labeled frames of these indexes, ascending and each once; those beyond the end are left out."""
        labels = tuple(sorted(set(indexes)))
        return self._prepared.pop(labels, None) or self._ahead(self._at(labels), _MAX_PROMPTED_FRAMES_AHEAD)

    def pixels_at(self, indexes: Sequence[int]) -> Iterator[tuple[int, UInt8Array]]:
        """The same at the size of the video, decoded in this thread, and handed to nobody else."""
        for label, raw in self._decoded_at(tuple(sorted(set(indexes)))):
            yield label, raw.picture.pixels(self.size_hw)

    def ready(self, num_frames: int = 1) -> bool:
        """Whether `num_frames` frames, or all that are left, can be taken of each iterator under way without waiting.

        It costs no more than a look at a queue or two. True where no iterator is under way. At most 16 frames wait.
        """
        return all(running.ready(num_frames) for running in list(self._running))

    def close(self) -> None:
        """Stop the helper threads and close their files; iterators under way end."""
        for running in list(self._running):
            running.close()
        self._drop_begun()

    def __enter__(self) -> VideoFrames:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _drop_prepared(self) -> None:
        """Free the threads and the memory of what is prepared: a walk that begins elsewhere asks for none of it."""
        while self._prepared:
            self._prepared.popitem()[1].close()
            self._handoff.dropped()

    def _drop_begun(self) -> None:
        """Free the frames that were decoded to know of them: nobody walks on from there."""
        if self._begun is not None:
            self._begun.close()
        self._begun = None

    def _check_times(self, selection: FrameSelection) -> None:
        if self.info.has_times:
            return
        if selection.start_seconds is not None or selection.end_seconds is not None:
            raise MediaError(f"{self._name}: has no times; leave start_seconds and end_seconds out")
        # Frames of a film without times follow at its rate. The pictures of a folder or a stack have no rate.
        if selection.fps is not None and self.info.fps is None and self.info.num_frames_claimed != 1:
            raise MediaError(f"{self._name}: has no times; give frames.stride instead of frames.fps")

    def _ahead(self, frames: Generator[Frame, None, None], max_frames: int = _MAX_FRAMES_AHEAD) -> DecodeAhead[Frame]:
        def limit(frame: Frame) -> int:
            # Whoever wants whole frames may keep each of those that wait.
            kept = 3 * self.size_hw[0] * self.size_hw[1] if handoff.whole is not None else 0
            return max(2, min(max_frames, self._options.ahead_bytes // (frame.pixels_HW3.nbytes + kept)))

        handoff = self._handoff
        running = DecodeAhead(
            _placed(frames, handoff.place),
            limit,
            arrived=handoff.arrived,
            taken=lambda frame: handoff.taken(frame.pixels_HW3),
        )
        self._running.add(running)
        return running

    def _scan(self, enough: Callable[[FrameIndex], bool]) -> None:
        """Decode on, without converting the pictures, until enough is known or the range ends."""
        if self._index.complete or enough(self._index):
            return
        self._drop_begun()
        if not self._index.num_known:
            begun = self._begun = BegunPass(self._passes.frames_from(0))
            begun.scan(lambda: enough(self._index))
            if not begun.fits:
                self._drop_begun()
            return
        with closing(self._passes.frames_from(max(0, self._index.num_known - 1))) as frames:
            for _ in frames:
                if enough(self._index):
                    return

    def _labeled(self, start: int) -> Generator[Frame, None, None]:
        first = self._index.frame_of(min(start, self._index.num_labeled - 1))
        if self._begun is None or not self._begun.has(first):
            return self._converted(self._decoded(start, self._passes.frames_from(first)))
        begun, self._begun = self._begun, None
        return self._converted(self._decoded(start, begun.frames()))

    def _decoded(self, start: int, numbered: NumberedFrames) -> Generator[LabeledRaw, None, None]:
        with closing(numbered) as frames:
            for frame_index, raw in frames:
                label = self._index.label_of(frame_index)
                if label is not None and label >= start:
                    yield label, raw

    def _at(self, labels: Sequence[int]) -> Generator[Frame, None, None]:
        return self._converted(self._decoded_at(labels))

    def _decoded_at(self, labels: Sequence[int]) -> Generator[LabeledRaw, None, None]:
        if labels and labels[0] < 0:
            raise ValueError(f"{self._name}: frame {labels[0]} is before the first one")
        done = 0
        while done < len(labels):
            known = self._index.num_labeled
            with closing(self._passes.frames_from(self._index.frame_of(min(labels[done], known - 1)))) as frames:
                for frame_index, raw in frames:
                    if self._index.label_of(frame_index) != labels[done]:
                        continue
                    yield labels[done], raw
                    done += 1
                    if done == len(labels) or self._is_worth_seeking(frame_index, labels[done]):
                        break
                else:
                    return

    def _is_worth_seeking(self, frame_index: int, label: int) -> bool:
        """Whether a known key frame lies more than 16 frames after this frame and before a label."""
        if label >= self._index.num_labeled:
            return False
        key = self._index.key_before(self._index.frame_of(label))
        return key is not None and key > frame_index + _MIN_SKIPPED_FRAMES

    def _backward(self, end: int) -> Generator[Frame, None, None]:
        while end > 0:
            wanted = self._index.frame_of(max(0, end - self._options.stretch_frames))
            first = self._index.first_label_from(self._index.key_before(wanted) or 0)
            with closing(FrameSpool(self._options.spool_bytes, self._options.spool_folder)) as spool:
                with closing(self._labeled(first)) as frames:
                    for frame in frames:
                        if frame.index >= end:
                            break
                        spool.put(frame.index, frame.pixels_HW3.numpy())
                while (kept := spool.pop()) is not None:
                    end, pixels = kept
                    yield Frame(end, torch.from_numpy(pixels))

    def _converted(self, decoded: Generator[LabeledRaw, None, None]) -> Generator[Frame, None, None]:
        """Frames as they are labeled. With two threads or more they are decoded in one and converted in another."""
        is_shared = self._options.num_threads > 1
        raws = DecodeAhead(decoded, lambda _: _MAX_RAW_FRAMES) if is_shared else decoded
        with closing(raws):
            for label, raw in raws:
                yield self._convert(label, raw)

    def _convert(self, label: int, raw: RawFrame) -> Frame:
        tensor = torch.from_numpy(raw.picture.pixels(self.size_hw))
        if self._handoff.whole is not None:
            self._handoff.whole(label, tensor)
        self._handoff.seen(label, tensor)
        return Frame(label, tensor if self._transform is None else self._transform(tensor))


def _placed(frames: Generator[Frame, None, None], place: Transform) -> Generator[Frame, None, None]:
    with closing(frames):
        for frame in frames:
            yield replace(frame, pixels_HW3=place(frame.pixels_HW3))


def _from_to(info: VideoInfo) -> str:
    """When a video starts and ends, as far as it says so."""
    if info.start_seconds is None:
        return ""
    end = None if info.duration_seconds is None else info.start_seconds + info.duration_seconds
    ends = "" if end is None else f" and ends at {end:.4g} s"
    return f"; the video starts at {info.start_seconds:g} s{ends}"

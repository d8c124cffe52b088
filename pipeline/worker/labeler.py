"""One video to rows: prompts and frames in, masks and tracks out. It knows nothing of Ray, config or storage."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import pyarrow as pa

from model import FrameResult, FrameSource, HiddenPrompt, Prompt, Step, forget_wrong
from pipeline.inputs.fitting import fitted, says_only_what_it_is_not
from pipeline.inputs.prompts import ObjectPrompts, VideoPrompts
from pipeline.inputs.reviewed_prompts import CorrectedMask
from pipeline.output.mask_rows import MaskRows, without_frames
from pipeline.output.rows import Track, tracks_table
from pipeline.output.schema import MASKS
from pipeline.quality.track_columns import columns_of_video
from pipeline.records import Status
from pipeline.redact import redact
from pipeline.seeds.shots import ONE_SHOT, LabeledFrames, ShotFrames, Shots
from pipeline.worker.mask_encoder import MaskEncoder

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Session(Protocol):
    """What follows the objects of one video; see `model.VideoSession`."""

    def add_prompt(self, object_id: int, frame_index: int, prompt: Prompt) -> None: ...

    def walk(self, direction: str, *, resume: bool = False) -> Iterator[Step]: ...


class SavedSession(Session, Protocol):
    """A session that can be saved between two frames. What was saved goes on from that frame."""

    def to_bytes(self) -> bytes: ...


Steps = Generator[Step | None, FrameResult | bool | None, T]
MakeSession = Callable[[FrameSource], Session]


class Saved(Protocol):
    """A video as it was saved in its middle: the session's state, the rows so far, the frames that were walked."""

    @property
    def state(self) -> bytes: ...

    @property
    def rows(self) -> Sequence[pa.RecordBatch]: ...

    @property
    def num_frames(self) -> int: ...


class Store(Protocol):
    """Where a long video is saved; see `pipeline.output.saved_sessions.SessionStore`.

    `load` returns what an earlier attempt saved, if anything. `forget` deletes it, because it does not fit.
    """

    def load(self) -> Saved | None: ...

    def forget(self) -> None: ...

    def is_due(self, num_frames: int) -> bool: ...

    def save(self, state: bytes, new_rows: Sequence[pa.RecordBatch], num_frames: int) -> bool: ...


@dataclass(frozen=True)
class Saving:
    """Where a video is saved, how a new session is made, and how one is made of what was saved.

    `restore_session` raises `ValueError` for a state that does not fit the model or the frames.
    """

    store: Store
    make_session: Callable[[FrameSource], SavedSession]
    restore_session: Callable[[bytes, FrameSource], SavedSession]


@dataclass(frozen=True)
class LabelOptions:
    """How a video is labeled. `max_objects` are followed at a time (None = all): fewer need less memory, more passes.

    Rows of a long video wait in `folder` on local disk (None = the system's temporary folder). An object is followed
    within those of the `shots` in which it has a prompt. On the frames of `cuts`, `[first, stop)` by object, it has no
    rows. `at_end` is called with the masks in a helper thread, when all of them are here.
    """

    direction: str = "forward"
    max_objects: int | None = None
    folder: Path | None = None
    shots: Shots = ONE_SHOT
    cuts: Mapping[int, Sequence[tuple[int, int | None]]] = field(default_factory=dict)
    at_end: Callable[[pa.Table], None] = lambda _: None


@dataclass(frozen=True)
class Labels:
    """The rows of one video. `expected_masks` is their number as it follows from the frames and prompts alone.

    `remark` is what else people should know of the video. `unexplained` is the share of the frames on which objects
    were looked for that was found and belongs to none; None: nobody looked.
    """

    masks: pa.Table
    tracks: pa.Table
    expected_masks: int
    num_frames: int
    step_seconds: float
    encode_seconds: float
    remark: str = ""
    unexplained: float | None = None

    @property
    def failure(self) -> str:
        """Why no object could be labeled; empty if at least one was."""
        statuses, messages = (self.tracks[name].to_pylist() for name in ("status", "message"))
        return "" if Status.OK in statuses else "; ".join(dict.fromkeys(messages))


@dataclass(frozen=True)
class _Seeded:
    """An object that can be followed: its prompts, which fit the video, each with the label of its frame.

    `corrected` are the labels of frames that a reviewer has corrected.
    """

    object_id: int
    prompts: tuple[tuple[int, Prompt], ...]
    corrected: frozenset[int] = frozenset()

    def hidden_frames(self, frames: LabeledFrames) -> list[int | None]:
        """The frames on which it is not visible, because a prompt says it."""
        labels = (label for label, prompt in self.prompts if isinstance(prompt, HiddenPrompt))
        return [frames.position(label).frame_index for label in labels]

    def num_covered(self, direction: str, num_frames: int) -> int:
        """Frames for which the object gets a row."""
        if direction == "forward":
            return num_frames - self.prompts[0][0]
        return self.prompts[-1][0] + 1 if direction == "backward" else num_frames

    def num_covered_of(self, direction: str, labels: Collection[int]) -> int:
        """The same in one shot, of which these frames were walked through."""
        first, last = self.prompts[0][0], self.prompts[-1][0]
        if direction == "both":
            return len(labels)
        return sum(first <= label if direction == "forward" else label <= last for label in labels)


def label_steps(
    make_session: MakeSession,
    video_id: str,
    prompts: VideoPrompts,
    frames: LabeledFrames,
    options: LabelOptions,
    saving: Saving | None = None,
    make_encoder: Callable[[LabeledFrames, MaskRows], MaskEncoder] = MaskEncoder,
) -> Steps[Labels]:
    """Labels a video frame by frame: yields each step, wants its result sent back, returns the rows at the end.

    After the last step it yields None until the masks of the last frames are here and a helper has measured what speaks
    against the tracks, so that others are computed meanwhile; sent True, it waits for them.

    The caller computes the step (`model.advance`), perhaps together with steps of other videos. An object whose prompts
    are wrong becomes a failed track, and the others are labeled. Errors of the frames (input, storage) and of the
    device pass.

    With `saving` the video goes on from where it was saved last, and is saved now and then. A saved session follows all
    objects at once. If only a few are followed at a time, or the video has several shots, what was saved is deleted
    and nothing is saved.
    """
    seeded, tracks = [], []
    for prompted in prompts.objects:
        one, track = _check_object(prompted, frames)
        tracks.append(track)
        if one is not None:
            seeded.append(one)
            if track.message != prompted.warning:  # of these the driver tells, once for the whole table
                _log.warning("video %r, object %d, %s", video_id, prompted.object_id, track.message)
    size = options.max_objects or max(1, len(seeded))
    if saving is not None and (size < len(seeded) or options.shots):
        saving.store.forget()
        saving = None
    if not seeded:
        saving = None
    categories = {one.object_id: one.category for one in prompts.objects}
    expected = 0
    rows = MaskRows(video_id, frames.size_hw, options.folder, keep_new=saving is not None, categories=categories)
    with contextlib.closing(rows), make_encoder(frames, rows) as encoder:
        walk = _Walk(video_id, encoder, rows, options.direction)
        walk.expect_corrections(seeded)
        if saving is not None:
            yield from walk.saved(saving, seeded, frames)
        else:
            for part, of_part in _by_shot(seeded, frames, options.shots):
                expected += yield from walk.part(make_session, part, of_part, size)
        while not encoder.is_done():
            if (yield None) is True:
                encoder.finish()
        whole = rows.table()
        masks = without_frames(whole, options.cuts) if options.cuts else whole
        ending = encoder.beside(partial(options.at_end, masks))
        counting = encoder.beside(partial(columns_of_video, masks, frames.size_hw))
        while not counting.done():
            if (yield None) is True:
                counting.result()
        doubts = counting.result()
        ending.result()
    hidden = {one.object_id: one.hidden_frames(frames) for one in seeded}
    if not options.shots:
        num_frames = frames.num_frames if frames.num_frames is not None else len(walk.seen)
        expected = sum(one.num_covered(options.direction, num_frames) for one in seeded)
    return Labels(
        masks=masks,
        tracks=tracks_table(video_id, tracks, masks, doubts, hidden),
        expected_masks=expected - (whole.num_rows - masks.num_rows),
        num_frames=len(walk.seen),
        step_seconds=walk.step_seconds,
        encode_seconds=encoder.seconds,
    )


class _Walk:
    """The way through a video: hands results to the encoder, counts frames and time, saves the video if that is due."""

    def __init__(self, video_id: str, encoder: MaskEncoder, rows: MaskRows, direction: str) -> None:
        self._video_id = video_id
        self._encoder = encoder
        self._rows = rows
        self._direction = direction
        self.seen: set[int] = set()
        self._labels: set[int] = set()
        self._corrected: dict[int, set[int]] = defaultdict(set)  # objects by the label of a frame
        self.num_steps = 0
        self.step_seconds = 0.0

    def expect_corrections(self, seeded: Iterable[_Seeded]) -> None:
        """Take note of where these objects were corrected: what they had tracked up to there may be wrong."""
        for one in seeded:
            for label in one.corrected:
                self._corrected[label].add(one.object_id)

    def follow(self, steps: Iterator[Step], after_step: Callable[[], None] = lambda: None) -> Steps[None]:
        """Take steps to their end; `after_step` is called when a result has been handed to the encoder."""
        while True:
            started = time.perf_counter()
            step = next(steps, None)
            if step is not None and self._corrected and step.frame.index in self._corrected:
                forget_wrong(step, self._corrected[step.frame.index])
            self.step_seconds += time.perf_counter() - started
            if step is None:
                return
            result = yield step
            if not isinstance(result, FrameResult):
                raise TypeError(f"a step needs its result, not {result!r}")
            self.seen.add(self._encoder.put(result))
            self._labels.add(result.frame_index)
            self.num_steps += 1
            after_step()

    def part(self, make_session: MakeSession, frames: FrameSource, seeded: Sequence[_Seeded], size: int) -> Steps[int]:
        """Follow these objects through a shot or a whole video, `size` at a time; returns how many rows they have."""
        num_rows = 0
        for group in (seeded[start : start + size] for start in range(0, len(seeded), size)):
            session = make_session(frames)
            _add_prompts(session, group)
            self._labels = set()
            yield from self.follow(session.walk(self._direction))
            num_rows += sum(one.num_covered_of(self._direction, self._labels) for one in group)
        return num_rows

    def saved(self, saving: Saving, seeded: Sequence[_Seeded], frames: LabeledFrames) -> Steps[None]:
        """Take all steps, from where the video was saved last if it was, and save it whenever `saving` says so."""
        restored = self._restored(saving, frames)
        session = restored or saving.make_session(frames)
        if restored is None:
            _add_prompts(session, seeded)

        def save_if_due() -> None:
            # A frame that is walked twice, forward and backward, is two steps.
            if saving.store.is_due(self.num_steps):
                self._encoder.finish()
                saving.store.save(session.to_bytes(), self._rows.take_new(), self.num_steps)

        yield from self.follow(session.walk(self._direction, resume=restored is not None), save_if_due)

    def _restored(self, saving: Saving, frames: LabeledFrames) -> SavedSession | None:
        found = saving.store.load()
        if found is None:
            return None
        try:
            session = saving.restore_session(found.state, frames)
        except ValueError as error:
            _log.warning(
                "video %r starts anew, because its saved session does not fit: %s", self._video_id, redact(str(error))
            )
            saving.store.forget()
            return None
        self._rows.put(found.rows)
        self.num_steps = found.num_frames
        self.seen.update(frame for batch in found.rows for frame in batch["frame_index"].to_pylist())
        return session


def _by_shot(
    seeded: Sequence[_Seeded], frames: LabeledFrames, shots: Shots
) -> Iterator[tuple[FrameSource, Sequence[_Seeded]]]:
    """The shots in which objects have prompts, each with these objects and their prompts there."""
    if not shots:
        yield frames, seeded
        return
    found: dict[int, dict[int, list[tuple[int, Prompt]]]] = defaultdict(lambda: defaultdict(list))
    for one in seeded:
        for label, prompt in one.prompts:
            frames.length_up_to(label + 2)  # the frame after it tells how long it lasts
            found[shots.shot_of(frames.position(label))][one.object_id].append((label, prompt))
    for number, objects in sorted(found.items()):
        yield ShotFrames(frames, shots, number), [_Seeded(one, tuple(of_shot)) for one, of_shot in objects.items()]


def _add_prompts(session: Session, seeded: Sequence[_Seeded]) -> None:
    for one in seeded:
        for label, prompt in one.prompts:
            session.add_prompt(one.object_id, label, prompt)


def failed_tracks(video_id: str, prompts: VideoPrompts, message: str) -> pa.Table:
    """Rows of `tracks` for a video that failed as a whole. An object has its own error, or else the video's."""
    tracks = [
        Track(
            one.object_id, Status.FAILED, one.error or message, one.category, len(one.prompts), (), one.kept, one.seed
        )
        for one in prompts.objects
    ]
    return tracks_table(video_id, tracks, MASKS.empty_table())


def _check_object(prompted: ObjectPrompts, frames: LabeledFrames) -> tuple[_Seeded | None, Track]:
    """An object's prompts, checked against the video, and its row of `tracks`, still without statistics of masks."""
    by_label: dict[int, Prompt] = {}
    corrected: set[int] = set()
    warnings: list[str] = []
    error = prompted.error
    for position, prompt in prompted.prompts if not error else ():
        label = frames.locate(position)
        if label is None:
            error = f"{position}: {frames.absence(position)}"
        elif label in by_label and (label in corrected or not isinstance(prompt, CorrectedMask)):
            error = f"{position}: two prompts on one frame; join them into one"
        else:
            try:
                by_label[label], warning = fitted(prompt, frames.size_hw, prompted.box_told)
            except ValueError as reason:
                error = f"{position}: {reason}"
            else:
                warnings += [f"{position}: {warning}"] if warning else []
                corrected.update({label} if isinstance(prompt, CorrectedMask) else ())
        if error:
            break
    if says_only_what_it_is_not(prompt for _, prompt in prompted.prompts):
        warnings.append("all clicks have label 0, so that none says where the object is; add one with label 1")
    indexes = sorted(frames.position(label).frame_index or 0 for label in by_label)
    if error:
        message = f"object {prompted.object_id}, {error}" if error != prompted.error else error
        track = Track(
            prompted.object_id,
            Status.FAILED,
            message,
            prompted.category,
            len(prompted.prompts),
            tuple(indexes),
            prompted.kept,
            prompted.seed,
        )
        return None, track
    track = Track(
        prompted.object_id,
        Status.OK,
        "; ".join(filter(None, (*warnings, prompted.warning))),
        prompted.category,
        len(by_label),
        tuple(indexes),
        prompted.kept,
        prompted.seed,
    )
    prompts = tuple(sorted(by_label.items(), key=lambda entry: entry[0]))
    return _Seeded(prompted.object_id, prompts, frozenset(corrected)), track

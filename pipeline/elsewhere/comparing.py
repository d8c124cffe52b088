"""What came back is held against what went out: which frames somebody corrected, and what is said of each track.

A shape that is the one that went out says nothing, whatever the format had lost of its mask. Of a shape that was
changed only the change counts: pixels that it gained or lost, on the mask that it stood for. So the holes and small
parts of a mask, which a polygon cannot say, stay where nobody has touched them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from pipeline.arrays import BoolArray
from pipeline.elsewhere.returned import ReturnedTrack, ReturnedVideo, SizeHW, State, joined
from pipeline.elsewhere.shapes import BoxShape, read_shape
from pipeline.errors import InputError
from pipeline.formats.label import mask_of_pixels
from pipeline.formats.shape_text import UNTOUCHED
from pipeline.formats.writers.xml_text import storable
from pipeline.masks.rle import decode_rle
from pipeline.reviews.handouts import HandedTrack, HandedVideo
from pipeline.reviews.verdicts import Verdict

_NOT_LABELED = "on frames that did not go out"
_OF_LATER_PART = "verdicts on the later part of a split track (say them of the new object, when a run has labeled it)"
_SAME_PIXELS = 0.05


@dataclass(frozen=True)
class Change:
    """What somebody says of an object on a frame: a mask (COCO's counts), the box of a mask, or neither: hidden."""

    counts: str | None = None
    box_xyxy: BoxShape | None = None

    @property
    def is_hidden(self) -> bool:
        """Whether the object is said to be hidden."""
        return self.counts is None and self.box_xyxy is None


@dataclass
class SaidOfTrack:
    """What is said of one object: changes by frame of the job, and a verdict if there is one.

    At `split_at` other objects begin that it was until then. `before_split` is the last mask before the first of these
    frames that nobody has changed.
    """

    changes: dict[int, Change] = field(default_factory=dict)
    verdict: Verdict | None = None
    comment: str | None = None
    category: str | None = None
    split_at: list[int] = field(default_factory=list)
    before_split: Mapping[int, Change] = field(default_factory=dict)

    def changes_with(self, prompted: Collection[int]) -> dict[int, Change]:
        """The changes of an object that the frames `prompted` say where it is.

        Behind a split it is hidden on these alone, because a run would go on with it there. Where none of them is left
        before the split, its mask there says where it is: no run could follow it otherwise.
        """
        if not self.split_at:
            return self.changes
        first = min(self.split_at)
        changes = {at: one for at, one in self.changes.items() if at < first or at in self.split_at or at in prompted}
        shown = set(prompted) - changes.keys() | {at for at, one in changes.items() if not one.is_hidden}
        needs_mask = bool(prompted) and not any(at < first for at in shown)
        return {**self.before_split, **changes} if needs_mask else changes


@dataclass
class SaidOfVideo:
    """What is said of a video: of its objects by id, and of objects that were added; and what says nothing, counted.

    `spoken_of` are the objects and `frames` the frames of which the document says something, were it that they are as
    they went out. `is_left_out`: it says nothing at all.
    """

    tracks: dict[int, SaidOfTrack] = field(default_factory=dict)
    added: list[AddedObject] = field(default_factory=list)
    spoken_of: frozenset[int] = frozenset()
    frames: frozenset[int] = frozenset()
    is_left_out: bool = False
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class AddedObject:
    """An object that the job does not have yet. `split_from` is the one whose track it was until its first frame."""

    changes: Mapping[int, Change]
    category: str | None
    split_from: int | None = None


@dataclass(frozen=True)
class Reading:
    """How a document is read: whether tracks that nobody touched are good, and what is gone was taken away."""

    is_done: bool = False
    takes_all_deleted: bool = False
    is_whole: bool = True


def compare(handed: HandedVideo, back: ReturnedVideo, reading: Reading) -> SaidOfVideo:
    """What a returned video says. Raises `InputError` for another size, and for objects that did not go out."""
    _check_size(handed, back)
    spoken_of = frozenset(object_id for object_id in handed.tracks if _is_spoken_of(handed, object_id, back))
    frames = frozenset(frame for tool_frame, frame in handed.frames.items() if _is_in(tool_frame, back))
    if back.state is State.SKIPPED:
        # Of images it speaks of those that were passed over, but no corrections of them are taken back.
        said = SaidOfVideo(spoken_of=spoken_of, frames=frozenset() if back.is_of_images else frames)
        for object_id in sorted(spoken_of):
            if handed.tracks[object_id].is_chosen:
                said.tracks[object_id] = SaidOfTrack(verdict=Verdict.SKIP)
        return said
    said = SaidOfVideo(spoken_of=spoken_of, frames=frames)
    found: dict[int, list[ReturnedTrack]] = defaultdict(list)
    for returned in back.tracks:
        if returned.object_id is None:
            continue
        if returned.object_id not in handed.tracks:
            raise InputError(
                f"{returned.place}: object {returned.object_id} of video {handed.video_id!r} did not go out, but "
                f"{', '.join(map(str, sorted(handed.tracks)))}: leave object_id empty for a new object"
            )
        found[returned.object_id].append(returned)
    if not found and spoken_of and not reading.takes_all_deleted:
        said.left_out[f"videos of which no track came back, as {handed.video_id!r} (deleted=true rejects them)"] += 1
        said.is_left_out = True
        return said
    for object_id in sorted(spoken_of):
        track = handed.tracks[object_id]
        parts, later = _split(found.get(object_id, []), back)
        one = _said_of(handed, track, parts, back, reading, said.left_out)
        for new in later:
            _take_split(said, one, handed, object_id, new)
        if one.verdict is not None:
            said.tracks[object_id] = one
    for new in back.tracks:
        if new.object_id is None and (changes := _added_changes(handed, new, said.left_out)):
            said.added.append(AddedObject(changes, next(iter(new.labels), None) or None))
    return said


def _take_split(said: SaidOfVideo, one: SaidOfTrack, handed: HandedVideo, object_id: int, new: ReturnedTrack) -> None:
    """The track of an object ends where another one begins that had its id: that is an object of its own.

    What is said of the earlier part alone is no word on the later one.
    """
    track, is_rejected = handed.tracks[object_id], one.verdict is Verdict.REJECT
    if new.words.verdict == Verdict.REJECT:
        if is_rejected:  # both parts
            return
        said.left_out[_OF_LATER_PART] += 1
    changes = _added_changes(handed, new, said.left_out, track)
    if not changes:
        return
    first = min(changes)
    said.added.append(AddedObject(changes, _category(new, track) or track.category, object_id))
    if is_rejected:
        return
    if not one.split_at:
        one.before_split = _mask_before(track, first, one.changes)
    one.changes = {at: said for at, said in one.changes.items() if at < first or said.is_hidden} | {first: Change()}
    one.split_at.append(first)
    one.verdict = Verdict.FIX


def _mask_before(track: HandedTrack, first: int, changes: Mapping[int, Change]) -> dict[int, Change]:
    """The last mask before a frame that went out and that nobody has changed, if there is one."""
    frames = (frame for frame, went in track.shapes.items() if frame < first and went.counts is not None)
    last = max((frame for frame in frames if frame not in changes), default=None)
    return {} if last is None else {last: Change(counts=track.shapes[last].counts)}


def _check_size(handed: HandedVideo, back: ReturnedVideo) -> None:
    for size in sorted(back.sizes_hw):
        if size != handed.size_hw:
            raise InputError(
                f"{back.place}: its frames have {list(size)} pixels (height, width), and video {handed.video_id!r} has "
                f"{list(handed.size_hw)}: make the task of the frames at their own size"
            )


def _is_spoken_of(handed: HandedVideo, object_id: int, back: ReturnedVideo) -> bool:
    """Whether the document has a frame on which the object went out."""
    shapes = handed.tracks[object_id].shapes
    return any(_is_in(tool, back) for tool, frame in handed.frames.items() if frame in shapes)


def _is_in(tool_frame: int, back: ReturnedVideo) -> bool:
    return back.frames is None or tool_frame in back.frames


def _split(tracks: list[ReturnedTrack], back: ReturnedVideo) -> tuple[list[ReturnedTrack], list[ReturnedTrack]]:
    """Tracks with one id: those that are parts of the object, and those that begin where it ends, because it was split.

    The program itself cuts a track where a job of a task ends.
    """
    by_start = sorted((one for one in tracks if _shown_frames(one)), key=lambda one: min(_shown_frames(one)))
    hidden = [one for one in tracks if not _shown_frames(one)]
    if len(by_start) < 2 or back.is_of_images:
        return tracks, []
    parts = [by_start[0], *hidden]
    later: list[ReturnedTrack] = []
    for one in by_start[1:]:
        start, end = min(_shown_frames(one)), max(max(_shown_frames(part)) for part in parts if _shown_frames(part))
        (later if start > end and start not in back.cuts else parts).append(one)
    return parts, later


def _shown_frames(track: ReturnedTrack) -> list[int]:
    return [frame for frame, text in track.shapes.items() if text is not None]


def _said_of(
    handed: HandedVideo,
    track: HandedTrack,
    parts: list[ReturnedTrack],
    back: ReturnedVideo,
    reading: Reading,
    left_out: Counter[str],
) -> SaidOfTrack:
    """What is said of a track that went out; no verdict where nothing is."""
    said = SaidOfTrack()
    said.changes = dict(_changes(handed, track, parts, back, left_out))
    if not parts and reading.is_whole and _is_taken_away(track, said.changes, back):
        said.changes, said.verdict = {}, Verdict.REJECT
        return said
    words = {part.words.verdict for part in parts} - {""}
    if len(words) > 1:
        raise InputError(f"{parts[0].place}: {' and '.join(sorted(words))} are said of one object; say one of them")
    word = Verdict(words.pop()) if words else None
    said.comment = "; ".join(dict.fromkeys(part.words.comment for part in parts if part.words.comment)) or None
    said.category = next(filter(None, (_category(part, track) for part in parts)), None)
    if word is Verdict.REJECT:
        said.changes = {}
    elif said.changes or (word is None and said.category is not None and not reading.is_done):
        word = Verdict.FIX
    elif word is None and reading.is_done and track.is_chosen and _is_seen(handed, track, back):
        word = Verdict.ACCEPT
    elif word is None and (said.comment or said.category):
        word = Verdict.ACCEPT if said.category and reading.is_done else Verdict.SKIP
    said.verdict = word
    return said


def _is_seen(handed: HandedVideo, track: HandedTrack, back: ReturnedVideo) -> bool:
    """Whether the document has all frames on which a track went out."""
    return all(_is_in(tool, back) for tool, frame in handed.frames.items() if frame in track.shapes)


def _is_taken_away(track: HandedTrack, changes: Mapping[int, Change], back: ReturnedVideo) -> bool:
    """Whether every shape of a track is gone; of images it must have had more than one."""
    shown = [frame for frame, shape in track.shapes.items() if shape.shape is not None]
    is_gone = all(frame in changes and changes[frame].is_hidden for frame in shown)
    return is_gone and (len(shown) > 1 or not back.is_of_images)


def _category(part: ReturnedTrack, track: HandedTrack) -> str | None:
    """What a reviewer says that the object is, if that is another category than before."""
    went_out = "", track.category, storable(track.category or "")
    others = [label for label in part.labels if label not in went_out]
    if len(others) > 1:
        raise InputError(f"{part.place}: it is said to be {' and '.join(others)}; say one of them")
    return others[0] if others else None


def _changes(
    handed: HandedVideo,
    track: HandedTrack,
    parts: list[ReturnedTrack],
    back: ReturnedVideo,
    left_out: Counter[str],
) -> Iterator[tuple[int, Change]]:
    known = set(handed.frames)
    for part in parts:
        left_out[_NOT_LABELED] += len(set(part.shapes) - known)
    for tool_frame, frame_index in sorted(handed.frames.items()):
        if not _is_in(tool_frame, back):
            continue
        went = track.shapes.get(frame_index)
        before = None if went is None else went.shape
        is_told, now = _now(parts, tool_frame, back)
        if not is_told or _same(before, now, handed.size_hw):
            continue
        if now is None:
            yield frame_index, Change()
            continue
        shape = read_shape(now, handed.size_hw, f"{parts[0].place}, frame {tool_frame}")
        if isinstance(shape, tuple):
            yield frame_index, Change(box_xyxy=shape)
            continue
        mask: BoolArray | None = shape
        if before is not None and went is not None and went.counts is not None:
            mask = _with_edit(handed, before, went.counts, shape)
        if mask is None:
            continue
        yield frame_index, Change(counts=mask_of_pixels(mask).counts) if mask.any() else Change()


def _now(parts: list[ReturnedTrack], tool_frame: int, back: ReturnedVideo) -> tuple[bool, str | None]:
    """Whether the document says something of an object on a frame, and as which shape; None is hidden."""
    texts = [part.shapes[tool_frame] for part in parts if tool_frame in part.shapes]
    if texts or back.is_of_images or not parts:
        return True, joined(texts)
    with_spans = [part for part in parts if part.spans is not None]
    return bool(with_spans) and not any(part.shows(tool_frame) for part in with_spans), None


def _same(before: str | None, now: str | None, size_hw: SizeHW) -> bool:
    """Whether two shapes are one, but for a rounding that no pixel sees."""
    if before == now or (before is not None and now == UNTOUCHED):
        return True
    if before is None or now is None:
        return False
    one, other = read_shape(before, size_hw, ""), read_shape(now, size_hw, "")
    if isinstance(one, tuple) and isinstance(other, tuple):
        return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= _SAME_PIXELS
    return not isinstance(one, tuple) and not isinstance(other, tuple) and np.array_equal(one, other)


def _with_edit(handed: HandedVideo, before: str, counts: str, now_HW: BoolArray) -> BoolArray | None:
    """The mask that went out with what was changed in the shape that stood for it; None where that is no pixel."""
    mask_HW = decode_rle(handed.size_hw, counts)
    shown = read_shape(before, handed.size_hw, "")
    if isinstance(shown, tuple):  # a box stood for it: the new shape is all that is known
        return now_HW
    edited = (mask_HW & ~(shown & ~now_HW)) | (now_HW & ~shown)
    return None if np.array_equal(edited, mask_HW) else edited


def _added_changes(
    handed: HandedVideo, new: ReturnedTrack, left_out: Counter[str], split_from: HandedTrack | None = None
) -> dict[int, Change]:
    """The masks of an object that was added, by frame, and where it is hidden again.

    Of one that was split off, the first mask and what was changed: the others are what the job has found.
    """
    changes: dict[int, Change] = {}
    for tool_frame, text in sorted(new.shapes.items()):
        if tool_frame not in handed.frames:
            left_out[_NOT_LABELED] += 1
            continue
        frame = handed.frames[tool_frame]
        went = None if split_from is None else split_from.shapes.get(frame)
        if went is not None and text is not None and _same(went.shape, text, handed.size_hw):
            if not changes:
                changes[frame] = Change(counts=went.counts)
        elif text is None:
            if changes and (split_from is None or (went is not None and went.shape is not None)):
                changes[frame] = Change()
        else:
            shape = read_shape(text, handed.size_hw, f"{new.place}, frame {tool_frame}")
            if isinstance(shape, tuple):
                changes[frame] = Change(box_xyxy=shape)
            elif shape.any():
                changes[frame] = Change(counts=mask_of_pixels(shape).counts)
    return changes if any(not change.is_hidden for change in changes.values()) else {}

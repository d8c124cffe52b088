"""One object on one frame while a reviewer corrects it: what was said so far, and the mask that follows from it.

Each thing that is said is decoded with the memory that the frame had, with all clicks since the mask was last drawn,
and with the logits of the mask before, as in a session.

Memory and mask of a track that has gone wrong are wrong too, and outweigh what a reviewer says. So a box begins afresh:
it is decoded without memory and without the mask before, like the first prompt of an object, and what is said later
goes on from there. Where the box is small the network looks closely (`zoom`). Clicks that the mask does not obey are
decoded afresh as well, and that counts if it obeys them and the network expects a better mask. A click beside the
object that nothing obeys takes the part away that it lies on.

Legend: H, W pixels of the video as displayed, h w low-resolution logits.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import RLock
from typing import Any

import torch
from torch import Tensor

from model import BoxPrompt, FrameResult, MediaError, PointPrompt, VideoSession, advance, forget_wrong
from pipeline.arrays import BoolArray
from pipeline.errors import CannotMend, OtherFile
from pipeline.masks.from_logits import encode_masks
from pipeline.masks.rle import decode_rle
from pipeline.mending.clip_frames import ClipFrames
from pipeline.mending.known_masks import End, KnownObject
from pipeline.mending.mask_parts import without_part
from pipeline.mending.recalled import logits_of, prompt_of
from pipeline.mending.zoom import Region, Zoom, zoomed_region

Point = tuple[float, float]
Box = tuple[float, float, float, float]
MOST_STEPS = 200
MOST_PREVIEWED = 300


@dataclass(frozen=True)
class Seen:
    """A mask as the reviewer sees it: COCO's compressed counts at the size of the video.

    `counts` is None where the object has no mask; `is_hidden` where it was said that it is not visible, or nothing is
    left of it. `score` is the IoU that the network predicts, None where the mask is not the network's.
    """

    frame_index: int
    size_hw: tuple[int, int]
    counts: str | None
    area: int
    is_hidden: bool
    score: float | None


@dataclass(frozen=True)
class Said:
    """What was said since the mask was last drawn: clicks in pixels of the video with labels 1 and 0, and a box."""

    points_xy: tuple[Point, ...] = ()
    labels: tuple[int, ...] = ()
    box_xyxy: Box | None = None

    @property
    def prompt(self) -> PointPrompt | BoxPrompt:
        """All of it as one prompt. Raises `ValueError` for nonsense."""
        if self.box_xyxy is None:
            return PointPrompt(self.points_xy, self.labels)
        return BoxPrompt(self.box_xyxy, self.points_xy, self.labels)


@dataclass(frozen=True)
class Step:
    """The mask after something was said, bool `[H, W]`, its logits for the next click, and the predicted IoU."""

    mask_HW: BoolArray | None
    logits_BHW: Tensor | None
    said: Said = Said()
    score: float | None = None
    is_hidden: bool = False
    is_afresh: bool = False  # made without memory: the next one is, too
    region: Region | None = None  # of the logits; None: the frame


class Correction:
    """See the module. Methods may be called in any thread; they wait for the one model.

    Raises `CannotMend` for what cannot be said, naming it.
    """

    def __init__(
        self,
        session: VideoSession,
        frames: ClipFrames,
        known: KnownObject,
        begin: tuple[BoolArray | None, Tensor | None],
        end: End,
        lock: RLock,
    ) -> None:
        """`begin` is the mask that the frame has now with its logits, `end` how far the job follows the object.

        `lock` is held while the network computes.
        """
        self.id = uuid.uuid4().hex
        self.video_id = frames.clip.video_id
        self.object_id = known.object_id
        self.frame_index = frames.indexes[known.place]
        self.is_of_a_track = known.object_id in frames.clip.object_ids
        self.split_into: tuple[int, Seen] | None = None  # the object that was saved as one that begins with this mask
        self._session = session
        self._frames = frames
        self._known = known
        self._end = end
        self._lock = lock
        self._zoom: Zoom | None = None
        self._saved: Step | None = None
        self._steps = [Step(*begin, is_hidden=begin[0] is not None and not begin[0].any())]

    @property
    def seen(self) -> Seen:
        """The mask as it is now."""
        step = self._steps[-1]
        return _seen(self.frame_index, self._frames.size_hw, step.mask_HW, step.score, step.is_hidden)

    @property
    def prompted_frames(self) -> tuple[int, ...]:
        """The frames on which the last run had a prompt of the object; none for one that is added."""
        return tuple(self._frames.clip.track(self.object_id).row["prompt_frames"]) if self.is_of_a_track else ()

    @property
    def num_said(self) -> int:
        """How many things can be taken back."""
        return len(self._steps) - 1

    @property
    def has_unsaved(self) -> bool:
        """Whether anything was said that is not saved."""
        return self.num_said > 0 and self._steps[-1] is not self._saved

    def note_saved(self) -> None:
        """The mask as it is now was saved."""
        self._saved = self._steps[-1]

    @property
    def said(self) -> Said:
        """What led to the mask since it was last drawn."""
        return self._steps[-1].said

    @property
    def began_afresh(self) -> bool:
        """Whether the mask was made without the memory that the frame had."""
        return self._steps[-1].is_afresh

    def is_of(self, frames: ClipFrames) -> bool:
        """Whether its frame is one of these."""
        return self._frames is frames

    def forget_zoom(self) -> None:
        """Keep no region of the frame: the next box has it encoded again."""
        self._zoom = None

    def click(self, point_xy: Point, label: int) -> Seen:
        """A click: label 1 is on the object, 0 is not on it."""
        with self._lock:
            before = self._steps[-1]
            if before.mask_HW is None and label == 0 and not before.said.labels and before.said.box_xyxy is None:
                raise CannotMend("this object has no mask yet: begin with a click on it, a box or the brush")
            points_xy, labels = (*before.said.points_xy, point_xy), (*before.said.labels, label)
            return self._decode(replace(before.said, points_xy=points_xy, labels=labels))

    def box(self, box_xyxy: Box) -> Seen:
        """A box around the object, in the place of an earlier one. Its corners may be given in any order."""
        x0, y0, x1, y1 = box_xyxy
        ordered = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        with self._lock:
            return self._decode(replace(self._steps[-1].said, box_xyxy=ordered), is_new_box=True)

    def draw(self, counts: str) -> Seen:
        """A mask that was drawn, as COCO's compressed counts; it replaces the mask, and clicks go on from it."""
        try:
            mask_HW = decode_rle(self._frames.size_hw, counts)
        except ValueError as error:
            raise CannotMend(f"the drawn mask is none: {error}") from error
        with self._lock:
            logits_BHW = logits_of(self._session, self.object_id, self._known.place, mask_HW)
            return self._add(Step(mask_HW, logits_BHW))

    def hide(self) -> Seen:
        """The object is not visible on this frame."""
        with self._lock:
            return self._add(Step(self._frames.nothing(), None, is_hidden=True))

    def clear(self) -> Seen:
        """Forget mask and memory: what is said from now on is all that counts."""
        with self._lock:
            return self._add(Step(None, None, is_afresh=True))

    def undo(self) -> Seen:
        """Take back what was said last; nothing happens if there is nothing left."""
        with self._lock:
            if len(self._steps) > 1:
                self._steps.pop()
            return self.seen

    def restart(self) -> Seen:
        """Take back everything."""
        with self._lock:
            del self._steps[1:]
            return self.seen

    def propagate(self, num_frames: int, direction: int = 1) -> Generator[Seen, None, str]:
        """The masks that follow from this one on the next frames, one after the other, as the next run will walk.

        `direction` is 1 for later frames and -1 for earlier ones. The mask of this frame is a prompt from now on.
        It ends with the video, where the job stops to follow the object (see `End`), after 300 frames, or when the
        generator is closed. It returns why it ends earlier than was asked for, empty if it does not. Nothing changes.
        """
        place, object_id = self._known.place, self.object_id
        with self._lock:
            mask_HW = self._steps[-1].mask_HW
            if mask_HW is None:
                raise CannotMend("this object has no mask yet: there is nothing to go on from")
            walk = self._session.fork(object_ids=[object_id])
            if not mask_HW.any() and not walk.has_object(object_id):
                raise CannotMend("nothing is known of this object but that it is hidden here")
            if walk.has_object(object_id) and place in walk.objects[object_id].prompts:
                walk.clear_prompts(object_id, place)
            walk.add_prompt(object_id, place, prompt_of(mask_HW))
            steps = walk.walk_from(place, direction)
            first = next(steps)
            forget_wrong(first, [object_id])
            advance([first])
        end = self._end
        for at in range(place + direction, place + direction * (min(num_frames, MOST_PREVIEWED) + 1), direction):
            if not end.start <= at < end.stop:
                why = end.behind if direction > 0 else end.before
                return f"It ends at frame {self._frames.indexes[at - direction]}: {why or 'there the video ends'}."
            with self._lock:
                step = next(steps, None)
                if step is None:
                    return ""
                result = advance([step])[0]
                if object_id not in result.object_ids:
                    return ""
                seen = self._seen_of(result, result.object_ids.index(object_id))
            yield seen
        return ""

    def _decode(self, said: Said, is_new_box: bool = False) -> Seen:
        if is_new_box or self._steps[-1].is_afresh:
            return self._add(self._answer_afresh(said, goes_on=not is_new_box))
        found = self._answer(said)
        if 1 in said.labels and not _obeys(found, said):
            afresh = self._answer_afresh(said, goes_on=False)
            if (afresh.score or 0) > (found.score or 0) and _obeys(afresh, said):
                found = afresh
        return self._add(found)

    def _answer(self, said: Said) -> Step:
        """With the memory that the frame had, and the mask that is there."""
        before, known = self._steps[-1], self._known
        with _naming_faults():
            result = self._session.correct(
                self.object_id, known.place, said.prompt, before.logits_BHW, heading=known.heading
            )
        return answered(result, said)

    def _answer_afresh(self, said: Said, *, goes_on: bool) -> Step:
        """Without memory. It goes on from the mask that is there if asked to, and if that is of the same region."""
        with _naming_faults():
            prompt = said.prompt.fit(self._frames.size_hw)
            if isinstance(prompt, BoxPrompt) and (zoom := self._zoom_on(prompt)) is not None:
                return answered(zoom.answer(prompt, self._prior(zoom.region) if goes_on else None), said, zoom)
            prior_BHW = self._prior(None) if goes_on else None
            result = self._session.correct(self.object_id, self._known.place, prompt, prior_BHW, heading=None)
        return replace(answered(result, said), is_afresh=True)

    def _prior(self, region: Region | None) -> Tensor | None:
        """The logits of the mask that is there, if they are of this region, or of the frame."""
        before = self._steps[-1]
        return before.logits_BHW if before.region == region else None

    def _zoom_on(self, prompt: BoxPrompt) -> Zoom | None:
        """The region around a small box, encoded; None where the network sees the frame."""
        region = zoomed_region(prompt, self._frames.size_hw, self._session.model.config.image_size)
        if region is not None and (self._zoom is None or self._zoom.region != region):
            self._zoom = Zoom(self._session.model, self._frames.picture(self._known.place), region)
        return None if region is None else self._zoom

    def _add(self, step: Step) -> Seen:
        if len(self._steps) > MOST_STEPS:
            raise CannotMend(f"more than {MOST_STEPS} steps: save the mask, or take some back")
        self._steps.append(step)
        return self.seen

    def _seen_of(self, result: FrameResult, row: int) -> Seen:
        index = self._frames.indexes[result.frame_index]
        mask_HW = result.masks()[row].cpu().numpy()
        return _seen(index, self._frames.size_hw, mask_HW, float(result.predicted_ious_B[row]), not mask_HW.any())


def answered(result: FrameResult, said: Said, zoom: Zoom | None = None) -> Step:
    """What a frame, or a region of it, answers to what was said."""
    logits_BHW, region = result.logits_BHW, None if zoom is None else zoom.region
    if said.labels and said.labels[-1] == 0:
        point_xy = said.points_xy[-1] if region is None else region.point(said.points_xy[-1])
        logits_BHW = without_part(logits_BHW, point_xy, result.size_hw)
    mask = replace(result, logits_BHW=logits_BHW).masks()[0].cpu().numpy()
    mask_HW = mask if zoom is None else zoom.pasted(mask)
    score = float(result.predicted_ious_B[0])
    return Step(mask_HW, logits_BHW, said, score, is_afresh=zoom is not None, region=region)


@contextmanager
def _naming_faults() -> Iterator[None]:
    """What cannot be said, and a video that is gone, as `CannotMend`."""
    try:
        yield
    except (ValueError, MediaError, OtherFile) as error:
        raise CannotMend(str(error)) from error


def _obeys(step: Step, said: Said) -> bool:
    """Whether every click has the side of the mask that it names."""
    mask_HW = step.mask_HW
    if mask_HW is None:
        return False
    height, width = mask_HW.shape
    places = ((min(int(y), height - 1), min(int(x), width - 1)) for x, y in said.points_xy)
    return all(mask_HW[place] == (label == 1) for place, label in zip(places, said.labels, strict=True))


def _seen(
    frame_index: int, size_hw: tuple[int, int], mask_HW: BoolArray | None, score: float | None, is_hidden: bool
) -> Seen:
    if mask_HW is None:
        return Seen(frame_index, size_hw, None, 0, is_hidden, None)
    code = encode_masks(torch.from_numpy(mask_HW)[None])[0]
    return Seen(frame_index, size_hw, code.counts, code.area, is_hidden or code.area == 0, score)


def rle_of(seen: Seen) -> dict[str, Any] | None:
    """The mask as tables hold it; None where nothing is seen."""
    return None if seen.counts is None or not seen.area else {"size": list(seen.size_hw), "counts": seen.counts}

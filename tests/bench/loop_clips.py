"""Tracks of drawn clips that can be corrected and propagated again, as a job would label them, each computed once.

A track is known by its corrected frames, in the order of the corrections: whoever corrects the same frames gets the
same masks. The objects of a clip do not look at one another, so that each is propagated alone. Frames come from the
encoded film, because a job sees no others.

Legend: T frames from the object's first prompt on, H, W pixels.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pycocotools import mask as coco

from model import (
    ArrayFrames,
    BoxPrompt,
    MaskPrompt,
    Media,
    PointPrompt,
    Prompt,
    Sam2,
    VideoSession,
    advance,
    forget_wrong,
    open_reader,
)
from pipeline.arrays import BoolArray, Float64Array, Int64Array
from pipeline.demo.clips import Clip
from pipeline.demo.inputs import clip_mp4
from pipeline.masks.rle import decode_rle
from pipeline.mending.zoom import Zoom, zoomed_region
from pipeline.output.mask_rows import MaskRows
from pipeline.output.rows import Track, tracks_table
from pipeline.quality.pairs import score_pairs
from pipeline.quality.track_columns import columns_of_video
from pipeline.records import FramePosition, Status
from pipeline.worker.mask_encoder import MaskEncoder
from tests.bench.loop_clicks import Box, Clicks, Point, mend

Frames = tuple[int, ...]
"""The corrected frames of a track, in the order in which somebody corrected them."""

WRONG = 0.5
"""A mask with a lower IoU is wrong: it shows something else, or little of the object."""

_CLEAR = 0.75
_ALONE = 1 << 30  # no object of the session


FRAMES_OF_A_JUMP = 10
"""As far as the page goes back by Shift and the arrow."""


class WayBack(NamedTuple):
    """The way to where a fault begins: jumps back, steps on, and the frame to mend."""

    num_jumps: int
    num_steps: int
    frame_index: int


@dataclass(frozen=True)
class TrackLabels:
    """The rows of `masks` of one track, and how good they are: J and true pixels of each frame, J&F, lost frames."""

    rows: pa.Table
    first_frame: int
    j_T: Float64Array
    true_areas_T: Int64Array
    j_and_f: float
    missed_share: float

    @property
    def is_bad(self) -> bool:
        """J&F below 0.5, or no mask on a quarter of the frames that show the object."""
        return self.j_and_f < 0.5 or self.missed_share >= 0.25

    def is_wrong_on(self, frame_index: int) -> bool:
        """Whether the mask of a frame is wrong, and the object shows there, so that its mask can be made."""
        return bool(self._wrong[frame_index - self.first_frame])

    def way_back(self, frame_index: int) -> WayBack:
        """How somebody finds where the wrong stretch around a wrong frame begins: back by tens, then on frame by frame.

        He stops at the first of these frames that is right. Of the wrong frames that he has seen on the way he mends
        the first clear one; without one, that from which he came.
        """
        place = frame_index - self.first_frame
        seen = [place]
        while self._wrong[seen[-1]] and seen[-1] > 0:
            seen.append(max(0, seen[-1] - FRAMES_OF_A_JUMP))
        begin = seen[-1] if self._wrong[seen[-1]] else seen[-1] + int(self._wrong[seen[-1] :].argmax())
        wrong = sorted({begin, *(one for one in seen if one >= begin)})
        clear = next((one for one in wrong if self._clear[one]), place)
        return WayBack(len(seen) - 1, begin - seen[-1], self.first_frame + clear)

    @property
    def first_clear_frame(self) -> int:
        """The first clear frame that is wrong; without one, the wrong frame that shows most of the object.

        What comes after it is mended too, and nobody can say where an object is that others cover. A track without a
        wrong frame has its worst one.
        """
        if not self._wrong.any():
            return self.first_frame + int(np.where(self.true_areas_T > 0, self.j_T, np.inf).argmin())
        is_found_T = self._wrong & self._clear
        place = is_found_T.argmax() if is_found_T.any() else np.where(self._wrong, self.true_areas_T, 0).argmax()
        return self.first_frame + int(place)

    @property
    def _wrong(self) -> BoolArray:
        """By frame: whether the mask is wrong and the object shows."""
        is_wrong: BoolArray = (self.j_T < WRONG) & (self.true_areas_T > 0)
        return is_wrong

    @property
    def _clear(self) -> BoolArray:
        """By frame: whether most of the object shows."""
        is_clear: BoolArray = self.true_areas_T >= _CLEAR * self.true_areas_T.max()
        return is_clear


class LoopClip:
    """A clip, its prompts, and the tracks that a session makes of them and of corrections.

    Without `forgets` an object keeps what it had tracked where it was corrected, which no job does.
    """

    def __init__(self, clip: Clip, prompts: Sequence[Mapping[str, Any]], model: Sam2, *, forgets: bool = True) -> None:
        self.clip = clip
        self.prompts = {row["object_id"]: row for row in prompts}
        self._model = model
        self._forgets = forgets
        self._session: VideoSession | None = None
        self._labels: dict[tuple[int, Frames], TrackLabels] = {}
        self._clicks: dict[tuple[int, int], Clicks] = {}
        self._columns: dict[tuple[Frames, ...], dict[int, dict[str, Any]]] = {}

    @property
    def name(self) -> str:
        """The id of the video."""
        return self.clip.name

    def labels(self, object_id: int, corrected: Frames = ()) -> TrackLabels:
        """The track of an object after corrections of these frames."""
        key = object_id, corrected
        if key not in self._labels:
            self._propagate({object_id: corrected} if corrected else dict.fromkeys(self.prompts, ()))
        return self._labels[key]

    def correction(self, object_id: int, frame_index: int) -> Clicks:
        """What a person says of an object on a frame whose mask is wrong, and the mask that comes of it."""
        key = object_id, frame_index
        if key not in self._clicks:
            true_HW = self.clip.mask(object_id, frame_index)
            self._clicks[key] = mend(true_HW, _Decoder(self._session_of_clip(), frame_index))
        return self._clicks[key]

    def is_saved(self, object_id: int, corrected: Frames, frame_index: int) -> bool:
        """Whether a person saves that mask: it is mostly right, and better than the one that is there."""
        labels, clicks = self.labels(object_id, corrected), self.correction(object_id, frame_index)
        return clicks.iou > max(float(labels.j_T[frame_index - labels.first_frame]), WRONG)

    def doubtful_frame(self, object_id: int, corrected: Frames = ()) -> int | None:
        """Where the page opens the track: its `doubt_frame` while the other tracks are as they were at first."""
        for row in self.tracks({object_id: corrected}).select(["object_id", "doubt_frame"]).to_pylist():
            if row["object_id"] == object_id:
                found: int | None = row["doubt_frame"]
                return found
        raise KeyError(object_id)

    def tracks(self, corrected: Mapping[int, Frames]) -> pa.Table:
        """Rows of `tracks` of the clip, with doubt, when the objects have these corrections."""
        states = tuple(corrected.get(object_id, ()) for object_id in self.prompts)
        rows = [self.labels(object_id, state).rows for object_id, state in zip(self.prompts, states, strict=True)]
        masks = pa.concat_tables(rows)
        if states not in self._columns:
            self._columns[states] = columns_of_video(masks, self.clip.masks_TBHW.shape[2:])
        tracks = [
            Track(object_id, Status.OK, "", None, 1 + len(state), tuple(sorted(state)))
            for object_id, state in zip(self.prompts, states, strict=True)
        ]
        return tracks_table(self.name, tracks, masks, self._columns[states])

    def free(self) -> None:
        """Drop the frames' features; they are computed again when somebody corrects further."""
        self._session = None

    def prompts_of(self, object_id: int, corrected: Frames) -> dict[int, Prompt]:
        """What a job would be told of an object: its seed, and a mask for each corrected frame."""
        seed = self.prompts[object_id]
        said: dict[int, Prompt] = {seed["frame_index"]: _seed(seed)}
        for frame_index in corrected:
            said[frame_index] = MaskPrompt(self._clicks[object_id, frame_index].mask_HW)
        return said

    def _session_of_clip(self) -> VideoSession:
        if self._session is None:
            frames = decoded(clip_mp4(self.clip))
            self._session = VideoSession(self._model, ArrayFrames(frames), num_cached_frames=len(frames))
        return self._session

    @torch.inference_mode()
    def _propagate(self, corrected: Mapping[int, Frames]) -> None:
        """Propagate these objects, as the next run of a job does."""
        session = self._session_of_clip()
        session.reset()
        for object_id, state in corrected.items():
            for frame_index, prompt in self.prompts_of(object_id, state).items():
                session.add_prompt(object_id, frame_index, prompt)
        size_hw = session.frames.size_hw
        rows = MaskRows(self.name, size_hw)
        with MaskEncoder(_Positions(size_hw), rows) as encoder:
            for step in session.walk("forward"):
                if self._forgets:
                    forget_wrong(step, [one for one, state in corrected.items() if step.frame.index in state])
                (result,) = advance([step])
                encoder.put(result)
            encoder.finish()
        table = rows.table()
        for object_id, state in corrected.items():
            own = table.filter(pc.field("object_id") == object_id)
            self._labels[object_id, state] = self._scored(object_id, own)

    def _scored(self, object_id: int, rows: pa.Table) -> TrackLabels:
        frames = rows["frame_index"].to_pylist()
        predicted = rows["rle"].combine_chunks().field("counts")
        true_THW = self.clip.masks_TBHW[frames, object_id - 1]
        scores = score_pairs(true_THW.shape[1:], predicted, pa.array(map(_counts, true_THW), pa.string()))
        shows = scores.true_areas > 0
        missed = float((shows & (scores.predicted_areas == 0)).sum() / max(shows.sum(), 1))
        mean = float((scores.j.mean() + scores.f.mean()) / 2)
        return TrackLabels(rows, frames[0], scores.j, scores.true_areas, mean, missed)


@dataclass(frozen=True)
class _Positions:
    """Every frame is labeled."""

    size_hw: tuple[int, int]

    def position(self, index: int) -> FramePosition:
        return FramePosition(index, None)


def decoded(film: bytes) -> torch.Tensor:
    """The frames of a film in memory, uint8 `[T, H, W, 3]`."""
    reader = open_reader(Media("clip", (partial(io.BytesIO, film),)), 1)
    size_hw = reader.info().size_hw
    return torch.from_numpy(np.stack([frame.picture.pixels(size_hw) for frame in reader.read()]))


def _seed(row: Mapping[str, Any]) -> Prompt:
    points = tuple((float(x), float(y)) for x, y in row.get("points_xy") or ())
    labels = tuple(row.get("point_labels") or ())
    if row.get("mask_rle"):
        return MaskPrompt(decode_rle(tuple(row["mask_rle"]["size"]), row["mask_rle"]["counts"]))
    if row.get("box_xyxy"):
        x0, y0, x1, y1 = row["box_xyxy"]
        return BoxPrompt((x0, y0, x1, y1), points, labels)
    return PointPrompt(points, labels)


@dataclass(frozen=True)
class _Decoder:
    """Masks of a session on one frame, as the page of reviews gives them: a box begins without memory and mask.

    A small box is looked at closely.
    """

    session: VideoSession
    frame_index: int

    def box(self, box_xyxy: Box) -> BoolArray:
        return self._said(BoxPrompt(box_xyxy), None)[0]

    def box_and_click(self, box_xyxy: Box, point_xy: Point, label: int) -> BoolArray:
        _, before_BHW = self._said(BoxPrompt(box_xyxy), None)
        return self._said(BoxPrompt(box_xyxy, (point_xy,), (label,)), before_BHW)[0]

    def _said(self, prompt: BoxPrompt, before_BHW: torch.Tensor | None) -> tuple[BoolArray, torch.Tensor]:
        zoom = self._zoom_on(prompt)
        if zoom is None:
            result = self.session.correct(_ALONE, self.frame_index, prompt, before_BHW, heading=None)
        else:
            result = zoom.answer(prompt, before_BHW)
        mask: BoolArray = result.masks()[0].numpy()
        return mask if zoom is None else zoom.pasted(mask), result.logits_BHW

    def _zoom_on(self, prompt: BoxPrompt) -> Zoom | None:
        network = self.session.model
        region = zoomed_region(prompt, self.session.frames.size_hw, network.config.image_size)
        if region is None:
            return None
        (frame,) = self.session.frames.at([self.frame_index])
        return Zoom(network, frame.pixels_HW3.numpy(), region)


def _counts(mask_HW: BoolArray) -> str | None:
    if not mask_HW.any():
        return None
    counts: str = coco.encode(np.asfortranarray(mask_HW.astype(np.uint8)))["counts"].decode("ascii")
    return counts

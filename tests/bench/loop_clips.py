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
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pycocotools import mask as coco

from model import ArrayFrames, BoxPrompt, MaskPrompt, Media, PointPrompt, Prompt, Sam2, VideoSession, open_reader
from model.tracking.history import HistoryRule
from pipeline.arrays import BoolArray, Float64Array, Int64Array
from pipeline.demo.clips import Clip
from pipeline.demo.inputs import clip_mp4
from pipeline.masks.rle import decode_rle
from pipeline.output.mask_rows import MaskRows
from pipeline.output.rows import Track, tracks_table
from pipeline.quality.pairs import score_pairs
from pipeline.quality.track_columns import columns_of_video
from pipeline.records import FramePosition, Status
from pipeline.worker.mask_encoder import MaskEncoder
from tests.bench.loop_clicks import Box, Clicks, Point, click, iou

Frames = tuple[int, ...]
"""The corrected frames of a track, in the order in which somebody corrected them."""

_SLIVER = 0.25
_ALONE = 1 << 30  # in a session, an object that knows the clicks alone
ANEW_BELOW = 0.5
"""A mask with a lower IoU is not refined: the annotator clears it and clicks on the object as if it had none."""


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

    @property
    def worst_frame(self) -> int:
        """The frame with the lowest J; of several, the one that shows the object best.

        Frames that show less than a quarter of the most do not count, because nobody clicks on a sliver.
        """
        is_shown = self.true_areas_T >= _SLIVER * self.true_areas_T.max()
        order = np.lexsort((-self.true_areas_T, np.where(is_shown, self.j_T, np.inf)))
        return self.first_frame + int(order[0])


class LoopClip:
    """A clip, its prompts, and the tracks that a session makes of them and of corrections."""

    def __init__(self, clip: Clip, prompts: Sequence[Mapping[str, Any]], model: Sam2) -> None:
        self.clip = clip
        self.prompts = {row["object_id"]: row for row in prompts}
        self._model = model
        self._session: VideoSession | None = None
        self._walked: dict[int, Frames] = {}  # the tracks of which the session has the memory
        self._labels: dict[tuple[int, Frames], TrackLabels] = {}
        self._clicks: dict[tuple[int, Frames], Clicks] = {}
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

    def correction(self, object_id: int, corrected: Frames, frame_index: int) -> Clicks:
        """The clicks on a frame of the track that these corrections made, and the mask that comes of them."""
        key = object_id, (*corrected, frame_index)
        if key not in self._clicks:
            if self._walked.get(object_id) != corrected:
                self._propagate({object_id: corrected})
            self._clicks[key] = self._click(object_id, corrected, frame_index)
        return self._clicks[key]

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
        self._session, self._walked = None, {}

    def prompts_of(self, object_id: int, corrected: Frames) -> dict[int, Prompt]:
        """What a job would be told of an object: its seed, and a mask for each corrected frame."""
        seed = self.prompts[object_id]
        said: dict[int, Prompt] = {seed["frame_index"]: _seed(seed)}
        for number, frame_index in enumerate(corrected, 1):
            said[frame_index] = MaskPrompt(self._clicks[object_id, corrected[:number]].mask_HW)
        return said

    def _session_of_clip(self) -> VideoSession:
        if self._session is None:
            frames = decoded(clip_mp4(self.clip))
            self._session = VideoSession(
                self._model, ArrayFrames(frames), history=HistoryRule(), num_cached_frames=len(frames)
            )
        return self._session

    @torch.inference_mode()
    def _propagate(self, corrected: Mapping[int, Frames]) -> None:
        """Propagate these objects, and look where the bad ones of them would be corrected."""
        session = self._session_of_clip()
        session.reset()
        for object_id, state in corrected.items():
            for frame_index, prompt in self.prompts_of(object_id, state).items():
                session.add_prompt(object_id, frame_index, prompt)
        size_hw = session.frames.size_hw
        rows = MaskRows(self.name, size_hw)
        with MaskEncoder(_Positions(size_hw), rows) as encoder:
            for result in session.propagate("forward"):
                encoder.put(result)
            encoder.finish()
        table = rows.table()
        self._walked = dict(corrected)
        for object_id, state in corrected.items():
            own = table.filter(pc.field("object_id") == object_id)
            self._labels[object_id, state] = self._scored(object_id, own)
        # At once, because a session forgets the memory of a track when it propagates others.
        for object_id, state in corrected.items():
            if (labels := self._labels[object_id, state]).is_bad:
                self.correction(object_id, state, labels.worst_frame)

    def _scored(self, object_id: int, rows: pa.Table) -> TrackLabels:
        frames = rows["frame_index"].to_pylist()
        predicted = rows["rle"].combine_chunks().field("counts")
        true_THW = self.clip.masks_TBHW[frames, object_id - 1]
        scores = score_pairs(true_THW.shape[1:], predicted, pa.array(map(_counts, true_THW), pa.string()))
        shows = scores.true_areas > 0
        missed = float((shows & (scores.predicted_areas == 0)).sum() / max(shows.sum(), 1))
        mean = float((scores.j.mean() + scores.f.mean()) / 2)
        return TrackLabels(rows, frames[0], scores.j, scores.true_areas, mean, missed)

    @torch.inference_mode()
    def _click(self, object_id: int, corrected: Frames, frame_index: int) -> Clicks:
        session = self._session_of_clip()
        labels, true_HW = self._labels[object_id, corrected], self.clip.mask(object_id, frame_index)
        row = labels.rows["rle"][frame_index - labels.first_frame].as_py()
        begin_HW = decode_rle(tuple(row["size"]), row["counts"])
        is_anew = iou(begin_HW, true_HW) < ANEW_BELOW
        said = None if is_anew else self.prompts_of(object_id, corrected).get(frame_index)

        decoder = _Decoder(session, _ALONE if is_anew else object_id, frame_index, said)
        found = click(begin_HW, true_HW, decoder, is_anew)
        if session.has_object(_ALONE):
            session.remove_object(_ALONE)
        self._walked.pop(object_id)  # the session has another prompt of it now
        return found


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
    """Masks of a session on one frame. A click is beside what the frame was told before, a box stands alone."""

    session: VideoSession
    object_id: int
    frame_index: int
    said: Prompt | None

    def click(self, point_xy: Point, label: int) -> BoolArray:
        said = self.said
        if isinstance(said, BoxPrompt):
            return self._mask(
                self.object_id, BoxPrompt(said.box_xyxy, (*said.points_xy, point_xy), (*said.labels, label))
            )
        if isinstance(said, PointPrompt):
            return self._mask(self.object_id, PointPrompt((*said.points_xy, point_xy), (*said.labels, label)))
        return self._mask(self.object_id, PointPrompt((point_xy,), (label,)))

    def box(self, box_xyxy: Box) -> BoolArray:
        if self.session.has_object(_ALONE):
            self.session.remove_object(_ALONE)
        return self._mask(_ALONE, BoxPrompt(box_xyxy))

    def _mask(self, object_id: int, prompt: Prompt) -> BoolArray:
        self.session.add_prompt(object_id, self.frame_index, prompt)
        result = self.session.segment_frame(self.frame_index)
        mask_HW: BoolArray = result.masks()[result.object_ids.index(object_id)].numpy()
        return mask_HW


def _counts(mask_HW: BoolArray) -> str | None:
    if not mask_HW.any():
        return None
    counts: str = coco.encode(np.asfortranarray(mask_HW.astype(np.uint8)))["counts"].decode("ascii")
    return counts

"""What becomes of found objects: prompts for the walk that labels them, or rows that hold their seeds alone."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pipeline.inputs.mask_prompts import RleMask
from pipeline.inputs.prompts import ObjectPrompts, VideoPrompts
from pipeline.masks.crop import rle_of_box
from pipeline.masks.parts import num_parts
from pipeline.masks.rle import Rle, Runs
from pipeline.masks.run_lengths import run_lengths
from pipeline.output.mask_rows import Mask, MaskRows, MaskSigns
from pipeline.output.rows import Track, tracks_table
from pipeline.records import FramePosition, MergedSeed, SeedFacts, Status
from pipeline.seeds.detected import DetectedMask
from pipeline.seeds.discovery import Discovered, FoundObject
from pipeline.worker.labeler import Labels

# The object score that the network gives to a mask that is a prompt.
_GIVEN_SCORE = 10.0


class Positions(Protocol):
    """Where labeled frames lie in their video; see `pipeline.video.frames.VideoFrames`."""

    @property
    def size_hw(self) -> tuple[int, int]: ...

    @property
    def num_frames(self) -> int | None: ...

    def position(self, index: int) -> FramePosition: ...


def prompts_of(found: Discovered, source: str, frames: Positions) -> VideoPrompts:
    """The found objects as prompts, each by its mask on the frame that found it. `source` says what found them."""
    objects = []
    for one in found.objects:
        mask = RleMask(one.mask.size_hw, _rle(one).counts.encode())
        objects.append(
            ObjectPrompts(
                one.object_id,
                one.category,
                ((frames.position(one.frame_index), mask),),
                seed=_facts(one, found.duplicates, source, frames),
            )
        )
    return VideoPrompts(tuple(objects))


def seed_rows(video_id: str, found: Discovered, source: str, frames: Positions, folder: Path | None) -> Labels:
    """Rows of a video in which nothing is followed: an object has one mask, on the frame that found it.

    The frames that were searched count as labeled, because the search took its time on all of them. Rows wait in
    `folder` on local disk (None = the system's temporary folder).
    """
    categories = {one.object_id: one.category for one in found.objects}
    tracks: list[Track] = []
    with contextlib.closing(MaskRows(video_id, frames.size_hw, folder, categories=categories)) as rows:
        for one in found.objects:
            position = frames.position(one.frame_index)
            rows.add(_mask(one, position))
            seed = _facts(one, found.duplicates, source, frames)
            frame_indexes = (position.frame_index or 0,)
            tracks.append(Track(one.object_id, Status.OK, "", one.category, 1, frame_indexes, seed=seed))
        masks = rows.table()
    return Labels(
        masks=masks,
        tracks=tracks_table(video_id, tracks, masks),
        expected_masks=len(tracks),
        num_frames=frames.num_frames or len({one.frame_index for one in found.objects}),
        step_seconds=0.0,
        encode_seconds=0.0,
    )


def _rle(one: FoundObject) -> Rle:
    x0, y0, _, _ = one.mask.box_xyxy
    return rle_of_box(one.mask.inner_hw, (x0, y0), one.mask.size_hw)


def _facts(one: FoundObject, duplicates: Sequence[FoundObject], source: str, frames: Positions) -> SeedFacts:
    merged = tuple(
        MergedSeed(other.object_id, frames.position(other.frame_index).frame_index or 0, other.mask.score)
        for other in duplicates
        if other.duplicate_of == one.object_id
    )
    score = one.mask.said.score if isinstance(one.mask, DetectedMask) else one.mask.score
    return SeedFacts(source, score, one.mask.stability, merged)


def _mask(one: FoundObject, position: FramePosition) -> Mask:
    rle = _rle(one)
    (parts,) = num_parts([Runs(run_lengths(rle.counts))], one.mask.size_hw)
    return Mask(
        one.object_id,
        position.frame_index or 0,
        position.pts_seconds,
        rle.counts,
        rle.area,
        rle.bbox_xywh,
        _GIVEN_SCORE,
        one.mask.predicted_iou,
        is_prompt=True,
        signs=MaskSigns(one.mask.stability, parts),
    )

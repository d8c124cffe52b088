"""Frames that reviewers corrected as prompts, in the place of what the table says of the same frames."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from model import HiddenPrompt, MaskPrompt
from pipeline.inputs.mask_prompts import RleMask
from pipeline.inputs.prompts import ObjectPrompts, VideoPrompts
from pipeline.masks.rle import decode_rle
from pipeline.records import FramePosition
from pipeline.reviews.corrections import Correction


@dataclass(frozen=True)
class CorrectedMask(RleMask):
    """What a reviewer accepted on a frame. Without `counts` the object is not visible there."""

    def fit(self, size_hw: tuple[int, int]) -> MaskPrompt:
        """The prompt for a video of that size. Raises `ValueError` for a mask of another size, or a wrong code."""
        is_empty = self.size_hw == size_hw and not decode_rle(size_hw, self.counts).any()
        return HiddenPrompt.of(size_hw) if not self.counts or is_empty else super().fit(size_hw)


def with_corrections(prompts: VideoPrompts, objects: Mapping[int, Sequence[Correction]]) -> VideoPrompts:
    """The prompts of a video with all frames that were corrected, by object. Objects of corrections alone are added.

    A frame that the table names by its time is known to be a corrected one when its video is open: `worker.labeler`.
    """
    by_id = {one.object_id: one for one in prompts.objects}
    for object_id, corrections in objects.items():
        by_id[object_id] = _corrected(by_id.get(object_id) or ObjectPrompts(object_id, None, ()), corrections)
    return VideoPrompts(tuple(by_id[object_id] for object_id in sorted(by_id)))


def without(prompts: VideoPrompts, object_ids: Collection[int]) -> VideoPrompts:
    """The prompts of all objects but these."""
    return VideoPrompts(tuple(one for one in prompts.objects if one.object_id not in object_ids))


def _corrected(prompted: ObjectPrompts, corrections: Sequence[Correction]) -> ObjectPrompts:
    """An object with its corrections. Where its rows of the table are wrong, they are its prompts alone."""
    frames = {correction.frame_index for correction in corrections}
    given = tuple((position, prompt) for position, prompt in prompted.prompts if position.frame_index not in frames)
    accepted = tuple((FramePosition(said.frame_index, None), _prompt(said)) for said in corrections)
    category = prompted.category or next((said.category for said in corrections if said.category), None)
    if given or any(said.rle is not None for said in corrections):
        return replace(prompted, category=category, prompts=given + accepted, error="")
    error = (
        f"object {prompted.object_id}, frame {', '.join(map(str, sorted(frames)))}: reviewers say only where it is not "
        "visible, and no prompt says where it is; correct a frame on which it is with a mask"
    )
    return replace(prompted, category=category, prompts=(), error="; ".join(filter(None, (prompted.error, error))))


def _prompt(correction: Correction) -> CorrectedMask:
    rle = correction.rle
    if rle is None:
        return CorrectedMask(None, b"")
    height, width = (int(number) for number in rle["size"])
    return CorrectedMask((height, width), rle["counts"].encode())

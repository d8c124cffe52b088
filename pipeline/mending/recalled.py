"""The memory that an object had on a frame, made again of the rows of the job."""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor

from model import HiddenPrompt, MaskPrompt, VideoSession, advance, forget_wrong
from pipeline.arrays import BoolArray
from pipeline.mending.known_masks import KnownObject, overlap

# From this IoU on, what the session gives again is the mask of the row, and its logits are those that the row had.
_SAME_MASK = 0.9
_HIDDEN_LOGIT = -32.0


def recall_object(session: VideoSession, known: KnownObject) -> None:
    """Gives a session, which has the frames of the video, the object with the memories that it had on the frame.

    Prompted frames are remembered by their masks. An object without any has no memories, and is not in the session.
    """
    for place, mask_HW in known.prompts.items():
        session.add_prompt(known.object_id, place, prompt_of(mask_HW))
    if not known.prompts:
        return
    session.condition()
    if known.recalled:
        session.recall(known.object_id, known.recalled, known.heading)
    num_walked = (known.place - known.walk_from) * known.heading
    if num_walked:
        steps = session.walk_from(known.walk_from, known.heading, fresh=not known.recalled)
        for step in islice(steps, num_walked):
            if known.is_behind_a_correction and step.frame.index == known.walk_from:  # as the next run does it
                forget_wrong(step, [known.object_id])
            advance([step])


def prompt_of(mask_HW: BoolArray) -> MaskPrompt:
    """A mask as the next run of the job takes it; one without pixels says that the object is not visible."""
    return MaskPrompt(mask_HW) if mask_HW.any() else HiddenPrompt(mask_HW)


def mask_here(session: VideoSession, known: KnownObject) -> tuple[BoolArray | None, Tensor | None]:
    """The mask that a correction begins with, and its logits `[1, h, w]`, which go with the first click.

    The logits are those of tracking if tracking gives this mask. If not, they are made of the mask itself. Where the
    rows are out of date, the mask is that of tracking. Without any mask both are None.
    """
    if known.prompts and known.place not in known.prompts:
        tracked = session.correct(known.object_id, known.place, heading=known.heading)
        mask_HW: BoolArray = tracked.masks()[0].cpu().numpy()
        if known.here is None:
            return (mask_HW, tracked.logits_BHW) if known.is_behind_a_correction else (None, None)
        if overlap(mask_HW, known.here) >= _SAME_MASK:
            return known.here, tracked.logits_BHW
    if known.here is None:
        return None, None
    return known.here, logits_of(session, known.object_id, known.place, known.here)


def logits_of(session: VideoSession, object_id: int, place: int, mask_HW: BoolArray) -> Tensor:
    """The logits of a mask that was drawn or stored, `[1, h, w]`: what the network makes of it as a prompt."""
    if not mask_HW.any():
        size = session.model.config.mask_size
        return torch.full((1, size, size), _HIDDEN_LOGIT, device=session.model.device)
    return session.correct(object_id, place, MaskPrompt(mask_HW)).logits_BHW

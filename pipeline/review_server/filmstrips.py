"""A strip of small pictures of a track for the list: the object on a few frames, cut to where it is, as one JPEG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
from PIL import Image
from pycocotools import mask as coco

from pipeline.masks.overlay import Look, draw_masks
from pipeline.pages.thumbnails import SmallCut, cut_around, frames_to_show
from pipeline.tables import JobTables

if TYPE_CHECKING:
    from pipeline.notebook.clip import Clip

_NUM_PICTURES = 4
_SIDE = 128
_GAP = 4
_LOOK = Look(strength=0.35, words={})
_QUALITY = 80
_PAPER = (128, 128, 128)


def filmstrip(job: JobTables, clip: Clip, row: Mapping[str, Any]) -> bytes:
    """The strip of a track. `row` is its row in `tracks`.

    Raises what `Clip.pixels` raises where the video cannot be read, and `NotInJob` if it was labeled again meanwhile.
    """
    track = clip.track(row["object_id"])
    indexes = track.frame_indexes.tolist()
    prompt = row["prompt_frames"][0] if row["prompt_frames"] else None
    frames = frames_to_show(indexes, track.areas.tolist(), row["doubt_frame"], prompt, _NUM_PICTURES)
    boxes = dict(zip(indexes, track.boxes, strict=True))
    cut = SmallCut(cut_around([boxes[frame] for frame in frames], clip.size_hw), _SIDE)
    where = (pc.field("object_id") == row["object_id"]) & pc.field("frame_index").isin(frames)
    rows = job.masks([clip.video_id], columns=["frame_index", "rle"], where=where).to_table()
    masks = {one["frame_index"]: coco.decode(one["rle"]).astype(bool) for one in rows.to_pylist()}
    pictures = []
    for frame, _, pixels_HW3 in clip.pixels(frames, reading="apart"):
        small = {row["object_id"]: cut.mask(masks.get(frame, np.zeros(clip.size_hw, bool)))}
        pictures.append(Image.fromarray(draw_masks(cut.pixels(pixels_HW3), small, look=_LOOK)))
    height = max(image.height for image in pictures)
    strip = Image.new("RGB", (len(pictures) * (_SIDE + _GAP) - _GAP, height), _PAPER)
    for number, image in enumerate(pictures):
        left = number * (_SIDE + _GAP)
        strip.paste(image, (left + (_SIDE - image.width) // 2, (height - image.height) // 2))
    buffer = io.BytesIO()
    strip.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()

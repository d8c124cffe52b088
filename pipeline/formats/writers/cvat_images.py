"""`cvat_images`: "CVAT for images 1.1", each mask of each frame as it is; one XML document a split.

A mask of CVAT is run-length code of the rows of its box: lengths of 0 and 1 in turn, zeros first. The format has no
tracks of masks, so that `group_id` and the attribute `object_id` tell which masks are one object. `z_order` tells which
mask is on top, by `overlap=`. With `review=true` and `queue=` the attributes of a mask are what a reviewer needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.arrays import BoolArray
from pipeline.config.fields import Group
from pipeline.formats.folder import ExportFolder, PartFolder
from pipeline.formats.frame_images import file_name, write_frames
from pipeline.formats.overlap import painting_order
from pipeline.formats.plan import Plan, PlannedTrack
from pipeline.formats.rows import MaskRow
from pipeline.formats.shape_text import mask_text
from pipeline.formats.source import ExportVideo
from pipeline.formats.writer import VideoWriter
from pipeline.formats.writers.cvat_xml import LABELS, attributes_of, head, label_specification, names_of_attributes
from pipeline.formats.writers.xml_text import attribute
from pipeline.masks.crop import box_pixels


class Options(Group):
    """`cvat_images` has no keys of its own."""


class Writer(VideoWriter):
    """See the module."""

    can_review = True
    can_cut = True

    def __init__(self, options: Options) -> None:
        self._options = options

    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        """An `<image>` a labeled frame."""
        for text in images(video):
            out.append(f"images.{video.split}", text)
        write_frames(video, out, f"images/{video.name}")

    def finish(self, plan: Plan, folder: ExportFolder) -> None:
        """The documents of the splits."""
        for split in plan.splits:
            folder.write(f"{split}.xml", document(split, plan, folder.stream(f"images.{split}")))
        if plan.handout is not None:
            folder.write(LABELS, [label_specification(plan.categories)])


def document(split: str, plan: Plan, images: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a split's document from its `<image>` elements."""
    attributes = names_of_attributes(plan.handout is not None, plan.has_reviews)
    yield head(split, "annotation", plan.categories, attributes=attributes).encode()
    for image in images:
        yield b"  " + image + b"\n"
    yield b"</annotations>\n"


def images(video: ExportVideo) -> Iterator[str]:
    """The `<image>` elements of a video, in the order of its frames, a line each."""
    tracks = {track.object_id: track for track in video.tracks}
    height, width = video.size_hw
    if video.review is not None:
        video.review.note_frames(video.frame_indexes.tolist(), video.frame_indexes.tolist())
    for number, (frame_index, rows) in enumerate(video.by_frame(), video.planned.first_image_id - 1):
        name = attribute(f"{video.name}/{file_name(video, frame_index)}")
        layers = painting_order(rows, video.content.overlap)
        masks = "".join(_mask(row, tracks[row.object_id], layer, video) for layer, row in enumerate(layers))
        yield f'<image id="{number}" name={name} width="{width}" height="{height}">{masks}</image>'


def row_runs(pixels_hw: BoolArray) -> str:
    """The pixels of a box, row by row, as CVAT's run lengths: `2, 3, 1` for 001110."""
    pixels = pixels_hw.ravel()
    borders = np.flatnonzero(np.diff(pixels)) + 1
    lengths = np.diff(borders, prepend=0, append=pixels.size)
    return ", ".join(map(str, [0, *lengths.tolist()] if pixels.size and pixels[0] else lengths.tolist()))


def _mask(row: MaskRow, track: PlannedTrack, layer: int, video: ExportVideo) -> str:
    left, top, width, height = row.bbox_xywh
    code = row_runs(box_pixels(row.rle, row.bbox_xywh))
    if video.review is not None:
        video.review.note(track, row, row.frame_index, mask_text(code, row.bbox_xywh))
    return (
        f'<mask label={attribute(track.category)} source="semi-auto" occluded="0" rle="{code}" left="{left}" '
        f'top="{top}" width="{width}" height="{height}" z_order="{layer}" group_id="{track.id}">'
        f"{attributes_of(track, video)}</mask>"
    )

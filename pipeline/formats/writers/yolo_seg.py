"""YOLO: `labels/{split}/{video}_{frame:05d}.txt` beside `images/{split}/…`, a line a mask: its class and one polygon.

A line has one ring, and names no track. Holes and further parts are reached over bridges (`parts=joined`), or left out
(`parts=largest`). What a ring cannot say is in the manifest, as the IoU of the filled ring with the mask. A frame
without visible objects has an empty file, which trains the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
import yaml
from pydantic import Field

from pipeline.arrays import Int64Array
from pipeline.config.fields import Group
from pipeline.errors import ConfigError
from pipeline.formats.folder import ExportFolder, PartFolder
from pipeline.formats.frame_images import write_frames
from pipeline.formats.plan import Plan
from pipeline.formats.polygons import Outline, Ring, outline
from pipeline.formats.rows import MaskRow
from pipeline.formats.source import ExportVideo
from pipeline.formats.writer import VideoWriter
from pipeline.masks.crop import box_pixels

# Readers multiply by the size, and cut or round to a pixel. A quarter of a pixel further in, both find the same pixel.
_INSIDE = 0.25
_THIN = 0.05, 0.45

_KEYS = ("names", "nc", "path", "channels", "download", "yaml_file", "masks_dir", "kpt_shape", "flip_idx")
"""What `data.yaml` says besides the folders of splits."""


class Options(Group):
    """How masks become polygons."""

    parts: Literal["joined", "largest"] = Field(
        default="joined",
        description="joined leads one ring along all parts and holes, over bridges of a pixel; largest keeps the "
        "largest part and fills its holes.",
    )
    tolerance_px: float = Field(
        default=0.0,
        ge=0,
        description="How far a ring may be from the border, in pixels. More makes shorter lines; 0 keeps each pixel.",
    )


class Writer(VideoWriter):
    """See the module."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def check(self, plan: Plan) -> None:
        for split in plan.splits:
            if split in _KEYS:
                raise ConfigError(
                    f"splits.{split}: the key {split} of data.yaml says something else; give the split another name"
                )

    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        classes = {track.object_id: track.category_id - 1 for track in video.tracks}
        texts = RingTexts(video.size_hw)
        for frame_index, rows in video.by_frame():
            lines = []
            for row in rows:
                if row.area:
                    found = self._outline(row, video)
                    lines.append(f"{classes[row.object_id]} {texts.of(found.ring, row.bbox_xywh)}\n")
            with out.open(f"labels/{video.split}/{_name(video, frame_index)}.txt") as file:
                file.write("".join(lines).encode("ascii"))
        write_frames(video, out, f"images/{video.split}", partial(_name, video))

    def finish(self, plan: Plan, folder: ExportFolder) -> None:
        splits = {split: f"images/{split}" for split in plan.splits}
        # Ultralytics wants both keys, whatever the splits are called.
        first = next(iter(splits.values()))
        names = {number - 1: name for name, number in plan.categories.items()}
        document = {"train": first, "val": first, **splits, "names": names}
        folder.write("data.yaml", [yaml.safe_dump(document, allow_unicode=True, sort_keys=False).encode()])

    def _outline(self, row: MaskRow, video: ExportVideo) -> Outline:
        found = outline(
            box_pixels(row.rle, row.bbox_xywh),
            joined=self._options.parts == "joined",
            tolerance_px=self._options.tolerance_px,
        )
        if found.iou < 1:
            kind = "parts" if found.num_parts > 1 else "holes" if found.num_holes else "outline"
            video.lost(kind, row.object_id, row.frame_index, found.iou)
        return found


class RingTexts:
    """Coordinates of a ring as numbers between 0 and 1, six digits, as texts."""

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self._size_hw = size_hw
        height, width = size_hw
        self._xs = [f"{(x + _INSIDE) / width:.6f}" for x in range(width)]
        self._ys = [f"{(y + _INSIDE) / height:.6f}" for y in range(height)]

    def of(self, ring: Ring, bbox_xywh: Sequence[int]) -> str:
        """The points of a ring in a box, three at least. A line of pixels gets a width, because boxes need an area."""
        points_N2 = ring + np.array(bbox_xywh[:2])
        low, high = points_N2.min(axis=0), points_N2.max(axis=0)
        if (low == high).any():
            return self._thin(low, high)
        points_N2 = np.concatenate([points_N2, points_N2[-1:].repeat(max(0, 3 - len(ring)), axis=0)])
        return " ".join(f"{self._xs[x]} {self._ys[y]}" for x, y in points_N2.tolist())

    def _thin(self, low: Int64Array, high: Int64Array) -> str:
        (height, width), (near, far) = self._size_hw, _THIN
        x0, y0, x1, y1 = low[0] + near, low[1] + near, high[0] + far, high[1] + far
        corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
        return " ".join(f"{x / width:.6f} {y / height:.6f}" for x, y in corners)


def _name(video: ExportVideo, frame_index: int) -> str:
    return f"{video.name}_{frame_index:05d}"

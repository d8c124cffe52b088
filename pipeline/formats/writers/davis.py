"""DAVIS: `Annotations/480p/{video}/{frame:05d}.png`, 8 bits with a palette, 0 the background and 1, 2, … the objects.

MOSE, LVOS and YouTube-VOS have the same without the folder `480p`. A pixel has one object, so that overlapping masks
lose pixels; `format=sa_v` keeps them. The object with number n in the manifest is n in the pictures, or by
`object_numbers=id` the object with id n.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import Field

from pipeline.config.fields import Group
from pipeline.errors import ConfigError
from pipeline.formats.folder import ExportFolder, PartFolder
from pipeline.formats.frame_images import write_frames
from pipeline.formats.frame_numbers import ObjectNumbers, frames_with_unlabeled, image_stems, numbered
from pipeline.formats.label_png import MAX_PALETTE_LABEL, palette, palette_png
from pipeline.formats.overlap import UInt16Array
from pipeline.formats.plan import Plan
from pipeline.formats.source import ExportVideo
from pipeline.formats.writer import VideoWriter


class Options(Group):
    """How the tree of DAVIS looks."""

    resolution: str | None = Field(
        default="480p",
        pattern=r"^[A-Za-z0-9_-]+$",
        description="The folder between Annotations and the videos; null: none, as in MOSE, LVOS and YouTube-VOS. "
        "It is a name: masks keep their size.",
    )
    frame_numbers: Literal["index", "count", "file"] = Field(
        default="index",
        description="Names of files: index is the frame index of the tables (0, 4, 8 with a stride of 4), count is 0, "
        "1, 2, and file the name of the image where the video is a folder of images, as evaluators want whose truth "
        "has gaps (YouTube-VOS).",
    )
    object_numbers: ObjectNumbers = Field(
        default="dense",
        description="dense numbers the objects of a video 1, 2, 3, as readers of a truth want; id writes their ids, "
        "1 to 254, as an evaluator of results wants that holds them against the truth with these ids.",
    )
    unlabeled_frames: bool = Field(
        default=True,
        description="true writes empty masks for frames before the first prompt too, because evaluators want a file "
        "for each frame of their truth. Not with frames=jpg, which writes labeled frames only.",
    )


class Writer(VideoWriter):
    """See the module."""

    frames = ("none", "jpg")

    def __init__(self, options: Options) -> None:
        self._options = options

    def check(self, plan: Plan) -> None:
        for video in plan.each():
            for track in video.tracks if self._options.object_numbers == "id" else ():
                if not 1 <= track.object_id <= MAX_PALETTE_LABEL:
                    raise ConfigError(
                        f"video {video.video_id!r} has an object {track.object_id}, and with object_numbers=id a "
                        f"palette has 1 to {MAX_PALETTE_LABEL}: give object_numbers=dense"
                    )
            if len(video.tracks) > MAX_PALETTE_LABEL:
                raise ConfigError(
                    f"video {video.video_id!r} has {len(video.tracks)} objects, and a palette has "
                    f"{MAX_PALETTE_LABEL}: choose fewer with where= or categories=, leave it out with videos=, or give "
                    "format=sa_v, which has no limit"
                )

    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        indexes = [int(index) for index in video.frame_indexes]
        if self._options.unlabeled_frames and video.content.frames == "none":
            indexes = frames_with_unlabeled(video)
        names = self._names(video, indexes)
        by_id = self._options.object_numbers == "id"
        numbers = {track.object_id: track.object_id if by_id else track.number for track in video.tracks}
        colors = palette({number: object_id for object_id, number in numbers.items()})
        for frame_index, labels_HW in _every(indexes, video.painted(numbers), video.size_hw):
            with out.open(f"{self._folder('Annotations', video)}/{names[frame_index]}.png") as file:
                file.write(palette_png(labels_HW, colors))
        write_frames(video, out, self._folder("JPEGImages", video), names.__getitem__)
        out.append(f"names.{video.split}", video.name)

    def finish(self, plan: Plan, folder: ExportFolder) -> None:
        for split in plan.splits:
            lines = (line + b"\n" for line in folder.stream(f"names.{split}"))
            folder.write(f"ImageSets/2017/{split}.txt", lines)

    def _names(self, video: ExportVideo, indexes: list[int]) -> dict[int, str]:
        if self._options.frame_numbers == "file":
            return image_stems(video, indexes)
        numbers = numbered(indexes, self._options.frame_numbers)
        # Readers sort names as texts, so that all of a video have as many digits as its last one.
        digits = max(5, len(str(max(numbers.values(), default=0))))
        return {index: f"{number:0{digits}d}" for index, number in numbers.items()}

    def _folder(self, kind: str, video: ExportVideo) -> str:
        return "/".join(filter(None, (kind, self._options.resolution, video.name)))


def _every(
    indexes: list[int], painted: Iterator[tuple[int, UInt16Array]], size_hw: tuple[int, int]
) -> Iterator[tuple[int, UInt16Array]]:
    """The painted frames, and empty ones between them for the other indexes."""
    following = next(painted, None)
    for index in indexes:
        if following is not None and following[0] == index:
            yield following
            following = next(painted, None)
        else:
            yield index, np.zeros(size_hw, np.uint16)

"""`webdataset`: tar shards for training, a sample a labeled frame: `{key}.jpg`, `{key}.json`, `{key}.masks.npz`.

A key has no dots, because a sample's name ends at the first one. `masks.npz` holds `masks`, bool `[N, H, W]`, and
`object_ids`, `[N]`, of the objects that are visible, in the order of `objects` in the JSON.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Annotated, Any

import numpy as np
from pycocotools import mask as coco
from pydantic import Field

from pipeline.arrays import Int64Array
from pipeline.config.fields import Group, Unit
from pipeline.formats.folder import PartFolder
from pipeline.formats.frame_images import encoded
from pipeline.formats.plan import PlannedTrack
from pipeline.formats.rows import MaskRow
from pipeline.formats.source import ExportVideo
from pipeline.formats.writer import VideoWriter
from pipeline.formats.writers.frames import frames_with_pictures

_ZLIB_LEVEL = 1  # masks are long runs, which the fastest level packs as well


class Options(Group):
    """Keys of `webdataset`."""

    shard_mb: Annotated[int, Unit("megabytes")] = Field(
        default=1000, ge=1, description="A shard that has grown so large is ended, and the next one begun."
    )


class Writer(VideoWriter):
    """See the module."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def write_part(self, videos: Iterable[ExportVideo], out: PartFolder) -> None:
        """The shards of a part, `{split}-{part}-{number}.tar`."""
        with ExitStack() as stack:
            shard: tarfile.TarFile | None = None
            num_shards = 0
            for video in videos:
                for members in samples(video):
                    if shard is not None and shard.offset > self._options.shard_mb * 1_000_000:
                        stack.close()
                        shard = None
                    if shard is None:
                        file = stack.enter_context(out.open(f"{video.split}-{out.number:06d}-{num_shards:04d}.tar"))
                        shard = stack.enter_context(tarfile.open(fileobj=file, mode="w"))
                        num_shards += 1
                    for name, data in members:
                        _add(shard, name, data)

    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        """Shards hold the videos of a part."""
        self.write_part([video], out)


def samples(video: ExportVideo) -> Iterator[list[tuple[str, bytes]]]:
    """The members of each labeled frame's sample: names and contents."""
    tracks = {track.object_id: track for track in video.tracks}
    for place, (frame_index, rows, pixels_HW3) in enumerate(frames_with_pictures(video)):
        key = f"{video.name}_{frame_index:06d}"
        visible = [row for row in rows if row.area]
        pts = float(video.pts[place])
        about = {
            "video_id": video.video_id,
            "frame_index": frame_index,
            "pts_seconds": None if np.isnan(pts) else pts,
            "size": video.size_hw,
            "objects": [_about(row, tracks[row.object_id]) for row in visible],
        }
        members = [(f"{key}.json", json.dumps(about, ensure_ascii=False).encode())]
        members.append((f"{key}.masks.npz", masks_file(visible, video.size_hw)))
        if pixels_HW3 is not None:
            kind = video.content.frames
            members.insert(0, (f"{key}.{kind}", encoded(pixels_HW3, kind)))
        yield members


def masks_file(rows: Sequence[MaskRow], size_hw: tuple[int, int]) -> bytes:
    """A file of numpy with `masks` and `object_ids`. One mask at a time is decoded."""
    ids: Int64Array = np.array([row.object_id for row in rows], np.int64)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_ZLIB_LEVEL) as archive:
        # An entry by its name alone has the time 1980-01-01, so that equal masks are equal files.
        with archive.open("masks.npy", "w", force_zip64=True) as entry:
            head = {"descr": "|b1", "fortran_order": False, "shape": (len(rows), *size_hw)}
            np.lib.format.write_array_header_1_0(entry, head)
            for row in rows:
                entry.write(coco.decode(row.rle).tobytes())
        with archive.open("object_ids.npy", "w") as entry:
            np.lib.format.write_array(entry, ids)
    return file.getvalue()


def _about(row: MaskRow, track: PlannedTrack) -> Mapping[str, Any]:
    return {
        "object_id": row.object_id,
        "track_id": track.id,
        "category": track.category,
        "category_id": track.category_id,
        "bbox": row.bbox_xywh,
        "area": row.area,
        "object_score": row.object_score,
        "predicted_iou": row.predicted_iou,
        "is_prompt": row.is_prompt,
        **track.reviewed,
    }


def _add(shard: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    shard.addfile(member, io.BytesIO(data))

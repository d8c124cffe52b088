"""Drawn clips as the input of a job: video files, a table of videos and a table of seed prompts.

Legend: H, W pixels; boxes and points are pixels of the video.
"""

from __future__ import annotations

import hashlib
import io
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco

from pipeline.arrays import BoolArray
from pipeline.demo.clips import Clip
from pipeline.inputs.write import prompts_table, videos_table, write_file, write_table
from pipeline.masks.overlay import inner_point
from pipeline.storage.uris import StorageOptions, open_filesystem
from pipeline.video.encode import encode_mp4, mp4_comment

FRAMES_PER_SECOND = 12


def prompt_frame(clip: Clip, object_id: int) -> int:
    """The first frame that shows the object well: at least half as many pixels as in the frame that shows most."""
    areas_T = clip.masks_TBHW[:, object_id - 1].sum(axis=(1, 2))
    if not areas_T.any():
        raise ValueError(f"object {object_id} of clip {clip.name!r} never shows: there is nothing to prompt")
    return int((areas_T >= 0.5 * areas_T.max()).argmax())


def prompt_values(kind: str, mask_HW: BoolArray) -> dict[str, Any]:
    """The columns of a prompt that points at a mask. `kind` is `box`, `click`, `box and click` or `mask`.

    Raises `ValueError` for an empty mask or another kind.
    """
    if not mask_HW.any():
        raise ValueError(f"an empty mask cannot be prompted with a {kind}")
    values: dict[str, Any] = {}
    if kind in ("box", "box and click"):
        rows, columns = np.nonzero(mask_HW)
        values["box_xyxy"] = [float(edge) for edge in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]
    if kind in ("click", "box and click"):
        values["points_xy"] = [list(inner_point(mask_HW))]
        values["point_labels"] = [1]
    if kind == "mask":
        values["mask_rle"] = _rle(mask_HW)
    if not values:
        raise ValueError(f"kind: {kind!r} is none of box, click, box and click, mask")
    return values


def seed_prompts(clip: Clip, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """One row of prompts per object, on the first frame that shows it well. Objects take the `kinds` in turn."""
    rows = []
    for number, object_id in enumerate(clip.object_ids):
        frame_index = prompt_frame(clip, object_id)
        values = prompt_values(kinds[number % len(kinds)], clip.mask(object_id, frame_index))
        rows.append({"video_id": clip.name, "object_id": object_id, "frame_index": frame_index, **values})
    return rows


def clip_mp4(clip: Clip) -> bytes:
    """The clip as a video file, which says in its comment which frames were drawn."""
    return encode_mp4(clip.frames_THW3, FRAMES_PER_SECOND, comment=_drawn(clip))


def _drawn(clip: Clip) -> str:
    frames = np.ascontiguousarray(clip.frames_THW3)
    return f"drawn frames, sha256 {hashlib.sha256(frames.tobytes()).hexdigest()}"


def write_inputs(
    folder: str,
    clips: Sequence[Clip],
    prompts: Sequence[Mapping[str, Any]],
    storage_options: StorageOptions | None = None,
) -> tuple[str, str]:
    """Write `videos.parquet`, `prompts.parquet` and one MP4 per clip; return the URIs of the two tables."""
    videos = []
    for clip in clips:
        _write_if_new(posixpath.join(folder, f"{clip.name}.mp4"), clip, storage_options)
        videos.append({"video_id": clip.name, "uri": f"{clip.name}.mp4"})
    videos_uri, prompts_uri = posixpath.join(folder, "videos.parquet"), posixpath.join(folder, "prompts.parquet")
    write_table(videos_uri, videos_table(videos), storage_options)
    write_table(prompts_uri, prompts_table(prompts), storage_options)
    return videos_uri, prompts_uri


def write_truth(folder: str, clips: Sequence[Clip], storage_options: StorageOptions | None = None) -> str:
    """Write the true masks as `truth.parquet`, a table that `pipeline.evaluate` takes, and return its URI."""
    rows = [
        {"video_id": clip.name, "object_id": object_id, "frame_index": frame_index, "rle": _rle(mask_HW)}
        for clip in clips
        for object_id in clip.object_ids
        for frame_index, mask_HW in enumerate(clip.masks_TBHW[:, object_id - 1])
    ]
    uri = posixpath.join(folder, "truth.parquet")
    write_table(uri, pa.Table.from_pylist(rows), storage_options)
    return uri


def _rle(mask_HW: BoolArray) -> dict[str, Any]:
    code = coco.encode(np.asfortranarray(mask_HW.astype(np.uint8)))
    return {"size": list(code["size"]), "counts": code["counts"].decode("ascii")}


def _write_if_new(uri: str, clip: Clip, storage_options: StorageOptions | None) -> None:
    """A file of the same frames is not written again, because a job takes one with another time of change for another.

    Its bytes may be others: the encoder does not give the same ones each time.
    """
    filesystem, path = open_filesystem(uri, storage_options)
    if not filesystem.exists(path) or not _has_frames_of(clip, filesystem.cat_file(path)):
        write_file(uri, clip_mp4(clip), storage_options)


def _has_frames_of(clip: Clip, content: bytes) -> bool:
    """Whether a file says so in its comment. Earlier versions wrote none: such a file is known by its bytes."""
    comment = mp4_comment(io.BytesIO(content))
    return comment == _drawn(clip) if comment else content == encode_mp4(clip.frames_THW3, FRAMES_PER_SECOND)

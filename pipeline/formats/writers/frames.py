"""A video's own file, and its labeled frames with their masks and, where `frames=` asks for them, their pictures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.arrays import UInt8Array
from pipeline.formats.rows import MaskRow
from pipeline.formats.source import ExportVideo
from pipeline.storage.uris import is_local, local_path, split_tar_member

_FRAMES_OF_DELAY = 3  # frames that wait for others to be decoded first give the first one such a time


def file_place(video: ExportVideo) -> str:
    """Where the video's own file lies, as programs open it; of one in a tar or a table, the place to put it to."""
    uri = video.row["uri"]
    if uri is None or split_tar_member(uri) is not None:
        return f"data/{video.name}.mp4"
    return local_path(uri) if is_local(uri) else str(uri)


def frames_before(video: ExportVideo) -> int:
    """How many frames of the file lie before the labeled range, for programs that count from the start of the file.

    `count_range` finds it out of the file. Else it is known where the column `start_seconds` of the table of videos was
    kept, from the time of the first mask and the frame rate, and taken for 0 where it was not. None lie before a range
    that begins at 0, whenever the file's own times do.
    """
    if video.num_frames_before is not None:
        return video.num_frames_before
    start = video.row.get("start_seconds")
    return _frames_before_by_time(video) if start is not None and not _begins_at_0(start) else 0


def count_range(video: ExportVideo) -> None:
    """Find out, once a video, how many frames lie before its range: a rate or a start of its own tells wrong numbers.

    The file is opened where a range was kept, or where times look like one. If it is gone, what looks like a range of
    which nothing was kept is noted in the manifest. Files whose own times begin late look the same.
    """
    start = video.row.get("start_seconds")
    looks_late = _frames_before_by_time(video) > _FRAMES_OF_DELAY
    times = np.flatnonzero(~np.isnan(video.pts))
    if not len(times) or (not looks_late if start is None else _begins_at_0(start)):
        return
    video.count_frames_before(int(times[0]))
    if video.num_frames_before is None and start is None:
        video.lost("range", video.tracks[0].object_id, int(video.frame_indexes[0]))


def _begins_at_0(start: object) -> bool:
    return isinstance(start, int | float) and start <= 0


def _frames_before_by_time(video: ExportVideo) -> int:
    fps: float | None = video.row["fps"]
    times = np.flatnonzero(~np.isnan(video.pts))
    if not fps or not len(times):
        return 0
    place = int(times[0])
    return max(0, round(float(video.pts[place]) * fps) - int(video.frame_indexes[place]))


def frames_with_pictures(video: ExportVideo) -> Iterator[tuple[int, list[MaskRow], UInt8Array | None]]:
    """Each labeled frame: its index, its rows, and its pixels, uint8 RGB `[H, W, 3]`, or None with `frames=none`."""
    if video.content.frames == "none":
        for frame_index, rows in video.by_frame():
            yield frame_index, rows, None
        return
    for (frame_index, rows), (other, pixels_HW3) in zip(video.by_frame(), video.images(), strict=True):
        if frame_index != other:
            raise AssertionError(f"video {video.video_id!r}: frame {other} came in place of frame {frame_index}")
        yield frame_index, rows, pixels_HW3

"""The frames of a labeled video, read again from its file: the very ones that its rows are of.

A row of `masks` names its frame by its time in the file, and by its number where the file has no times. Numbers count
from the start of the labeled range, which the tables do not tell, so that times go first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from model import Media, MediaError
from pipeline.arrays import UInt8Array
from pipeline.records import FramePosition, VideoSource, WorkItem
from pipeline.storage.uris import StorageOptions
from pipeline.video.frames import VideoFrames
from pipeline.video.media import open_media


class OtherFile(ValueError):
    """The file is not the one that was labeled."""


@dataclass(frozen=True)
class SourceFile:
    """Where a labeled video lies now. `root` is a folder for videos that were moved; their paths end as before.

    `row` is the video's row in `videos`.
    """

    row: Mapping[str, Any]
    root: str | None = None
    storage_options: StorageOptions | None = None

    def frames(self, positions: Sequence[FramePosition]) -> Iterator[tuple[FramePosition, UInt8Array]]:
        """The frames at these positions, uint8 RGB `[H, W, 3]`, upright as its masks are; in the order of the file.

        Raises:
            MediaError: the video's bytes were in a table, its file is gone, or it has no such frame.
            OtherFile: another file lies there: its size in bytes or in pixels differs.
            StorageError: storage does not answer.
        """
        if self.row["uri"] is None:
            raise MediaError(f"video {self.row['video_id']!r}: its bytes were in the table of videos, it has no file")
        places = self._places()
        for number, uri in enumerate(places):
            item = WorkItem(self.row["video_id"], VideoSource(uri), (), "")
            try:
                with open_media(item, self.storage_options) as media:
                    yield from self._frames_of(media, positions)
                return
            except MediaError:
                if number + 1 == len(places):
                    raise

    def _places(self) -> list[str]:
        """Where to look, the likeliest first: below `root` the end of the path, the longest end first."""
        uri = str(self.row["uri"])
        if self.root is None:
            return [uri]
        parts = PurePosixPath(unquote(urlsplit(uri).path)).parts
        names = [part for part in parts if part not in ("/", "")]
        root = os.fspath(self.root).rstrip("/")
        return [f"{root}/{'/'.join(names[start:])}" for start in range(len(names))]

    def _frames_of(
        self, media: Media, positions: Sequence[FramePosition]
    ) -> Iterator[tuple[FramePosition, UInt8Array]]:
        self._check_bytes(media)
        with VideoFrames(media, prompted=positions) as frames:
            self._check_size(media, frames.size_hw)
            labels = {position: frames.locate(position) for position in positions}
            for position, label in labels.items():
                if label is None:
                    raise MediaError(f"{media.name}: {frames.absence(position)}")
            by_label = {label: position for position, label in labels.items() if label is not None}
            for frame in frames.at(sorted(by_label)):
                yield by_label[frame.index], frame.pixels_HW3.numpy()

    def _check_bytes(self, media: Media) -> None:
        labeled, found = self.row["source_bytes"], media.num_bytes
        if labeled and found and labeled != found:
            raise OtherFile(
                f"{media.name}: is another file than the one that was labeled: {found} bytes, not {labeled}; label the "
                "video again, or name the folder of the old file with videos_root="
            )

    def _check_size(self, media: Media, size_hw: tuple[int, int]) -> None:
        labeled = (self.row["height"], self.row["width"])
        if None not in labeled and size_hw != labeled:
            raise OtherFile(
                f"{media.name}: is another file than the one that was labeled: {size_hw[1]} x {size_hw[0]} pixels, not "
                f"{labeled[1]} x {labeled[0]}; name the folder of the old file with videos_root="
            )

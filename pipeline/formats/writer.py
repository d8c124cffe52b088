"""What a format is to the engine: four calls, of which one must be written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

from pipeline.formats.folder import ExportFolder, PartFolder
from pipeline.formats.plan import Plan
from pipeline.formats.source import ExportVideo


class VideoWriter(ABC):
    """Writes one format. It is made of the format's `Options`, travels to the processes that write, and keeps nothing.

    Whatever a killed export has half written is written again with the same names, so that the same video must give the
    same files.

    `frames` are the values of the key `frames` that the format's consumers can read. `can_review`: people correct masks
    in programs that read the format, and the writer tells what goes out; `can_cut`: of single frames, too.
    """

    frames: tuple[str, ...] = ("none", "jpg", "png")
    can_review: bool = False
    can_cut: bool = False

    def check(self, plan: Plan) -> None:
        """Refuse what the format's consumers cannot read. Raises `ConfigError` naming the video and the remedy."""
        return

    def reads(self) -> Mapping[str, str]:
        """Hashes of what it read in `check`, by a name: with other content, the same keys are another export."""
        return {}

    def write_part(self, videos: Iterator[ExportVideo], out: PartFolder) -> None:
        """Write the videos of a part, all of one split. Formats of shards, with one file a part, write their own."""
        for video in videos:
            self.write_video(video, out)

    @abstractmethod
    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        """Write one video, in bounded memory."""

    def finish(self, plan: Plan, folder: ExportFolder) -> None:
        """After all parts: write the files that hold something of every video, from the streams."""
        return

"""`rerun`: one recording (`.rrd`) a video, which the Rerun viewer plays: frames, masks, boxes.

`video/masks` holds the masks of a frame in one picture of track numbers, in which one object covers another where they
overlap. On frames where it loses pixels to another, an object's whole mask is in `video/objects/7` besides, 7 being its
number. Timelines are `frame_index` and, where the file has times, `pts_seconds`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from shutil import copyfileobj

from pipeline.config.fields import Group
from pipeline.errors import ConfigError
from pipeline.formats.folder import PartFolder
from pipeline.formats.plan import Plan
from pipeline.formats.source import ExportVideo
from pipeline.formats.writer import VideoWriter


class Options(Group):
    """`rerun` has no keys of its own."""


class Writer(VideoWriter):
    """See the module."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def check(self, plan: Plan) -> None:
        """Rerun is an extra of its own, because its package takes 490 MB."""
        try:
            import rerun  # noqa: F401
        except ModuleNotFoundError as error:
            raise ConfigError('format=rerun needs rerun-sdk (490 MB): pip install "maskmill[rerun]"') from error

    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        """Its recording, which is written aside, because Rerun writes to paths."""
        from pipeline.formats.writers.rerun_recording import record

        with (
            out.open(f"{video.split}/{video.name}.rrd") as file,
            tempfile.TemporaryDirectory(prefix="maskmill-", dir=out.spool_dir) as folder,
        ):
            path = Path(folder, "video.rrd")
            record(video, path)
            with path.open("rb") as written:
                copyfileobj(written, file, 1 << 20)

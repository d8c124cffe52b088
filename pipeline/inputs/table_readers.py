"""The input tables that a worker keeps open, from its first video to its last."""

from __future__ import annotations

from pipeline.inputs.detections import detection_rows
from pipeline.inputs.kept import kept_rows
from pipeline.inputs.naming import InputNaming, NamedColumns, kept_column
from pipeline.inputs.prompts import prompt_rows
from pipeline.video.media import BYTE_COLUMNS, video_byte_rows


class TableReaders:
    """Readers of prompts and of video bytes, for `read_prompts` and `open_media`. `naming`: what columns are called.

    The readers keep files open, and up to 160 MiB of remote ones in memory, because the videos of one row group are
    dispatched in their order. Who makes them closes them: a worker when it ends. Any thread may use and close them.
    """

    def __init__(self, naming: InputNaming | None = None) -> None:
        naming = naming or InputNaming()
        self.prompts = prompt_rows(naming.prompts)
        self.detections = detection_rows(naming.prompts)
        self.kept = kept_rows(NamedColumns(("video_id", *map(kept_column, naming.videos.keep)), naming.videos))
        self.video_bytes = video_byte_rows(NamedColumns(BYTE_COLUMNS, naming.videos))

    def __enter__(self) -> TableReaders:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files. A read that is under way in another thread closes its file when it ends."""
        self.prompts.close()
        self.detections.close()
        self.kept.close()
        self.video_bytes.close()

"""`lerobot`: a side table for a LeRobot dataset, which stays as it is: a row a mask.

Its key is (`episode_index`, `frame_index`, `video_key`) as in the dataset. `frame_index` counts within the episode.
Where several episodes share one file, a video of the job is a range of times of that file, from which its frames count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Annotated, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, field_validator

from pipeline.config.fields import AsTyped, Group
from pipeline.errors import ConfigError
from pipeline.formats.folder import PartFolder
from pipeline.formats.plan import Plan
from pipeline.formats.source import ExportVideo
from pipeline.formats.writer import VideoWriter
from pipeline.formats.writers.mask_table import MASK_FIELDS, batches, mask_values

_SCHEMA = pa.schema(
    [
        pa.field("episode_index", pa.int64()),
        pa.field("frame_index", pa.int64()),
        pa.field("video_key", pa.string()),
        pa.field(
            "pts_seconds", pa.float64()
        ),  # in the file; LeRobot's `timestamp` counts from the start of the episode
        *MASK_FIELDS,
    ]
)
_ROW_GROUP_ROWS = 1000
_FILES_IN_A_CHUNK = 1000
_KEY_IN_PATH = re.compile(r"videos/(?:chunk-\d+/)?([^/]+)/")


class Options(Group):
    """Keys of `lerobot`."""

    episode_pattern: Annotated[str, AsTyped("a regular expression")] = Field(
        default=r"episode[_-]?(\d+)",
        description="Where the id of a video, or else its uri, holds the number of the episode: the first group. A "
        "column episode_index of the table of videos, kept by keep_columns, goes first.",
    )
    video_key: str | None = Field(
        default=None,
        description="The video_key of all videos, like observation.images.top. null takes it from a kept column "
        "video_key, or else from a uri like videos/observation.images.top/….",
    )

    @field_validator("episode_pattern")
    @classmethod
    def _check_pattern(cls, pattern: str) -> str:
        try:
            num_groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"{pattern} is no regular expression: {error}") from error
        if not num_groups:
            raise ValueError(f"{pattern} has no group: put the number in parentheses, as in episode_(\\d+)")
        return pattern


class Episode(NamedTuple):
    """What a video of the job is in the dataset."""

    number: int
    video_key: str


class Writer(VideoWriter):
    """See the module."""

    frames = ("none",)

    def __init__(self, options: Options) -> None:
        self._options = options

    def check(self, plan: Plan) -> None:
        """Every video has an episode of its own. Raises `ConfigError` naming the first that has none."""
        seen: dict[Episode, str] = {}
        for video in plan.each():
            episode = self.episode(video.row)
            other = seen.setdefault(episode, video.video_id)
            if other != video.video_id:
                raise ConfigError(
                    f"videos {other!r} and {video.video_id!r} are both episode {episode.number} of "
                    f"{episode.video_key}: give episode_pattern=…, or keep a column episode_index"
                )

    def episode(self, row: Mapping[str, Any]) -> Episode:
        """The episode of a video from its row. Raises `ConfigError` naming the video and what would tell it."""
        return Episode(self._number(row), self._video_key(row))

    def write_part(self, videos: Iterable[ExportVideo], out: PartFolder) -> None:
        """A file of the table, by video, then frame, then object."""
        chunk, number = divmod(out.number, _FILES_IN_A_CHUNK)
        with ExitStack() as stack:
            writer: pq.ParquetWriter | None = None
            for video in videos:
                if writer is None:
                    name = f"masks/chunk-{chunk:03d}/{video.split}-{number:03d}.parquet"
                    file = stack.enter_context(out.open(name))
                    writer = stack.enter_context(pq.ParquetWriter(file, _SCHEMA, compression="zstd"))
                for batch in batches(mask_rows(video, self.episode(video.row)), _SCHEMA, _ROW_GROUP_ROWS):
                    writer.write_batch(batch)

    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        """Files hold the videos of a part."""
        self.write_part([video], out)

    def _number(self, row: Mapping[str, Any]) -> int:
        kept = row.get("episode_index")
        if kept is not None:
            try:
                return int(kept)
            except ValueError as error:
                raise ConfigError(f"video {row['video_id']!r}: its episode_index {kept!r} is no number") from error
        for text in (row["video_id"], row["uri"] or ""):
            found = re.search(self._options.episode_pattern, text)
            if found and found[1] and found[1].isdecimal():
                return int(found[1])
        raise ConfigError(
            f"video {row['video_id']!r}: neither its id nor its uri tells its episode by "
            f"{self._options.episode_pattern}: give episode_pattern=…, or label it with a column episode_index "
            "in the table of videos and keep_columns"
        )

    def _video_key(self, row: Mapping[str, Any]) -> str:
        key = self._options.video_key or row.get("video_key")
        if key is None:
            found = _KEY_IN_PATH.search(row["uri"] or "") or _KEY_IN_PATH.search(row["video_id"])
            if found is None:
                raise ConfigError(
                    f"video {row['video_id']!r}: neither a kept column video_key nor its uri tells its video_key: give "
                    "video_key=observation.images.…"
                )
            key = found[1]
        return str(key)


def mask_rows(video: ExportVideo, episode: Episode) -> Iterator[dict[str, Any]]:
    """Rows of the table, hidden objects with empty masks included."""
    tracks = {track.object_id: track for track in video.tracks}
    for frame_index, rows in video.by_frame():
        for row in rows:
            yield {
                "episode_index": episode.number,
                "frame_index": frame_index,
                "video_key": episode.video_key,
                "pts_seconds": row.pts_seconds,
                **mask_values(row, tracks[row.object_id]),
            }

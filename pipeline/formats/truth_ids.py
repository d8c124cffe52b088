"""The ids of a truth in YouTube-VIS's JSON, which results that are scored against it must have."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import PurePosixPath

from pipeline.errors import ConfigError
from pipeline.formats.json_stream import entries
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.plan import Plan, safe_name
from pipeline.formats.source import ExportVideo
from pipeline.output.where import quoted


@dataclass(frozen=True)
class TruthVideo:
    """A video of the truth: its id and how many frames it has there."""

    id: int
    num_frames: int


@dataclass
class TruthIds:
    """Videos by name, which is the folder of their frames, and categories by name. `uri` is for messages."""

    uri: str
    videos: dict[str, TruthVideo] = field(default_factory=dict)
    categories: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def read(uri: str) -> TruthIds:
        """Read them from the JSON at `uri`, a part of it at a time. Raises `InputError` if it is no such file."""
        files, found = LabelFiles(uri, key="truth"), TruthIds(uri)
        name = files.names[0]
        with files.open(name) as file:
            for entry in entries(file.read, files.shown_name(name)):
                try:
                    if entry.key == "videos":
                        names = entry.value["file_names"]
                        found.videos[names[0].split("/")[0]] = TruthVideo(entry.value["id"], len(names))
                    elif entry.key == "categories":
                        found.categories[entry.value["name"]] = entry.value["id"]
                except (KeyError, TypeError, IndexError) as error:
                    raise files.fault(name, f"{entry.place} is none of YouTube-VIS ({error!r})") from error
        return found

    def check(self, plan: Plan) -> None:
        """Raise `ConfigError` for a video or a category of the export that the truth does not have."""
        for category in plan.categories:
            if category not in self.categories:
                raise ConfigError(
                    f"truth={self.uri}: has no category {category!r}; it has {', '.join(list(self.categories)[:20])}: "
                    "leave it out with categories="
                )
        for video in plan.each():
            if _name(video.video_id, self.videos) is None:
                near = get_close_matches(video.video_id, self.videos, n=1)
                hint = f", but {near[0]!r}" if near else ""
                raise ConfigError(
                    f"truth={self.uri}: has no video {video.video_id!r}{hint}; leave it out with "
                    f'"where=video_id != {quoted(video.video_id)}"'
                )

    def video(self, video_id: str) -> TruthVideo:
        """The video of the truth that has this id of ours as its name."""
        return self.videos[str(_name(video_id, self.videos))]

    def frame_indexes(self, video: ExportVideo) -> list[int]:
        """Our index of each frame of the truth. Raises `ConfigError` where numbers of frames do not tell it."""
        num_frames = self.video(video.video_id).num_frames
        if num_frames == len(video.frame_indexes):
            return [int(index) for index in video.frame_indexes]
        if video.frame_indexes[-1] < num_frames:
            return list(range(num_frames))
        raise ConfigError(
            f"truth={self.uri}: video {video.video_id!r} has {num_frames} frames there, and {len(video.frame_indexes)} "
            f"labeled frames up to frame {video.frame_indexes[-1]} here: label the frames of the truth"
        )


def _name(video_id: str, videos: dict[str, TruthVideo]) -> str | None:
    """An id, the last part of it that is a path, or its name in our own exports, as the truth may call a video."""
    names = video_id, PurePosixPath(video_id).name, safe_name(video_id)
    return next((name for name in names if name in videos), None)

"""The ids of a truth in YouTube-VIS's JSON, which results that are scored against it must have."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import PurePosixPath

import numpy as np

from model import VIDEO_SUFFIXES
from pipeline.arrays import Int64Array
from pipeline.errors import ConfigError
from pipeline.formats.json_stream import entries
from pipeline.formats.label import number_in_name
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.plan import Plan, safe_name
from pipeline.formats.source import ExportVideo
from pipeline.output.where import quoted
from pipeline.storage.uris import StorageOptions


@dataclass(frozen=True)
class TruthVideo:
    """A video of the truth: its id, how many frames it has there, and the numbers in their names.

    There are no numbers where names have none, or where these do not ascend.
    """

    id: int
    num_frames: int
    numbers: Int64Array | None = None

    @staticmethod
    def of(video_id: int, file_names: Sequence[str]) -> TruthVideo:
        """What the names of its frames say."""
        found = [number for name in file_names if (number := number_in_name(name)) is not None]
        numbers = np.array(found, np.int64)
        is_known = len(found) == len(file_names) and bool((np.diff(numbers) > 0).all())
        return TruthVideo(video_id, len(file_names), numbers if is_known else None)

    def frames_of_film(self) -> Int64Array:
        """Which frames of a film its frames are: every fifth by `00000`, `00005`; names may count from 1."""
        if self.numbers is None:
            return np.arange(self.num_frames)
        return self.numbers - 1 if self.numbers[0] == 1 else self.numbers


@dataclass
class TruthIds:
    """Videos by name, which is the folder of their frames, and categories by name. `uri` is for messages."""

    uri: str
    videos: dict[str, TruthVideo] = field(default_factory=dict)
    categories: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def read(uri: str, storage_options: StorageOptions | None = None) -> TruthIds:
        """Read them from the JSON at `uri`, a part of it at a time. Raises `InputError` if it is no such file."""
        files, found = LabelFiles(uri, storage_options, key="truth"), TruthIds(uri)
        name = files.names[0]
        with files.open(name) as file:
            for entry in entries(file.read, files.shown_name(name)):
                try:
                    if entry.key == "videos":
                        names = entry.value["file_names"]
                        found.videos[names[0].split("/")[0]] = TruthVideo.of(entry.value["id"], names)
                    elif entry.key == "categories":
                        found.categories[entry.value["name"]] = entry.value["id"]
                except (KeyError, TypeError, IndexError) as error:
                    raise files.fault(name, f"{entry.place} is none of YouTube-VIS ({error!r})") from error
        return found

    @property
    def digest(self) -> str:
        """A hash of all of it."""
        found = hashlib.sha256(repr(sorted(self.categories.items(), key=repr)).encode())
        for name, video in sorted(self.videos.items()):
            numbers = None if video.numbers is None else video.numbers.tolist()
            found.update(repr((name, video.id, video.num_frames, numbers)).encode())
        return found.hexdigest()

    def check(self, plan: Plan) -> None:
        """Raise `ConfigError` for a video or a category of the export that the truth does not have.

        And for two videos that are the same one of the truth, which would be scored as one.
        """
        for category in plan.categories:
            if category not in self.categories:
                raise ConfigError(
                    f"truth={self.uri}: has no category {category!r}; it has {', '.join(list(self.categories)[:20])}: "
                    "leave it out with categories="
                )
        seen: dict[str, str] = {}
        for video in plan.each():
            name = _name(video.video_id, self.videos)
            if name is None:
                near = get_close_matches(video.video_id, self.videos, n=1)
                hint = f", but {near[0]!r}" if near else ""
                raise ConfigError(
                    f"truth={self.uri}: has no video {video.video_id!r}{hint}; leave it out with "
                    f'"where=video_id != {quoted(video.video_id)}"'
                )
            if (other := seen.setdefault(name, video.video_id)) != video.video_id:
                raise ConfigError(
                    f"truth={self.uri}: videos {other!r} and {video.video_id!r} would both be its video {name!r}; "
                    "choose one of them with videos="
                )

    def video(self, video_id: str) -> TruthVideo:
        """The video of the truth that has this id of ours as its name."""
        return self.videos[str(_name(video_id, self.videos))]

    def frame_indexes(self, video: ExportVideo) -> list[int]:
        """Our index of each frame of the truth. Raises `ConfigError` where numbers of frames do not tell it.

        Frames of a folder of images are counted, because a truth has the names of the images, and all of them.
        """
        there = self.video(video.video_id)
        labeled = video.frame_indexes
        is_same = there.numbers is not None and np.array_equal(there.numbers, labeled)
        if is_same or (there.num_frames == len(labeled) and labeled[0] == 0):
            return [int(index) for index in labeled]
        is_film = (video.row["uri"] or "").lower().endswith(VIDEO_SUFFIXES)
        frames = there.frames_of_film() if is_film else np.arange(there.num_frames)
        step = int(np.diff(frames).max(initial=1))
        followed = frames[(frames >= labeled[0]) & (frames <= labeled[-1])]
        if labeled[-1] < frames[-1] + step and (step == 1 or np.isin(followed, labeled).all()):
            return [int(index) for index in frames]
        raise ConfigError(
            f"truth={self.uri}: video {video.video_id!r} has {there.num_frames} frames there, and {len(labeled)} "
            f"labeled frames up to frame {labeled[-1]} here: label the frames of the truth"
        )


def _name(video_id: str, videos: dict[str, TruthVideo]) -> str | None:
    """An id, the last part of it that is a path, or its name in our own exports, as the truth may call a video."""
    names = video_id, PurePosixPath(video_id).name, safe_name(video_id)
    return next((name for name in names if name in videos), None)

"""The videos that labels name, held against those of `videos=`: whose id is meant, how large it is, which frame."""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from model import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Media, MediaError, open_reader
from pipeline.formats.label import LabelFrame, SizeHW, frame_number
from pipeline.inputs.columns import VIDEOS_IN
from pipeline.inputs.shards import ParquetShards
from pipeline.inputs.video_files import find_videos
from pipeline.records import VideoSource, WorkItem
from pipeline.storage.schemes import Place, scheme_of
from pipeline.storage.uris import StorageOptions, absolute_uri
from pipeline.video.media import open_media

_LISTINGS = 64
_SUFFIXES = (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)


@dataclass(frozen=True)
class VideoFacts:
    """What a video says of itself. `pictures` are the names of its frames without their endings, of a folder."""

    size_hw: SizeHW
    num_frames: int | None
    pictures: Mapping[str, int] | None = None


class LabelVideos:
    """The ids of videos by the names that labels give them.

    Without `videos=` the names are the ids. With it a name means the video of that id, or of that file, or else the
    one video whose last part without an ending is the same. Up to `num_opened` videos are opened for their size.
    Folders of pictures are listed however many there are, where labels name pictures.
    """

    def __init__(
        self, videos: str | None, storage_options: StorageOptions | None = None, num_opened: int = 100
    ) -> None:
        self._options = storage_options
        self._left_to_open = num_opened
        self._uris: dict[str, str | None] | None = None
        self._by_stem: dict[str, list[str]] = {}
        self._other_names: Mapping[str, str] = {}
        self._names: dict[str, str | None] = {}
        self._named: dict[str, tuple[str, bool]] = {}  # by id: the first name, and whether it was guessed
        self._facts: dict[str, VideoFacts | None] = {}
        self._listings: dict[str, Mapping[str, int] | None] = {}
        self.has_ranges = False
        self.has_numbers_of_names = False
        self.num_not_opened = 0
        self.cannot_be_opened: list[str] = []
        if videos is not None:
            self._read(videos)

    def _read(self, videos: str) -> None:
        table = find_videos(videos, self._options) or ParquetShards("videos", videos, VIDEOS_IN, self._options)
        self._uris = {}
        for batch in table.read(("video_id", "uri", "start_seconds")):
            ids, uris, starts = (batch.rows.column(place) for place in range(3))
            self.has_ranges |= starts.null_count < len(starts)
            folder = table.folders[batch.file_number] if not hasattr(table, "root") else ""
            for video_id, uri in zip(ids.to_pylist(), uris.to_pylist(), strict=True):
                self._uris[video_id] = absolute_uri(uri, folder) if uri and folder else uri
        if (others := table.other_names()) is not None:
            self._other_names = dict(zip(*(column.to_pylist() for column in others), strict=True))
        for video_id in self._uris:
            self._by_stem.setdefault(stem_of(video_id), []).append(video_id)

    def id_of(self, name: str) -> str | None:
        """The id of the video with this name; None if `videos=` has none. Raises `ValueError` if several are meant."""
        if name not in self._names:
            video_id, is_guess = self._find(name)
            if video_id is not None:
                other, was_guess = self._named.setdefault(video_id, (name, is_guess))
                if other != name and (is_guess or was_guess):
                    raise ValueError(f"{other!r} and {name!r} would both be video {video_id!r}; rename one of them")
            self._names[name] = video_id
        return self._names[name]

    def _find(self, name: str) -> tuple[str | None, bool]:
        """The id of the video with this name, and whether no more than the last part of the name says so."""
        if self._uris is None:
            if not name:
                raise ValueError("the format names no video; give video=, the id of the video")
            return name, False
        if not name:
            if len(self._uris) == 1:
                return next(iter(self._uris)), False
            raise ValueError(
                f"the format names no video, and videos= has {len(self._uris)}; give video=, the id of the video"
            )
        if name in self._uris:
            return name, False
        if name in self._other_names:
            return self._other_names[name], False
        alike = self._by_stem.get(stem_of(name), [])
        if len(alike) > 1:
            raise ValueError(
                f"video {name!r} may be {alike[0]!r} or {alike[1]!r}; name it by its whole id, or give a "
                "narrower videos="
            )
        return (alike[0], True) if alike else (None, False)

    def names_by_id(self) -> dict[str, str]:
        """What the labels call each video that they named."""
        return {video_id: name for video_id, (name, _) in self._named.items()}

    def unknown(self, name: str) -> str:
        """What to say of a name that no video has."""
        alike = {stem_of(video_id).casefold(): video_id for video_id in list(self._uris or ())[:10_000]}
        close = difflib.get_close_matches(stem_of(name).casefold(), alike, n=1)
        hint = f"; did you mean {alike[close[0]]!r}?" if close else ""
        return (
            f"videos= has no video {name!r} (it has {names_shown(self._uris or (), 3)}){hint}; correct the name, or "
            "give video= if all labels are of one video, or unknown_videos=skip to leave such labels out"
        )

    def facts(self, video_id: str) -> VideoFacts | None:
        """What the video says of itself; None without `videos=`, and once enough videos were opened."""
        if self._uris is None:
            return None
        if video_id not in self._facts:
            if self._left_to_open <= 0:
                self.num_not_opened += 1
                self._facts[video_id] = None
                return None
            self._left_to_open -= 1
            self._facts[video_id] = self._look(video_id, self._uris[video_id])
        return self._facts[video_id]

    def _look(self, video_id: str, uri: str | None) -> VideoFacts | None:
        if uri is None:
            return None
        try:
            with open_media(_item(video_id, uri), self._options) as media:
                info = open_reader(media, 1).info()
        except MediaError as error:  # the job fails this video alone, and so does no import more
            self.cannot_be_opened.append(f"{video_id!r}: {error}")
            return None
        pictures = _pictures_of(media)
        return VideoFacts(info.size_hw, len(pictures) if pictures else info.num_frames_claimed, pictures)

    def _listed(self, video_id: str) -> Mapping[str, int] | None:
        """The pictures of a video that was not opened, as `VideoFacts` has them; None for a film.

        Films are told by their names. A folder is listed however many videos may be opened, because the last number in
        the name of a picture is not its frame. Labels come video by video, so that the last few listings are kept.
        """
        uri = None if self._uris is None else self._uris.get(video_id)
        if uri is None or uri.partition("?")[0].lower().endswith(VIDEO_SUFFIXES):
            return None
        if scheme_of(uri).place is Place.WEB and not uri.endswith("/"):
            return None
        if video_id not in self._listings:
            try:
                with open_media(_item(video_id, uri), self._options) as media:
                    self._listings[video_id] = _pictures_of(media)
            except MediaError:
                self._listings[video_id] = None
            if len(self._listings) > _LISTINGS:
                del self._listings[next(iter(self._listings))]
        return self._listings[video_id]

    def frame_index(self, video_id: str, frame: LabelFrame, first_number: int) -> int | None:
        """The number of a frame in its video; None where a label says a time alone.

        A number that the format says counts. The name of a picture is looked for in the folder of the video, if that is
        one; else its last number counts, from `first_number`. Raises `ValueError` for a frame that is not there.
        """
        if frame.index is None and frame.file_name is None:
            if frame.pts_seconds is None:
                raise ValueError("it says neither a frame nor a time")
            return None
        facts = self.facts(video_id)
        if frame.index is None:
            pictures = self._listed(video_id) if facts is None else facts.pictures
            if pictures is not None:
                return _place_of(frame.file_name or "", pictures)
            self.has_numbers_of_names = True
        number = frame_number(frame, first_number)
        if number is None:
            raise ValueError(f"the name {frame.file_name!r} of the picture has no number, so that its frame is unknown")
        if facts is not None and facts.num_frames is not None and number >= facts.num_frames:
            raise ValueError(
                f"frame {number}: by its file the video has {facts.num_frames} frames, 0 to {facts.num_frames - 1}; "
                "correct the frame, or give first_frame= if the format counts from another number"
            )
        return number


def _item(video_id: str, uri: str) -> WorkItem:
    return WorkItem(video_id, VideoSource(uri=uri), (), "")


def _pictures_of(media: Media) -> dict[str, int] | None:
    """The place of each picture of a folder by its name without the ending; None for a film."""
    if not media.is_folder:
        return None
    return {posixpath.splitext(name)[0]: number for number, name in enumerate(media.file_names)}


def _place_of(file_name: str, pictures: Mapping[str, int]) -> int:
    stem = posixpath.splitext(file_name)[0]
    if stem in pictures:
        return pictures[stem]
    some = ", ".join(list(pictures)[:3])
    raise ValueError(f"the folder of the video has no picture {stem!r} (it has {some} …); correct the name")


def stem_of(name: str) -> str:
    """The last part of a name, without the ending of a video or a picture."""
    last = posixpath.basename(name.replace("\\", "/").rstrip("/"))
    return posixpath.splitext(last)[0] if last.lower().endswith(_SUFFIXES) else last


def names_shown(names: Iterable[str], most: int = 5) -> str:
    """Some names for a message."""
    found = list(names)
    return ", ".join(map(repr, found[:most])) + (" …" if len(found) > most else "")

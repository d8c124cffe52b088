"""YouTube-VIS: one annotation a track, with a mask or null for each frame of its video; and lists of results.

Frames are those of `file_names`: the number of a frame is the last one in its name, unless the video is a folder of
images, where the name is looked for. Without `file_names` frames count from 0. A list of results has no videos:
`images=` names the file that has them. Source: youtube-vos.org, "Video instance segmentation";
`trackeval/datasets/youtube_vis.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import InputError
from pipeline.formats.json_stream import Entry, entries
from pipeline.formats.label import Label, LabelFrame, ReadOptions, Shape, SizeHW
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.readers.coco import (
    Catalog,
    annotation_files,
    category_of,
    crowd_of,
    score_of,
    shape_of,
    takes_another,
    two_of_one_id,
    video_and_picture,
)


@dataclass(frozen=True)
class _Video:
    name: str
    frames: tuple[LabelFrame, ...]
    size_hw: SizeHW | None


@dataclass
class _Videos(Catalog):
    """What tracks refer to by id."""

    films: dict[Any, _Video] = field(default_factory=dict)


def read(files: LabelFiles, options: ReadOptions) -> Iterator[Label]:
    """The labels of all tracks, one after the other, each frame by frame.

    Raises `InputError` naming the annotation that refers to nothing, or whose lists are shorter than its video.
    """
    for name in annotation_files(files):
        shown = files.shown_name(name)
        videos = _read_videos(files, name, options)
        with files.open(name) as file:
            for entry in entries(file.read, shown):
                if entry.number is None or entry.key not in (None, "annotations"):
                    continue
                try:
                    yield from _track(entry, videos, shown)
                except (ValueError, TypeError, KeyError) as error:
                    raise InputError(f"{shown}, {entry.place}: {error}; correct the entry or leave it out") from error


def _read_videos(files: LabelFiles, name: str, options: ReadOptions) -> _Videos:
    """Videos and categories of the file, or of the one that `images=` names."""
    if options.images is not None:
        files = LabelFiles(options.images, options.storage_options, key="images")
        (name,) = files.names[:1]
    videos = _Videos()
    shown = files.shown_name(name)
    with files.open(name) as file:
        for entry in entries(file.read, shown):
            if entry.key is None:
                raise InputError(
                    f"{shown}: a list of results has no videos; give images=, the path of the file that has them"
                )
            try:
                if entry.key == "videos" and entry.number is not None:
                    is_other = takes_another(videos.films, entry.value["id"], _video(entry.value))
                elif entry.key == "categories" and entry.number is not None:
                    is_other = takes_another(videos.categories, entry.value["id"], str(entry.value["name"]))
                else:
                    continue
            except KeyError as error:
                raise InputError(f"{shown}, {entry.place}: it lacks {error}; write it as YouTube-VIS has it") from error
            except (TypeError, ValueError, AttributeError) as error:
                raise InputError(
                    f"{shown}, {entry.place}: it is not as YouTube-VIS has it ({error}); write it again"
                ) from error
            if is_other:
                raise two_of_one_id(entry, shown)
    return videos


def _video(value: Mapping[str, Any]) -> _Video:
    names = [video_and_picture(str(name)) for name in value.get("file_names") or ()]
    frames = tuple(LabelFrame(file_name=picture) for _, picture in names)
    if not frames:
        frames = tuple(LabelFrame(number) for number in range(int(value["length"])))
    size = (value.get("height"), value.get("width"))
    size_hw = (int(size[0]), int(size[1])) if size[0] and size[1] else None
    folder = names[0][0] if names else ""
    return _Video(str(value.get("name") or folder or value["id"]), frames, size_hw)


def _track(entry: Entry, videos: _Videos, shown: str) -> Iterator[Label]:
    track = entry.value
    if not isinstance(track, Mapping):
        raise ValueError("it is no track with video_id and segmentations")
    video = videos.films.get(track.get("video_id"))
    if video is None:
        raise ValueError(f"no video has the id {track.get('video_id')!r}")
    key = track.get("id")
    key = entry.number if key is None else key
    category, score = category_of(track, videos), score_of(track)
    masks = _of_length(track, "segmentations", len(video.frames))
    boxes = _of_length(track, "bboxes", len(video.frames))
    for number, frame in enumerate(video.frames):
        place = f"{shown}, {entry.place}, frame {number}"
        try:
            shape = _shape(masks[number], boxes[number], video.size_hw)
        except ValueError as error:
            raise ValueError(f"frame {number}: {error}") from error
        yield Label(video.name, frame, key, crowd_of(track, shape), category, score, place)


def _shape(mask: Any, box: Any, size_hw: SizeHW | None) -> Shape | None:
    """The mask of a frame, or else the box; None where both are null or empty."""
    return shape_of({"segmentation": mask, "bbox": box}, size_hw)


def _of_length(track: Mapping[str, Any], name: str, length: int) -> Sequence[Any]:
    values = track.get(name)
    if values is None:
        return [None] * length
    if not isinstance(values, list) or len(values) != length:
        raise ValueError(
            f"{name} has {len(values) if isinstance(values, list) else 'no'} entries, its video {length} frames"
        )
    return values

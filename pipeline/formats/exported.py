"""Labels of an export of maskmill get back the names that its job knows: ids of videos and objects, categories.

Formats have rules of their own for names and numbers, so that an export writes into its manifest what each was.
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.errors import InputError, describe
from pipeline.formats.folder import MANIFEST, UNFINISHED, VIDEOS
from pipeline.formats.json_stream import json_lines
from pipeline.formats.label import Label, LabelFrame, ObjectKey, ReadOptions, number_in_name
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.label_videos import stem_of
from pipeline.formats.writers.xml_text import storable

_OBJECTS = "objects.csv"
_IN_FOLDERS_OF_SPLITS = ("mots", "png", "sa_v")
"""Formats whose readers take the folder of a split for a part of the video's name, unless it has a usual name."""
_NAMED_AFTER_FILES = ("cvat_images", "cvat_video", "label_studio", "youtube_vis")
"""Formats of programs that call a video after its file. Results by the names of a truth do the same."""


class _Added:
    """Objects that others have added to a video. None of them gets an id that an object of the job has.

    Programs number what people add without regard to the job: a third track of CVAT is track 2, whatever objects there
    are. A whole number that is free stays the id. All ids are numbers, because texts would have all objects of the
    video numbered anew.
    """

    def __init__(self, taken: Iterable[int]) -> None:
        self._taken = set(taken)
        self._ids: dict[ObjectKey, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def id_of(self, key: ObjectKey) -> int:
        """The id of the object with this key, the same each time."""
        if key not in self._ids:
            is_free = isinstance(key, int) and key not in self._taken
            number = key if isinstance(key, int) and is_free else max(0, max(self._taken, default=0)) + 1
            self._taken.add(number)
            self._ids[key] = number
        return self._ids[key]


@dataclass
class _Video:
    """A video of an export: its id, and of each object by its key in the format the id and the category.

    The format calls frame 0 of the job `first_frame`, where it counts from the start of the file; it calls pictures as
    others do where `are_pictures_of_others`. `labeled` are the labeled frames where they have a step, and `seen` those
    of labels. `has_come_back`: a label of one of these objects was read.
    """

    video_id: str
    objects: dict[ObjectKey, tuple[int, str | None]]
    added: _Added
    first_frame: int = 0
    are_pictures_of_others: bool = False
    labeled: range = range(0)
    seen: set[int] = field(default_factory=set, init=False)
    has_come_back: bool = field(default=False, init=False)

    def frame(self, frame: LabelFrame) -> LabelFrame:
        """A frame of the format as the job counts it. The pictures of an export are called as its frames."""
        if frame.index is not None:
            return replace(frame, index=frame.index - self.first_frame)
        if frame.file_name is None or self.are_pictures_of_others:
            return frame
        return replace(frame, index=number_in_name(frame.file_name))


def with_names_of_the_job(
    labels: Iterator[Label], export: LabelFiles, files: LabelFiles, format_name: str
) -> Iterator[Label]:
    """The labels of an export, or of some of its files, as the job calls them.

    A video that was added since keeps the name that it has in the format, and so does an object whose number no object
    of the job has. Raises `InputError` where CVAT has dropped what says which tracks are which objects.
    """
    videos = _videos(export, format_name, has_pictures=bool(files.ending_in(".png")))
    for label in labels:
        video = _video_of(label, videos, format_name)
        if video is None:
            yield label
            continue
        key, category = label.object_key, label.category
        if key is not None and key not in video.objects:
            key = video.added.id_of(key)
        elif key is not None:
            video.has_come_back = True
            key, of_object = video.objects[key]
            # Texts of MOTS have numbers of classes alone, and the number of an object says its class already.
            is_told = category and category != storable(of_object or "") and format_name != "mots"
            category = category if is_told else of_object
        frame = video.frame(label.frame)
        if frame.index is not None and format_name == "mots":
            video.seen.add(frame.index)
        if format_name == "cvat_video" and label.object_key is None and frame.index not in video.labeled:
            continue  # a frame of the task on which nothing shows, and which the job has not labeled
        yield replace(label, video=video.video_id, frame=frame, object_key=key, category=category)
    if format_name == "cvat_video":
        _check_came_back(files, videos.values())
    if format_name == "mots":
        yield from _frames_without_masks(files, videos.values())


def _frames_without_masks(files: LabelFiles, videos: Iterable[_Video]) -> Iterator[Label]:
    """A label of each labeled frame of which texts of MOTS say nothing, because nothing shows on it.

    Videos of which no label was read may lie in other files than these.
    """
    for video in {video.video_id: video for video in videos}.values():
        for index in video.labeled if video.seen else ():
            if index not in video.seen:
                yield Label(video.video_id, LabelFrame(index), None, None, place=files.shown)


def _check_came_back(files: LabelFiles, videos: Iterable[_Video]) -> None:
    """Raises `InputError` for a video whose tracks all have no `object_id`: their numbers are those of CVAT."""
    for video in videos:
        if len(video.added) and not video.has_come_back:
            raise InputError(
                f"{files.shown}: no track of video {video.video_id!r} says by the attribute object_id which object of "
                "the job it is: CVAT drops an attribute that the label of the task does not have. Give the labels the "
                "attribute object_id (a text), upload the export there once more and correct that; or, if all tracks "
                "are new, read the file from outside the folder of the export"
            )


def options_of_export(export: LabelFiles, files: LabelFiles, format_name: str, options: ReadOptions) -> ReadOptions:
    """The options, with what an export of maskmill says of itself and its files do not.

    Texts of MOTS may be of videos in which nothing shows on the first frame, so that they do not tell its number.
    Numbers of tracks of CVAT are CVAT's own. Raises `InputError` for a number of the first frame: the export tells it.
    """
    if options.first_frame is not None:
        raise InputError(
            f"first_frame={options.first_frame}: {files.shown} is of an export of maskmill, which says itself how its "
            "frames count: leave first_frame out"
        )
    if format_name == "mots":
        first = {"kitti": 0, "mots_challenge": 1}.get(_options(export).get("variant", ""))
        return replace(options, first_frame=first, is_of_export=True)
    return replace(options, is_of_export=True)


def export_of(files: LabelFiles) -> LabelFiles | None:
    """The export of maskmill that files are or lie in; None if they are of others."""
    if files.is_folder and VIDEOS in files.names:
        return files
    return files.above((VIDEOS,), (MANIFEST, VIDEOS, _OBJECTS))


def check_is_whole(files: LabelFiles) -> None:
    """Raises `InputError` for files of an export that is not whole: some are missing, and nothing tells the names."""
    marks = (MANIFEST, UNFINISHED)
    folder: LabelFiles | None = files
    if not files.is_folder or not set(marks) & set(files.names):
        folder = files.above(marks, marks)
    if folder is not None and UNFINISHED in folder.names and MANIFEST not in folder.names:
        raise InputError(
            f"{files.key}: {files.shown} is of an export that is not whole, because it is still being written or was "
            "killed: run the same pipeline.export again, which goes on with it"
        )


def _video_of(label: Label, videos: Mapping[str, _Video], format_name: str) -> _Video | None:
    """The video of a label by its name in the format; None for one that the export does not have."""
    names = [label.video, posixpath.splitext(label.video)[0]]
    if format_name in _IN_FOLDERS_OF_SPLITS:
        names.append(posixpath.basename(label.video))
    if format_name == "yolo_seg":
        names = [posixpath.splitext(label.frame.file_name or "")[0].rpartition("_")[0]]
    if format_name in _NAMED_AFTER_FILES:
        names.append(stem_of(label.video))
    return next((videos[name] for name in names if name in videos), None)


def _videos(files: LabelFiles, format_name: str, *, has_pictures: bool) -> dict[str, _Video]:
    found: dict[str, _Video] = {}
    of_files: dict[str, list[_Video]] = {}
    options = _options(files)
    key_of = _KEYS.get(format_name, _own_id)
    if format_name in ("sa_v", "png") and has_pictures:
        key_of = _folder_of_object
    if options.get("object_numbers") == "id":
        key_of = _own_id
    with files.open(VIDEOS) as file:
        for entry in json_lines(file.read, files.shown_name(VIDEOS)):
            record = entry.value
            _check_frames(files, record, options)
            try:
                objects = {key_of(one): (one["object_id"], one["category"]) for one in record["objects"]}
                if format_name == "cvat_images":  # CVAT drops an attribute that a label lacks, and keeps groups
                    objects |= {f"group {one['id']}": objects[key_of(one)] for one in record["objects"]}
                added = _Added(object_id for object_id, _ in objects.values())
                first = _first_frame(record, format_name)
                is_of_truth = options.get("truth") is not None
                video = _Video(record["video_id"], objects, added, first, is_of_truth, _labeled(record))
                found |= dict.fromkeys((record["name"], record["video_id"], storable(record["video_id"])), video)
                for name in {stem_of(record["video_id"]), stem_of(record["uri"] or "")}:
                    of_files.setdefault(name, []).append(video)
            except (ValueError, KeyError, TypeError) as error:
                what = f"line {entry.number} is not as the export wrote it ({describe(error)}); export again"
                raise files.fault(VIDEOS, what) from error
    if format_name == "mots" and _OBJECTS in files.names:
        _add_numbers_of_mots(found, files)
    if format_name in _NAMED_AFTER_FILES:  # several videos may have files of one name
        found = {name: alike[0] for name, alike in of_files.items() if name and len(alike) == 1} | found
    return found


def _options(files: LabelFiles) -> dict[str, Any]:
    """The options of the export, as its manifest has them."""
    if MANIFEST not in files.names:
        return {}
    try:
        options = json.loads(files.read(MANIFEST))["options"]
        return dict(options)
    except (ValueError, KeyError, TypeError) as error:
        raise files.fault(MANIFEST, f"it is not as the export wrote it ({describe(error)}); export again") from error


def _check_frames(files: LabelFiles, record: dict[str, Any], options: dict[str, Any]) -> None:
    """Frames that were counted anew, or called as images are, cannot be told by their names."""
    numbers = options.get("frame_numbers", "index")
    is_same = numbers == "count" and (record.get("first_frame_index"), record.get("frame_step")) == (0, 1)
    if numbers != "index" and not is_same:
        raise files.fault(
            MANIFEST,
            f"the export was written with frame_numbers={numbers}, so that names of files do not tell the frames of "
            f"video {record.get('video_id')!r}; export with frame_numbers=index",
        )


def _labeled(record: dict[str, Any]) -> range:
    """The labeled frames of a video; none where they do not lie at even distances."""
    first, last = record.get("first_frame_index"), record.get("last_frame_index")
    step = 1 if first == last else record.get("frame_step")
    if first is None or last is None or step is None:
        return range(0)
    return range(int(first), int(last) + 1, int(step))


def _first_frame(record: dict[str, Any], format_name: str) -> int:
    """What a format that counts from the start of the file calls frame 0 of the job."""
    return int(record.get("frames_before", 0)) if format_name == "cvat_video" else 0


def _add_numbers_of_mots(videos: dict[str, _Video], files: LabelFiles) -> None:
    """Objects by their numbers with the class, which `objects.csv` tells; the manifest tells their categories."""
    categories = {name: dict(video.objects.values()) for name, video in videos.items()}
    try:
        for row in csv.DictReader(io.StringIO(files.read(_OBJECTS).decode())):
            name, object_id = row["video"], int(row["object_id"])
            videos[name].objects[int(row["number"])] = (object_id, categories[name].get(object_id, row["category"]))
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise files.fault(_OBJECTS, f"it is not as the export wrote it ({describe(error)}); export again") from error


def _own_id(one: dict[str, Any]) -> ObjectKey:
    return int(one["object_id"])


def _id_in_export(one: dict[str, Any]) -> ObjectKey:
    return int(one["id"])


def _number_in_video(one: dict[str, Any]) -> ObjectKey:
    return int(one["number"])


def _folder_of_object(one: dict[str, Any]) -> ObjectKey:
    return int(one["number"]) - 1


_KEYS: dict[str, Callable[[dict[str, Any]], ObjectKey]] = {
    "coco": _id_in_export,
    "coco_video": _id_in_export,
    "youtube_vis": _id_in_export,
    "davis": _number_in_video,
    "mots": lambda one: f"number {one['number']}",
}
"""What the key of an object is in each format, where it is not the object's own id."""

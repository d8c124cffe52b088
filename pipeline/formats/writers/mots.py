"""MOTS: pixels or codes with the number class * 1000 + instance, one object a pixel.

    variant=png             train/instances/{video}/{frame:06d}.png (16 bits), train/instances/labels.txt
    variant=kitti           label_02/{video}.txt, frames from 0; evaluate_mots.seqmap.train
    variant=mots_challenge  MOTS-train/{video}/gt/gt.txt, frames from 1, and seqinfo.ini; seqmaps/MOTS-train.txt
    role=results            the same lines as a tracker's: [MOTS-train/]maskmill/data/{video}.txt

`objects.csv` names the object of each number. Class 10 means "ignore" to the readers: no category gets it by itself.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.fields import Group
from pipeline.errors import ConfigError
from pipeline.formats.folder import ExportFolder, PartFolder
from pipeline.formats.frame_images import write_frames
from pipeline.formats.frame_numbers import FrameNumbers, numbered
from pipeline.formats.label_png import png_16_bits
from pipeline.formats.overlap import without_overlaps
from pipeline.formats.plan import Plan, PlannedTrack
from pipeline.formats.source import ExportVideo
from pipeline.formats.writer import VideoWriter

MAX_INSTANCES = 999
_IGNORED_CLASS = 10
_MAX_PNG_CLASS = 64


class Options(Group):
    """Which files of MOTS are written."""

    variant: Literal["png", "kitti", "mots_challenge"] = Field(
        default="png",
        description="png is a picture of 16 bits a frame, kitti and mots_challenge are a text a video; frames count "
        "from 0 in kitti and from 1 in mots_challenge.",
    )
    role: Literal["truth", "results"] = Field(
        default="truth", description="Texts as truth, or as results of a tracker named maskmill, as evaluators want."
    )
    classes: dict[str, int] = Field(
        default_factory=dict,
        description="Numbers of all categories, as in classes.car=1 classes.pedestrian=2, which the evaluators expect. "
        "Left out, categories are numbered from 1 in the order of their names, without 10.",
    )
    frame_numbers: FrameNumbers = Field(
        default="index",
        description="Numbers of frames: index is the frame index of the tables (0, 4, 8 with a stride of 4), count is "
        "0, 1, 2.",
    )

    @model_validator(mode="after")
    def _check_role(self) -> Options:
        if self.role == "results" and self.variant == "png":
            raise ValueError("role=results is for texts: give variant=kitti or variant=mots_challenge too")
        return self


class Writer(VideoWriter):
    """See the module."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def check(self, plan: Plan) -> None:
        self._check_classes(plan.categories)
        for video in plan.each():
            for category, count in Counter(track.category for track in video.tracks).items():
                if count > MAX_INSTANCES:
                    raise ConfigError(
                        f"video {video.video_id!r} has {count} objects of category {category!r}, and MOTS has numbers "
                        f"for {MAX_INSTANCES}: choose fewer with where=, leave it out with videos=, or give format=coco"
                    )

    def write_video(self, video: ExportVideo, out: PartFolder) -> None:
        ids = mots_ids(video.tracks, self._options.classes)
        numbers = numbered([int(index) for index in video.frame_indexes], self._options.frame_numbers)
        if self._options.variant == "png":
            self._write_pngs(video, out, ids, numbers)
        else:
            self._write_text(video, out, ids, numbers)
        first = 1 if self._options.variant == "mots_challenge" else 0
        write_frames(video, out, self._images(video), lambda index: f"{numbers[index] + first:06d}")
        for track in video.tracks:
            row = (video.video_id, video.name, ids[track.object_id], track.object_id, track.category)
            out.append("objects", _csv_line(row))
        out.append(f"names.{video.split}", f"{video.name} empty 000000 {max(numbers.values()):06d}")

    def finish(self, plan: Plan, folder: ExportFolder) -> None:
        heading = _csv_line(("video_id", "video", "number", "object_id", "category"))
        folder.write("objects.csv", _lines(chain([heading.encode()], folder.stream("objects"))))
        for split in plan.splits:
            videos = folder.stream(f"names.{split}")
            if self._options.variant == "png":
                labels = labels_by_line(plan.categories, self._options.classes)
                folder.write(f"{split}/instances/labels.txt", _lines(name.encode() for name in labels))
            elif self._options.variant == "kitti":
                folder.write(f"evaluate_mots.seqmap.{split}", _lines(videos))
            else:
                names = (line.split(b" ")[0] for line in videos)
                folder.write(f"seqmaps/MOTS-{split}.txt", _lines(chain([b"name"], names)))

    def _check_classes(self, categories: Mapping[str, int]) -> None:
        given = self._options.classes
        missing = sorted(set(categories) - set(given)) if given else []
        if missing:
            raise ConfigError(f"classes: has no number for {', '.join(missing[:20])}; give one with classes.NAME=")
        twice = [name for name, number in given.items() if list(given.values()).count(number) > 1]
        if twice:
            raise ConfigError(f"classes: {' and '.join(twice)} have one number; give each its own")
        highest = max(class_number(name, number, given) for name, number in categories.items())
        lowest = min([1, *given.values()])
        if lowest < 1 or (self._options.variant == "png" and highest > _MAX_PNG_CLASS):
            raise ConfigError(
                f"classes: {lowest if lowest < 1 else highest} is the number of a category, and pictures of 16 bits "
                f"hold 1 to {_MAX_PNG_CLASS}: choose fewer with categories=, or give variant=kitti"
            )

    def _write_pngs(
        self, video: ExportVideo, out: PartFolder, ids: Mapping[int, int], numbers: Mapping[int, int]
    ) -> None:
        for frame_index, labels_HW in video.painted(ids):
            with out.open(f"{video.split}/instances/{video.name}/{numbers[frame_index]:06d}.png") as file:
                file.write(png_16_bits(labels_HW))

    def _write_text(
        self, video: ExportVideo, out: PartFolder, ids: Mapping[int, int], numbers: Mapping[int, int]
    ) -> None:
        height, width = video.size_hw
        first = 1 if self._options.variant == "mots_challenge" else 0
        with out.open(self._text(video)) as file:
            for frame_index, rows in video.by_frame():
                for row, shown in without_overlaps(rows, video.size_hw, video.content.overlap):
                    if shown.area < row.area:
                        video.lost("overlap", row.object_id, frame_index, shown.area / row.area)
                    if not shown.area:
                        video.leave_out_mask()
                    else:
                        number = ids[row.object_id]
                        code = shown.rle["counts"]
                        line = f"{numbers[frame_index] + first} {number} {number // 1000} {height} {width} {code}\n"
                        file.write(line.encode("ascii"))
        if self._options.variant == "mots_challenge" and self._options.role == "truth":
            with out.open(f"MOTS-{video.split}/{video.name}/seqinfo.ini") as file:
                file.write(_sequence_info(video, 1 + max(numbers.values())).encode())

    def _text(self, video: ExportVideo) -> str:
        is_challenge = self._options.variant == "mots_challenge"
        if self._options.role == "results":
            return f"{f'MOTS-{video.split}/' if is_challenge else ''}maskmill/data/{video.name}.txt"
        return f"MOTS-{video.split}/{video.name}/gt/gt.txt" if is_challenge else f"label_02/{video.name}.txt"

    def _images(self, video: ExportVideo) -> str:
        if self._options.variant == "png":
            return f"{video.split}/images/{video.name}"
        return f"image_02/{video.name}" if self._options.variant == "kitti" else f"MOTS-{video.split}/{video.name}/img1"


def class_number(category: str, category_id: int, classes: Mapping[str, int]) -> int:
    """The class of a category. `category_id` is its number in the plan; `classes` are the numbers that were given."""
    return classes[category] if classes else category_id + (category_id >= _IGNORED_CLASS)


def mots_ids(tracks: Iterable[PlannedTrack], classes: Mapping[str, int]) -> dict[int, int]:
    """Class * 1000 + instance by object id; the instances of a class are numbered from 1 by object id."""
    instances: defaultdict[int, int] = defaultdict(int)
    found = {}
    for track in tracks:
        number = class_number(track.category, track.category_id, classes)
        instances[number] += 1
        found[track.object_id] = number * 1000 + instances[number]
    return found


def labels_by_line(categories: Mapping[str, int], classes: Mapping[str, int]) -> list[str]:
    """The lines of labels.txt: line n is class n. A class that no category has is named as such.

    Readers take a line break for the next class, and leave out empty lines.
    """
    names = {class_number(name, number, classes): " ".join(name.split()) for name, number in categories.items()}
    return [
        names.get(number, "ignored" if number == _IGNORED_CLASS else f"unused_{number}") or f"class_{number}"
        for number in range(1, max(names) + 1)
    ]


def _sequence_info(video: ExportVideo, num_frames: int) -> str:
    height, width = video.size_hw
    values = {
        "name": video.name,
        "imDir": "img1",
        "frameRate": round(video.row["fps"] or 0),  # trackers take a whole number
        "seqLength": num_frames,
        "imWidth": width,
        "imHeight": height,
        "imExt": f".{'jpg' if video.content.frames == 'none' else video.content.frames}",
    }
    return "[Sequence]\n" + "".join(f"{key}={value}\n" for key, value in values.items())


def _csv_line(values: Iterable[object]) -> str:
    written = io.StringIO()
    in_one_line = (str(value).replace("\r", " ").replace("\n", " ") for value in values)
    csv.writer(written, lineterminator="").writerow(in_one_line)
    return written.getvalue()


def _lines(texts: Iterable[bytes]) -> Iterator[bytes]:
    return (text + b"\n" for text in texts)

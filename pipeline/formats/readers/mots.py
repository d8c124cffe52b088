"""MOTS: 16-bit PNG with `class * 1000 + instance`, and its text, a line `frame id class height width code` a mask.

The text of KITTI counts frames from 0, that of MOTSChallenge from 1. All texts of a folder count alike, from 0 where
one of them has a frame 0, because nothing shows on the first frame of some, or where the list of KITTI is there;
`first_frame=` says it otherwise. A text has no line of a frame on which nothing shows: `seqinfo.ini` and
`evaluate_mots.seqmap` tell how many frames there are, and the manifest does of an export of maskmill. In PNG the number
of a frame is in its name. Value 10000 is a region to ignore. Classes of PNG are the lines of `labels.txt`, from the
second on where the first is `background`. Source: vision.rwth-aachen.de/page/mots.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pipeline.errors import InputError
from pipeline.formats.label import Label, LabelFrame, ReadOptions, mask_of_pixels, mask_of_rle
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.readers.palette_png import without_outer_folders
from pipeline.formats.readers.pictures import read_pixels

IGNORED = 10_000
_OF_CLASS = 1000
_MASKS, _IMAGES = "instances", "images"
_KITTI = {1: "car", 2: "pedestrian"}
_SEQMAP = "evaluate_mots.seqmap"
_OF_TEXTS = (["label_02"], ["data"])
"""Folders that hold a text a video."""


def read(files: LabelFiles, options: ReadOptions) -> Iterator[Label]:
    """The labels of all texts, or of all pictures where there is no text."""
    texts = [name for name in files.ending_in(".txt") if _is_of_masks(name)]
    if texts:
        first = _first_frame(files, texts) if options.first_frame is None else options.first_frame
        listed = {} if options.is_of_export else _listed_lengths(files)
        for name in texts:
            num_frames = 0 if options.is_of_export else _num_frames(files, name, listed)
            yield from _read_text(files, name, first, num_frames)
        return
    pictures = [name for name in files.ending_in(".png") if _kind_of_picture(name) != _IMAGES]
    if not pictures:
        raise InputError(f"{files.key}: {files.shown} holds neither .txt nor .png files of masks")
    classes = _classes(files)
    seen: dict[str, set[int]] = {}
    for name in sorted(pictures, key=posixpath.split):
        values_HW = read_pixels(files, name)
        video = _video_of_picture(files, name)
        known = seen.setdefault(video, set())
        here = {int(value) for value in np.unique(values_HW) if 0 < value != IGNORED}
        known |= here
        frame, place = LabelFrame(file_name=posixpath.basename(name)), files.shown_name(name)
        for value in sorted(known):
            shape = mask_of_pixels(values_HW == value) if value in here else None
            yield Label(video, frame, value, shape, classes.get(value // _OF_CLASS), place=place)
        if not known:
            yield Label(video, frame, None, None, place=place)


def _is_of_masks(name: str) -> bool:
    """Whether a text is neither the list of the videos nor that of the classes; texts are called as their videos."""
    *folders, last = name.split("/")
    if folders[-1:] in _OF_TEXTS:
        return True
    is_list = folders[-1:] == ["seqmaps"] or last.startswith(("seqmap", _SEQMAP))
    return last != "labels.txt" and not is_list


def _read_text(files: LabelFiles, name: str, first: int, num_frames: int) -> Iterator[Label]:
    """The labels of a text, and one of each frame that has no line; `num_frames` is 0 where nothing tells it."""
    video = _video_of_text(files, name)
    classes = _classes(files) or _KITTI
    seen = set()
    for number, line in _lines(files, name):
        place = f"{files.shown_name(name)}, line {number}"
        fields = line.split()
        try:
            if len(fields) not in (6, 7):
                raise ValueError(f"it has {len(fields)} fields, not frame, id, class, height, width and code")
            frame, key, class_id, height, width = (int(value) for value in fields[:5])
            seen.add(frame - first)
            if key == IGNORED:
                continue
            shape = mask_of_rle({"size": [height, width], "counts": fields[5]})
        except ValueError as error:
            raise InputError(f"{place}: {error}; correct the line or leave it out") from error
        score = None if len(fields) == 6 else float(fields[6])
        yield Label(video, LabelFrame(frame - first), key, shape, classes.get(class_id, str(class_id)), score, place)
    for index in range(num_frames):
        if index not in seen:
            yield Label(video, LabelFrame(index), None, None, place=files.shown_name(name))


def _num_frames(files: LabelFiles, name: str, listed: Mapping[str, int]) -> int:
    """How many frames the sequence of a text has, as the files beside it or the lists say; 0 if none does."""
    sequence = posixpath.join(posixpath.dirname(posixpath.dirname(name)), "seqinfo.ini")
    if posixpath.basename(name) == "gt.txt" and sequence in files.names:
        told = re.search(rb"^seqLength=(\d+)\s*$", files.read(sequence), re.MULTILINE)
        return 0 if told is None else int(told[1])
    return listed.get(_video_of_text(files, name), 0)


def _listed_lengths(files: LabelFiles) -> dict[str, int]:
    """How many frames each sequence has by the lists of KITTI, of which the first one that names it counts."""
    found: dict[str, int] = {}
    lists = [one for one in files.names if posixpath.basename(one).startswith(_SEQMAP)]
    for words in (line.split() for one in lists for line in files.read(one).decode("utf-8", "replace").splitlines()):
        if len(words) == 4 and words[3].isdecimal():
            found.setdefault(words[0], int(words[3]) + 1)
    return found


def _lines(files: LabelFiles, name: str) -> Iterator[tuple[int, str]]:
    with files.open(name) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line.decode("utf-8", "replace")


def _first_frame(files: LabelFiles, names: Sequence[str]) -> int:
    """0 where a line is of frame 0, or beside the list of videos of KITTI; else 1, as in MOTSChallenge."""
    if any(posixpath.basename(name).startswith(_SEQMAP) for name in files.names):
        return 0
    numbers = (line.split(maxsplit=1)[0] for name in names for _, line in _lines(files, name))
    return 0 if any(number == "0" for number in numbers) else 1


def _classes(files: LabelFiles) -> dict[int, str]:
    names = [name for name in files.names if posixpath.basename(name) == "labels.txt"]
    if not names:
        return {}
    lines = files.read(names[0]).decode("utf-8", "replace").split("\n")
    labels = [line.strip() for line in lines if line.strip()]
    first = 0 if labels and labels[0] == "background" else 1
    return dict(enumerate(labels, first))


def _kind_of_picture(name: str) -> str | None:
    """The first folder of a picture that says what it is: a folder below it may be that of a video called so."""
    return next((part for part in name.split("/")[:-1] if part in (_MASKS, _IMAGES)), None)


def _video_of_picture(files: LabelFiles, name: str) -> str:
    parts = name.split("/")[:-1]
    if _MASKS in parts:
        parts.remove(_MASKS)  # the first one
    if any(parts):
        return without_outer_folders("/".join(parts))
    return posixpath.basename(files.shown.rstrip("/")) if files.is_folder else ""


def _video_of_text(files: LabelFiles, name: str) -> str:
    """The name of a text, or of the folder of `gt/gt.txt`; in a folder of texts one may be of a video called `gt`."""
    *folders, last = posixpath.splitext(name)[0].split("/")
    if last != "gt" or folders[-1:] in _OF_TEXTS:
        return last
    if folders[-1:] == ["gt"]:
        folders.pop()
    return folders[-1] if folders else posixpath.basename(files.shown.rstrip("/")) if files.is_folder else ""

"""DAVIS and YouTube-VOS: one PNG a frame whose pixel values are the objects. 0 is background, 255 is undecided.

`Annotations/480p/{video}/{frame}.png`, or the folder of videos, or one video. The number of a frame is the one in its
name. Source: davischallenge.org, `davis2017/davis.py`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

import numpy as np

from pipeline.formats.label import Label, LabelFrame, ReadOptions, mask_of_pixels
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.readers.pictures import read_pixels

VOID = 255
_NOT_VIDEOS = ("Annotations", "Annotations_6fps", "480p", "1080p", "Full-Resolution", "train", "val", "test")

_STARTS = ("sav_train", "sav_val", "sav_test", "MOTS-")


def read(files: LabelFiles, options: ReadOptions) -> Iterator[Label]:
    """The labels of all pictures, video by video, frame by frame, object by object.

    An object that was seen on an earlier frame and is not on this one is hidden. A frame without any object gives one
    label without an object, because it is labeled all the same.
    """
    seen: dict[str, set[int]] = {}
    for name in sorted(files.ending_in(".png"), key=posixpath.split):
        labels_HW = read_pixels(files, name)
        video = video_of(files, name)
        known = seen.setdefault(video, set())
        here = [int(value) for value in np.unique(labels_HW) if 0 < value < VOID]
        known.update(here)
        frame, place = LabelFrame(file_name=posixpath.basename(name)), files.shown_name(name)
        for value in sorted(known):
            shape = mask_of_pixels(labels_HW == value) if value in here else None
            yield Label(video, frame, value, shape, place=place)
        if not known:
            yield Label(video, frame, None, None, place=place)


def video_of(files: LabelFiles, name: str) -> str:
    """The video of a picture: the folders above it, without those that all pictures of the data set lie in."""
    folder = without_outer_folders(posixpath.dirname(name))
    return folder or (posixpath.basename(files.shown.rstrip("/")) if files.is_folder else "")


def without_outer_folders(folder: str) -> str:
    """A folder without those above it that are of the data set's layout, as `Annotations/480p`."""
    parts = folder.split("/")
    while len(parts) > 1 and (parts[0] in _NOT_VIDEOS or parts[0].startswith(_STARTS)):
        parts = parts[1:]
    return "/".join(parts)

"""SA-V: `{video}_manual.json` and `_auto.json` with `masklet[frame][object]`, and its PNG, a folder an object.

In the JSON a mask stands for every fourth frame of a video of 24 frames a second, so that frame `i` of the list is
frame `4 * i`, unless `fps` or the number of frames in the video says another step. A hidden mask is an empty code. In
the PNG, `{video}/{object}/{frame}.png`, any pixel above 0 is the object, and the number of the frame is in the name.
Source: sam2, `sav_dataset/README.md`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any

from pipeline.errors import InputError
from pipeline.formats.json_stream import entries
from pipeline.formats.label import Label, LabelFrame, ReadOptions, mask_of_pixels, mask_of_rle
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.readers.palette_png import without_outer_folders
from pipeline.formats.readers.pictures import read_pixels

_ENDINGS = ("_manual", "_auto")
_USUAL_STEP = 4
_FILMS, _MASKS = "JPEGImages", "Annotations"


def read(files: LabelFiles, options: ReadOptions) -> Iterator[Label]:
    """The labels of all JSON files, or of all pictures, whichever there are."""
    names = [name for name in files.ending_in(".json") if posixpath.splitext(name)[0].endswith(_ENDINGS)]
    if not files.is_folder and not files.ending_in(".png"):
        names = list(files.names)
    if names:
        for name in names:
            yield from _read_json(files, name)
        return
    if not files.ending_in(".png"):
        raise InputError(f"{files.key}: {files.shown} holds neither *_manual.json, *_auto.json nor .png files")
    yield from read_png(files, options)


def _read_json(files: LabelFiles, name: str) -> Iterator[Label]:
    shown = files.shown_name(name)
    facts = _facts(files, name)
    video = str(facts.get("video_id") or _video_of_file(name))
    ids = facts.get("masklet_id")
    categories = facts.get("masklet_category")
    step = _step(facts)
    with files.open(name) as file:
        for entry in entries(file.read, shown):
            if entry.key != "masklet" or entry.number is None:
                continue
            for number, code in enumerate(entry.value or ()):
                place = f"{shown}, {entry.place}[{number}]"
                key = _entry_of(ids, number, number)
                category = _entry_of(categories, number, None)
                try:
                    shape = None if code is None else mask_of_rle(code)
                except ValueError as error:
                    raise InputError(f"{place}: {error}; write the file again") from error
                yield Label(video, LabelFrame(entry.number * step), key, shape, category, place=place)


def _video_of_file(name: str) -> str:
    stem = posixpath.basename(posixpath.splitext(name)[0])
    return next((stem.removesuffix(ending) for ending in _ENDINGS if stem.endswith(ending)), stem)


def _facts(files: LabelFiles, name: str) -> dict[str, Any]:
    """The small values of a file. They may stand behind the masks, so that the file is read twice."""
    found: dict[str, Any] = {}
    with files.open(name) as file:
        for entry in entries(file.read, files.shown_name(name)):
            if entry.key in ("video_id", "fps", "video_frame_count", "masklet_frame_step"):
                found[entry.key] = entry.value
            elif entry.key in ("masklet_id", "masklet_category"):
                found.setdefault(entry.key, []).append(entry.value)
            elif entry.key == "masklet":
                found["num_masks"] = (entry.number or 0) + 1
    return found


def _step(facts: dict[str, Any]) -> int:
    """Every how many frames a mask stands: 4, unless `fps` or the number of frames in the video says otherwise.

    Our own exports say it in `masklet_frame_step`.
    """
    step = facts.get("masklet_frame_step")
    if isinstance(step, int):
        return max(1, step)
    if facts.get("fps"):
        return max(1, round(24 / float(facts["fps"])))
    num_frames, num_masks = int(facts.get("video_frame_count") or 0), int(facts.get("num_masks", 0))
    if not num_frames or not num_masks or -(-num_frames // _USUAL_STEP) == num_masks:
        return _USUAL_STEP
    return max(1, round(num_frames / num_masks))


def _entry_of(values: Any, number: int, otherwise: Any) -> Any:
    return values[number] if isinstance(values, list) and number < len(values) else otherwise


def _is_of_film(name: str) -> bool:
    """Whether a picture is a frame of a film and no mask: SA-V and DAVIS have them in a folder beside the masks.

    Below the masks a folder that is called so is a video.
    """
    kinds = (part for part in name.split("/")[:-1] if part.startswith((_FILMS, _MASKS)))
    return next(kinds, "").startswith(_FILMS)


def read_png(files: LabelFiles, options: ReadOptions) -> Iterator[Label]:
    """The labels of binary pictures in folders `{video}/{object}`, or `{object}` of one video.

    The object of a folder whose name is a number is that number. Pixels above 0 are the object.
    """
    pictures = [name for name in files.ending_in(".png", ".jpg", ".bmp", ".tif") if not _is_of_film(name)]
    for name in sorted(pictures, key=posixpath.split):
        folder = posixpath.dirname(name)
        video = without_outer_folders(posixpath.dirname(folder)) or (
            posixpath.basename(files.shown.rstrip("/")) if files.is_folder else ""
        )
        key = posixpath.basename(folder)
        pixels_HW = read_pixels(files, name) > 0
        shape = mask_of_pixels(pixels_HW) if pixels_HW.any() else None
        frame = LabelFrame(file_name=posixpath.basename(name))
        yield Label(video, frame, int(key) if key.isdecimal() else key or 0, shape, place=files.shown_name(name))

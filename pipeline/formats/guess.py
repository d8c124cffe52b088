"""Which format files are in, where names and first entries leave no doubt (`format=auto`)."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np
from PIL import Image

from pipeline.errors import InputError
from pipeline.formats.folder import MANIFEST
from pipeline.formats.json_stream import Entry, entries
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.readers.pictures import read_pixels
from pipeline.output.layout import JOB, LOG

_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
_MOST_LINES = 1000
_COMMAS = 6  # at least, in a line of MOTChallenge
_ENDINGS = (".json", ".xml", ".parquet", ".png", ".txt", *_TABLES)


def format_of(files: LabelFiles, known: Iterable[str]) -> str:
    """The name of the format. Raises `InputError`, with all that are `known`, where several are possible, or none."""
    ask = f"give format=, one of {', '.join(known)}"
    if files.is_folder and (JOB in files.names or any(name.startswith(f"{LOG}/") for name in files.names)):
        return "maskmill"
    if MANIFEST in files.names and (told := _told_by_manifest(files)) is not None:
        return told
    found = {ending: names for ending in _ENDINGS if (names := _without_extras(files, ending))}
    if any(name.startswith("labels/") or "/labels/" in name for name in found.get(".txt", ())):
        found.pop(".png", None)  # pictures beside labels
    kinds = {"boxes" if ending in _TABLES else ending for ending in found}
    if len(kinds) != 1:
        what = f"it holds {', '.join(sorted(found))} files" if found else "it holds no file of a known format"
        raise InputError(f"{files.key}: {files.shown}: {what}, so that its format is not clear; {ask}")
    (kind,) = kinds
    names = next(iter(found.values()))
    guesses = {".json": _of_json, ".png": _of_png, ".txt": _of_text, ".xml": _of_xml}
    guess = guesses[kind](files, names[0]) if kind in guesses else {".parquet": "parquet"}.get(kind, kind)
    if guess is None:
        raise InputError(f"{files.shown_name(names[0])}: its format is not clear{_why(files, names[0])}; {ask}")
    return guess


def _why(files: LabelFiles, name: str) -> str:
    """What stands in a JSON file in the place of entries that tell a format; empty for other files."""
    if not name.lower().endswith(".json"):
        return ""
    with files.open(name) as file:
        keys = list(islice(dict.fromkeys(str(entry.key) for entry in entries(file.read, name) if entry.key), 3))
    return (
        f", because no list of labels stands below its keys {', '.join(keys)}" if keys else ", because it has no entry"
    )


def _without_extras(files: LabelFiles, ending: str) -> list[str]:
    extras = ("labels.txt", "classes.txt", "seqmap.txt", MANIFEST)
    last_parts = ((name, name.rpartition("/")[2]) for name in files.ending_in(ending))
    return [name for name, last in last_parts if last not in extras and not last.startswith("README")]


def _told_by_manifest(files: LabelFiles) -> str | None:
    """The format that an export of maskmill says it has."""
    try:
        told = json.loads(files.read(MANIFEST)).get("format")
    except (ValueError, AttributeError):
        return None
    return told if isinstance(told, str) else None


def _of_json(files: LabelFiles, name: str) -> str | None:
    has_videos = False
    with files.open(name) as file:
        for entry in entries(file.read, files.shown_name(name)):
            if entry.key == "videos":
                has_videos = True
            guess = _of_entry(entry)
            if guess is not None:
                return "coco_video" if guess == "coco" and has_videos else guess
    return None


def _of_entry(entry: Entry) -> str | None:
    if entry.key == "masklet":
        return "sa_v"
    value: Any = entry.value
    if entry.key == "data" and isinstance(value, Mapping):
        return "label_studio"
    if entry.key not in (None, "annotations") or not isinstance(value, Mapping):
        return None
    if "segmentations" in value or "bboxes" in value:
        return "youtube_vis"
    if entry.key is None and isinstance(value.get("data"), Mapping):
        return "label_studio"
    if "image_id" in value:
        return "coco"
    return "boxes" if entry.key is None else None


def _of_png(files: LabelFiles, name: str) -> str | None:
    with Image.open(io.BytesIO(files.read(name))) as picture:
        mode = picture.mode
    if mode.startswith("I"):
        return "mots"
    if mode == "P":
        return "davis"
    if mode in ("1", "L") and name.count("/") >= 1 and set(np.unique(read_pixels(files, name))) <= {0, 1, 255}:
        return "png" if name.split("/")[-2].isdecimal() else None
    return None


def _of_text(files: LabelFiles, name: str) -> str | None:
    """MOTS has a code in each line, MOTChallenge commas between numbers.

    A line of YOLO with 7 numbers is a box with score and track, or a triangle.
    """
    rows: list[list[float]] = []
    with files.open(name) as file:
        for line in islice(file, _MOST_LINES):
            words = line.split()
            try:
                rows += [[float(word) for word in words]] if words else []
            except ValueError:
                has_commas = line.count(b",") >= _COMMAS and _are_numbers(line.split(b","))
                return "boxes" if has_commas else "mots" if len(words) in (6, 7) else None
    longest = max(map(len, rows), default=0)
    if longest < 5:
        return None
    if longest > 7:
        return "yolo_seg"
    if longest < 7 or any(row[-1] > 1 for row in rows if len(row) == 7):
        return "yolo"
    return None


def _are_numbers(words: Iterable[bytes]) -> bool:
    try:
        return all(math.isfinite(float(word)) for word in words)
    except ValueError:
        return False


def _of_xml(files: LabelFiles, name: str) -> str | None:
    with files.open(name) as file:
        head = file.read(1 << 16)
    if b"<annotations" not in head:
        return None
    return "cvat_images" if b"<image" in head and b"<track" not in head else "cvat_video"

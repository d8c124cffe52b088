"""Boxes of a detector as a table: CSV, TSV, JSON lines, or a JSON file with a list of rows.

Columns are found by `columns.NAME=`, else by the usual names, and a box by `columns.box=` or a name that says its form,
as `box_xywh`, `x0, y0, x1, y1` or `x, y, w, h`. A column `bbox` says no form: `box_format=` does. Where no column holds
the frame, a row's video may be the path of a picture, as `cup/00012.jpg`. A table without names is one of MOTChallenge:
`det/det.txt` or results with scores, or `gt/gt.txt`, whose nine columns have a flag in the place of the score, then the
class. Rows with the flag 0 are to be ignored. Source: motchallenge.net; `trackeval/datasets/mot_challenge_2d_box.py`.
"""

from __future__ import annotations

import csv
import io
import json
import math
import posixpath
import re
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

from model import VIDEO_SUFFIXES
from pipeline.errors import InputError
from pipeline.formats.json_stream import entries, json_lines
from pipeline.formats.label import Label, LabelBox, LabelFrame, ObjectKey, ReadOptions, Shape, mask_of_rle
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.readers.coco import NO_TRACK, video_and_picture
from pipeline.inputs.boxes import FORMS, UNITS, unit_of
from pipeline.inputs.usual_names import SIDES, USUAL
from pipeline.text import one_line

_MOST_LETTERS = 64 << 20
"""Of one field of a CSV: Python takes 131,072, and polygons and codes of masks beside a box are longer."""

_NAMELESS = ("bbox", "box")
_MOTCHALLENGE = ("frame", "track_id", "x", "y", "w", "h", "score")
_MOTCHALLENGE_TRUTH = (*_MOTCHALLENGE[:-1], "category")
_CLASSES = "labels.txt"
_NUM_OF_TRUTH = 9
"""Columns of a truth of MOTChallenge: detections and results have 7 or 10."""

_WHOLE = re.compile(r"\s*([+-]?[0-9]+)(?:\.0*)?\s*")

Row = Mapping[str, Any]


def read(files: LabelFiles, options: ReadOptions) -> Iterator[Label]:
    """The rows of a table, or of all tables in a folder, one after the other.

    Raises `InputError` naming the line and the column that is missing or no number.
    """
    names = _tables(files) if files.is_folder else list(files.names)
    if not names:
        raise InputError(f"{files.key}: {files.shown} holds no .csv, .tsv, .json or .jsonl file; name the table")
    tables: list[TableColumns] = []
    for name in names:
        tables += yield from _read_file(files, name, options)
    check_form(files, tables, options)


def _tables(files: LabelFiles) -> list[str]:
    """The tables of a folder; without any the texts of MOTChallenge: the truth, else detections or results."""
    tables = files.ending_in(".csv", ".tsv", ".json", ".jsonl", ".ndjson")
    texts = [name for name in files.ending_in(".txt") if posixpath.basename(name) != _CLASSES]
    truth = [name for name in texts if posixpath.basename(name) == "gt.txt"]
    return tables or truth or texts


def _read_file(files: LabelFiles, name: str, options: ReadOptions) -> Generator[Label, None, list[TableColumns]]:
    """The rows of a table, and then which columns they have.

    Rows of JSON may have different columns; one that `columns` names must be in one of them.
    """
    is_json = "json" in name.lower().rpartition(".")[2]
    makers: dict[tuple[str, ...], RowLabels] = {}
    with files.open(name) as file:
        for place, row in _rows(file, files, name):
            shown = f"{files.shown_name(name)}, {place}"
            try:
                maker = makers.get(tuple(row))
                if maker is None:
                    columns = columns_of(row, options, may_lack=is_json)
                    maker = makers[tuple(row)] = RowLabels(columns, _first_frame(row, options))
                yield maker.label(row, shown)
            except (ValueError, TypeError) as error:
                raise InputError(f"{shown}: {error}; correct it or leave it out") from error
    seen = {column for columns in makers for column in columns}
    try:
        _check_given(options, seen if makers else None)
    except ValueError as error:
        raise files.fault(name, str(error)) from error
    return [maker.columns for maker in makers.values()]


def _rows(file: BinaryIO, files: LabelFiles, name: str) -> Iterator[tuple[str, Row]]:
    """The rows with their places: `line 3`, `entry 2`."""
    shown = files.shown_name(name)
    ending = name.lower().rpartition(".")[2]
    if ending in ("csv", "tsv", "txt"):
        csv.field_size_limit(_MOST_LETTERS)  # of the whole process, which has no use for a lower one
        text = io.TextIOWrapper(file, "utf-8-sig", newline="")
        table = csv.DictReader(text, delimiter="\t" if ending == "tsv" else ",")
        try:
            if _are_numbers(table.fieldnames or ()):
                yield from _motchallenge(table, shown, _classes(files, name))
                return
            _check_separated(table.fieldnames or ())
            for row in table:
                if None in row:
                    raise ValueError("it has more fields than the first line has names")
                yield f"line {table.line_num}", row
        except (csv.Error, UnicodeDecodeError, ValueError) as error:
            raise InputError(
                f"{shown}, line {table.reader.line_num}: {error}; write the table again, as UTF-8"
            ) from error
        return
    found = json_lines(file.read, shown) if ending in ("jsonl", "ndjson") else entries(file.read, shown)
    for entry in found:
        place = f"line {entry.number}" if ending in ("jsonl", "ndjson") else entry.place
        if not isinstance(entry.value, Mapping):
            if entry.key is not None:
                continue  # what stands beside the list
            raise InputError(f"{shown}, {place}: it is no object with columns; write a list of objects")
        if entry.number is not None:
            yield place, entry.value


def _first_frame(row: Row, options: ReadOptions) -> int:
    """The number of the first frame: 1 in the texts of MOTChallenge, else 0, unless `first_frame` says it."""
    if options.first_frame is not None:
        return options.first_frame
    return 1 if tuple(row) in ((*_MOTCHALLENGE, "video"), (*_MOTCHALLENGE_TRUTH, "video")) else 0


def _are_numbers(names: Sequence[str]) -> bool:
    """Whether a first line has no names, as in the texts of MOTChallenge."""
    try:
        return len(names) >= len(_MOTCHALLENGE) and all(math.isfinite(float(name)) for name in names)
    except ValueError:
        return False


def _check_separated(names: Sequence[str]) -> None:
    """Raises `ValueError` for a first line that is one name with other separators in it, as Excel writes in Europe."""
    for separator, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(names) == 1 and separator in names[0]:
            raise ValueError(
                f"its columns are separated by {called}, and a .csv file has commas (a .tsv file has tabs)"
            )


def _motchallenge(table: csv.DictReader[str], shown: str, classes: Mapping[str, str]) -> Iterator[tuple[str, Row]]:
    """Rows of `frame, id, left, top, width, height, score`, and of a truth; the id of a detection is -1.

    The video is the name of the text, or of the folder that holds `det/det.txt` or `gt/gt.txt`. `shown` is its path.
    """
    *folders, last = posixpath.splitext(shown)[0].split("/")
    video = next((part for part in reversed([*folders, last]) if part not in ("det", "gt")), "")
    for number, values in enumerate(chain([table.fieldnames or ()], table.reader), 1):
        if not values:
            continue
        row: dict[str, Any] = dict(zip(_MOTCHALLENGE, values, strict=False))
        if len(values) == _NUM_OF_TRUTH:
            if float(values[6]) == 0:
                continue
            row = dict(zip(_MOTCHALLENGE_TRUTH, (*values[:6], classes.get(values[7], values[7])), strict=True))
        row["video"] = video
        yield f"line {number}", row


def _classes(files: LabelFiles, name: str) -> dict[str, str]:
    """Names of classes by their numbers: lines of a `labels.txt` beside the text, counted from 1, as CVAT writes it."""
    path = posixpath.join(posixpath.dirname(name), _CLASSES)
    lines = files.read(path).decode("utf-8", "replace").splitlines() if path in files.names else ()
    return {str(number): line.strip() for number, line in enumerate(lines, 1)}


@dataclass(frozen=True)
class TableColumns:
    """Which columns hold what; `form` is that of boxes."""

    names: Mapping[str, str]
    box: tuple[str, ...]
    form: str

    @property
    def read(self) -> list[str]:
        """All of them, each once."""
        return list(dict.fromkeys((*self.names.values(), *self.box)))


def columns_of(row: Row, options: ReadOptions, *, may_lack: bool = False) -> TableColumns:
    """What the columns of a table are, which has those of a row. Raises `ValueError` for one that there is not.

    With `may_lack` the row may lack a column that `options` name, because another row has it.
    """
    if not may_lack:
        _check_given(options, row.keys())
    names = {}
    for standard, usual in USUAL.items():
        name: str | None = options.columns.get(standard) or next((one for one in usual if one in row), None)
        if name is not None:
            names[standard] = name
    box, form = _box_columns(row, options)
    if not box and "mask_rle" not in names:
        raise ValueError(f"no column is a box; give columns.box= and box_format=; the columns are {', '.join(row)}")
    return TableColumns(names, box, form)


def _check_given(options: ReadOptions, there: Collection[str] | None) -> None:
    """Raises `ValueError` if `columns` name one that is not there; None is an empty table, which has none."""
    for standard, given in options.columns.items():
        for wanted in _split(given):
            if there is not None and wanted not in there:
                some = ", ".join(sorted(there))
                raise ValueError(f"columns.{standard}={given}: there is no such column; there are {some}")


def check_form(files: LabelFiles, tables: Sequence[TableColumns], options: ReadOptions) -> None:
    """Raises `InputError` for a `box_format` that no row needs, because names of columns of boxes say others."""
    told = [table for table in tables if table.box]
    if options.box_format is None or not told or any(table.form == options.box_format for table in told):
        return
    name = told[0].box[0]
    raise InputError(
        f"{files.shown}: box_format={options.box_format} contradicts the name of column {name}, which says the form; "
        f"leave box_format out, or name the column box_{options.box_format}"
    )


def _box_columns(row: Row, options: ReadOptions) -> tuple[tuple[str, ...], str]:
    given = options.columns.get("box")
    if given is not None:
        told = given.removeprefix("box_")
        return _split(given), told if told in FORMS else options.box_format or "xyxy"
    for form in FORMS:
        if f"box_{form}" in row:
            return (f"box_{form}",), form
    for name in _NAMELESS:
        if name in row:
            if options.box_format is None and any(mask in row for mask in USUAL["mask_rle"]):
                return (), ""
            if options.box_format is None:
                raise ValueError(
                    f"the name of column {name} does not say what its numbers are; give box_format=xywh (COCO), "
                    f"box_format=xyxy (two corners) or another of {', '.join(FORMS)}"
                )
            return (name,), options.box_format
    for sides, order in SIDES:
        if all(side in row for side in sides):
            return sides, options.box_format or order
    return (), ""


def _split(given: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in given.split(","))


class RowLabels:
    """Makes labels of rows whose columns are known."""

    def __init__(self, columns: TableColumns, first_frame: int) -> None:
        self.columns = columns
        self._first_frame = first_frame

    def label(self, row: Row, shown: str) -> Label:
        """The label of a row. Raises `ValueError` for a value that cannot be meant."""
        video, frame = self._frame(row)
        key = self._value(row, "object_id", _key)
        if key == NO_TRACK and self.columns.names["object_id"] != "object_id":
            key = None
        category = self._value(row, "category", str)
        score = self._value(row, "score", _finite)
        return Label(video, frame, key, self._shape(row), category, score, shown)

    def _frame(self, row: Row) -> tuple[str, LabelFrame]:
        video = self._value(row, "video_id", str) or ""
        index = self._value(row, "frame_index", _whole)
        pts_seconds = self._value(row, "pts_seconds", _finite)
        if index is not None or pts_seconds is not None or video.lower().endswith(VIDEO_SUFFIXES):
            return video, LabelFrame(None if index is None else index - self._first_frame, pts_seconds)
        folder, picture = video_and_picture(video)
        return folder, LabelFrame(file_name=picture or None)

    def _shape(self, row: Row) -> Shape | None:
        rle = row.get(self.columns.names.get("mask_rle", ""))
        if rle:
            return mask_of_rle(
                _of_json(rle, "mask", '{"size": [480, 640], "counts": …}') if isinstance(rle, str) else rle
            )
        values = [row.get(name) for name in self.columns.box]
        if len(values) == 1:
            (only,) = values
            one = _of_json(only, "box", "[10, 24, 106, 120]") if isinstance(only, str) else only
            values = list(one or ())
        if all(value in (None, "") for value in values):
            return None
        if len(values) != 4:
            raise ValueError(f"its box has {len(values)} numbers, not 4")
        return box_of([_number(value) for value in values], self.columns.form)

    def _value(self, row: Row, standard: str, made: Callable[[Any], Any]) -> Any:
        name = self.columns.names.get(standard)
        value = None if name is None else row.get(name)
        if value is None or value == "":
            return None
        try:
            return made(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{name} is {value!r}, {error}") from error


def _of_json(text: str, what: str, example: str) -> Any:
    """A list or an object that stands in one cell as JSON; None for an empty cell. Raises `ValueError` for other texts.

    Programs that write what they hold as it looks, as pandas does with arrays (`[10. 24.]`), write no JSON.
    """
    if not text.strip():
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list | dict):
        raise ValueError(f"its {what} is {one_line(text)!r}, and JSON is expected, as {example}")
    return found


def box_of(numbers: Sequence[float], form: str) -> LabelBox | None:
    """A box of four numbers in one of the forms of `pipeline.inputs.boxes`; None for one without area.

    Raises `ValueError` for what is no finite number.
    """
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"its box is {list(numbers)}: each of the four must be a finite number")
    unit = unit_of(form)
    a, b, c, d = (value / UNITS[unit] for value in numbers)
    if form.startswith("xywh"):
        a, b, c, d = a, b, a + c, b + d
    elif form.startswith("cxcywh"):
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return LabelBox((a, b, c, d), is_fraction=bool(unit)) if c > a and d > b else None


def _float(value: Any) -> float:
    """A number, also as text, as tables write it: Python would take `1_0`, which is a name, for 10."""
    if isinstance(value, str) and "_" in value:
        raise ValueError("which is no number")
    return float(value)


def _number(value: Any) -> float:
    try:
        return _float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"its box has {value!r}, which is no number") from error


def _finite(value: Any) -> float:
    number = _float(value)
    if not math.isfinite(number):
        raise ValueError("which is no finite number")
    return number


def _whole(value: Any) -> int:
    number = _float(value)
    if number != int(number):
        raise ValueError("which is no whole number")
    return int(number)


def _key(value: Any) -> ObjectKey:
    """A whole number where it is one, also as the text `3` or `3.0`; else the text.

    Other texts that Python takes for numbers are names: `1_11` and `11_1` would be 111 both, and a float has 16 digits.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    found = _WHOLE.fullmatch(str(value))
    return int(found[1]) if found else str(value)

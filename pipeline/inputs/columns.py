"""The columns that the input tables may have, and the Arrow types that each may have. Other columns are ignored.

These are the standard names. `naming` finds them in tables that have others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class InputColumn:
    """A column that is read: its name, a test of its Arrow type, and the types in words for error messages."""

    name: str
    accepts: Callable[[pa.DataType], bool]
    allowed: str
    required: bool = False


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is one of texts, also of a dictionary."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _is_integer(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether a type is one of numbers, decimal ones too."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_list_of(item: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    def accepts(kind: pa.DataType) -> bool:
        lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        return bool(lists and (pa.types.is_null(kind.value_type) or item(kind.value_type)))

    return accepts


def _is_rle(kind: pa.DataType) -> bool:
    if is_text(kind) or _is_binary(kind):  # the counts alone; the mask then has the size of the video
        return True
    if not pa.types.is_struct(kind):
        return False
    fields = {kind.field(index).name: kind.field(index).type for index in range(kind.num_fields)}
    if not {"size", "counts"} <= fields.keys():
        return False
    return _is_list_of(_is_integer)(fields["size"]) and (is_text(fields["counts"]) or _is_binary(fields["counts"]))


def _or_null(accepts: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    """Accepts Arrow's null type too, which a column has that holds nothing but nulls."""
    return lambda kind: bool(pa.types.is_null(kind)) or accepts(kind)


_STRING, _INTEGER, _NUMBER = "string", "integer", "float or integer"


VIDEOS_IN: tuple[InputColumn, ...] = (
    InputColumn("video_id", is_text, _STRING, required=True),
    InputColumn("uri", _or_null(is_text), _STRING),
    InputColumn("bytes", _or_null(_is_binary), "binary"),
    InputColumn("start_seconds", _or_null(is_number), _NUMBER),
    InputColumn("end_seconds", _or_null(is_number), _NUMBER),
    InputColumn("duration_seconds", _or_null(is_number), _NUMBER),
    InputColumn("cuts_seconds", _or_null(_is_list_of(is_number)), "list of times: list<float>"),
)
"""Columns of `videos=`. Each row needs `uri` or `bytes`. `duration_seconds` only helps to order the work."""


PROMPTS_IN: tuple[InputColumn, ...] = (
    InputColumn("video_id", is_text, _STRING, required=True),
    InputColumn("object_id", _is_integer, _INTEGER, required=True),
    InputColumn("frame_index", _or_null(is_number), _INTEGER),  # pandas makes floats of integers with gaps
    InputColumn("pts_seconds", _or_null(is_number), _NUMBER),
    InputColumn("points_xy", _or_null(_is_list_of(_is_list_of(is_number))), "list of [x, y]: list<list<float>>"),
    InputColumn("point_labels", _or_null(_is_list_of(_is_integer)), "list of 1 and 0: list<integer>"),
    InputColumn("box_xyxy", _or_null(_is_list_of(is_number)), "[x0, y0, x1, y1]: list<float>"),
    InputColumn("box_xyxyn", _or_null(_is_list_of(is_number)), "four numbers: list<float>"),
    InputColumn("mask_rle", _or_null(_is_rle), "COCO run lengths: struct<size: list<integer>, counts: string>"),
    InputColumn("category", _or_null(is_text), _STRING),
    *VIDEOS_IN[1:-1],  # cuts are those of a table of videos: several rows of prompts of one video would contradict
)
"""Columns of `prompts=`. Each row needs `frame_index` or `pts_seconds`.

Without `videos=` the prompts table also has the columns of videos. Boxes of other forms become one of two: `box_xyxy`
in pixels, or `box_xyxyn` in fractions of the frame.
"""

_OF_BOXES = ("video_id", "frame_index", "pts_seconds", "box_xyxy", "box_xyxyn", "category")

DETECTIONS_IN: tuple[InputColumn, ...] = (
    *(column for column in PROMPTS_IN if column.name in _OF_BOXES),
    InputColumn("score", _or_null(is_number), _NUMBER),
)
"""Columns of `detections=`. Each row needs a box, and `frame_index` or `pts_seconds`."""

STANDARD: tuple[str, ...] = tuple(dict.fromkeys(column.name for column in (*VIDEOS_IN, *PROMPTS_IN, *DETECTIONS_IN)))
"""All names of columns, for which a table may have others (`columns.NAME=`)."""

TEXTS: frozenset[str] = frozenset(
    column.name for column in (*VIDEOS_IN, *PROMPTS_IN, *DETECTIONS_IN) if column.allowed == _STRING
)
"""Those of them that hold texts."""

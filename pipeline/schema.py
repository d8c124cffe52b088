"""The on-disk contract: Arrow schemas of the tables that are written, and the columns that are read.

A row of `masks` is one video, object and frame; of `tracks` one video and object; of `videos` one planned video.
Frame indexes count the decoded frames in presentation order from the first frame of the labelled range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = 1
"""Raised when a written table changes its meaning. Kept in the footer of every segment and in each log entry."""


class NewerVersion(ValueError):
    """A newer version of this program has written to the job, so this one cannot read it: exit code 2."""


def check_version(written: int) -> None:
    """Raise `NewerVersion` if the log was written with a schema version that this program does not know."""
    if written > SCHEMA_VERSION:
        raise NewerVersion(
            f"the job's log was written with schema version {written}, this program knows {SCHEMA_VERSION}: use the "
            "newer maskmill for this output"
        )


SORT_KEYS: dict[str, tuple[str, ...]] = {
    "masks": ("video_id", "object_id", "frame_index"),
    "tracks": ("video_id", "object_id"),
    "videos": ("video_id",),
}
"""Rows of a segment are sorted by these columns, which are also the key: no two rows of a table share them."""

RLE = pa.struct([pa.field("size", pa.list_(pa.int32())), pa.field("counts", pa.string())])
"""COCO compressed run lengths: `size` is [height, width]; `pycocotools.mask.decode` takes the value as it is."""

MASKS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("object_id", pa.int64(), nullable=False),
        pa.field("frame_index", pa.int32(), nullable=False),
        pa.field("pts_seconds", pa.float64()),  # time in the file; null where the container has none
        pa.field("rle", RLE, nullable=False),
        pa.field("area", pa.int32(), nullable=False),  # pixels; 0 = hidden
        pa.field("bbox_x", pa.int32(), nullable=False),  # COCO xywh in pixels, flat so that statistics prune
        pa.field("bbox_y", pa.int32(), nullable=False),
        pa.field("bbox_w", pa.int32(), nullable=False),
        pa.field("bbox_h", pa.int32(), nullable=False),
        pa.field("object_score", pa.float32(), nullable=False),  # logit; above 0 = visible
        pa.field("predicted_iou", pa.float32(), nullable=False),
        pa.field("is_prompt", pa.bool_(), nullable=False),
    ]
)

TRACKS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("object_id", pa.int64(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # `ok` or `failed`
        pa.field("message", pa.string(), nullable=False),  # why it failed; warnings of an `ok` track
        pa.field("category", pa.string()),
        pa.field("num_prompts", pa.int32(), nullable=False),
        pa.field("prompt_frames", pa.list_(pa.int32()), nullable=False),  # frame indexes with a prompt, ascending
        pa.field("num_masks", pa.int32(), nullable=False),  # rows of this track in `masks`
        pa.field("num_visible", pa.int32(), nullable=False),  # those with area above 0
        pa.field("first_visible_frame", pa.int32()),  # null: never visible
        pa.field("last_visible_frame", pa.int32()),
        pa.field("visible_share", pa.float32(), nullable=False),
        pa.field("area_min", pa.int32()),  # pixels, over the visible rows
        pa.field("area_mean", pa.float32()),
        pa.field("area_max", pa.int32()),
        pa.field("object_score_min", pa.float32()),  # logits, over all rows
        pa.field("object_score_mean", pa.float32()),
        pa.field("predicted_iou_min", pa.float32()),  # over the visible rows
        pa.field("predicted_iou_mean", pa.float32()),
    ]
)

VIDEOS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # `pipeline.work.Status`
        pa.field("error_class", pa.string(), nullable=False),  # empty: none
        pa.field("message", pa.string(), nullable=False),  # why it failed; warnings of an `ok` video
        pa.field("uri", pa.string()),  # without query string; null: the bytes were in the row
        pa.field("num_masks", pa.int64(), nullable=False),
        pa.field("num_tracks", pa.int32(), nullable=False),
        pa.field("num_frames", pa.int32(), nullable=False),  # labelled frames
        pa.field("num_frames_decoded", pa.int32(), nullable=False),
        pa.field("num_frames_expected", pa.int32()),  # what the container claims; null: nothing
        pa.field("height", pa.int32()),  # pixels as displayed
        pa.field("width", pa.int32()),
        pa.field("fps", pa.float64()),
        pa.field("rotation_degrees", pa.int32()),
        pa.field("duration_seconds", pa.float64()),
        pa.field("fetch_seconds", pa.float64()),
        pa.field("decode_seconds", pa.float64()),
        pa.field("propagate_seconds", pa.float64()),
        pa.field("encode_seconds", pa.float64()),  # masks to run lengths
        pa.field("wall_seconds", pa.float64()),
        pa.field("finished_at", pa.timestamp("ms", tz="UTC")),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("worker", pa.string(), nullable=False),
        pa.field("segment", pa.string(), nullable=False),  # filled by the segment writer
        pa.field("checkpoint", pa.string(), nullable=False),
        pa.field("config_hash", pa.string(), nullable=False),  # the job's fingerprint
        pa.field("prompt_hash", pa.string(), nullable=False),
        pa.field("versions", pa.string(), nullable=False),  # "maskmill 0.1.0, torch 2.8.0, …"
    ]
)

TABLES: dict[str, pa.Schema] = {"masks": MASKS, "tracks": TRACKS, "videos": VIDEOS}


@dataclass(frozen=True)
class InputColumn:
    """A column that is read: what it is called, which Arrow types do, and what an error says is allowed."""

    name: str
    accepts: Callable[[pa.DataType], bool]
    allowed: str
    required: bool = False


def _is_string(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_string(kind.value_type)
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


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_list_of(item: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    def accepts(kind: pa.DataType) -> bool:
        lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        return bool(lists and (pa.types.is_null(kind.value_type) or item(kind.value_type)))

    return accepts


def _is_rle(kind: pa.DataType) -> bool:
    if _is_string(kind) or _is_binary(kind):  # counts alone: the mask has the size of the video
        return True
    if not pa.types.is_struct(kind):
        return False
    fields = {kind.field(index).name: kind.field(index).type for index in range(kind.num_fields)}
    if not {"size", "counts"} <= fields.keys():
        return False
    return _is_list_of(_is_integer)(fields["size"]) and (_is_string(fields["counts"]) or _is_binary(fields["counts"]))


def _or_null(accepts: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    """A column of nothing but nulls may carry Arrow's null type."""
    return lambda kind: bool(pa.types.is_null(kind)) or accepts(kind)


_STRING, _INTEGER, _NUMBER = "string", "integer", "float or integer"

VIDEOS_IN: tuple[InputColumn, ...] = (
    InputColumn("video_id", _is_string, _STRING, required=True),
    InputColumn("uri", _or_null(_is_string), _STRING),
    InputColumn("bytes", _or_null(_is_binary), "binary"),
    InputColumn("start_seconds", _or_null(_is_number), _NUMBER),
    InputColumn("end_seconds", _or_null(_is_number), _NUMBER),
    InputColumn("duration_seconds", _or_null(_is_number), _NUMBER),
)
"""Columns of `videos=`; each row needs one of `uri` and `bytes`. `duration_seconds` only helps to order the work."""

PROMPTS_IN: tuple[InputColumn, ...] = (
    InputColumn("video_id", _is_string, _STRING, required=True),
    InputColumn("object_id", _is_integer, _INTEGER, required=True),
    InputColumn("frame_index", _or_null(_is_number), _INTEGER),  # pandas makes floats of integers with gaps
    InputColumn("pts_seconds", _or_null(_is_number), _NUMBER),
    InputColumn("points_xy", _or_null(_is_list_of(_is_list_of(_is_number))), "list of [x, y]: list<list<float>>"),
    InputColumn("point_labels", _or_null(_is_list_of(_is_integer)), "list of 1 and 0: list<integer>"),
    InputColumn("box_xyxy", _or_null(_is_list_of(_is_number)), "[x0, y0, x1, y1]: list<float>"),
    InputColumn("mask_rle", _or_null(_is_rle), "COCO run lengths: struct<size: list<integer>, counts: string>"),
    InputColumn("category", _or_null(_is_string), _STRING),
    *VIDEOS_IN[1:],
)
"""Columns of `prompts=`; each row needs `frame_index` or `pts_seconds`. Those of `videos=` serve in its place."""

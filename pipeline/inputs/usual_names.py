"""Names that people give to columns: which one is meant by a table that has none of the standard names.

Labels of detectors are read by them (`pipeline.formats.readers.boxes`). A table of a job is not, because a name that
only looks like the right one would label the wrong thing; messages say which key would take the column.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

USUAL: dict[str, tuple[str, ...]] = {
    "video_id": ("video_id", "video", "clip", "video_name", "file_name", "filename", "file", "image", "path"),
    "object_id": ("object_id", "track_id", "instance_id", "track", "object", "tracker_id", "obj_id"),
    "frame_index": ("frame_index", "frame", "frame_id", "frame_number", "frame_idx"),
    "pts_seconds": ("pts_seconds", "timestamp", "time", "seconds"),
    "category": ("category", "label", "class_name", "class", "category_name", "cls", "name"),
    "score": ("score", "confidence", "conf", "predicted_iou"),
    "mask_rle": ("mask_rle", "rle", "segmentation"),
}
"""Names under which detectors write what `columns.NAME=` could name, the more telling ones first."""

_PLACES = ("video_path", "video_uri", "video_url", "path", "url", "file_path", "file", "file_name", "filename")

_MOST_SHOWN = 30
_CLASSES = ("label", "class", "class_name", "category_name", "cls")

SIDES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("x0", "y0", "x1", "y1"), "xyxy"),
    (("x1", "y1", "x2", "y2"), "xyxy"),
    (("xmin", "ymin", "xmax", "ymax"), "xyxy"),
    (("left", "top", "right", "bottom"), "xyxy"),
    (("x", "y", "w", "h"), "xywh"),
    (("x", "y", "width", "height"), "xywh"),
    (("left", "top", "width", "height"), "xywh"),
)
"""Names of four columns that are a box together, with the order of their numbers."""


def they_are(names: Sequence[str]) -> str:
    """Which columns a table has, behind what is said to be missing."""
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return f"; its columns are {', '.join(names[:_MOST_SHOWN]) or 'none'}{more}"


def meant_by(standard: str, names: Collection[str]) -> str:
    """The key that takes a column for the standard one, if one of them has a usual name of it; else empty."""
    usual = _PLACES if standard == "uri" else USUAL[standard]
    found = next((name for name in usual if name in names), None)
    return "" if found is None else f"; columns.{standard}={found} takes column {found}"


def classes_in(unread: Collection[str]) -> str | None:
    """The column that looks like the categories, of those that nobody reads."""
    return next((name for name in _CLASSES if name in unread), None)


def box_meant_by(names: Collection[str]) -> str:
    """The keys that take a column or four of them as boxes, if their names look like it; else empty."""
    for sides, order in SIDES:
        if all(side in names for side in sides):
            return f"; columns.box={','.join(sides)} box_format={order} takes these four as a box"
    if "box" in names:
        return "; columns.box=box takes column box, and box_format= says its form"
    return ""

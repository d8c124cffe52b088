"""The keys that say what the columns of the input tables are called, and which form their boxes have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.fields import AsTyped, Group

BoxFormat = Literal[
    "xyxy", "xywh", "cxcywh", "xyxyn", "xywhn", "cxcywhn", "xyxy_percent", "xywh_percent", "cxcywh_percent"
]
BOX_FORMAT_OF = {
    "coco": "xywh",
    "yolo": "cxcywhn",
    "label_studio": "xywh_percent",
    "labelstudio": "xywh_percent",
    "pascal_voc": "xyxy",
    "voc": "xyxy",
}
"""The form of boxes that programs and data sets of these names write."""

OptionalColumn = Annotated[str | None, AsTyped("the name of a column")]


class ColumnsConfig(Group):
    """What the columns of the input tables are called, where a table has others than the standard names. A name with
    columns in braces makes texts of them, as in columns.uri=clips/{episode:06d}.mp4.
    """

    video_id: OptionalColumn = Field(default=None, description="The column of ids, in both tables.")
    prompts_video_id: OptionalColumn = Field(
        default=None, description="The column of ids in the table of prompts, where it differs from that of the videos."
    )
    uri: OptionalColumn = Field(default=None, description="The column that says where a video is.")
    bytes: OptionalColumn = Field(default=None, description="The column that holds the file of a video.")
    video: OptionalColumn = Field(
        default=None,
        description="The column of structs with bytes and path, as datasets writes videos; video is found.",
    )
    start_seconds: OptionalColumn = Field(default=None, description="The column of starts of the labeled range.")
    end_seconds: OptionalColumn = Field(default=None, description="The column of ends of the labeled range.")
    duration_seconds: OptionalColumn = Field(default=None, description="The column of lengths.")
    cuts_seconds: OptionalColumn = Field(
        default=None, description="The column of lists of times at which a new shot begins."
    )
    object_id: OptionalColumn = Field(default=None, description="The column of numbers of objects.")
    frame_index: OptionalColumn = Field(default=None, description="The column of frames with prompts.")
    pts_seconds: OptionalColumn = Field(default=None, description="The column of times of prompts.")
    points_xy: OptionalColumn = Field(default=None, description="The column of clicks.")
    point_labels: OptionalColumn = Field(default=None, description="The column of labels of clicks.")
    box: OptionalColumn = Field(
        default=None,
        description="The column of boxes, or four columns: x0,y0,x1,y1. Names as box_xywh are found without this.",
    )
    mask_rle: OptionalColumn = Field(default=None, description="The column of masks.")
    category: OptionalColumn = Field(default=None, description="The column of categories.")
    score: OptionalColumn = Field(default=None, description="The column of scores of a detector.")

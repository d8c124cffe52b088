"""One object of one video: its masks, boxes and areas over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from pycocotools import mask as coco

from pipeline.arrays import BoolArray, Float64Array, Int64Array
from pipeline.masks.overlay import color_of
from pipeline.notebook.charts import Chart, Line, line_chart
from pipeline.notebook.extras import needs_extra
from pipeline.notebook.frame_rows import MaskRows
from pipeline.notebook.html import card, pictures_or_why
from pipeline.notebook.pictures import Picture
from pipeline.text import escaped

if TYPE_CHECKING:
    import pandas
    import torch

_SHOWN = (
    "num_prompts",
    "num_masks",
    "num_visible",
    "first_visible_frame",
    "last_visible_frame",
    "area_mean",
    "object_score_mean",
    "predicted_iou_min",
    "predicted_iou_mean",
)
_CUT_OUT_PIXELS = 120
_BOX = ["bbox_x", "bbox_y", "bbox_w", "bbox_h"]


class Track:
    """See the module. `row` is the object's row in `tracks`; nothing of `masks` is read before it is asked for."""

    def __init__(
        self,
        row: dict[str, Any],
        size_hw: tuple[int, int],
        rows: MaskRows,
        cut_out: Callable[[Track], Sequence[tuple[str, Picture]]] = lambda track: (),
    ) -> None:
        self.row = row
        self.video_id: str = row["video_id"]
        self.object_id: int = row["object_id"]
        self.category: str | None = row["category"]
        self._size_hw = size_hw
        self._rows = rows
        self._cut_out = cut_out

    @cached_property
    def table(self) -> pa.Table:
        """The rows of `masks` of this object without the masks: frame, time, area, box, scores; by frame."""
        columns = ["frame_index", "pts_seconds", "area", *_BOX, "object_score", "predicted_iou", "is_prompt"]
        batches = list(self._rows(columns, self._is_mine))
        return pa.Table.from_batches(batches) if batches else pa.table({name: [] for name in columns})

    @property
    def frame_indexes(self) -> Int64Array:
        """Indexes of its frames, ascending, `[T]`."""
        return self._numbers("frame_index")

    @property
    def areas(self) -> Int64Array:
        """Pixels of its mask on each frame, `[T]`; 0 where it is hidden."""
        return self._numbers("area")

    @property
    def boxes(self) -> Float64Array:
        """Boxes x0, y0, x1, y1 in pixels on each frame, `[T, 4]`; nan where it is hidden."""
        x, y, width, height = (self.table[name].to_numpy().astype(np.float64) for name in _BOX)
        boxes = np.stack([x, y, x + width, y + height], axis=1)
        boxes[self.areas == 0] = np.nan
        return boxes

    def masks(self) -> Iterator[tuple[int, BoolArray]]:
        """Frame index and mask, bool `[H, W]`, frame by frame: memory holds a few of them, whatever the length."""
        for batch in self._rows(["frame_index", "rle"], self._is_mine):
            for row in batch.to_pylist():
                yield row["frame_index"], coco.decode(row["rle"]).astype(bool)

    def array(self) -> BoolArray:
        """All masks, bool `[T, H, W]`, in the order of `frame_indexes`. A minute of 1080p takes 3.7 GB."""
        whole: BoolArray = np.zeros((len(self.frame_indexes), *self._size_hw), bool)
        for number, (_, mask_HW) in enumerate(self.masks()):
            whole[number] = mask_HW
        return whole

    def torch_masks(self) -> torch.Tensor:
        """All masks as a bool tensor `[T, H, W]` on the CPU, in the order of `frame_indexes`."""
        import torch

        return torch.from_numpy(self.array())

    def to_pandas(self) -> pandas.DataFrame:
        """Frame, time, area, box and scores as a pandas frame."""
        with needs_extra("pandas"):
            return self.table.to_pandas()

    def plot(self) -> Chart:
        """Area and predicted IoU over the frames, as a chart that Jupyter shows."""
        return Chart(self._charts())

    def _charts(self) -> list[str]:
        frames, color = self.frame_indexes, "rgb({},{},{})".format(*color_of(self.object_id))
        areas = np.where(self.areas > 0, self.areas, np.nan).astype(np.float64)
        ious = np.where(self.areas > 0, self.table["predicted_iou"].to_numpy(), np.nan).astype(np.float64)
        return [
            line_chart("area in pixels", [Line("area", frames, areas, color)]),
            line_chart("predicted IoU", [Line("predicted IoU", frames, ious, color)]),
        ]

    def _numbers(self, column: str) -> Int64Array:
        return np.asarray(self.table[column].to_numpy(), np.int64)

    @property
    def _is_mine(self) -> ds.Expression:
        return ds.field("object_id") == self.object_id

    def _repr_html_(self) -> str:
        """For Jupyter: the facts, the object cut out of some frames, and its area and score over time."""
        figures, note = pictures_or_why(lambda: self._cut_out(self), _CUT_OUT_PIXELS)
        charts = self._charts() if self.row["num_masks"] else []
        shown = {name: [value] for name, value in self.row.items() if name in _SHOWN}
        note = ". ".join(filter(None, (self.row["message"], note)))
        return card(str(self).strip("<>"), [*figures, *charts], note, pa.table(shown))

    def __repr__(self) -> str:
        row, of = self.row, f" ({escaped(self.category)})" if self.category else ""
        if row["status"] != "ok":
            why = f"{row['status']}, {escaped(row['message'])}"
            return f"<track {self.object_id}{of} of video {self.video_id!r}: {why}>"
        return (
            f"<track {self.object_id}{of} of video {self.video_id!r}: visible on {row['num_visible']} of "
            f"{row['num_masks']} frames, predicted IoU {_rounded(row['predicted_iou_mean'])}>"
        )


def _rounded(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"

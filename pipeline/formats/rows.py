"""A row of `masks` as writers get it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pycocotools import mask as coco

from pipeline.output.schema import MASKS

COLUMNS = [name for name in MASKS.names if name not in ("category", "stability", "num_parts", "pointer_similarity")]
"""Those of `masks` that formats can say; tracks tell the category."""


class MaskRow(NamedTuple):
    """One object on one frame. `rle` is COCO's compressed code with `counts` as text; a hidden object has area 0."""

    object_id: int
    frame_index: int
    pts_seconds: float | None
    rle: dict[str, Any]
    area: int
    bbox_xywh: tuple[int, int, int, int]
    object_score: float
    predicted_iou: float
    is_prompt: bool

    def hidden(self) -> MaskRow:
        """The row with an empty mask."""
        height, width = self.rle["size"]
        rle = coco.encode(np.zeros((height, width), np.uint8, order="F"))
        return self._replace(
            rle={"size": self.rle["size"], "counts": rle["counts"].decode("ascii")}, area=0, bbox_xywh=(0, 0, 0, 0)
        )


def mask_rows(table: pa.Table, min_area: int) -> Iterator[MaskRow]:
    """Rows of a table with `COLUMNS`. A mask of fewer than `min_area` pixels is a hidden one."""
    for batch in table.to_batches():
        code = batch.column("rle")
        sizes = pc.list_flatten(code.field("size")).to_numpy().reshape(-1, 2).tolist()
        boxes = zip(*(batch.column(f"bbox_{side}").to_pylist() for side in "xywh"), strict=True)
        for object_id, frame_index, pts, size, counts, area, box, score, iou, is_prompt in zip(
            batch.column("object_id").to_pylist(),
            batch.column("frame_index").to_pylist(),
            batch.column("pts_seconds").to_pylist(),
            sizes,
            code.field("counts").to_pylist(),
            batch.column("area").to_pylist(),
            boxes,
            batch.column("object_score").to_pylist(),
            batch.column("predicted_iou").to_pylist(),
            batch.column("is_prompt").to_pylist(),
            strict=True,
        ):
            rle = {"size": size, "counts": counts}
            row = MaskRow(object_id, frame_index, pts, rle, area, box, score, iou, is_prompt)
            yield row.hidden() if 0 < area < min_area else row

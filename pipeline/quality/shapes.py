"""What masks say of their neighbors, from their run-length codes: of the row before, and of the other tracks there.

`with_shapes` puts columns of float64 beside the rows of one video, nan where nothing was measured:

* `shape_iou`: the IoU with the mask of the row before, moved so that the centers of both lie on one another. A mask at
  the border of the picture has none, because what the border cuts off changes its shape without fault.
* `overlap_iou`, `overlap_share`: the largest IoU with a mask of another track on the same frame, and the share of the
  smaller of the two masks that both have. `partner` is the track's object id, -1 where no other mask is near.

Reading a code takes longer than all other signals of a row. Therefore shapes are held against one another where area or
box change most, and overlaps are looked at on up to 64 frames, evenly. Codes are read some bytes at a time.

Legend: N rows of one video, K pairs of rows, R runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import BoolArray, Float64Array, Int64Array
from pipeline.quality.runs import OneRuns, intersections, read_runs

_MOST_BYTES = 1 << 20
_LEAST_SHAPES = 16
_MOST_FRAMES = 64
_FEW_PAIRS = 256
_SMALLEST_AREA = 16
_NEAR = 0.05


def with_shapes(rows: pa.Table, size_hw: tuple[int, int], most_bytes: int = _MOST_BYTES) -> pa.Table:
    """The rows of one video, sorted by object and frame, without `rle` and with the columns above.

    Codes of about `most_bytes` are read at a time. Raises `ValueError` for one that is not of a mask of this size.
    """
    measured = _Measured(rows, size_hw, most_bytes)
    shape_iou = measured.shape_iou()
    overlap_iou, overlap_share, partner = measured.overlaps()
    found = rows.drop_columns(["rle"])
    columns = (
        ("shape_iou", shape_iou), ("overlap_iou", overlap_iou), ("overlap_share", overlap_share), ("partner", partner)
    )  # fmt: skip
    for name, values in columns:
        found = found.append_column(name, pa.array(values))
    return found


def _stride(count: int, most: int) -> int:
    """Every how many-th frame is looked at, so that `count` becomes `most` at the most."""
    return -(-count // max(most, 1)) if count > most else 1


class _Measured:
    """Rows of one video as arrays `[N]`, and what is measured of them."""

    def __init__(self, rows: pa.Table, size_hw: tuple[int, int], most_bytes: int) -> None:
        counts = pc.struct_field(rows["rle"], "counts")
        # Chunk by chunk: taking rows of all chunks together would copy each of them, for a megabyte of codes.
        self._chunks = counts.chunks
        self._chunk_ends = np.cumsum([len(chunk) for chunk in self._chunks])
        self._size_hw = size_hw
        self._object_id, self._frame, self._area = (
            rows[name].to_numpy().astype(np.int64) for name in ("object_id", "frame_index", "area")
        )
        self._box_N4 = np.stack([rows[f"bbox_{side}"].to_numpy().astype(np.int64) for side in "xywh"], axis=1)
        mean_bytes = float(pc.mean(pc.binary_length(counts)).as_py() or 1.0)
        self._rows_at_a_time = max(1, int(most_bytes / mean_bytes))

    def shape_iou(self) -> Float64Array:
        """The IoU with the mask of the row before, once moved, `[N]`."""
        found = np.full(len(self._area), np.nan)
        for part in self._parts(self._asked()):
            before, after = _Pieces.of(self._runs(part - 1)), _Pieces.of(self._runs(part))
            common = intersections(after.moved(0 * after.center_N2), before.moved(after.center_N2 - before.center_N2))
            found[part] = common / np.maximum(self._area[part] + self._area[part - 1] - common, 1)
        return found

    def _asked(self) -> Int64Array:
        """The rows whose shape is held against that of the row before: those that may have changed most, ascending.

        Of each track the rows count on which area, width and height change most, an eighth of all, but at least
        `_LEAST_SHAPES`: reading a code takes longer than all other signals of a row.
        """
        x, y, w, h = self._box_N4.T
        height, width = self._size_hw
        is_inside = (x > 0) & (y > 0) & (x + w < width) & (y + h < height) & (self._area >= _SMALLEST_AREA)
        is_next = np.zeros(len(self._area), np.bool_)
        is_next[1:] = (self._object_id[1:] == self._object_id[:-1]) & is_inside[1:] & is_inside[:-1]
        rows = np.flatnonzero(is_next)
        if not len(rows):
            return rows
        sizes = [np.log(np.maximum(size, 1)) for size in (self._area, w, h)]
        change = np.sum([np.abs(size[rows] - size[rows - 1]) for size in sizes], axis=0)
        _, tracks, counts = np.unique(self._object_id[rows], return_inverse=True, return_counts=True)
        order = np.lexsort((-change, tracks))
        place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        is_asked = place < np.maximum(_LEAST_SHAPES, counts // 8)[tracks[order]]
        asked: Int64Array = np.sort(rows[order[is_asked]])
        return asked

    def overlaps(self) -> tuple[Float64Array, Float64Array, Int64Array]:
        """The largest IoU with another track, the share of the smaller mask, and the track, each `[N]`."""
        iou, share = np.full(len(self._area), np.nan), np.full(len(self._area), np.nan)
        partner = np.full(len(self._area), -1, np.int64)
        looked_at, left, right = self._pairs()
        iou[looked_at] = share[looked_at] = 0.0
        for part in self._parts(np.arange(len(left))):
            one, other = left[part], right[part]
            common = intersections(self._runs(one), self._runs(other))
            areas, others = self._area[one], self._area[other]
            found_iou = common / np.maximum(areas + others - common, 1)
            found_share = common / np.maximum(np.minimum(areas, others), 1)
            order = np.argsort(found_iou, kind="stable")  # of those of one row, the last is the one that stays
            for here, there in ((one, other), (other, one)):
                better = order[found_iou[order] > iou[here[order]]]
                iou[here[better]], partner[here[better]] = found_iou[better], self._object_id[there[better]]
                np.maximum.at(share, here, found_share)
        return iou, share, partner

    def _pairs(self) -> tuple[BoolArray, Int64Array, Int64Array]:
        """Which rows were looked at, and pairs of rows of one frame whose boxes overlap."""
        rows = np.flatnonzero(self._area > 0)
        times, frames = np.unique(self._frame[rows], return_inverse=True)
        stride = _stride(len(times), _MOST_FRAMES)
        left, right = self._near(rows, frames, stride)
        if (further := _stride(len(left), max(len(rows), _FEW_PAIRS))) > 1:
            stride *= further
            left, right = self._near(rows, frames, stride)
        looked_at = np.zeros(len(self._area), np.bool_)
        looked_at[rows[frames % stride == 0]] = True
        return looked_at, left, right

    def _near(self, rows: Int64Array, frames: Int64Array, stride: int) -> tuple[Int64Array, Int64Array]:
        """Pairs of these rows on every `stride`-th frame whose boxes overlap; `frames` are numbers from 0."""
        rows, frames = rows[frames % stride == 0], frames[frames % stride == 0]
        order = np.argsort(frames, kind="stable")
        rows, frames = rows[order], frames[order]
        lefts, rights = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for distance in range(1, int(np.bincount(frames).max(initial=1))):
            is_one = frames[distance:] == frames[:-distance]
            left, right = rows[:-distance][is_one], rows[distance:][is_one]
            is_near = self._boxes_overlap(left, right)
            lefts.append(left[is_near])
            rights.append(right[is_near])
        return np.concatenate(lefts), np.concatenate(rights)

    def _boxes_overlap(self, left: Int64Array, right: Int64Array) -> BoolArray:
        """Whether the boxes share at least a twentieth of the smaller mask's pixels."""
        (ax, ay, aw, ah), (bx, by, bw, bh) = self._box_N4[left].T, self._box_N4[right].T
        across = np.minimum(ax + aw, bx + bw) - np.maximum(ax, bx)
        down = np.minimum(ay + ah, by + bh) - np.maximum(ay, by)
        smaller = np.minimum(self._area[left], self._area[right])
        is_near: BoolArray = np.maximum(across, 0) * np.maximum(down, 0) >= _NEAR * smaller
        return is_near

    def _parts(self, rows: Int64Array) -> Iterator[Int64Array]:
        """Rows in parts whose codes are read together."""
        for start in range(0, len(rows), self._rows_at_a_time):
            yield rows[start : start + self._rows_at_a_time]

    def _runs(self, rows: Int64Array) -> OneRuns:
        chunks = np.searchsorted(self._chunk_ends, rows, side="right")
        starts = np.concatenate([[0], self._chunk_ends])
        texts = [
            self._chunks[chunk].take(pa.array(rows[chunks == chunk] - starts[chunk])) for chunk in np.unique(chunks)
        ]
        # Rows of one chunk come together, and then each goes to its place.
        places = np.concatenate([np.flatnonzero(chunks == chunk) for chunk in np.unique(chunks)])
        joined = pa.concat_arrays(texts)
        return read_runs(self._size_hw, joined.take(pa.array(np.argsort(places))))


@dataclass(frozen=True)
class _Pieces:
    """N masks as runs that are cut where a column ends: the mask, the column and the rows of each, `[R]`.

    `center_N2` is the mean x and y of each mask's pixels.
    """

    size_hw: tuple[int, int]
    masks_R: Int64Array
    columns_R: Int64Array
    tops_R: Int64Array
    bottoms_R: Int64Array
    center_N2: Float64Array

    @classmethod
    def of(cls, runs: OneRuns) -> _Pieces:
        height, _ = runs.size_hw
        first_column, last_column = runs.starts_R // height, (runs.ends_R - 1) // height
        num_columns = last_column - first_column + 1
        ends = np.cumsum(num_columns)
        columns = np.arange(num_columns.sum()) - np.repeat(ends - num_columns - first_column, num_columns)
        tops = np.maximum(np.repeat(runs.starts_R, num_columns) - columns * height, 0)
        bottoms = np.minimum(np.repeat(runs.ends_R, num_columns) - columns * height, height)
        masks, lengths = np.repeat(runs.masks_R, num_columns), bottoms - tops
        sums = [np.bincount(masks, lengths * mean, runs.num_masks) for mean in (columns, (tops + bottoms - 1) / 2)]
        center_N2 = np.stack(sums, axis=1) / np.maximum(np.bincount(masks, lengths, runs.num_masks), 1)[:, None]
        return cls(runs.size_hw, masks, columns, tops, bottoms, center_N2)

    def moved(self, by_N2: Float64Array) -> OneRuns:
        """The masks moved by whole pixels, less than a picture each way, in the middle of nine empty pictures."""
        height, width = self.size_hw
        right_R, down_R = (np.rint(by).astype(np.int64)[self.masks_R] for by in by_N2.T)
        starts = (self.columns_R + right_R + width) * (3 * height) + self.tops_R + down_R + height
        ends = starts + self.bottoms_R - self.tops_R
        return OneRuns((3 * height, 3 * width), len(by_N2), self.masks_R, starts, ends)

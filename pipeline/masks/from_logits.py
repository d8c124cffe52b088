"""COCO RLE straight from low-resolution logits: run boundaries are found without making the masks.

Plain formula: `pycocotools.encode(upsample(logits) > 0)`; the bytes are the same. Between two neighboring rows of the
logits a bilinear map is linear down each column of pixels. Its sign therefore changes at most once, at a place that
follows from the two values. Only the columns are enlarged, and only boundaries leave the device. Where a boundary is so
close to the center of a pixel that rounding decides, the mask of this object is made by the plain formula.

Legend: B objects, h w logits, H W pixels of the video, N boundaries of all objects.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pycocotools import mask as coco

from model import upsample_logits
from pipeline.arrays import Int64Array
from pipeline.masks.rle import Rle, Runs, rles_of_runs

# How far rounding in float32 may move a boundary: twice eight roundings of 6e-8, in units of the logits' spacing and
# relative to the steepness at the boundary. Where the center of a pixel is nearer, the plain formula makes the mask.
TOLERANCE = 1e-6


@torch.inference_mode()
def runs_of_logits(logits_Bhw: torch.Tensor, size_hw: tuple[int, int]) -> list[Runs | None]:
    """The runs of each object's mask; `None` where rounding decides. `can_enlarge` says for which sizes it works."""
    if logits_Bhw.device.type != "cpu":  # a device takes all objects in few large steps
        return runs_of_crop(logits_Bhw.float(), size_hw, (0, 0))
    logits_Bhw = logits_Bhw.float()
    is_on = logits_Bhw > 0
    on_rows, on_columns = is_on.any(dim=2).numpy(), is_on.any(dim=1).numpy()
    runs: list[Runs | None] = []
    for index in range(len(logits_Bhw)):
        top, bottom = _extent(on_rows[index])
        left, right = _extent(on_columns[index])
        crop = logits_Bhw[index : index + 1, top:bottom, left:right]
        runs += runs_of_crop(crop, size_hw, (top, left), (logits_Bhw.shape[1], logits_Bhw.shape[2]))
    return runs


def _extent(is_on: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """The half-open range of lines in which something is on, with one line more on each side; at least two lines."""
    lines = np.flatnonzero(is_on)
    if len(lines) == 0:
        return 0, 2
    return max(int(lines[0]) - 1, 0), min(int(lines[-1]) + 2, len(is_on))


def runs_of_crop(
    logits_Bhw: torch.Tensor,
    size_hw: tuple[int, int],
    origin: tuple[int, int],
    low_hw: tuple[int, int] | None = None,
) -> list[Runs | None]:
    """The runs of each object's mask from a part of its logits; `None` where rounding decides.

    `logits_Bhw` begin at `origin` (row, column) of maps of `low_hw`. Outside of this part no logit is above 0.
    """
    height, width = size_hw
    (top, left), (low_height, low_width) = origin, low_hw or (logits_Bhw.shape[1], logits_Bhw.shape[2])
    rows_of, columns_of = _grid(low_height, height), _grid(low_width, width)
    first, last = np.searchsorted(columns_of.cell, (left, left + logits_Bhw.shape[2] - 1))
    cell = columns_of.cell[first:last] - left
    values_BWh = _enlarge_columns(logits_Bhw, cell, columns_of.weight[first:last])
    signs = values_BWh > 0
    object_N, column_N, row_N = _nonzero(signs[:, :, 1:] != signs[:, :, :-1])
    above = values_BWh[object_N, column_N, row_N].cpu().numpy().astype(np.float64)
    below = values_BWh[object_N, column_N, row_N + 1].cpu().numpy().astype(np.float64)
    objects, columns, rows = (index.cpu().numpy() for index in (object_N, column_N, row_N))
    first_pixel, margin = rows_of.first_pixel_after(rows + top, above / (above - below))
    # Rounding is relative to the largest of the four logits around.
    corners = logits_Bhw.abs().cpu().numpy()
    beside = cell[columns]
    largest = np.maximum.reduce([corners[objects, rows + down, beside + right] for down in (0, 1) for right in (0, 1)])
    unsure = np.zeros(len(logits_Bhw), dtype=bool)
    unsure[objects[margin < TOLERANCE * (1 + largest / np.abs(above - below))]] = True
    unsure |= _touches_a_sample(values_BWh, rows_of.sampled - top, corners)
    # The signs at the top and the bottom of each column. Behind the last column no value is above 0.
    edges = signs[:, :, [0, -1]].cpu().numpy()
    positions = (columns + first) * height + first_pixel
    bounds = np.searchsorted(objects, np.arange(len(logits_Bhw) + 1))
    return [
        None
        if unsure[index]
        else _runs(positions[bounds[index] : bounds[index + 1]], edges[index], int(first), size_hw)
        for index in range(len(logits_Bhw))
    ]


def _enlarge_columns(logits_Bhw: torch.Tensor, cell: Int64Array, weight: npt.NDArray[np.float64]) -> torch.Tensor:
    """Values `[B, W, h]` at the columns of pixels: a weighted sum of the two columns of logits around each."""
    columns = logits_Bhw.transpose(1, 2).contiguous()
    device = logits_Bhw.device
    before = torch.from_numpy(cell).to(device)
    share = torch.from_numpy(weight).to(device, torch.float32)[:, None]
    return torch.lerp(columns.index_select(1, before), columns.index_select(1, before + 1), share)


def _touches_a_sample(
    values_BWh: torch.Tensor, sampled: Int64Array, corners: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """Whether rounding decides a sign where a row of pixels lies on a row of logits, because a value is almost 0."""
    inside = sampled[(sampled >= 0) & (sampled < values_BWh.shape[2])]
    if len(inside) == 0:
        return np.zeros(len(corners), dtype=bool)
    smallest = values_BWh[:, :, torch.from_numpy(inside).to(values_BWh.device)].abs().amin(dim=(1, 2))
    result: npt.NDArray[np.bool_] = smallest.cpu().numpy() < TOLERANCE * corners.max(axis=(1, 2))
    return result


def can_enlarge(low_hw: tuple[int, int], size_hw: tuple[int, int]) -> bool:
    """Whether `runs_of_logits` can make masks of `size_hw`: they must not be smaller than the logits."""
    return size_hw[0] >= low_hw[0] >= 2 and size_hw[1] >= low_hw[1] >= 2


@dataclass(frozen=True)
class _Grid:
    """Where the lines of pixels (rows or columns) lie between the lines of the logits.

    `coordinate` is ascending and in units of the logits' lines. It lies in `cell`, between that line and the next one,
    whose share is `weight`. `sampled` are the lines of the logits on which a line of pixels lies, or almost does.
    """

    coordinate: npt.NDArray[np.float64]
    cell: Int64Array
    weight: npt.NDArray[np.float64]
    sampled: Int64Array

    def first_pixel_after(
        self, rows: Int64Array, share: npt.NDArray[np.float64]
    ) -> tuple[Int64Array, npt.NDArray[np.float64]]:
        """The first row of pixels behind each place `rows + share`, and its distance to the nearest row of pixels."""
        place = rows + share
        pixel = np.searchsorted(self.coordinate, place)
        behind = self.coordinate[np.minimum(pixel, len(self.coordinate) - 1)]
        before = self.coordinate[np.maximum(pixel - 1, 0)]
        return pixel, np.minimum(np.abs(behind - place), np.abs(place - before))


@functools.lru_cache(maxsize=32)
def _grid(low: int, high: int) -> _Grid:
    """The grid with torch's own rounded weights, which are read off an enlarged line of 0 and 1 in turn."""
    exact = np.clip((np.arange(high) + 0.5) * (low / high) - 0.5, 0, low - 1)
    cell = np.minimum(exact.astype(np.int64), low - 2)
    alternating = (torch.arange(low) % 2).float().view(1, 1, low, 1)
    line = F.interpolate(alternating, size=(high, 1), mode="bilinear", align_corners=False).flatten().double().numpy()
    weight = np.where(cell % 2 == 0, line, 1 - line)
    nearest = np.round(exact).astype(np.int64)
    return _Grid(cell + weight, cell, weight, np.unique(nearest[np.abs(exact - nearest) < 1e-4]))


def _nonzero(changes: torch.Tensor) -> tuple[torch.Tensor, ...]:
    if changes.device.type == "cpu":  # numpy is faster, because its search skips empty words
        return tuple(torch.from_numpy(index) for index in np.nonzero(changes.numpy()))
    return changes.nonzero(as_tuple=True)


def _runs(
    positions: Int64Array, edge_signs_W2: npt.NDArray[np.bool_], first_column: int, size_hw: tuple[int, int]
) -> Runs:
    """Run lengths from the boundaries inside columns and those between a column's end and the next one's top."""
    height, width = size_hw
    tops = np.append(edge_signs_W2[:, 0], False)
    ends = np.insert(edge_signs_W2[:, 1], 0, False)
    between = (np.flatnonzero(tops != ends) + first_column) * height
    merged = np.sort(np.concatenate((positions, between)))
    # Two boundaries at one place cancel each other out.
    places, times = np.unique(merged, return_counts=True)
    places = places[(times % 2 == 1) & (places < width * height)]
    return Runs(np.diff(places, prepend=0, append=width * height).astype(np.int64))


def encode_logits(logits_BHW: torch.Tensor, size_hw: tuple[int, int]) -> list[Rle]:
    """Masks of `size_hw` from logits of any resolution: enlarged, cut at 0, encoded. One `Rle` per object.

    Raises `ValueError` for logits of another number of axes.
    """
    if logits_BHW.ndim != 3:
        raise ValueError(f"logits: expected [B, H, W], got shape {list(logits_BHW.shape)}")
    if len(logits_BHW) == 0:
        return []
    if not can_enlarge((logits_BHW.shape[1], logits_BHW.shape[2]), size_hw):
        return encode_masks(upsample_logits(logits_BHW, size_hw) > 0)
    found = runs_of_logits(logits_BHW, size_hw)
    codes = iter(rles_of_runs([runs for runs in found if runs is not None], size_hw[0]))
    return [
        _plain(logits_BHW[index : index + 1], size_hw) if runs is None else next(codes)
        for index, runs in enumerate(found)
    ]


def _plain(logits_1HW: torch.Tensor, size_hw: tuple[int, int]) -> Rle:
    return encode_masks(upsample_logits(logits_1HW, size_hw) > 0)[0]


def encode_masks(masks_BHW: torch.Tensor) -> list[Rle]:
    """RLE of boolean masks, on whatever device they are. One `Rle` per mask."""
    # COCO counts down the columns, and pycocotools wants (H, W, B) in Fortran order. Transposing on the device of the
    # masks gives this layout without another copy.
    columns_BWH = masks_BHW.to(torch.uint8).transpose(1, 2).contiguous().cpu().numpy()
    encoded = coco.encode(columns_BWH.T)
    areas = coco.area(encoded)
    boxes = coco.toBbox(encoded)
    return [
        Rle(one["counts"].decode("ascii"), int(area), _box(box))
        for one, area, box in zip(encoded, areas, boxes, strict=True)
    ]


def _box(box: npt.NDArray[np.float64]) -> tuple[int, int, int, int]:
    x, y, width, height = (int(value) for value in box)
    return x, y, width, height

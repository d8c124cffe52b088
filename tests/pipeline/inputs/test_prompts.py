from __future__ import annotations

import contextlib
import math
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.prompts import BoxPrompt, MaskPrompt, PointPrompt
from pipeline.errors import TableChanged
from pipeline.inputs.mask_prompts import RleMask
from pipeline.inputs.prompt_hash import hash_of_rows
from pipeline.inputs.prompts import ObjectPrompts, VideoPrompts, parse_prompts, read_prompts
from pipeline.masks.from_logits import encode_masks
from pipeline.records import FramePosition, RowSpan, VideoSource, WorkItem

FRAME_0 = FramePosition(0, None)
MASK = np.zeros((20, 30), bool)
MASK[5:9, 4:20] = True
COUNTS = encode_masks(torch.from_numpy(MASK[None]))[0].counts


def row(object_id: int | None = 1, frame_index: float | None = 0, **values: Any) -> dict[str, Any]:
    return {"video_id": "v", "object_id": object_id, "frame_index": frame_index, "pts_seconds": None} | values


def click(x: float = 3.0, y: float = 4.0, label: int = 1, **values: Any) -> dict[str, Any]:
    return row(points_xy=[[x, y]], point_labels=[label], **values)


def only(rows: list[dict[str, Any]]) -> ObjectPrompts:
    (found,) = parse_prompts(rows).objects
    return found


def test_each_kind_of_prompt_is_read() -> None:
    rows = [
        click(object_id=1, category="dog"),
        row(2, box_xyxy=[1.0, 2.0, 5.0, 6.0], points_xy=[], point_labels=None),
        row(3, 7, box_xyxy=[1.0, 2.0, 5.0, 6.0], points_xy=[[2.0, 3.0]], point_labels=[0]),
        row(4, None, pts_seconds=1.5, mask_rle={"size": [20, 30], "counts": COUNTS}),
        row(5, 0, mask_rle=COUNTS.encode()),
    ]
    assert parse_prompts(rows) == VideoPrompts(
        (
            ObjectPrompts(1, "dog", ((FRAME_0, PointPrompt(((3.0, 4.0),), (1,))),)),
            ObjectPrompts(2, None, ((FRAME_0, BoxPrompt((1.0, 2.0, 5.0, 6.0))),)),
            ObjectPrompts(3, None, ((FramePosition(7, None), BoxPrompt((1.0, 2.0, 5.0, 6.0), ((2.0, 3.0),), (0,))),)),
            ObjectPrompts(4, None, ((FramePosition(None, 1.5), RleMask((20, 30), COUNTS.encode())),)),
            ObjectPrompts(5, None, ((FRAME_0, RleMask(None, COUNTS.encode())),)),
        )
    )
    assert parse_prompts(rows).positions == (FRAME_0, FramePosition(7, None), FramePosition(None, 1.5))


@pytest.mark.parametrize("size_hw", [(20, 30), None])
def test_a_mask_is_decoded_for_the_video(size_hw: tuple[int, int] | None) -> None:
    fitted = RleMask(size_hw, COUNTS.encode()).fit((20, 30))
    assert isinstance(fitted, MaskPrompt)
    assert np.array_equal(fitted.mask_HW, MASK)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (RleMask((30, 20), COUNTS.encode()), r"size is \[30, 20\] \(height, width\), but the video is \[20, 30\]"),
        (RleMask((20, 30), b"garbage!"), "is not of COCO's compressed code"),
        (RleMask(None, b""), "covers 0 pixels"),
        (RleMask(None, encode_masks(torch.zeros(1, 20, 30))[0].counts.encode()), "mask: is empty"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask: RleMask, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mask.fit((20, 30))


def test_rows_of_one_frame_are_one_prompt() -> None:
    rows = [
        click(1.0, 1.0),
        click(9.0, 9.0, 0),
        row(box_xyxy=[0.0, 0.0, 9.5, 9.5]),
        click(1.0, 1.0),
        click(2.0, 2.0, frame_index=3),
    ]
    joined = only(rows)
    assert joined.prompts == (
        (FRAME_0, BoxPrompt((0.0, 0.0, 9.5, 9.5), ((1.0, 1.0), (9.0, 9.0)), (1, 0))),
        (FramePosition(3, None), PointPrompt(((2.0, 2.0),), (1,))),
    )
    for seed in range(5):
        shuffled = random.Random(seed).sample(rows, len(rows))
        assert only(shuffled) == joined


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([click(math.nan)], r"object 1, frame 0: points: expected finite x and y, got \(nan, 4\.0\)"),
        ([click(label=7)], "object 1, frame 0: labels: expected 1 .* or 0 .*, got 7"),
        (
            [row(points_xy=[[1.0, 2.0]], point_labels=[])],
            "frame 0: points_xy has 1 point, but point_labels has 0 labels; give each point a label",
        ),
        ([row(points_xy=[[1.0, 2.0, 3.0]], point_labels=[1])], r"got \(1\.0, 2\.0, 3\.0\)"),
        ([row(points_xy=[[1.0, None]], point_labels=[1])], "expected finite x and y"),
        ([row(points_xy=[None], point_labels=[1])], r"expected finite x and y, got \(\)"),
        ([row(point_labels=[1])], "points_xy has 0 points, but point_labels has 1 label;"),
        ([row(points_xy=[[1.0, 2.0]], point_labels=[None])], "got -1"),
        (
            [row(box_xyxy=[5.0, 2.0, 1.0, 6.0])],
            r"frame 0: box: expected x0 < x1 and y0 < y1, got \(5\.0, 2\.0, 1\.0, 6\.0\)",
        ),
        ([row(box_xyxy=[1.0, 2.0, 3.0])], "expected four finite numbers"),
        ([row(box_xyxy=[1.0, 2.0, math.inf, 9.0])], "expected four finite numbers"),
        ([row()], "^object 1, frame 0: the row has neither points, box nor mask; fill one in or remove the row$"),
        ([click(frame_index=-3)], r"object 1, frame -3: frames are counted 0, 1, 2"),
        ([click(frame_index=2.5)], r"object 1, frame 2\.5: frames are counted"),
        ([click(frame_index=math.inf)], "object 1, frame inf: frames are counted"),
        ([click(frame_index=None)], "object 1, a row has neither frame_index nor pts_seconds"),
        ([click(frame_index=math.nan, pts_seconds=-1.0)], r"object 1, pts_seconds -1\.0: expected"),
        ([click(frame_index=None, pts_seconds=math.nan)], "object 1, pts_seconds nan: expected"),
        ([row(mask_rle={"size": [3], "counts": "abc"})], r"mask_rle: size must be \[height, width\], got \[3\]"),
        (
            [row(box_xyxy=[0.0, 0.0, 2.0, 2.0]), row(box_xyxy=[0.0, 0.0, 3.0, 3.0])],
            "frame 0: contradictory .* 2 different boxes",
        ),
        ([click(), row(mask_rle=COUNTS)], "a mask goes with no other mask, box or points"),
        ([row(mask_rle=COUNTS, box_xyxy=[0.0, 0.0, 2.0, 2.0])], "a mask goes with no other"),
        ([row(mask_rle=COUNTS), row(mask_rle={"size": [20, 30], "counts": COUNTS})], "a mask goes with no other"),
        ([click(label=1), click(label=0)], "a point is labeled both 1 and 0"),
    ],
)
def test_nonsense_is_an_error_of_its_object_only(rows: list[dict[str, Any]], message: str) -> None:
    good = click(object_id=8)
    prompts = parse_prompts([*rows, good])
    wrong, right = prompts.objects
    assert wrong.prompts == ()
    assert right == ObjectPrompts(8, None, ((FRAME_0, PointPrompt(((3.0, 4.0),), (1,))),))
    assert prompts.positions == (FRAME_0,)
    assert re.search(message, wrong.error), wrong.error


def test_several_errors_are_told_together_and_in_the_same_order() -> None:
    rows = [click(math.nan), click(frame_index=-1), row(frame_index=3), row(frame_index=4), row(frame_index=5)]
    message = only(rows).error
    assert message.count("object 1, ") == 3
    assert only(rows[::-1]).error == message


def test_rows_without_object_are_left_out() -> None:
    assert parse_prompts([click(object_id=None)]) == VideoPrompts(())


def test_pandas_floats_serve_as_frame_indexes() -> None:
    assert only([click(frame_index=3.0)]).prompts[0][0] == FramePosition(3, None)
    assert only([click(frame_index=math.nan, pts_seconds=2)]).prompts[0][0] == FramePosition(None, 2.0)


def write(path: Path, rows: list[dict[str, Any]], row_group_size: int = 2) -> str:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=row_group_size)
    return str(path)


def planned(rows: list[dict[str, Any]], *spans: RowSpan) -> WorkItem:
    """Video `v` with these prompts, in the rows that the spans name."""
    return WorkItem("v", VideoSource("v.mp4"), spans, hash_of_rows([pa.RecordBatch.from_pylist(rows)], None, None))


def test_prompts_are_gathered_from_scattered_rows(tmp_path: Path) -> None:
    one = write(tmp_path / "1.parquet", [click(n, video_id="w") for n in range(3)] + [click(9.0)])
    two = write(tmp_path / "2.parquet", [click(1.0, object_id=2), click(5.0), click(6.0, video_id="w")])
    item = planned([click(1.0, object_id=2), click(5.0), click(9.0)], RowSpan(two, 0, 0, 2), RowSpan(one, 1, 1, 2))
    found = read_prompts(item)
    assert [(one.object_id, one.prompts[0][1]) for one in found.objects] == [
        (1, PointPrompt(((5.0, 4.0), (9.0, 4.0)), (1, 1))),
        (2, PointPrompt(((1.0, 4.0),), (1,))),
    ]
    assert read_prompts(item) == found


def test_a_table_that_changed_under_the_job_is_noticed(tmp_path: Path) -> None:
    rows = [click(1.0), click(2.0)]
    item = planned(rows, RowSpan(write(tmp_path / "p.parquet", rows), 0, 0, 2))
    assert len(read_prompts(item).objects) == 1
    write(tmp_path / "p.parquet", [click(1.0), click(3.0)])
    with pytest.raises(TableChanged, match=r"p\.parquet: was changed .* \(the prompts of 'v' are others"):
        read_prompts(item)
    write(tmp_path / "p.parquet", [row(object_id="one"), row(object_id="two")])  # type: ignore[arg-type]
    with pytest.raises(TableChanged, match="the prompts of 'v' are others"):
        read_prompts(item)
    write(tmp_path / "p.parquet", [click(1.0)])
    with pytest.raises(TableChanged, match=r"it has no row 1\); the same command labels the video again"):
        read_prompts(item)


NUMBERS = st.one_of(st.none(), st.floats(), st.integers(-5, 50))
ROWS = st.fixed_dictionaries(
    {
        "object_id": st.one_of(st.none(), st.integers(0, 2)),
        "frame_index": st.one_of(st.none(), st.integers(-2, 3), st.floats()),
        "pts_seconds": st.one_of(st.none(), st.floats()),
        "points_xy": st.one_of(st.none(), st.lists(st.one_of(st.none(), st.lists(NUMBERS, max_size=3)), max_size=3)),
        "point_labels": st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(-1, 2)), max_size=3)),
        "box_xyxy": st.one_of(st.none(), st.lists(NUMBERS, max_size=5)),
        "mask_rle": st.one_of(
            st.none(),
            st.text(max_size=9),
            st.binary(max_size=9),
            st.fixed_dictionaries(
                {
                    "size": st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers()), max_size=3)),
                    "counts": st.one_of(st.none(), st.text(max_size=9)),
                }
            ),
        ),
        "category": st.one_of(st.none(), st.text(max_size=3)),
    }
)


@pytest.mark.slow
@given(st.lists(ROWS, max_size=6))
@settings(max_examples=60, deadline=None)
def test_any_rows_give_prompts_or_errors(rows: list[dict[str, Any]]) -> None:
    objects = parse_prompts(rows).objects
    assert [one.object_id for one in objects] == sorted({r["object_id"] for r in rows if r["object_id"] is not None})
    for one in objects:
        assert bool(one.prompts) != bool(one.error)
        for _, prompt in one.prompts:
            with contextlib.suppress(ValueError):
                prompt.fit((20, 30))

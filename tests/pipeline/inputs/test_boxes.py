"""Boxes of other forms, held against the conversions of torchvision."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from model.prompts import BoxPrompt, PointPrompt
from pipeline.errors import InputError
from pipeline.inputs.boxes import FORMS, FractionBox, converted
from pipeline.inputs.coordinates import Coordinates
from pipeline.inputs.fitting import fitted, says_only_what_it_is_not
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.naming import InputNaming, Naming
from pipeline.inputs.plan import Plan, make_plan
from pipeline.inputs.prompts import ObjectPrompts, parse_prompts, prompt_rows, read_prompts

SIZE_HW = (200, 320)
XYXY = torch.tensor([[10.0, 20.0, 110.0, 60.0], [0.0, 0.0, 320.0, 200.0], [31.5, 7.25, 33.0, 99.0]])


def in_order(xyxy: torch.Tensor, order: str) -> torch.Tensor:
    """By torchvision, which takes 2 s to import: the fast core has the order that needs no judge."""
    if order == "xyxy":
        return xyxy
    from torchvision.ops import box_convert

    boxes: torch.Tensor = box_convert(xyxy, "xyxy", order)
    return boxes


def in_form(form: str) -> list[list[float]]:
    """The boxes `XYXY` in a form."""
    order = form.removesuffix("n").removesuffix("_percent")
    boxes = in_order(XYXY, order).double()
    if order != form:
        boxes = boxes / torch.tensor([SIZE_HW[1], SIZE_HW[0]] * 2) * (100 if form.endswith("_percent") else 1)
    return boxes.tolist()


def write(path: Path, column: str, boxes: list[Any], **more: list[Any]) -> Path:
    number = len(boxes)
    table = {"video_id": ["a"] * number, "uri": ["a.mp4"] * number, "object_id": list(range(number))}
    pq.write_table(pa.table(table | {"frame_index": [0] * number, column: boxes} | more), path)
    return path


def plan_of(table: Path, naming: Naming | None = None) -> Plan:
    naming = naming or Naming()
    return make_plan(InputTables(None, str(table), naming=InputNaming(naming, naming)), {})


def boxes_of(table: Path, naming: Naming | None = None) -> list[BoxPrompt]:
    """The boxes as a worker gets them, for a video of `SIZE_HW`."""
    (item,) = plan_of(table, naming).items()
    with prompt_rows(naming) as rows:
        objects = read_prompts(item, None, rows).objects
    found = [fitted(prompt, SIZE_HW)[0] for one in objects for _, prompt in one.prompts]
    assert all(isinstance(box, BoxPrompt) for box in found)
    return found  # type: ignore[return-value]


@pytest.mark.fast_core(1)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_boxes(form: str, tmp_path: Path) -> None:
    by_name = boxes_of(write(tmp_path / "1.parquet", f"box_{form}", in_form(form)))
    by_key = boxes_of(write(tmp_path / "2.parquet", "bbox", in_form(form)), Naming(box_format=form))
    other = boxes_of(write(tmp_path / "3.parquet", "rect", in_form(form)), Naming({"box": "rect"}, form))
    assert by_name == by_key == other
    assert [box.box_xyxy for box in by_name] == [pytest.approx(box, abs=1e-4) for box in XYXY.tolist()]


@pytest.mark.fast_core(1)
@pytest.mark.parametrize("form", ["xyxy", "cxcywhn"])
def test_four_columns_are_a_box(form: str, tmp_path: Path) -> None:
    columns = dict(zip(("left", "top", "right", "low"), zip(*in_form(form), strict=True), strict=True))
    clicks = {"points_xy": [[[5.0, 5.0]]] * 3, "point_labels": [[1]] * 3}
    table = write(tmp_path / "p.parquet", "left", list(columns.pop("left")), **{k: list(v) for k, v in columns.items()})
    found = boxes_of(table, Naming({"box": "left, top,right,low"}, form))
    assert [box.box_xyxy for box in found] == [pytest.approx(box, abs=1e-4) for box in XYXY.tolist()]
    sides = {"top": [2.0, None, None], "right": [9.0, None, 9.0], "low": [9.0, None, 9.0]}
    table = write(tmp_path / "q.parquet", "left", [1.0, None, 1.0], **sides, **clicks)
    (item,) = plan_of(table, (naming := Naming({"box": "left,top,right,low"}))).items()
    with prompt_rows(naming) as rows:
        box, click, wrong = read_prompts(item, None, rows).objects
    assert isinstance(box.prompts[0][1], BoxPrompt)
    assert isinstance(click.prompts[0][1], PointPrompt)
    assert "expected four finite numbers" in wrong.error
    with pytest.raises(InputError, match=r"columns.box=left,up,right,low: no table has a column up"):
        plan_of(table, Naming({"box": "left,up,right,low"}))
    with pytest.raises(InputError, match=r"column left,top,right,video_id of .* is list<item: string>; write it as"):
        plan_of(table, Naming({"box": "left,top,right,video_id"}))


def test_a_list_that_is_no_box_stays_as_it_is() -> None:
    column = pa.array([[1, 2, 3, 4], None, [], [1, 2], [5, 6, 1, 1]])
    assert converted(column, "xywh").to_pylist() == [[1, 2, 4, 6], None, [], [1, 2], [5, 6, 6, 7]]
    assert converted(column.slice(3), "xywh").to_pylist() == [[1, 2], [5, 6, 6, 7]]
    assert converted(pa.nulls(2), "xywhn").to_pylist() == [None, None]
    assert (
        converted(pa.array([[0.0, 0.0, 0.5, 1.0]] * 3, pa.list_(pa.float32(), 4)), "xywhn").to_pylist()
        == [[0.0, 0.0, 0.5, 1.0]] * 3
    )


def test_pixels_have_the_hash_that_they_always_had_and_another_form_has_another(tmp_path: Path) -> None:
    table = write(tmp_path / "p.parquet", "box_xyxy", [[1.0, 2.0, 30.0, 40.0]])
    other = write(tmp_path / "q.parquet", "box_xywh", [[1.0, 2.0, 29.0, 38.0]])

    def hash_of(path: Path, form: str | None = None) -> str:
        (item,) = plan_of(path, Naming(box_format=form)).items()
        return item.prompt_hash

    assert hash_of(table) == "68348900eca8863f799e83efeb4bfdd4"  # as commit 1232f63 gave it
    assert hash_of(table) == hash_of(table, "xyxy") == hash_of(other)
    table = write(tmp_path / "r.parquet", "bbox", [[1.0, 2.0, 30.0, 40.0]])
    assert len({hash_of(table, form) for form in ("xyxy", "xywh", "xyxyn", "xyxy_percent")}) == 4


def test_a_box_whose_form_nothing_says_is_refused_with_the_choice(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"column bbox of .* does not say .* give box_format=xywh \(COCO\), box_format"
    ):
        plan_of(write(tmp_path / "p.parquet", "bbox", [[1.0, 2.0, 3.0, 4.0]]))
    two = write(tmp_path / "q.parquet", "box_xyxy", [[1.0, 2.0, 3.0, 4.0]], box_xywh=[[1.0, 2.0, 3.0, 4.0]])
    with pytest.raises(InputError, match="several columns of boxes"):
        plan_of(two)


@pytest.mark.parametrize(("name", "form"), [("xywh", "xyxyn"), ("xyxy", "xywh"), ("cxcywhn", "xyxy")])
def test_a_form_that_no_column_needs_and_a_name_contradicts_is_refused(name: str, form: str, tmp_path: Path) -> None:
    named = write(tmp_path / "r.parquet", f"box_{name}", [[0.1, 0.2, 0.3, 0.4]])
    said = f"box_format={form} contradicts the name of column box_{name} of .*, or name the column box_{form}"
    with pytest.raises(InputError, match=said):
        plan_of(named, Naming(box_format=form))
    both = write(tmp_path / "s.parquet", f"box_{name}", [[0.1, 0.2, 0.3, 0.4]], bbox=[[0.1, 0.2, 0.3, 0.4]])
    with pytest.raises(InputError, match=f"contradicts the name of column box_{name} .*give columns.box=bbox"):
        plan_of(both, Naming(box_format=form))
    plan_of(both, Naming({"box": "bbox"}, form))
    plan_of(named, Naming(box_format=name))


def test_the_name_of_a_column_says_its_form_beside_another_table_that_needs_box_format(tmp_path: Path) -> None:
    """The same box in two forms, so that a form that is taken for the other makes two boxes on one frame."""
    prompts = write(tmp_path / "p.parquet", "box_xyxy", [[10.0, 20.0, 110.0, 60.0]])
    fix = write(tmp_path / "fix.parquet", "bbox", [[10.0, 20.0, 100.0, 40.0]])
    naming = Naming(box_format="xywh")
    tables = InputTables(None, str(prompts), naming=InputNaming(naming, naming), corrections=[str(fix)])
    (item,) = make_plan(tables, {}).items()
    with prompt_rows(naming) as rows:
        (one,) = read_prompts(item, None, rows).objects
    assert one.error == ""
    assert [prompt for _, prompt in one.prompts] == [BoxPrompt((10.0, 20.0, 110.0, 60.0))]


def test_a_bbox_beside_clicks_is_told(tmp_path: Path) -> None:
    clicks = {"points_xy": [[[5.0, 5.0]]], "point_labels": [[1]]}
    plan = plan_of(write(tmp_path / "p.parquet", "bbox", [[1.0, 2.0, 3.0, 4.0]], **clicks))
    assert plan.warnings == (
        "column bbox of the prompts table is not read, because its name does not say what its numbers are: "
        "give box_format=",
    )


@pytest.mark.parametrize(
    ("column", "boxes", "said"),
    [
        ("box_xyxy", [[0.03, 0.1, 0.33, 0.5]], "a coordinate above 1: if they are fractions .* the column box_xyxyn"),
        ("box_xywh", [[0.03, 0.1, 0.33, 0.5]], "a coordinate above 1: if they are fractions .* the column box_xywhn"),
        ("box_xyxy", [[3.5, 10.0, 33.0, 50.0]] * 10, "above 100: if they are percent .* the column box_xyxy_percent"),
        ("box_xyxyn", [[3.0, 10.0, 33.0, 50.0]], "is 50 times the frame: if they are pixels, name the column box_xyxy"),
        ("box_xywhn", [[3.0, 10.0, 33.0, 40.0]], "is 50 times the frame: if they are pixels, name the column box_xywh"),
        ("points_xy", [[[0.5, 0.25]]], "no coordinate of the clicks in the prompts table is above 1"),
    ],
)
def test_a_table_whose_coordinates_look_like_no_pixels_is_told(
    column: str, boxes: list[Any], said: str, tmp_path: Path
) -> None:
    labels = {"point_labels": [[1]]} if column == "points_xy" else {}
    (warning,) = plan_of(write(tmp_path / "p.parquet", column, boxes, **labels)).warnings
    assert re.search(said, warning), warning


@pytest.mark.parametrize(
    ("column", "boxes"),
    [
        ("box_xyxy", [[0.5, 0.5, 1.5, 1.5]]),
        ("box_xyxy", [[3.5, 10.0, 33.0, 50.0]] * 9),  # too few to say anything
        ("box_xyxy", [[3.0, 10.0, 33.0, 50.0]] * 50),  # whole numbers are no percent
        ("box_xyxy", [[3.5, 10.0, 33.0, 50.0]] * 50 + [[3.5, 10.0, 133.0, 50.0]]),
        ("box_xyxyn", [[0.0, 0.0, 1.0, 1.01]]),
        ("box_xyxy", [None]),
    ],
)
def test_ordinary_coordinates_are_no_word_worth(column: str, boxes: list[Any], tmp_path: Path) -> None:
    clicks = {"points_xy": [[[5.0, 5.0]]] * len(boxes), "point_labels": [[1]] * len(boxes)}
    assert plan_of(write(tmp_path / "p.parquet", column, boxes, **clicks)).warnings == ()


def test_coordinates_that_are_missing_or_no_numbers_are_passed_over() -> None:
    coordinates = Coordinates()
    names = ("box_xyxy", "box_xyxyn", "points_xy")
    column = pa.array([[None, float("nan"), float("inf"), 0.5], None])
    coordinates.add(pa.RecordBatch.from_arrays([column, pa.nulls(2), pa.array([[[]], None])], names=list(names)))
    assert len(list(coordinates.warnings())) == 1


def test_a_tiny_box_and_a_clamped_one_are_told() -> None:
    tiny = BoxPrompt((0.03, 0.1, 0.33, 0.5))
    assert fitted(tiny, SIZE_HW) == (
        tiny,
        "box (0.03, 0.1, 0.33, 0.5) is less than a pixel wide or high; if it is in fractions of the frame, give "
        "box_format=xyxyn",
    )
    assert "clamped" in fitted(BoxPrompt((-5.0, 0.0, 100.0, 50.0)), SIZE_HW)[1]
    assert "clamped" in fitted(FractionBox((-0.05, 0.0, 0.9, 1.0)), SIZE_HW)[1]
    assert fitted(FractionBox((-1e-9, 0.0, 1.000001, 1.0)), SIZE_HW) == (BoxPrompt((0.0, 0.0, 320.0, 200.0)), "")


@pytest.mark.fast_core(1)
@pytest.mark.parametrize("order", ["xyxy", "xywh", "cxcywh"])
def test_advice_on_a_box_in_the_wrong_unit_keeps_its_order_and_shows_its_numbers(order: str, tmp_path: Path) -> None:
    """The judge of the numbers is what was written to the table."""
    box = in_order(torch.tensor([[0.125, 0.25, 0.375, 0.5]]), order).double().tolist()
    numbers = re.escape(f"({', '.join(f'{value:g}' for value in box[0])}) as {order}")

    def said(column: str, boxes: list[list[float]], naming: Naming) -> str:
        (item,) = plan_of(write(tmp_path / "p.parquet", column, boxes), naming).items()
        with prompt_rows(naming) as rows:
            (one,) = read_prompts(item, None, rows).objects
        return fitted(one.prompts[0][1], SIZE_HW, one.box_told)[1]

    warning = said("bbox", box, Naming(box_format=order))
    assert warning.endswith(f"if it is in fractions of the frame, give box_format={order}n")
    assert order == "xyxy" or re.search(numbers, warning)
    assert said(f"box_{order}", box, Naming()).endswith(f"of the frame, name the column box_{order}n")
    pixels = [[100 * value for value in box[0]]]
    shown = re.escape(f"({', '.join(f'{value:g}' for value in pixels[0])}) as {order}n")
    with pytest.raises(ValueError, match=f"{shown} are no fractions of the frame: .*, give box_format={order}$"):
        said("bbox", pixels, Naming(box_format=f"{order}n"))


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((10.0, 20.0, 110.0, 60.0), "are no fractions of the frame: if they are pixels, give box_format=xyxy"),
        ((0.5, 0.2, 0.4, 0.6), "expected x0 < x1"),
        ((0.5, 0.2, 0.4), "expected four finite numbers"),
    ],
)
def test_fractions_that_are_no_box_are_refused(box: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted(FractionBox(box), SIZE_HW)


def only(**columns: Any) -> ObjectPrompts:
    row = {"video_id": "a", "object_id": 1, "frame_index": 0} | columns
    (found,) = parse_prompts([row]).objects
    return found


def test_a_box_of_corner_and_size_is_recognized_in_the_error() -> None:
    assert only(box_xyxy=[100.0, 50.0, 20.0, 60.0]).error.endswith("if it is x, y, width, height, give box_format=xywh")


def test_clicks_that_say_only_what_the_object_is_not_are_told_apart() -> None:
    negative, positive = PointPrompt(((1.0, 1.0),), (0,)), PointPrompt(((1.0, 1.0), (2.0, 2.0)), (0, 1))
    assert says_only_what_it_is_not([negative, negative])
    assert not says_only_what_it_is_not([negative, positive])
    assert not says_only_what_it_is_not([negative, BoxPrompt((0.0, 0.0, 5.0, 5.0))])
    assert not says_only_what_it_is_not([])

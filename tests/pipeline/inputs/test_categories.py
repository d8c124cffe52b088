"""Objects whose rows name several categories are told, with video, object and names, however many there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.plan import make_plan
from pipeline.inputs.prompts import parse_prompts

Row = tuple[str, int, str | None]


def warnings_of(folder: Path, *rows: Row) -> tuple[str, ...]:
    """What the plan of a job warns of, whose table of prompts has a row a frame."""
    found = [
        {"video_id": video_id, "uri": "x.mp4", "object_id": object_id, "frame_index": place, "category": category}
        for place, (video_id, object_id, category) in enumerate(rows)
    ]
    schema = pa.schema(
        [
            ("video_id", pa.string()),
            ("uri", pa.string()),
            ("object_id", pa.int64()),
            ("frame_index", pa.int64()),
            ("category", pa.string()),
            ("box_xyxy", pa.list_(pa.float64())),
        ]
    )
    boxed = [row | {"box_xyxy": [1.0, 2.0, 30.0, 40.0]} for row in found]
    pq.write_table(pa.Table.from_pylist(boxed, schema), folder / "prompts.parquet")
    return make_plan(InputTables(None, str(folder / "prompts.parquet")), {}).warnings


def test_an_object_of_two_categories_is_told_with_video_object_and_both(tmp_path: Path) -> None:
    (warning,) = warnings_of(tmp_path, ("a", 1, "cup"), ("b", 4, "plate"), ("a", 1, "cup"), ("b", 4, "cup"))
    assert warning == (
        "1 object of the prompts table has rows of several categories, and an object has one: object 4 of video 'b': "
        "its rows name 2 categories ('cup', 'plate'), of which 'cup' counts. Give the rows of an object one category"
    )


def test_of_many_objects_with_several_categories_the_first_are_told_and_the_others_counted(tmp_path: Path) -> None:
    rows = [(f"v{number:03}", 1, category) for number in range(200) for category in ("a", "b", "c", "d", "d")]
    (warning,) = warnings_of(tmp_path, *rows)
    assert warning.startswith("200 objects of the prompts table have rows of several categories")
    assert warning.count("its rows name 4 categories ('a', 'b', 'c', …), of which 'a' counts") == 3
    assert "object 1 of video 'v002'" in warning
    assert "object 1 of video 'v003'" not in warning


@pytest.mark.parametrize(
    "rows",
    [
        [("a", 1, "cup"), ("a", 1, None), ("a", 1, ""), ("a", 1, "cup")],
        [("a", 1, "cup"), ("a", 2, "plate"), ("b", 1, "plate")],
        [("a", 1, None), ("a", 2, None)],
    ],
    ids=["rows without one", "other objects and videos", "none at all"],
)
def test_who_has_one_category_is_not_told(rows: list[Row], tmp_path: Path) -> None:
    assert warnings_of(tmp_path, *rows) == ()


def test_rows_of_an_object_that_stand_far_apart_are_told_by_its_prompts() -> None:
    row: dict[str, Any] = {"object_id": 4, "box_xyxy": [1.0, 2.0, 30.0, 40.0]}
    rows = [{**row, "frame_index": frame, "category": name} for frame, name in enumerate(("plate", "cup", None))]
    (prompted,) = parse_prompts(rows).objects
    assert prompted.category == "cup"
    assert prompted.warning == "its rows name 2 categories ('cup', 'plate'), of which 'cup' counts"

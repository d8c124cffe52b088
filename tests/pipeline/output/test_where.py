"""Conditions on rows as a text, judged by duckdb, which reads the same text as SQL."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.errors import ConfigError
from pipeline.output.where import WrongCondition, condition, quoted

ROWS = pa.table(
    {
        "video_id": ["clip-1", "clip-2", "it's", "über", "clip-1"],
        "object_id": pa.array([1, 2, 3, -4, 5], pa.int64()),
        "area": pa.array([0, 100, 101, 2_000_000_000, 7], pa.int32()),
        "predicted_iou": pa.array([0.9, 0.7, None, 0.1, 0.95], pa.float32()),
        "is_prompt": [True, False, False, True, False],
        "category": ["dog", None, "cat", "dog", ""],
        "finished_at": pa.array(
            [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 6)], pa.timestamp("ms", tz="UTC")
        ),
        "of two words": [1, 2, 3, 4, 5],
        "über_": [None, 1, 1, 1, 1],
        "kept": pa.array([[1], [2], [], None, [3]], pa.list_(pa.int32())),
    }
)


@pytest.mark.parametrize("video_id", ["it's", "'", 'a "b"', "über"])
def test_a_quoted_text_is_found_whatever_letters_it_has(video_id: str) -> None:
    rows = pa.table({"video_id": [video_id, "other"]})
    assert rows.filter(condition(f"video_id != {quoted(video_id)}", rows.schema)).to_pylist() == [{"video_id": "other"}]


@pytest.fixture(scope="module")
def judge() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    connection.register("rows", ROWS)
    return connection


@pytest.mark.parametrize(
    "where",
    [
        "area > 100",
        "100 < area",
        "area >= 100.5",
        "area = 100.5",
        "area < 3000000000",
        "area < 1e300",
        "object_id = -4",
        "object_id != 1 and object_id <> 2",
        "predicted_iou < 0.7 and area > 100",
        "predicted_iou = 0.7",
        "predicted_iou >= 1",
        "predicted_iou is null",
        "predicted_iou IS NOT NULL AND NOT area > 50",
        "not predicted_iou > 0.5",
        "area > 100 or predicted_iou > 0.9 and is_prompt",
        "(area > 100 or predicted_iou > 0.9) and not is_prompt",
        "is_prompt = false",
        "category = 'dog'",
        "category <> 'dog'",
        "category in ('dog', '')",
        "category not in ('dog')",
        "object_id in (1, 3, 2000)",
        "area between 7 and 100",
        "area not between 7 and 100",
        "video_id like 'clip-%'",
        "video_id not like '%-1'",
        "video_id = 'it''s'",
        "über_ is null or video_id = 'über'",
        "kept is null",
        "finished_at >= '2026-01-03'",
        "finished_at < '2026-01-03T00:00:00+00:00'",
    ],
)
def test_a_condition_leaves_the_rows_that_duckdb_leaves(where: str, judge: duckdb.DuckDBPyConnection) -> None:
    found = ROWS.filter(condition(where, ROWS.schema))
    expected = judge.sql(f"select object_id from rows where {where}").fetchall()
    assert [(object_id,) for object_id in found["object_id"].to_pylist()] == expected


def test_names_of_several_words_stand_in_backticks_and_texts_in_either_quotes() -> None:
    found = ROWS.filter(condition('`of two words` > 1 and category == "cat"', ROWS.schema))
    assert found["object_id"].to_pylist() == [3]


@pytest.mark.slow
def test_long_lists_and_chains_do_not_crash_arrow() -> None:
    rows = ROWS.append_column("maybe", pa.array([None, 1, 2, 3, 4], pa.int32()))
    ids = ", ".join(map(str, range(2, 2_000)))
    for where, expected in {
        f"object_id in ({ids})": [2, 3, 5],
        f"maybe in ({ids})": [3, -4, 5],
        f"maybe not in ({ids})": [2],
        f"maybe not in ({ids}, 1.5, 1)": [],
        " or ".join(f"object_id = {number}" for number in range(2, 200)): [2, 3, 5],
        "(" * 150 + "area > 100" + ")" * 150: [3, -4],
        "not " * 200 + "area > 100": [3, -4],
    }.items():
        assert rows.filter(condition(where, rows.schema))["object_id"].to_pylist() == expected
    for where in ("(" * 3000 + "area > 1" + ")" * 3000, " or ".join(["area > 1"] * 3000), "not " * 3000 + "is_prompt"):
        with pytest.raises(WrongCondition, match=r"more than 200 parts; name many values by column in \(…\)"):
            condition(where, ROWS.schema)


def test_an_expression_of_arrow_is_taken_as_it_is() -> None:
    given = pc.field("area") > 100
    assert condition(given, ROWS.schema) is given


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("aera > 3", "the table has no column 'aera'; did you mean area?"),
        ("x > 3", "no column 'x'; it has video_id, object_id, area,"),
        ("area > 'big'", "area holds numbers, so that it cannot be compared with 'big'"),
        ("category = dog", "expected a number, a text, true or false; texts stand in quotes, as in 'dog' at 'dog'"),
        ("category = 3", "category holds texts, so that it cannot be compared with 3"),
        ("is_prompt = 1", "is_prompt is true or false, so that it cannot be compared with 1"),
        ("area > true", "area holds numbers, so that it cannot be compared with True"),
        ("kept = 3", "kept holds values of type list"),
        ("finished_at > 'yesterday'", "finished_at is a time, and 'yesterday' is none; write '2026-01-31 12:00'"),
        (
            "area",
            "expected a comparison after area, as in area > 0 at its end; a shell takes > for a file unless quotes",
        ),
        ("area >", "expected a number, a text, true or false at its end"),
        ("area > 3 category = 'dog'", "expected 'and', 'or' or the end at \"category = 'dog'\""),
        ("(area > 3", "expected ')' at its end"),
        ("area > 3 & area < 5", "'& area < 5' cannot be read; write and, or, not in words"),
        ("area not 3", "expected 'in', 'between' or 'like' after 'not' at '3'"),
        ("area like 'x'", "like compares a column of texts"),
        ("area is 3", "expected 'null' at '3'"),
        ("category = 'dog", "cannot be read"),
        ("", "expected the name of a column at its end"),
    ],
)
def test_a_condition_that_does_not_fit_names_the_place_and_the_remedy(where: str, said: str) -> None:
    with pytest.raises(WrongCondition) as caught:
        condition(where, ROWS.schema)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"where={where!r}: ")
    assert isinstance(caught.value, ConfigError)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("object_id > 0.5", [1, 12345678901234567]),
        ("object_id < 12345678901234567890", [1, 12345678901234567]),
        ("object_id in (0.5, 12345678901234567)", [12345678901234567]),
        (f"object_id in ({', '.join(map(str, range(2, 80)))}, 0.5, 12345678901234567)", [12345678901234567]),
        (f"object_id not in ({', '.join(map(str, range(2, 80)))}, 0.5)", [1, 12345678901234567]),
    ],
)
def test_ids_of_17_digits_are_compared_with_other_numbers(where: str, found: list[int]) -> None:
    rows = pa.table({"object_id": pa.array([1, 12345678901234567, None], pa.int64())})
    assert rows.filter(condition(where, rows.schema))["object_id"].to_pylist() == found

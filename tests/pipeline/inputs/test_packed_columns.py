"""Columns that the driver keeps packed say the same as plain lists."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from pipeline.inputs.packed_columns import PackedTexts, PlaceCollector, RowPlaces, TextPacker, narrow


def packed(texts: list[str | None], num_parts: int) -> PackedTexts:
    """These texts, added in parts."""
    packer = TextPacker()
    for places in np.array_split(np.arange(len(texts)), num_parts):
        packer.add(pa.array([texts[place] for place in places], pa.large_string()))
    return packer.finish()


def some_texts(num: int, seed: int = 0) -> list[str | None]:
    rng = random.Random(seed)
    return [
        None if rng.random() < 0.1 else "ä" * rng.randrange(4) + f"s3://bucket/{rng.random()}.mp4" for _ in range(num)
    ]


@pytest.mark.parametrize(("num", "num_parts"), [(0, 1), (1, 1), (20_000, 1), (20_000, 7), (20_000, 900)])
def test_packed_texts_are_the_texts_that_were_added(num: int, num_parts: int) -> None:
    texts = some_texts(num)
    column = packed(texts, num_parts)
    places = np.random.default_rng(1).integers(0, max(num, 1), 500 if num else 0)
    assert len(column) == num
    assert [column[place] for place in places.tolist()] == [texts[place] for place in places]
    assert column.take(places).to_pylist() == [texts[place] for place in places]
    assert column.null_places().tolist() == [place for place, text in enumerate(texts) if text is None]


def test_a_slice_of_a_column_is_packed_without_what_lies_beside_it() -> None:
    packer = TextPacker()
    packer.add(pa.array(["before", None, "", "here", "after"], pa.large_string())[1:4])
    column = packer.finish()
    assert [column[place] for place in range(3)] == [None, "", "here"]


def test_packed_texts_can_lose_rows_and_get_others() -> None:
    texts = some_texts(20_000)
    column = packed(texts, 5)
    mask = np.random.default_rng(2).random(len(texts)) < 0.5
    fewer = [text for text, kept in zip(texts, mask, strict=True) if kept]
    assert column.chosen(mask).take(np.arange(len(fewer))).to_pylist() == fewer
    places = np.flatnonzero(~mask)
    others = column.with_others(places, [f"new {place}" for place in places])
    expected = [text if kept else f"new {place}" for place, (text, kept) in enumerate(zip(texts, mask, strict=True))]
    assert others.take(np.arange(len(texts))).to_pylist() == expected


def test_texts_of_a_pattern_take_a_tenth_of_their_bytes() -> None:
    texts: list[str | None] = [f"s3://a-bucket/videos/clip-{number:011d}.mp4" for number in range(50_000)]
    assert packed(texts, 5).num_bytes < sum(map(len, map(str, texts))) / 10


def test_a_long_part_of_texts_is_cut_into_blocks_because_one_is_unpacked_for_each_text() -> None:
    texts = [None if number % 7 == 0 else f"ü{number}" * (number % 3) for number in range(40_000)]
    column = packed(texts, 1)
    assert column.num_blocks == 5
    assert column.all().to_pylist() == texts
    assert column[39_998] == texts[39_998]


def all_of(places: RowPlaces) -> list[tuple[int, int, int]]:
    return [places.at(number) for number in range(len(places))]


def test_places_of_rows_are_kept_by_row_group() -> None:
    collector = PlaceCollector()
    expected = []
    for number in range(300):
        file, row_group, rows = number // 7, number % 7, np.arange(number % 5) + 3 * number
        collector.add(file, row_group, rows)
        expected += [(file, row_group, row) for row in rows.tolist()]
    places = collector.finish()
    assert all_of(places) == expected
    assert places.group_of.dtype == np.uint16
    order = np.random.default_rng(3).permutation(len(places))
    assert all_of(places.chosen(order)) == [expected[number] for number in order]
    new = np.array([[100_000, 2, 9], [0, 1, 3]], np.int32)
    assert all_of(places.with_others(np.array([4, 17]), new)) == [
        {4: (100_000, 2, 9), 17: (0, 1, 3)}.get(number, place) for number, place in enumerate(expected)
    ]
    assert all_of(places) == expected


@pytest.mark.parametrize(("most", "kind"), [(0, "u1"), (255, "u1"), (256, "u2"), (65_536, "u4")])
def test_numbers_take_as_few_bytes_as_the_greatest_needs(most: int, kind: str) -> None:
    found = narrow(np.array([0, most], np.uint32))
    assert (found.dtype, found.tolist()) == (np.dtype(kind), [0, most])

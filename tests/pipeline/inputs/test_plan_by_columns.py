"""Planning by columns says of each video what the simple rule says, one video after the other."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commits.finished import FinishedVideo, FinishedVideos
from pipeline.ids import HexColumn, IdIndex, hash_of, hashes
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.plan import make_plan
from pipeline.inputs.prompt_hash import PromptHashes, hash_of_rows, row_digests
from pipeline.records import Status

# What the program of commit 249c986 said of these rows: a log of that time is continued.
DIGESTS = {
    "box": "cf9d31ed4bcbe82becd963a013f93900",
    "points": "ff5feab515438664a36a5cd377f94abb",
    "points of two rows": "370476e97081321c7c9246aba29095cf",
    "mask": "47b858e12e353188249abfc266d61e51",
    "fractions": "8c8b056e0d49b894b91cbf9de32e9f75",
    "by time": "0133cacae9d928553459b16d511261df",
}
ROWS: dict[str, dict[str, Any]] = {
    "box": {"object_id": 1, "frame_index": 0, "box_xyxy": [1.0, 2.0, 3.0, 4.0]},
    "points": {"object_id": 2, "frame_index": 7, "points_xy": [[1.5, 2.0]], "point_labels": [1]},
    "points of two rows": {
        "object_id": 2,
        "frame_index": 7,
        "points_xy": [[1.0, 2.0], [3.0, 4.0]],
        "point_labels": [1, 0],
    },
    "mask": {"object_id": 3, "frame_index": 1, "mask_rle": {"size": [4, 4], "counts": "0b1a2"}},
    "fractions": {"object_id": 4, "frame_index": 0, "box_xyxyn": [0.1, 0.2, 0.3, 0.4]},
    "by time": {"object_id": 5, "pts_seconds": 2.5, "box_xyxy": [-0.0, 2.0, 3.0, 4.0]},
}
SCHEMA = pa.schema(
    [
        ("object_id", pa.int64()),
        ("frame_index", pa.int64()),
        ("pts_seconds", pa.float64()),
        ("points_xy", pa.list_(pa.list_(pa.float64()))),
        ("point_labels", pa.list_(pa.int64())),
        ("box_xyxy", pa.list_(pa.float64())),
        ("mask_rle", pa.struct([("size", pa.list_(pa.int64())), ("counts", pa.string())])),
        ("box_xyxyn", pa.list_(pa.float64())),
    ]
)


def batch(*rows: Mapping[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([dict(row) for row in rows], SCHEMA)


def test_rows_have_the_digests_that_they_had_alone_and_together() -> None:
    for name, row in ROWS.items():
        assert row_digests(batch(row)).tobytes().hex() == DIGESTS[name], name
    rng = random.Random(1)
    names = [rng.choice(list(ROWS)) for _ in range(200)]
    together = row_digests(batch(*(ROWS[name] for name in names)))
    assert [digest.tobytes().hex() for digest in together] == [DIGESTS[name] for name in names]


def test_hashes_of_many_videos_are_those_of_each() -> None:
    rng = random.Random(2)
    found = PromptHashes(30)
    of_video = [[rng.choice(list(ROWS.values())) for _ in range(rng.randrange(4))] for _ in range(30)]
    numbered = [(number, row) for number, rows in enumerate(of_video) for row in rows]
    rng.shuffle(numbered)
    for first in range(0, len(numbered), 7):
        some = numbered[first : first + 7]
        found.add(np.array([number for number, _ in some]), row_digests(batch(*(row for _, row in some))))
    times = [(None, None), (1.0, None), (None, 2.5)]
    ranges = [times[number % 3] for number in range(30)]
    together = found.hashes_of(slice(5, 30), np.array(ranges[5:], dtype=np.float64))
    for number in range(5, 30):
        alone = hash_of_rows([batch(*of_video[number])], *ranges[number]) if of_video[number] else ""
        assert together[number - 5] == alone == found.hash_of(number, *ranges[number])


LETTERS = "abé/-0123456789"


def some_ids(rng: random.Random, count: int) -> list[str]:
    return list({"".join(rng.choice(LETTERS) for _ in range(rng.randrange(1, 30))) for _ in range(count)})


def test_ids_are_found_where_they_stand_in_any_order() -> None:
    rng = random.Random(3)
    ids = some_ids(rng, 500)
    places = {video_id: place for place, video_id in enumerate(ids)}
    index = IdIndex(pa.array(ids))
    in_order = sorted(rng.choices(ids, k=300), key=places.__getitem__)
    for wanted in (ids, in_order, [*rng.sample(ids, 200), "not there", None, ""], [], ["not there"]):
        expected = [places.get(one, -1) if one is not None else -1 for one in wanted]
        assert index.find(pa.array(wanted, pa.string())).tolist() == expected
    assert [index.find_one(one) for one in [*ids, "not there"]] == [*range(len(ids)), -1]
    assert hashes(pa.array(ids)).tolist() == [hash_of(one) for one in ids]


def test_two_ids_with_one_hash_are_two_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    import pipeline.ids

    monkeypatch.setattr(pipeline.ids, "hashes", lambda column: np.full(len(column), 7, dtype=np.uint64))
    monkeypatch.setattr(pipeline.ids, "hash_of", lambda text: 7)
    index = IdIndex(pa.array(["b", "a", "c"]))
    assert index.find(pa.array(["c", "a", "x", "b"])).tolist() == [2, 1, -1, 0]
    assert index.same_hashes().tolist() == [0, 1, 2]


def test_texts_that_are_no_hashes_are_kept_as_they_are() -> None:
    texts = ["", "0" * 32, "hash", "F" * 32, "f" * 32, "f" * 31]
    column = HexColumn.of(pa.array([*texts, None]), 2)
    assert [column[place] for place in range(7)] == [*texts, ""]
    assert column.to_strings().to_pylist() == [*texts, ""]
    assert column.take(np.array([4, -1, 2])).to_strings().to_pylist() == ["f" * 32, "", "hash"]
    again = HexColumn.of(pa.array(["x", "0" * 32, "hash", "", "f" * 32, "f" * 31, ""]), 2)
    assert column.equals(again).tolist() == [False, True, True, False, True, True, True]


def test_columns_of_hashes_alone_keep_each_digit() -> None:
    texts = pa.array([f"{number:032x}" for number in (0, 2**128 - 1, 0x0123456789ABCDEF << 60, 7)])
    assert HexColumn.of(texts, 2).to_strings() == texts
    assert HexColumn.of(texts.slice(1, 2), 2).to_strings() == texts.slice(1, 2)
    assert HexColumn.of(pa.chunked_array([texts, texts.slice(3)]), 2)[4] == texts[3].as_py()


class Case:
    """Small tables and a log of before, at random: rows that are wrong or twice, prompts that changed, all statuses."""

    def __init__(self, seed: int, folder: Path) -> None:
        rng = random.Random(seed)
        ids = some_ids(rng, 40)
        rng.shuffle(ids)
        rows = ids[:30] + rng.sample(ids[:30], 3)
        self.rows = {video_id: rows.count(video_id) for video_id in rows}
        self.uris = {video_id: rng.choice(["s3://bucket/a.mp4", None]) for video_id in self.rows}
        boxes = [row for name, row in ROWS.items() if name != "fractions"]  # a table has one kind of boxes
        of_video = {video_id: rng.sample(boxes, rng.randrange(4)) for video_id in ids}
        self.hashes = {v: hash_of_rows([batch(*of)], None, None) if of else "" for v, of in of_video.items()}
        folder.mkdir()
        pq.write_table(pa.table({"video_id": rows, "uri": [self.uris[v] for v in rows]}), folder / "videos.parquet")
        prompts = [{"video_id": v, **row} for v, of in of_video.items() for row in of]
        rng.shuffle(prompts)
        schema = pa.schema([("video_id", pa.string()), *SCHEMA.remove(len(SCHEMA) - 1)])
        pq.write_table(pa.Table.from_pylist(prompts, schema), folder / "prompts.parquet")
        self.tables = InputTables(str(folder / "videos.parquet"), str(folder / "prompts.parquet"))
        known = rng.sample(ids, 25)
        self.done = {}
        for video_id in known:
            prompt_hash = rng.choice([self.hashes[video_id], "0" * 32, "", "else"])
            self.done[video_id] = FinishedVideo(rng.choice(list(Status)), prompt_hash, "s", source_hash="a")
        self.retry = rng.sample(ids, 5)
        self.files_now = dict.fromkeys(rng.sample(known, 5), "b")

    def expected(self) -> dict[str, str]:
        """The simple rule. A wrong row is never labeled, and never costs good masks."""
        fates = {}
        for video_id in self.rows:
            before, now = self.done.get(video_id), self.hashes[video_id]
            is_wrong = self.rows[video_id] > 1 or self.uris[video_id] is None
            fate = "refused" if is_wrong else "label" if now else "no prompts"
            if before is not None and is_wrong:
                fate = "done" if before.status is Status.OK else "refused, replaced, changed"
            elif before is not None and before.prompt_hash != now:
                fate += ", replaced, changed"
            elif before is not None and (video_id in self.retry or video_id in self.files_now):
                fate += ", replaced"
            elif before is not None:
                fate = "done"
            fates[video_id] = fate
        return fates


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_each_video_has_the_fate_of_the_simple_rule(seed: int, tmp_path: Path) -> None:
    case = Case(seed, tmp_path / "in")
    log = FinishedVideos()
    for video_id, finished in case.done.items():
        log.put(video_id, finished)
    halves = FinishedVideos.from_table(log.to_table(), {})
    for video_id in list(case.done)[::2]:  # in columns, and put there since
        halves.put(video_id, case.done[video_id])
    assert dict(halves.items()) == dict(log.items()) == case.done == {one: halves[one] for one in halves}
    for done in (case.done, log, halves):
        plan = make_plan(case.tables, done, case.retry).with_files_now(case.files_now, done, case.retry)
        fates = {item.video_id: "label" for item in plan.items()}
        fates |= {outcome.video_id: "no prompts" for outcome in plan.no_prompts()}
        fates |= {outcome.video_id: "refused" for outcome in plan.refused()}
        fates |= dict.fromkeys(set(plan.video_ids) - fates.keys(), "done")
        for video_id in fates:
            fates[video_id] += ", replaced" * (video_id in plan.replaced) + ", changed" * (video_id in plan.changed)
        assert json.dumps(fates, sort_keys=True) == json.dumps(case.expected(), sort_keys=True)
        assert plan.num_former == len(case.done.keys() - case.rows.keys())
        assert sorted(plan.former(done)) == sorted(case.done.keys() - case.rows.keys())
        assert all(item.prompt_hash == case.hashes[item.video_id] for item in plan.items())


def test_videos_may_be_taken_in_the_order_of_the_tables(tmp_path: Path) -> None:
    """Whoever reads the prompts of all videos would read a large row group again for each step back."""
    names = ["c", "a", "d", "b"]
    seconds = pa.array([1.0, 9.0, None, 4.0])
    pq.write_table(pa.table({"video_id": names, "uri": names, "duration_seconds": seconds}), tmp_path / "v.parquet")
    rows = [{"video_id": name, **ROWS["box"]} for name in names if name != "d"]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    plan = make_plan(InputTables(str(tmp_path / "v.parquet"), str(tmp_path / "p.parquet")), {})
    items = list(plan.items())
    assert [item.video_id for item in items] == ["a", "b", "c"]
    assert list(plan.items_in_order()) == sorted(items, key=lambda item: item.prompts_at[0].start)

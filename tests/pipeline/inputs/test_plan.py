from __future__ import annotations

import tracemalloc
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.driver.rounds import corrected_first
from pipeline.errors import InputError
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.naming import InputNaming, Naming
from pipeline.inputs.order import long_first, windows
from pipeline.inputs.plan import Plan, make_plan
from pipeline.inputs.prompts import read_prompts
from pipeline.inputs.reading import ReadPolicy
from pipeline.records import FramePosition, ReviewedItem, RowSpan, Status, VideoSource, WorkItem
from pipeline.reviews.corrections import write_corrections
from pipeline.reviews.reviewed import ReviewedVideo
from pipeline.reviews.verdicts import Opinion, Verdict, write_verdicts
from pipeline.storage.job_storage import JobStorage

NO_VIDEOS: dict[str, Any] = {"video_id": pa.array([], pa.string()), "uri": pa.array([], pa.string())}


class Finished(NamedTuple):
    """A video as the log knows it."""

    status: Status
    prompt_hash: str
    source_hash: str = ""
    review_hash: str = ""
    failed_with: str = ""

    @property
    def review_hashes(self) -> tuple[str, ...]:
        return (self.review_hash, self.failed_with) if self.failed_with else (self.review_hash,)


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def prompts(*video_ids: str, **columns: Any) -> dict[str, Any]:
    """A box for each of these videos."""
    number = len(video_ids)
    return {
        "video_id": pa.array(video_ids, pa.string()),
        "object_id": pa.array([1] * number, pa.int64()),
        "frame_index": pa.array(range(number), pa.int64()),
        "box_xyxy": pa.array([[0.0, 0.0, 5.0, 5.0]] * number, pa.list_(pa.float64())),
    } | columns


def plan_of(
    folder: Path,
    videos: dict[str, Any] | None,
    prompt_columns: dict[str, Any],
    done: Mapping[str, Finished] | None = None,
    retry: Collection[str] = (),
    policy: ReadPolicy | None = None,
) -> Plan:
    where = str(write(folder / "videos.parquet", videos)) if videos is not None else None
    tables = InputTables(where, str(write(folder / "prompts.parquet", prompt_columns)), policy=policy)
    return make_plan(tables, done or {}, retry)


def finished(plan: Plan, status: Status = Status.OK) -> dict[str, Finished]:
    """What the log says after this plan was carried out."""
    done = {item.video_id: Finished(status, item.prompt_hash) for item in plan.items()}
    done |= {o.video_id: Finished(o.status, o.prompt_hash) for o in (*plan.no_prompts(), *plan.refused())}
    return done


def ids(plan: Plan) -> list[str]:
    return [item.video_id for item in plan.items()]


@pytest.mark.slow
def test_each_video_with_prompts_becomes_an_item(tmp_path: Path) -> None:
    videos = {
        "video_id": ["a", "b", "c"],
        "uri": ["a.mp4", "sub/../b.mp4", "s3://bucket/c.mp4"],
        "start_seconds": [None, 1.5, None],
        "end_seconds": [None, 2.5, None],
        "duration_seconds": [3, None, None],
    }
    plan = plan_of(tmp_path, videos, prompts("a", "b", "b", "c"))
    table = str(tmp_path / "prompts.parquet")
    items = {item.video_id: item for item in plan.items()}
    assert items["a"] == WorkItem(
        "a",
        VideoSource(str(tmp_path / "a.mp4")),
        (RowSpan(table, 0, 0, 1),),
        items["a"].prompt_hash,
        expected_seconds=3.0,
    )
    assert (items["b"].source.uri, items["b"].prompts_at) == (str(tmp_path / "b.mp4"), (RowSpan(table, 0, 1, 3),))
    assert (items["b"].range.start_seconds, items["b"].range.end_seconds) == (1.5, 2.5)
    assert items["c"].source.uri == "s3://bucket/c.mp4"
    assert (plan.num_videos, plan.num_to_label, plan.num_done, plan.warnings) == (3, 3, 0, ())


def test_bytes_are_addressed_and_never_read(tmp_path: Path) -> None:
    videos = {"video_id": ["a", "b", "c"], "bytes": [b"x", b"y", b"z"], "uri": [None, "b.mp4", ""]}
    path = tmp_path / "videos.parquet"
    pq.write_table(pa.table(videos), path, row_group_size=2)
    tables = InputTables(str(path), str(write(tmp_path / "prompts.parquet", prompts("a", "b", "c"))))
    items = {item.video_id: item for item in make_plan(tables, {}).items()}
    assert (items["a"].source.uri, items["a"].source.bytes_at) == (None, RowSpan(str(path), 0, 0, 1))
    assert (items["b"].source.uri, items["b"].source.bytes_at) == (str(tmp_path / "b.mp4"), None)
    assert (items["c"].source.uri, items["c"].source.bytes_at) == (None, RowSpan(str(path), 1, 0, 1))


def test_prompts_scattered_over_shards_are_found(tmp_path: Path) -> None:
    write(tmp_path / "videos.parquet", {"video_id": ["a", "b"], "uri": ["a", "b"]})
    write(tmp_path / "prompts" / "1.parquet", prompts("a", "b", "a", "a", "a"), row_group_size=4)
    write(tmp_path / "prompts" / "2.parquet", prompts("b", "a", object_id=[7, 8]))
    plan = make_plan(InputTables(str(tmp_path / "videos.parquet"), str(tmp_path / "prompts")), {})
    one, two = (str(tmp_path / "prompts" / name) for name in ("1.parquet", "2.parquet"))
    items = {item.video_id: item for item in plan.items()}
    assert items["a"].prompts_at == (
        RowSpan(one, 0, 0, 1),
        RowSpan(one, 0, 2, 4),
        RowSpan(one, 1, 0, 1),
        RowSpan(two, 0, 1, 2),
    )
    found = read_prompts(items["a"])
    assert [(one.object_id, [frame.frame_index for frame, _ in one.prompts]) for one in found.objects] == [
        (1, [0, 2, 3, 4]),
        (8, [1]),
    ]


def test_runs_of_rows_join_over_batches(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"video_id": ["a"], "uri": ["a"]}, prompts(*"aaaaa"), policy=ReadPolicy(batch_rows=2))
    assert next(plan.items()).prompts_at == (RowSpan(str(tmp_path / "prompts.parquet"), 0, 0, 5),)


class NotSearchedFor(tuple[str, ...]):
    def index(self, *_: object) -> int:
        raise AssertionError("looking through all names once for each file takes time quadratic in the files")


def test_the_files_of_a_table_are_not_looked_through_for_each_of_them(tmp_path: Path) -> None:
    write(tmp_path / "videos" / "0.parquet", {"video_id": ["a"], "uri": ["a.mp4"]})
    write(tmp_path / "videos" / "1.parquet", {"video_id": ["b"], "uri": ["b.mp4"]})
    write(tmp_path / "prompts" / "0.parquet", prompts("b"))
    write(tmp_path / "prompts" / "1.parquet", prompts("a"))
    tables = InputTables(str(tmp_path / "videos"), str(tmp_path / "prompts"))
    for table in (tables.videos, tables.prompts):
        table.files = NotSearchedFor(table.files)
    items = list(make_plan(tables, {}).items())
    assert {item.video_id: Path(item.prompts_at[0].file).name for item in items} == {
        "a": "1.parquet",
        "b": "0.parquet",
    }


def test_the_hash_does_not_depend_on_shards_or_order(tmp_path: Path) -> None:
    videos = {"video_id": ["a", "b"], "uri": ["a", "b"]}
    together = plan_of(tmp_path / "1", videos, prompts("a", "a", "b"))
    write(tmp_path / "2" / "videos.parquet", {name: values[::-1] for name, values in videos.items()})
    write(tmp_path / "2" / "prompts" / "1.parquet", prompts("b", "a", frame_index=[2, 1]))
    write(tmp_path / "2" / "prompts" / "2.parquet", prompts("a", frame_index=[0], category=["dog"]))
    apart = make_plan(InputTables(str(tmp_path / "2" / "videos.parquet"), str(tmp_path / "2" / "prompts")), {})
    assert finished(together) == finished(apart)


def test_prompts_with_uris_serve_without_a_videos_table(tmp_path: Path) -> None:
    columns = prompts("b", "a", "b", "b", uri=["b.mp4", "a.mp4", "b.mp4", None], start_seconds=[1.0, None, 1.0, None])
    plan = plan_of(tmp_path, None, columns)
    items = {item.video_id: item for item in plan.items()}
    assert list(items) == ["b", "a"]
    assert (items["b"].source.uri, items["b"].range.start_seconds) == (str(tmp_path / "b.mp4"), 1.0)
    assert len(items["b"].prompts_at) == 2
    assert plan.num_refused == 0


def test_prompts_that_disagree_about_the_video_refuse_it(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, None, prompts("b", "a", "b", uri=["b.mp4", "a.mp4", "c.mp4"]))
    assert ids(plan) == ["a"]
    (outcome,) = plan.refused()
    assert (outcome.video_id, outcome.status, outcome.error_class) == ("b", Status.FAILED, "input")
    assert (
        outcome.message
        == "video 'b': its prompt rows disagree about uri, start_seconds or end_seconds; make them equal"
    )


def test_bytes_may_stand_in_the_prompts_table(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, None, prompts("a", "a", "b", bytes=[b"x", None, b"y"]))
    items = {item.video_id: item for item in plan.items()}
    assert items["a"].source.bytes_at == RowSpan(str(tmp_path / "prompts.parquet"), 0, 0, 1)
    assert items["b"].source.bytes_at == RowSpan(str(tmp_path / "prompts.parquet"), 0, 2, 3)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"video_id": ["a", "a", "b", "a"], "uri": ["x", "x", "y", "z"]},
            "its video_id stands in 3 rows of the videos table",
        ),
        ({"video_id": ["a", "b"], "uri": [None, "y"]}, "its row has no uri; give it one"),
        ({"video_id": ["a", "b"], "uri": ["", "y"]}, "its row has no uri; give it one"),
        (
            {"video_id": ["a", "b"], "uri": ["x", "y"], "start_seconds": [5.0, None], "end_seconds": [4.0, None]},
            "must be after",
        ),
        (
            {"video_id": ["a", "b"], "uri": ["x", "y"], "start_seconds": [float("inf"), None]},
            "expected a finite number",
        ),
    ],
)
def test_a_wrong_row_fails_its_video_only(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    plan = plan_of(tmp_path, columns, prompts("a", "b"))
    assert ids(plan) == ["b"]
    (outcome,) = plan.refused()
    assert (outcome.video_id, outcome.status, outcome.error_class) == ("a", Status.FAILED, "input")
    assert message in outcome.message
    assert any("1 video cannot be labeled, because of wrong rows" in warning for warning in plan.warnings)
    assert (plan.num_videos, plan.num_to_label, plan.num_refused) == (2, 1, 1)
    again = plan_of(tmp_path, columns, prompts("a", "b"), finished(plan))
    assert (again.num_done, again.num_refused) == (2, 0)


def test_a_repaired_row_is_labeled_without_asking(tmp_path: Path) -> None:
    refused = plan_of(tmp_path, {"video_id": ["a", "a"], "uri": ["x", "y"]}, prompts("a"))
    repaired = plan_of(tmp_path, {"video_id": ["a"], "uri": ["x"]}, prompts("a"), finished(refused))
    assert ids(repaired) == ["a"]
    assert repaired.replaced == {"a"}


def test_a_labeled_video_survives_a_second_row(tmp_path: Path) -> None:
    labeled = plan_of(tmp_path, {"video_id": ["a"], "uri": ["x"]}, prompts("a"))
    doubled = plan_of(tmp_path, {"video_id": ["a", "a"], "uri": ["x", "x"]}, prompts("a"), finished(labeled))
    assert (doubled.num_done, doubled.num_refused, doubled.replaced) == (1, 0, frozenset())
    assert any("stands in 2 rows" in warning for warning in doubled.warnings)


@pytest.mark.parametrize("duration", [float("inf"), float("-inf"), -3.0, float("nan")])
def test_a_duration_that_is_none_is_not_known(duration: float, tmp_path: Path) -> None:
    columns = {"video_id": ["a", "b"], "uri": ["x", "y"], "duration_seconds": [duration, 2.0]}
    assert [item.expected_seconds for item in plan_of(tmp_path, columns, prompts("a", "b")).items()] == [2.0, 0.0]


def test_a_nan_time_is_no_time(tmp_path: Path) -> None:
    columns = {"video_id": ["a"], "uri": ["x"], "start_seconds": [float("nan")], "end_seconds": [2.0]}
    (item,) = plan_of(tmp_path, columns, prompts("a")).items()
    assert (item.range.start_seconds, item.range.end_seconds) == (None, 2.0)


def test_a_video_without_prompts_is_recorded_once(tmp_path: Path) -> None:
    videos = {"video_id": ["a", "b"], "uri": ["x", "y"]}
    plan = plan_of(tmp_path, videos, prompts("a"))
    (outcome,) = plan.no_prompts()
    assert (outcome.video_id, outcome.status, outcome.num_masks) == ("b", Status.NO_PROMPTS, 0)
    again = plan_of(tmp_path, videos, prompts("a"), finished(plan))
    assert (again.num_done, list(again.no_prompts()), list(again.items())) == (2, [], [])
    prompted = plan_of(tmp_path, videos, prompts("a", "b", frame_index=[0, 0]), finished(plan))
    assert (ids(prompted), prompted.changed) == (["b"], {"b"})


def test_what_is_done_is_not_planned_again(tmp_path: Path) -> None:
    videos = {"video_id": ["a", "b", "c"], "uri": ["x", "y", "z"]}
    done = finished(plan_of(tmp_path, videos, prompts("a", "b", "c")))
    del done["c"]
    more = {"video_id": [*videos["video_id"], "d"], "uri": [*videos["uri"], "w"]}
    plan = plan_of(tmp_path, more, prompts("a", "b", "c", "d"), done)
    assert ids(plan) == ["c", "d"]
    assert (plan.num_done, plan.changed, plan.replaced) == (2, frozenset(), frozenset())


@pytest.mark.parametrize("status", list(Status))
def test_changed_prompts_are_labeled_again(tmp_path: Path, status: Status) -> None:
    videos = {"video_id": ["a", "b"], "uri": ["x", "y"]}
    done = finished(plan_of(tmp_path, videos, prompts("a", "b")), status)
    moved = prompts("a", "b", box_xyxy=[[0.0, 0.0, 5.0, 5.0], [1.0, 0.0, 5.0, 5.0]])
    plan = plan_of(tmp_path, videos, moved, done)
    assert (ids(plan), plan.changed, plan.replaced) == (["b"], {"b"}, {"b"})
    ranged = plan_of(tmp_path, videos | {"start_seconds": [None, 2.0]}, prompts("a", "b"), done)
    assert (ids(ranged), ranged.changed) == (["b"], {"b"})


def test_prompts_that_were_taken_away_are_a_change(tmp_path: Path) -> None:
    videos = {"video_id": ["a", "b"], "uri": ["x", "y"]}
    done = finished(plan_of(tmp_path, videos, prompts("a", "b")))
    plan = plan_of(tmp_path, videos, prompts("a"), done)
    assert [outcome.video_id for outcome in plan.no_prompts()] == ["b"]
    assert plan.changed == {"b"}


def test_failures_are_done_unless_they_are_asked_for(tmp_path: Path) -> None:
    videos = {"video_id": ["a", "b", "c"], "uri": ["x", "y", "z"]}
    hashes = finished(plan_of(tmp_path, videos, prompts("a", "b", "c")))
    statuses = {"a": Status.OK, "b": Status.FAILED, "c": Status.QUARANTINED}
    done = {video_id: Finished(status, hashes[video_id].prompt_hash) for video_id, status in statuses.items()}
    chosen: tuple[tuple[set[str], list[str]], ...] = (
        (set(), []),
        ({"b"}, ["b"]),
        ({"b", "c", "not in the tables"}, ["b", "c"]),
    )
    for retry, expected in chosen:
        plan = plan_of(tmp_path, videos, prompts("a", "b", "c"), done, retry)
        assert ids(plan) == expected
        assert (plan.replaced, plan.changed) == (frozenset(expected), frozenset())


def test_prompts_of_unknown_videos_are_told_with_examples(tmp_path: Path) -> None:
    columns = prompts("a", "typo", "typo", "other", "more", "evenmore")
    plan = plan_of(tmp_path, {"video_id": ["a"], "uri": ["x"]}, columns)
    assert ids(plan) == ["a"]
    (warning,) = plan.warnings
    assert warning.startswith("5 of 6 rows of the prompts table are left out, because their videos are not in videos=")
    assert warning.endswith("examples: 'typo', 'other', 'more'")


def test_an_output_of_which_no_video_is_in_the_tables_may_be_of_another_job(tmp_path: Path) -> None:
    done = {"other1": Finished(Status.OK, "hash"), "other2": Finished(Status.OK, "hash")}
    (warning,) = plan_of(tmp_path, {"video_id": ["a"], "uri": ["x"]}, prompts("a"), done).warnings
    assert warning == (
        "the output has 2 videos that are done, and none of them is in these tables: name another folder in output= if "
        "they are of another job"
    )
    both = {"video_id": ["a", "other1"], "uri": ["x", "y"]}
    assert plan_of(tmp_path, both, prompts("a", "other1"), done).warnings == ()


def test_a_row_of_prompts_of_a_former_video_is_no_misspelling(tmp_path: Path) -> None:
    done = {"film4": Finished(Status.OK, "hash")}
    one = {"video_id": ["film3"], "uri": ["x"]}
    warning, _ = plan_of(tmp_path, one, prompts("film3", "film4"), done).warnings
    assert warning.endswith("not in videos= now (masks stay, but for a run with prune=true): 'film4'")
    warning, _ = plan_of(tmp_path, one, prompts("film3", "film4", "Film3.mp4"), done).warnings
    assert warning.endswith("run with prune=true): 'film4'; did you mean 'film3' by 'Film3.mp4'?")
    with pytest.raises(InputError, match="no row names a video") as error:
        plan_of(tmp_path, one, prompts("film4"), done)
    assert "did you mean" not in str(error.value)


def test_a_column_with_almost_the_right_name_is_told(tmp_path: Path) -> None:
    videos = {"video_id": ["a"], "URI": ["x"], "bytes": [b"x"], "license": ["CC0"]}
    plan = plan_of(tmp_path, videos, prompts("a", point_label=[[1]], name=["cat"]))
    assert plan.warnings == (
        "column point_label of the prompts table is not read: did you mean point_labels?",
        "column URI of the videos table is not read: did you mean uri?",
    )


@pytest.mark.parametrize("name", ["label", "class_name"])
def test_a_column_that_looks_like_the_category_is_told(tmp_path: Path, name: str) -> None:
    """Whoever hears of it after a night's work labels all again: categories are no part of the prompts."""
    videos = {"video_id": ["a"], "uri": ["x"]}
    (warning,) = plan_of(tmp_path, videos, prompts("a", **{name: ["cup"]})).warnings
    assert warning.startswith(f"column {name} of the prompts table is not read: columns.category={name} makes it")
    assert plan_of(tmp_path, videos, prompts("a", **{name: ["cup"], "category": ["cup"]})).warnings == ()
    places = (
        str(tmp_path / "videos.parquet"),
        str(write(tmp_path / "prompts.parquet", prompts("a", **{name: ["cup"]}))),
    )
    for told in (Naming({"category": name}), Naming(keep=(name,))):
        assert make_plan(InputTables(*places, naming=InputNaming(Naming(), told)), {}).warnings == ()


def test_rows_that_name_nothing_are_told(tmp_path: Path) -> None:
    videos = {"video_id": ["a", None, ""], "uri": ["x", "y", "z"]}
    plan = plan_of(tmp_path, videos, prompts("a", "a", object_id=[None, 1]))
    (item,) = plan.items()
    assert item.prompts_at == (RowSpan(str(tmp_path / "prompts.parquet"), 0, 1, 2),)
    assert plan.warnings == (
        "2 rows of the videos table without a video_id: left out",
        "1 row of the prompts table without an object_id: left out",
    )


def test_object_ids_beyond_64_bits_with_sign_are_told(tmp_path: Path) -> None:
    columns = prompts("a", object_id=pa.array([2**63], pa.uint64()))
    with pytest.raises(InputError, match=r"prompts\.parquet: object_id must be a whole number of 64 bits"):
        plan_of(tmp_path, {"video_id": ["a"], "uri": ["x"]}, columns)


def test_empty_tables_are_told(tmp_path: Path) -> None:
    nothing = plan_of(tmp_path, NO_VIDEOS, prompts())
    assert (nothing.num_videos, list(nothing.items())) == (0, [])
    assert nothing.warnings == ("the videos table has no rows with a video_id: nothing to label",)
    unprompted = plan_of(tmp_path, {"video_id": ["a"], "uri": ["x"]}, prompts())
    assert unprompted.num_no_prompts == 1
    assert unprompted.warnings == ("the prompts table has no rows: every video will be recorded as no_prompts",)


def test_videos_whose_objects_workers_find_are_labeled_without_prompts(tmp_path: Path) -> None:
    videos = write(tmp_path / "videos.parquet", {"video_id": ["a", "b"], "uri": ["x", "y"]})
    plan = make_plan(InputTables(str(videos), None), {})
    assert plan.warnings == ()
    assert (plan.num_to_label, plan.num_no_prompts) == (2, 0)
    assert [item.prompts_at for item in plan.items()] == [(), ()]
    again = make_plan(InputTables(str(videos), None), finished(plan))
    assert (again.num_done, again.num_to_label) == (2, 0)


def test_tables_of_neither_videos_nor_prompts_are_refused() -> None:
    with pytest.raises(InputError, match="neither videos= nor prompts= is given"):
        InputTables(None, None)


@pytest.mark.parametrize("video_id", ["a/b/../c", "<script>alert(1)</script>", "ü" * 500, " ", "a\nb"])
def test_an_id_may_be_any_text(tmp_path: Path, video_id: str) -> None:
    plan = plan_of(tmp_path, {"video_id": [video_id], "uri": ["x"]}, prompts(video_id))
    assert ids(plan) == [video_id]


def test_ids_may_be_dictionaries_and_large(tmp_path: Path) -> None:
    videos = {
        "video_id": pa.array(["a", "b"]).dictionary_encode(),
        "uri": pa.array(["x", "x"]).dictionary_encode(),
    }
    columns = prompts("a", "b", video_id=pa.array(["a", "b"], pa.large_string()))
    assert ids(plan_of(tmp_path, videos, columns)) == ["a", "b"]


def test_long_videos_come_first_and_those_of_a_place_together(tmp_path: Path) -> None:
    videos = {
        "video_id": list("abcdefg"),
        "uri": ["t.tar::a", "long.mp4", "u.tar::c", "t.tar::d", "short.mp4", "u.tar::f", "t.tar::g"],
        "duration_seconds": [5.0, 60.0, 7.0, 3.0, 1.0, None, 5.0],
    }
    assert ids(plan_of(tmp_path, videos, prompts(*"abcdefg"))) == ["b", "c", "f", "a", "d", "g", "e"]


def order_of(places: np.ndarray, seconds: np.ndarray, window: int) -> list[int]:
    groups = [group[long_first(places[group], seconds[group])] for group in windows(places, window)]
    return np.concatenate([np.empty(0, np.int64), *groups]).tolist()


def test_without_durations_the_order_is_that_of_the_table() -> None:
    assert order_of(np.arange(9), np.zeros(9), 4) == list(range(9))
    places = np.array([0, 1, 0, 2, 1])
    assert order_of(places, np.zeros(5), 100) == [0, 2, 1, 4, 3]
    assert order_of(np.empty(0, np.int64), np.empty(0), 4) == []


def test_long_videos_do_not_jump_over_windows() -> None:
    durations = np.arange(12, dtype=float)
    assert order_of(np.arange(12), durations, 4) == [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8]


def test_a_place_is_never_split_over_windows() -> None:
    places = np.array([0, 1, 2, 0, 3, 0, 4])
    assert [group.tolist() for group in windows(places, 2)] == [[0, 3, 5], [1], [2, 4], [6]]


def test_where_no_duration_is_known_the_size_of_the_file_says_which_is_long(tmp_path: Path) -> None:
    names = ["short", "long", "other", "gone", "told"]
    for name, num_bytes in (("short", 300_000), ("long", 4_000_000), ("other", 310_000)):
        (tmp_path / f"{name}.mp4").write_bytes(bytes(num_bytes))
    durations = [None, None, None, None, 5.0]
    videos = {"video_id": names, "uri": [f"{name}.mp4" for name in names], "duration_seconds": durations}
    plan = plan_of(tmp_path, videos, prompts(*names))
    assert ids(plan) == ["long", "told", "short", "other", "gone"]
    expected = {item.video_id: item.expected_seconds for item in plan.items()}
    assert expected["long"] == pytest.approx(16, rel=0.2)
    assert (expected["told"], expected["gone"]) == (5.0, 0.0)
    assert expected["short"] == expected["other"], "about equally long files keep the order of the table"


def test_stores_are_asked_for_the_last_window_only(tmp_path: Path) -> None:
    """Before it no worker runs out of work, and a million requests would cost more than the order saves."""
    store = fsspec.filesystem("memory")
    names = list("abcdefgh")
    for number, name in enumerate(names):
        store.pipe_file(f"/last-window/{name}.mp4", bytes(50_000 << (number if name in "abdh" else 0)))
    videos = {"video_id": names, "uri": [f"memory://last-window/{name}.mp4" for name in names]}
    plan = plan_of(tmp_path, videos, prompts(*names))
    assert [item.video_id for item in plan.items(window_videos=3)] == [*"abc", *"def", *"hg"]
    store.rm("/last-window", recursive=True)


def test_a_plan_is_made_again_from_another_log_without_reading_the_tables(tmp_path: Path) -> None:
    videos = {"video_id": ["a", "b", "c", "d"], "uri": ["x", "y", None, "z"]}
    plan = plan_of(tmp_path, videos, prompts("a", "b", "c"))
    (tmp_path / "videos.parquet").unlink()
    (tmp_path / "prompts.parquet").unlink()
    done = finished(plan)
    assert (plan.again(done).num_done, ids(plan.again(done))) == (4, [])
    del done["b"]
    done["a"] = Finished(Status.FAILED, done["a"].prompt_hash)
    again = plan.again(done, {"a", "c"})
    assert (ids(again), again.replaced, again.changed) == (["a", "b"], {"a", "c"}, frozenset()), (
        "the refused one has failed, too"
    )
    assert ids(plan) == ["a", "b"]


@pytest.mark.slow
def test_many_videos_need_little_memory(tmp_path: Path) -> None:
    count = 20_000
    names = [f"video-{number:08d}" for number in range(count)]
    uris = [f"https://host/{name}.mp4" for name in names]  # web servers are not asked, so no client is imported
    write(tmp_path / "videos.parquet", {"video_id": names, "uri": uris})
    write(tmp_path / "prompts.parquet", prompts(*names))
    tables = InputTables(str(tmp_path / "videos.parquet"), str(tmp_path / "prompts.parquet"))
    names.clear()
    uris.clear()
    tracemalloc.start()
    plan = make_plan(tables, {})
    num_items = sum(1 for _ in plan.items())
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_items == count
    assert kept < 400 * count
    assert peak < 700 * count + (20 << 20)  # and one batch of rows


def test_the_objects_of_a_few_videos_are_told_whatever_name_the_prompts_give_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "clips").mkdir(exist_ok=True)
        (tmp_path / "clips" / f"{name}.mp4").touch()
    columns = prompts("a.mp4", "b", "a", "a", object_id=[4, 5, 6, None], frame_index=[0.0, 0.0, float("nan"), 0.0])
    columns["pts_seconds"] = [None, None, 1.5, None]
    tables = InputTables(str(tmp_path / "clips"), str(write(tmp_path / "prompts.parquet", columns)))
    assert make_plan(tables, {}).prompted_objects(["a"]) == {
        "a": {4: {FramePosition(0, None)}, 6: {FramePosition(None, 1.5)}}
    }


def test_corrections_add_prompts_and_say_nothing_of_where_videos_are(tmp_path: Path) -> None:
    base = str(write(tmp_path / "prompts.parquet", prompts("a", "b", uri=["a.mp4", "b.mp4"])))
    fixes = tmp_path / "fixes"
    for number, columns in enumerate((prompts("b", object_id=[7]), prompts("b", "nobody", uri=["wrong.mp4", "n.mp4"]))):
        write(fixes / f"{number}.parquet", columns)
    before = make_plan(InputTables(None, base), {})
    plan = make_plan(InputTables(None, base, corrections=[str(fixes), f"{fixes}/*1.parquet"]), finished(before))
    (item,) = plan.items()
    assert plan.changed == {"b"}
    assert item.source.uri == str(tmp_path / "b.mp4")
    assert [Path(span.file).name for span in item.prompts_at] == ["prompts.parquet", "0.parquet", "1.parquet"]
    assert [one.object_id for one in read_prompts(item).objects] == [1, 7]
    assert plan.prompted_objects(["b"])["b"].keys() == {1, 7}
    (warning,) = plan.warnings
    assert "1 of 5 rows of the tables of prompts and corrections is left out" in warning
    assert "'nobody'" in warning
    assert make_plan(InputTables(None, base, corrections=[base]), finished(before)).changed == frozenset()


def test_what_reviewers_said_is_no_table_of_corrections(tmp_path: Path) -> None:
    """Videos that were labeled well failed by it, and lost their masks."""
    base = str(write(tmp_path / "prompts.parquet", prompts("a", uri=["a.mp4"])))
    at = {"reviewer": "ann", "reviewed_at": datetime(2026, 11, 30, tzinfo=UTC)}
    (tmp_path / "job").mkdir()
    job = JobStorage(str(tmp_path / "job"))
    write_corrections(job, [at | {"video_id": "a", "object_id": 1, "frame_index": 3, "kind": "hidden"}])
    write_verdicts(job, [at | {"video_id": "a", "object_id": 1, "verdict": "fix"}])
    for place in (f"{job.uri}/reviews", f"{job.uri}/reviews/corrections-*.parquet"):
        with pytest.raises(InputError, match=r"reviews/.* holds what reviewers have said of a job.*leave corrections="):
            InputTables(None, base, corrections=[place])


def test_corrections_are_checked_like_prompts(tmp_path: Path) -> None:
    base = str(write(tmp_path / "prompts.parquet", prompts("a", uri=["a.mp4"])))
    bare = str(write(tmp_path / "bare.parquet", {"video_id": ["a"], "object_id": [1], "frame_index": [0]}))
    with pytest.raises(InputError, match=r"corrections: .*bare\.parquet has none of the columns points_xy"):
        InputTables(None, base, corrections=[bare])
    with pytest.raises(InputError, match=r"corrections: .*nowhere\.parquet does not exist"):
        InputTables(None, base, corrections=[str(tmp_path / "nowhere.parquet")])


def test_a_video_whose_file_has_another_version_is_labeled_again_once_it_is_asked_for(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"video_id": ["a", "b", "c"], "uri": ["a", "b", "c"]}, prompts("a", "b", "c"))
    done = {video_id: one._replace(source_hash="old") for video_id, one in finished(plan).items()}
    settled = plan.again(done)
    files = settled.done_files(lambda asked: np.array([one != "b" for one in asked.to_pylist()]), only_local=True)
    assert [(name, Path(uri).name) for name, uri in files] == [("a", "a"), ("c", "c")]
    again = settled.with_files_now({"b": "new"}, done, ())
    assert (ids(again), again.replaced, again.changed) == (["b"], {"b"}, frozenset())
    assert again.again(done | {"b": done["b"]._replace(source_hash="new")}).num_done == 3


@pytest.mark.parametrize("has_column", [True, False], ids=["null", "no column"])
def test_rows_of_prompts_need_no_uri_where_another_shard_has_it(tmp_path: Path, has_column: bool) -> None:
    """The shard without uris comes first, and the other one also says which part of the video is meant."""
    bare = {"uri": pa.nulls(2, pa.string())} if has_column else {}
    write(tmp_path / "prompts" / "0.parquet", prompts("b", "a", **bare))
    told = {"uri": ["a.mp4", "b.mp4", None], "start_seconds": [None, 1.5, None]}
    write(tmp_path / "prompts" / "1.parquet", prompts("a", "b", "c", **told))
    plan = make_plan(InputTables(None, str(tmp_path / "prompts")), {})
    items = {item.video_id: item for item in plan.items()}
    folder = tmp_path / "prompts"
    assert {
        name: (item.source.uri, item.range.start_seconds, len(item.prompts_at)) for name, item in items.items()
    } == {
        "a": (str(folder / "a.mp4"), None, 2),
        "b": (str(folder / "b.mp4"), 1.5, 2),
    }
    (refused,) = plan.refused()
    assert refused.message == "video 'c': its row has no uri; give it one"
    write(folder / "2.parquet", prompts("b", uri=["elsewhere.mp4"]))
    again = make_plan(InputTables(None, str(folder)), {})
    assert "'b': its prompt rows disagree about uri" in "".join(outcome.message for outcome in again.refused())


def test_cuts_are_part_of_what_a_video_is_labeled_from_and_a_video_without_keeps_its_hash(tmp_path: Path) -> None:
    def plan(cuts: list[list[float] | None] | None, *, uses_cuts: bool = True) -> Plan:
        columns = {"video_id": ["a", "b"], "uri": ["a.mp4", "b.mp4"]} | ({} if cuts is None else {"cuts_seconds": cuts})
        places = write(tmp_path / "v.parquet", columns), write(tmp_path / "p.parquet", prompts("a", "b"))
        return make_plan(InputTables(*map(str, places), naming=InputNaming(uses_cuts=uses_cuts)), {})

    def hashes(found: Plan) -> list[str]:
        return [item.prompt_hash for item in sorted(found.items(), key=lambda item: item.video_id)]

    plain, cut = plan(None), plan([[2.5, 1.0, 2.5], None])
    assert [item.range.cuts_seconds for item in sorted(cut.items(), key=lambda item: item.video_id)] == [(1.0, 2.5), ()]
    assert hashes(cut)[1] == hashes(plain)[1]
    assert len({hashes(plain)[0], hashes(cut)[0], hashes(plan([[1.0], None]))[0]}) == 3
    assert hashes(plan([[2.5, 1.0], []])) == hashes(cut)
    assert hashes(plan([[2.5, 1.0], None], uses_cuts=False)) == hashes(plain)
    assert cut.prompt_hashes()[0] == hashes(cut)[0]
    (item,) = (item for item in cut.items() if item.video_id == "a")
    assert read_prompts(item).objects


def test_a_cut_at_no_time_fails_its_video_alone(tmp_path: Path) -> None:
    columns = {"video_id": ["a", "b"], "uri": ["a.mp4", "b.mp4"], "cuts_seconds": [[1.0], [2.0, float("nan")]]}
    places = write(tmp_path / "v.parquet", columns), write(tmp_path / "p.parquet", prompts("a", "b"))
    plan = make_plan(InputTables(*map(str, places)), {})
    (refused,) = plan.refused()
    assert (refused.video_id, plan.num_to_label) == ("b", 1)
    assert "cuts_seconds: expected finite numbers of seconds from 0" in refused.message


def corrected(*object_ids: int, has_masks: bool = True) -> ReviewedVideo:
    shown = frozenset(object_ids if has_masks else ())
    return ReviewedVideo({name: f"hash {name}" for name in object_ids}, ("reviews/c.parquet",), shown=shown)


def test_videos_with_other_corrections_than_those_of_their_labels_are_labeled_again(tmp_path: Path) -> None:
    videos = {"video_id": [*"abcdef"], "uri": [f"{name}.mp4" for name in "abcdef"]}
    tables = InputTables(
        str(write(tmp_path / "videos.parquet", videos)), str(write(tmp_path / "prompts.parquet", prompts(*"abcde")))
    )
    hashes = {item.video_id: item.prompt_hash for item in make_plan(tables, {}).items()}
    known = corrected(1).review_hash
    done = {
        "a": Finished(Status.OK, hashes["a"]),
        "b": Finished(Status.OK, hashes["b"], review_hash=known),
        "c": Finished(Status.FAILED, hashes["c"]),
        "d": Finished(Status.OK, "other prompts"),
        "e": Finished(Status.OK, hashes["e"], review_hash=known),
        "f": Finished(Status.NO_PROMPTS, ""),
    }
    reviews = {name: corrected(1) for name in "abcd"} | {"e": corrected(has_masks=False), "f": corrected(7)}
    plan = make_plan(tables, done, reviews=reviews | {"nowhere": corrected(1)})
    assert plan.reviewed == {"a", "e", "f"}
    assert plan.reasons() == {"a": "review", "d": "prompts", "e": "review", "f": "review"}
    items = {item.video_id: item for item in plan.items()}
    assert items.keys() == {"a", "d", "e", "f"}
    in_turn = [item.video_id for item in plan.items(turns=corrected_first(plan))]
    assert (set(in_turn[:3]), in_turn[3:]) == ({"a", "e", "f"}, ["d"]), "people wait for these"
    assert corrected_first(make_plan(tables, {})) is None
    assert all(isinstance(item, ReviewedItem) for item in items.values())
    assert [text for text in plan.warnings if "nowhere" in text] == [
        "corrections of 1 video that no table has wait until one has them: 'nowhere'. Put it back, withdraw the "
        "corrections, or let its masks and reviews go with prune=true"
    ]
    labeled = {name: done[name]._replace(status=Status.OK, review_hash=reviews[name].review_hash) for name in "aef"}
    assert plan.again(done | labeled).reviewed == set()
    failed = {"a": done["a"]._replace(failed_with=known), "e": done["e"]._replace(failed_with="others")}
    assert plan.again(done | failed).reviewed == {"e", "f"}, "with these corrections video a was tried"


def test_what_only_masks_of_reviewers_prompted_is_recorded_without_prompts_when_they_are_withdrawn(
    tmp_path: Path,
) -> None:
    videos = {"video_id": [*"abcdefghiz"], "uri": [f"{name}.mp4" for name in "abcdefghiz"]}
    tables = InputTables(
        str(write(tmp_path / "videos.parquet", videos)), str(write(tmp_path / "prompts.parquet", prompts("z")))
    )
    before, withdrawn = corrected(7).review_hash, corrected()
    added = Finished(Status.OK, "", review_hash=before)
    accepted = {7: Opinion(Verdict.ACCEPT, datetime(2026, 11, 29, tzinfo=UTC), False)}
    done = dict.fromkeys("abch", added) | {
        "d": Finished(Status.NO_PROMPTS, ""),
        "e": Finished(Status.FAILED, "", review_hash=before),
        "f": Finished(Status.OK, "of prompts that are gone"),
        "g": Finished(Status.FAILED, "of prompts that are gone"),
        "i": Finished(Status.FAILED, "", review_hash="of other masks"),
    }
    hidden = corrected(8, has_masks=False)
    reviews = {"a": withdrawn, "b": replace(withdrawn, opinions=accepted), "c": hidden, "d": hidden, "e": withdrawn}
    reviews |= {"f": corrected(7), "g": hidden, "h": corrected(7), "i": corrected(7)}
    plan = make_plan(tables, done, reviews=reviews)
    assert {outcome.video_id for outcome in plan.no_prompts()} == {"a", "e", "g"}
    assert {item.video_id for item in plan.items()} == {"b", "c", "f", "z"}, "the rows of b and c say whether some stay"
    assert plan.reviewed == plan.in_part == {"a", "b", "c", "e"}
    assert plan.changed == {"f", "g"}
    assert plan.replaced == plan.reviewed | plan.changed
    assert {item.video_id for item in make_plan(tables, {}, reviews=reviews).items()} == {"f", "h", "i", "z"}
    failed = {"c": added._replace(failed_with=hidden.review_hash)}
    assert plan.again(done | failed).reviewed == {"a", "b", "e"}
    tried = {item.video_id for item in plan.again(done | failed, "ch").items()}
    assert tried == {"b", "c", "f", "h", "z"}


def test_only_objects_that_failed_are_tried_again_of_a_video_on_which_people_have_worked(tmp_path: Path) -> None:
    videos = {"video_id": [*"abcdefg"], "uri": [f"{name}.mp4" for name in "abcdefg"]}
    tables = InputTables(
        str(write(tmp_path / "videos.parquet", videos)),
        str(write(tmp_path / "prompts.parquet", prompts(*"abcdefg"))),
    )
    hashes = {item.video_id: item.prompt_hash for item in make_plan(tables, {}).items()}
    done = {name: Finished(Status.OK, hashes[name]) for name in "abcdefg"}
    done["b"] = done["b"]._replace(review_hash="withdrawn since")
    done["d"] = done["d"]._replace(status=Status.FAILED)
    done["e"] = done["e"]._replace(prompt_hash="other prompts")
    done["f"] = done["f"]._replace(review_hash=corrected(2).review_hash)
    judged = ReviewedVideo(opinions={1: Opinion(Verdict.REJECT, datetime(2026, 11, 29, tzinfo=UTC), False)})
    reviews = {"a": judged, "d": corrected(1), "e": corrected(1), "f": corrected(1), "g": corrected(1)}
    plan = make_plan(tables, done, "abcdef", reviews)
    assert plan.replaced == set("abcdefg")
    assert plan.reviewed == {"f", "g"}
    assert plan.in_part == {"a", "b", "f", "g"}
    assert plan.reasons() | {"a": "retry", "b": "retry", "c": "retry", "d": "retry", "f": "review"} == plan.reasons()
    other = plan.with_files_now({"a": "another file"}, done, "abcdef")
    assert other.in_part == {"b", "f", "g"}

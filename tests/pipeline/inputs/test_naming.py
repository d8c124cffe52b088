"""Tables whose columns have other names, or stand in the names of folders."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipeline.config.compose import job_config
from pipeline.errors import InputError
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.naming import InputNaming
from pipeline.inputs.plan import Plan, make_plan
from pipeline.inputs.prompts import VideoPrompts, read_prompts
from pipeline.inputs.table_readers import TableReaders
from pipeline.records import TimeRange, WorkItem
from pipeline.video.media import open_media

PROMPT = {"object_id": [1], "frame_index": [0], "box_xyxy": [[1.0, 2.0, 30.0, 40.0]]}


def write(path: Path, columns: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def naming(*overrides: str, videos: object = "v") -> InputNaming:
    places = ["prompts=p", "output=o", *([f"videos={videos}"] if videos else [])]
    return InputNaming.of(job_config("label", [*places, *overrides]))


def plan_of(videos: object, prompts: object, *overrides: str) -> Plan:
    where = None if videos is None else str(videos)
    return make_plan(InputTables(where, str(prompts), naming=naming(*overrides, videos=where)), {})


def prompts_of(item: WorkItem, names: InputNaming) -> VideoPrompts:
    with TableReaders(names) as readers:
        return read_prompts(item, None, readers.prompts)


@pytest.mark.slow
def test_columns_may_have_other_names(tmp_path: Path) -> None:
    videos = write(tmp_path / "v.parquet", {"id": ["a"], "file_name": ["a.mp4"], "from": [1.0], "to": [2.0]})
    renamed = {"id": ["a"], "track": [7], "frame": [3], "rect": PROMPT["box_xyxy"], "label": ["dog"]}
    keys = (
        *("columns.video_id=id", "columns.uri=file_name", "columns.start_seconds=from", "columns.end_seconds=to"),
        *("columns.object_id=track", "columns.frame_index=frame", "columns.box=rect", "columns.category=label"),
    )
    (item,) = plan_of(videos, write(tmp_path / "p.parquet", renamed), *keys).items()
    assert (item.video_id, item.source.uri, item.range) == ("a", str(tmp_path / "a.mp4"), TimeRange(1.0, 2.0))
    (found,) = prompts_of(item, naming(*keys)).objects
    assert (found.object_id, found.category, found.error) == (7, "dog", "")
    plain = {"video_id": ["a"], "object_id": [7], "frame_index": [3], "box_xyxy": PROMPT["box_xyxy"]}
    (same,) = plan_of(
        write(
            tmp_path / "v2.parquet", {"video_id": ["a"], "uri": ["a.mp4"], "start_seconds": [1.0], "end_seconds": [2.0]}
        ),
        write(tmp_path / "p2.parquet", plain),
    ).items()
    assert item.prompt_hash == same.prompt_hash


def test_both_tables_may_call_the_id_otherwise(tmp_path: Path) -> None:
    videos = write(tmp_path / "v.parquet", {"id": ["a"], "uri": ["a.mp4"]})
    prompts = write(tmp_path / "p.parquet", {"id": [99], "video": ["a"], **PROMPT})
    plan = plan_of(videos, prompts, "columns.video_id=id", "columns.prompts_video_id=video")
    assert [item.video_id for item in plan.items()] == ["a"]
    with pytest.raises(InputError, match=r"prompts: column id of .* is int64; write it as string"):
        plan_of(videos, prompts, "columns.video_id=id")


def test_a_table_that_has_the_standard_name_only_is_read_by_it(tmp_path: Path) -> None:
    videos = write(tmp_path / "v.parquet", {"id": ["a"], "uri": ["a.mp4"]})
    prompts = write(tmp_path / "p.parquet", {"video_id": ["a"], **PROMPT})
    assert plan_of(videos, prompts, "columns.video_id=id").num_to_label == 1


def test_a_name_that_no_table_has_is_refused_with_the_columns(tmp_path: Path) -> None:
    videos = write(tmp_path / "v.parquet", {"video_id": ["a"], "uri": ["a.mp4"]})
    prompts = write(tmp_path / "p.parquet", {"video_id": ["a"], **PROMPT})
    with pytest.raises(InputError) as caught:
        plan_of(videos, prompts, "columns.category=klass")
    assert str(caught.value) == (
        "columns.category=klass: no table has a column klass: videos= has uri, video_id; "
        "prompts= has box_xyxy, frame_index, object_id, video_id"
    )
    with pytest.raises(InputError, match="no table has a column chunk"):
        plan_of(videos, prompts, "columns.uri=x/{chunk:03d}.mp4")


def test_a_missing_column_is_told_with_the_key_that_names_it(tmp_path: Path) -> None:
    videos = write(tmp_path / "v.parquet", {"id": ["a"], "uri": ["a.mp4"]})
    prompts = write(tmp_path / "p.parquet", {"video_id": ["a"], **PROMPT})
    with pytest.raises(InputError, match=r"its columns are id, uri; if one of them is meant, give columns.video_id=…"):
        plan_of(videos, prompts)


def test_texts_are_made_of_columns_as_episodes_of_lerobot_need_them(tmp_path: Path) -> None:
    """Version 3 of LeRobot's data sets: many episodes in one file, their bounds in `meta/episodes`."""
    camera = "videos/observation.images.top"
    episodes = {
        "episode_index": [0, 1],
        f"{camera}/chunk_index": [0, 0],
        f"{camera}/file_index": [12, 12],
        f"{camera}/from_timestamp": [0.0, 7.5],
        f"{camera}/to_timestamp": [7.5, 9.25],
    }
    table = write(tmp_path / "meta" / "episodes" / "chunk-000" / "file-000.parquet", episodes)
    prompts = write(tmp_path / "p.parquet", {"video_id": ["episode-000001"], **PROMPT})
    plan = plan_of(
        table.parents[1],
        prompts,
        "columns.video_id=episode-{episode_index:06d}",
        f"columns.uri=../../../{camera}/chunk-{{{camera}/chunk_index:03d}}/file-{{{camera}/file_index:03d}}.mp4",
        f"columns.start_seconds={camera}/from_timestamp",
        f"columns.end_seconds={camera}/to_timestamp",
        "columns.prompts_video_id=video_id",
    )
    (item,) = plan.items()
    assert (item.video_id, item.range) == ("episode-000001", TimeRange(7.5, 9.25))
    assert item.source.uri == str(tmp_path / camera / "chunk-000" / "file-012.mp4")
    (none,) = plan.no_prompts()
    assert none.video_id == "episode-000000"


def test_a_text_of_a_null_is_null(tmp_path: Path) -> None:
    videos = write(tmp_path / "v.parquet", {"video_id": ["a", "b"], "name": ["x", None]})
    prompts = write(tmp_path / "p.parquet", {"video_id": ["a", "b"], **{k: v * 2 for k, v in PROMPT.items()}})
    plan = plan_of(videos, prompts, "columns.uri=clips/{name}.mp4")
    assert [item.source.uri for item in plan.items()] == [str(tmp_path / "clips" / "x.mp4")]
    (refused,) = plan.refused()
    assert "its row has no uri" in refused.message


@pytest.mark.slow
def test_decimal_numbers_are_numbers(tmp_path: Path) -> None:
    """As DuckDB writes the literal `[1.5, 2.0, 30.0, 40.0]`."""
    boxes = pa.array(
        [[Decimal("1.5"), Decimal("2.0"), Decimal("30.0"), Decimal("40.0")]], pa.list_(pa.decimal128(4, 1))
    )
    times = pa.array([Decimal("0.5")], pa.decimal128(4, 1))
    columns = {"video_id": ["a"], "uri": ["a.mp4"], "object_id": [1], "frame_index": pa.array([Decimal("3")])}
    table = write(tmp_path / "p.parquet", columns | {"box_xyxy": boxes, "start_seconds": times})
    plain = write(
        tmp_path / "q.parquet",
        columns | {"frame_index": [3], "box_xyxy": [[1.5, 2.0, 30.0, 40.0]], "start_seconds": [0.5]},
    )
    (item,), (same,) = plan_of(None, table).items(), plan_of(None, plain).items()
    assert item.prompt_hash == same.prompt_hash
    assert item.range == TimeRange(0.5, None)
    assert prompts_of(item, naming(videos=None)) == prompts_of(same, naming(videos=None))


VIDEO = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


@pytest.mark.slow
def test_a_column_of_structs_with_bytes_is_a_column_of_videos(tmp_path: Path) -> None:
    """As `datasets.Dataset.to_parquet` writes a feature `Video`: the path is the name that the file once had."""
    stored = pa.array([{"bytes": b"one", "path": "a.mp4"}, {"bytes": b"two", "path": "b.mp4"}], VIDEO)
    videos = write(tmp_path / "v.parquet", {"video_id": ["a", "b"], "video": stored})
    prompts = write(tmp_path / "p.parquet", {"video_id": ["b"], **PROMPT})
    (item,) = plan_of(videos, prompts).items()
    assert item.source.uri is None
    with (
        TableReaders(naming()) as readers,
        open_media(item, None, readers.video_bytes) as media,
        media.files[0]() as file,
    ):
        assert file.read() == b"two"
    renamed = write(tmp_path / "w.parquet", {"video_id": ["a", "b"], "clip": stored})
    (item,) = plan_of(renamed, prompts, "columns.video=clip").items()
    with TableReaders(naming("columns.video=clip")) as readers, open_media(item, None, readers.video_bytes) as media:
        assert media.extent() == "3 bytes"


@pytest.mark.parametrize("kind", [VIDEO, None], ids=["bytes", "nothing"])
def test_a_column_of_structs_with_paths_names_files(tmp_path: Path, kind: pa.DataType | None) -> None:
    """Where nobody says of which type the bytes are that no row has, they are of Arrow's null type."""
    stored = pa.array([{"bytes": None, "path": "/clips/a.mp4"}, {"bytes": None, "path": "b.mp4"}], kind)
    videos = write(tmp_path / "v.parquet", {"video_id": ["a", "b"], "video": stored})
    prompts = write(tmp_path / "p.parquet", {"video_id": ["a", "b"], **{k: v * 2 for k, v in PROMPT.items()}})
    assert [item.source.uri for item in plan_of(videos, prompts).items()] == ["/clips/a.mp4", str(tmp_path / "b.mp4")]
    mixed = pa.array([{"bytes": None, "path": "/clips/a.mp4"}, {"bytes": b"x", "path": "b.mp4"}], VIDEO)
    videos = write(tmp_path / "w.parquet", {"video_id": ["a", "b"], "video": mixed})
    with pytest.raises(InputError, match=r"column video of .* has bytes in some rows and none in others"):
        plan_of(videos, prompts)


@pytest.mark.slow
def test_partitions_are_columns_and_no_folders_that_uris_count_from(tmp_path: Path) -> None:
    """As Arrow, Spark and pandas write partitions: the column is in the name of the folder and not in the file."""
    rows = {"video_id": ["a", "b"], "uri": ["clips/a.mp4", "clips/b.mp4"], "split": ["train", "my test"]}
    ds.write_dataset(
        pa.table(rows), tmp_path / "v", format="parquet", partitioning=["split"], partitioning_flavor="hive"
    )
    seeds = {"video_id": ["a", "b"], "category": ["dog", "cat"], **{k: v * 2 for k, v in PROMPT.items()}}
    ds.write_dataset(
        pa.table(seeds), tmp_path / "p", format="parquet", partitioning=["category"], partitioning_flavor="hive"
    )
    assert "category=dog" in {path.parent.name for path in (tmp_path / "p").rglob("*.parquet")}
    items = {item.video_id: item for item in plan_of(tmp_path / "v", tmp_path / "p").items()}
    assert {item.source.uri for item in items.values()} == {f"{tmp_path}/v/clips/a.mp4", f"{tmp_path}/v/clips/b.mp4"}
    found = {video_id: prompts_of(item, naming()).objects[0].category for video_id, item in items.items()}
    assert found == {"a": "dog", "b": "cat"}
    one_file = next((tmp_path / "v").rglob("*train/*.parquet"))
    (item,) = plan_of(one_file, tmp_path / "p").items()
    assert item.source.uri == str(one_file.parent / "clips" / "a.mp4")  # the folder of the file that was named


@pytest.mark.parametrize("name", ["007", "12", "2026_11", "1e5", "inf", " 7", "9" * 20])
def test_a_folder_of_a_column_of_texts_says_a_text_whatever_it_looks_like(tmp_path: Path, name: str) -> None:
    folders = f"video_id={name}/category={name}/split={name}"
    file = write(tmp_path / folders / "p.parquet", {**PROMPT, "uri": ["/clips/a.mp4"]})
    (item,) = plan_of(None, tmp_path, "keep_columns=split").items()
    assert item.video_id == name
    names = naming("keep_columns=split", videos=None)
    with TableReaders(names) as readers:
        (found,) = read_prompts(item, None, readers.prompts, ["split"]).objects
    assert found.category == name
    number = {"007": 7, "12": 12, "1e5": 1e5, "9" * 20: 1e20}.get(name, name)
    assert json.loads(found.kept or "") == {"split": number}, f"{file}: further columns may be numbers"


def test_whole_numbers_that_pandas_made_floats_of_are_filled_up_with_zeros(tmp_path: Path) -> None:
    """It does so where one of them is missing."""
    episodes = {"index": [1.0, None, 12.0], "part": [0.5, 1.0, 2.0], "uri": ["a.mp4", "b.mp4", "c.mp4"]}
    videos = write(tmp_path / "v.parquet", episodes)
    prompts = write(
        tmp_path / "p.parquet", {"id": ["ep 001 0.5", "ep 012 2.0"], **{k: v * 2 for k, v in PROMPT.items()}}
    )
    keys = "columns.video_id=ep {index:03d} {part}", "columns.prompts_video_id=id"
    assert {item.video_id for item in plan_of(videos, prompts, *keys).items()} == {"ep 001 0.5", "ep 012 2.0"}


def _writable_view() -> pa.DataType:
    """The type of views, or that of plain texts where this release of Arrow writes no views."""
    try:
        pq.write_table(pa.table({"a": pa.array(["a"], pa.string_view())}), pa.BufferOutputStream())
    except pa.ArrowNotImplementedError:
        return pa.string()
    return pa.string_view()


def test_texts_may_be_views_as_programs_in_rust_write_them(tmp_path: Path) -> None:
    """Arrow reads them back as such, and knows few functions for them. Older releases of it write no such files."""
    view = _writable_view()
    counts = pa.StructArray.from_arrays([pa.array([[4, 4]]), pa.array(["32;"], view)], ["size", "counts"])
    texts = {name: pa.array([name], view) for name in ("video_id", "category", "uri")}
    write(tmp_path / "p.parquet", {**texts, "object_id": [1], "frame_index": [0], "mask_rle": counts})
    (item,) = plan_of(None, tmp_path / "p.parquet").items()
    assert (item.video_id, item.source.uri) == ("video_id", str(tmp_path / "uri"))
    (found,) = prompts_of(item, naming(videos=None)).objects
    assert (found.category, found.error, len(found.prompts)) == ("category", "", 1)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    columns = [pa.array(["a"]), *(pa.array(column) for column in PROMPT.values()), pa.array(["b"])]
    table = pa.Table.from_arrays(columns, ["video_id", *PROMPT, "video_id"])
    pq.write_table(table, tmp_path / "p.parquet")
    with pytest.raises(InputError, match=r"p\.parquet has several columns video_id; keep one of them"):
        plan_of(write(tmp_path / "v.parquet", {"video_id": ["a"], "uri": ["a"]}), tmp_path / "p.parquet")

"""Rows of masks as Arrow, pandas, polars and duckdb: what a condition leaves, and what is read for it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from model import MediaError
from pipeline import tables
from pipeline.commits.log import CommitLog
from pipeline.notebook.extras import needs_extra
from pipeline.output.schema import MASKS
from pipeline.output.where import WrongCondition
from pipeline.storage.job_storage import JobStorage
from tests.pipeline.notebook.conftest import Filmed
from tests.support.drawn_job import USUAL, DrawnVideo, Truth, write_job, write_job_to
from tests.support.labeled import driver, labeled, publish
from tests.support.s3_server import S3Server

WHERE = "predicted_iou < 0.75 and area > 100"
COLUMNS = ["video_id", "object_id", "frame_index", "area"]


def expected_rows(truth: Truth) -> list[tuple[str, int, int, int]]:
    """What `WHERE` leaves, by the drawn masks: the predicted IoU of object n is 0.5 + n % 5 / 10."""
    return sorted((*key, int(mask.sum())) for key, mask in truth.items() if key[1] % 5 < 3 and mask.sum() > 100)


READERS: dict[str, Callable[[Any], list[tuple[Any, ...]]]] = {
    "arrow": lambda rows: [tuple(row.values()) for row in rows.to_table().to_pylist()],
    "batches": lambda rows: [
        tuple(row.values()) for batch in rows.to_batches(batch_size=3) for row in batch.to_pylist()
    ],
    "pandas": lambda rows: list(rows.to_pandas().itertuples(index=False, name=None)),
    "polars": lambda rows: rows.to_polars().rows(),
    "duckdb": lambda rows: rows.to_duckdb().fetchall(),
    "polars of rows": lambda rows: polars.DataFrame(rows).rows(),
    "duckdb of rows": lambda rows: duckdb.sql("select * from rows").fetchall(),
}


@pytest.mark.parametrize("reader", READERS)
def test_each_library_gets_the_rows_that_a_condition_leaves(filmed: Filmed, job: tables.JobTables, reader: str) -> None:
    expected = expected_rows(filmed.truth)
    assert 5 < len(expected) < len(filmed.truth)
    assert sorted(READERS[reader](job.masks(columns=COLUMNS, where=WHERE))) == expected
    only = job.masks(["c"], columns=COLUMNS, where=(pc.field("area") > 100)).filter("predicted_iou < 0.75")
    assert sorted(READERS[reader](only)) == [row for row in expected if row[0] == "c"]


def test_counts_and_heads_and_tracks_keep_to_the_condition(filmed: Filmed, job: tables.JobTables) -> None:
    rows = job.masks(columns=COLUMNS, where=WHERE)
    assert rows.count_rows() == len(expected_rows(filmed.truth))
    assert rows.head(2).num_rows == 2
    assert rows.schema.names == COLUMNS
    assert repr(rows) == f"<rows of masks where {WHERE}, not read yet: {', '.join(COLUMNS)}>"
    assert "the first 5 rows" in rows._repr_html_()
    dogs = job.tracks(where="category = 'dog' and num_visible > 0")
    assert dogs.select(["video_id", "object_id"]).to_pylist() == [
        {"video_id": "c", "object_id": 2},
        {"video_id": "clip-1", "object_id": 3},
    ]
    assert job.videos(where="status != 'ok'")["video_id"].to_pylist() == ["broken"]


def test_what_does_not_fit_is_named_before_anything_is_read(job: tables.JobTables) -> None:
    with pytest.raises(KeyError, match=r"masks has no column 'areas'; did you mean area\?"):
        job.masks(columns=["areas"])
    with pytest.raises(KeyError, match="masks has no column 'xyz'; it has video_id, object_id"):
        job.masks(columns=["xyz"])
    with pytest.raises(WrongCondition, match="no column 'areas'; did you mean area"):
        job.masks(where="areas > 3")
    with pytest.raises(WrongCondition, match="no column 'colour'"):
        job.tracks(where="colour = 'red'")
    with pytest.raises(ModuleNotFoundError, match=r'pip install "maskmill\[notebook\]"'), needs_extra("nothing"):
        import a_package_that_nobody_has  # noqa: F401


@pytest.mark.slow
def test_a_head_of_fewer_than_no_rows_and_a_condition_of_another_library_are_refused(job: Any) -> None:
    with pytest.raises(ValueError, match=r"head\(-1\): give how many"):
        job.masks().head(-1)
    assert job.masks().head(0).num_rows == 0
    for ask in (job.masks, job.tracks, job.videos, job.masks().filter):
        with pytest.raises(TypeError, match=r"where= is a polars.*Expr: give a text, as where='area > 100', or"):
            ask(where=polars.col("num_masks") > 1)


def test_a_column_that_tracks_have_not_is_not_looked_for_in_masks(job: tables.JobTables) -> None:
    with pytest.raises(KeyError, match="tracks has no column 'num_mask'; did you mean num_masks"):
        job.track_rows(columns=["num_mask"])
    with pytest.raises(KeyError, match="tracks has no column 'num_mask'; did you mean num_masks"):
        next(job.track_batches(columns=["num_mask"]))
    assert repr(job.track_rows(columns=["num_masks"])) == "<rows of tracks, not read yet: num_masks>"


def test_a_further_condition_may_be_a_text_wherever_one_is_taken(job: tables.JobTables) -> None:
    rows, text, expression = job.masks(columns=["area"]), "frame_index > 2", pc.field("frame_index") > 2
    expected = rows.filter(text).count_rows()
    for filter in (text, expression):
        assert rows.count_rows(filter) == expected
        assert rows.to_table(filter=filter).num_rows == expected
        assert sum(batch.num_rows for batch in rows.to_batches(filter=filter)) == expected
    with pytest.raises(TypeError, match="columns='area' is one text"):
        rows.to_table(columns="area")


def test_a_query_sees_all_three_tables(filmed: Filmed, job: tables.JobTables) -> None:
    query = """select t.category, count(*) as n, sum(m.area)::int as area from masks m
        join tracks t using (video_id, object_id) join videos v using (video_id)
        where v.status = 'ok' and t.category is not null group by all order by all"""
    category = {
        ("clip-1", 7): "cat",
        ("clip-1", 3): "dog",
        ("b/odd name.mp4", 0): "cat",
        ("c", 2): "dog",
        ("c", 5): "cat",
    }
    areas: dict[str, list[int]] = {"cat": [], "dog": []}
    for (video_id, object_id, _), mask in filmed.truth.items():
        if (video_id, object_id) in category:
            areas[category[video_id, object_id]].append(int(mask.sum()))
    expected = [(name, len(found), sum(found)) for name, found in areas.items()]
    answer = job.sql(query)
    assert answer.fetchall() == expected
    assert job.sql(query).pl().rows() == expected
    assert job.sql(query).df()["n"].tolist() == [n for _, n, _ in expected]


# What is read


class CountingFiles(LocalFileSystem):
    """Local files that count the bytes that are read of them."""

    cachable = False
    num_bytes = 0

    def _open(self, path: str, mode: str = "rb", **options: Any) -> io.FileIO:
        return CountingFile(path, self)


class CountingFile(io.FileIO):
    def __init__(self, path: str, files: CountingFiles) -> None:
        super().__init__(path)
        self._files = files

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._files.num_bytes += len(data)
        return data


class CountingStorage(JobStorage):
    """A job on local disk whose datasets are read through `files`."""

    files: CountingFiles

    def arrow_filesystem(self) -> tuple[pa_fs.FileSystem, str]:
        return pa_fs.PyFileSystem(pa_fs.FSSpecHandler(self.files)), self.uri


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[tables.JobTables, CountingFiles]:
    """Four segments with their rows in groups of 100 and codes of 400 letters each, as those of large frames."""
    folder = tmp_path_factory.mktemp("large")
    videos = [DrawnVideo(f"v{number}", {1: "cat"}, num_frames=1000) for number in range(4)]
    uri, _ = write_job(folder, tuple(videos), broken=())
    letters = np.random.default_rng(0)
    for path in Path(uri, "masks").iterdir():
        rows = pq.read_table(path)
        codes = ["".join(map(chr, letters.integers(48, 112, 400))) for _ in range(rows.num_rows)]
        rle = pa.StructArray.from_arrays(
            [rows["rle"].combine_chunks().field("size"), pa.array(codes)], fields=list(MASKS.field("rle").type)
        )
        place = rows.column_names.index("rle")
        pq.write_table(rows.set_column(place, MASKS.field("rle"), rle), path, row_group_size=100)
    storage = CountingStorage(uri)
    storage.files = CountingFiles()
    return tables.JobTables(storage, CommitLog(storage, "reader").load()), storage.files


@pytest.mark.slow
def test_only_the_columns_and_row_groups_that_are_asked_for_are_read(
    large: tuple[tables.JobTables, CountingFiles],
) -> None:
    job, files = large

    def bytes_read(call: Callable[[], object]) -> int:
        files.num_bytes = 0
        call()
        return files.num_bytes

    footers = bytes_read(job.masks().plan)
    everything = bytes_read(job.masks().to_table) - footers
    assert job.masks().plan().num_bytes == job.masks().plan().of_bytes
    assert everything == pytest.approx(job.masks().plan().of_bytes, rel=0.05)
    for rows, num_files, num_row_groups, share in (
        (job.masks(columns=["area"]), 4, 40, 0.1),
        (job.masks(columns=["rle"], where="video_id = 'v3'"), 1, 10, 0.26),
        (job.masks(["v3"], where="frame_index >= 800"), 1, 2, 0.06),
        (job.masks(where="frame_index between 100 and 199 and object_id = 1"), 4, 4, 0.12),
        (job.masks(where="predicted_iou > 0.95"), 0, 0, 0.0),
    ):
        plan = rows.plan()
        assert (plan.num_files, plan.num_row_groups) == (num_files, num_row_groups)
        assert plan.num_bytes <= share * everything
        assert bytes_read(rows.to_table) - footers <= share * everything
    assert bytes_read(job.masks(where="video_id = 'nowhere'").to_table) == 0, "the log rules it out"
    by_duckdb = bytes_read(job.sql("select max(area) from masks where video_id = 'v3'").fetchall)
    assert by_duckdb < 0.03 * everything + footers


# While the job runs, and elsewhere


@pytest.mark.slow
def test_rows_that_were_asked_for_before_follow_a_running_job(disk_storage: JobStorage, tmp_path: Path) -> None:
    _, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, labeled("a"))])
    job = tables.open(disk_storage.uri)
    rows = job.masks(columns=["video_id"])
    keeper.commit([publish(disk_storage, tmp_path, labeled("b"))])
    assert set(rows.to_table()["video_id"].to_pylist()) == {"a"}, "a snapshot"
    job.refresh()
    assert set(rows.to_polars()["video_id"]) == {"a", "b"}
    assert "2 videos finished" in repr(job)
    assert job.sql("select count(*) from masks").fetchall() == [(24,)]


@pytest.mark.slow
def test_everything_works_on_s3(filmed: Filmed, s3_server: S3Server, tmp_path: Path) -> None:
    storage = JobStorage(f"{s3_server.new_folder()}/job", s3_server.options())
    storage.replace("films/in/film 0.mp4", filmed.paths["clip-1"].read_bytes())
    videos = (replace(USUAL[0], uri=f"{storage.uri}/films/in/film 0.mp4"), *USUAL[1:])
    uri, truth = write_job_to(storage, tmp_path, videos, broken=("broken",))
    job = tables.open(uri, s3_server.options())
    expected = expected_rows(truth)
    for name in ("pandas", "polars", "duckdb", "duckdb of rows"):
        assert sorted(READERS[name](job.masks(columns=COLUMNS, where=WHERE))) == expected
    assert job.masks(where="video_id = 'c'").plan().num_files == 1
    assert job.sql("select count(*) from tracks where status = 'ok'").fetchall() == [(6,)]
    clip = job.video("clip-1")
    np.testing.assert_array_equal(clip.mask(7, 3), truth["clip-1", 7, 3])
    frame = clip.frame(3).pixels_HW3
    np.testing.assert_array_equal(frame, tables.open(filmed.uri).video("clip-1").frame(3).pixels_HW3)
    moved = job.video("clip-1", videos_root=f"{storage.uri}/films")
    np.testing.assert_array_equal(moved.frame(3).pixels_HW3, frame)
    with pytest.raises(MediaError, match=r"'clip-1' is not below videos_root=.*nowhere"):
        job.video("clip-1", videos_root=f"{storage.uri}/nowhere").frame(3)
    assert job._repr_html_().count("<img") == 1

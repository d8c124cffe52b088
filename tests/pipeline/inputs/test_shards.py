from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import NoCredentialsError

from pipeline.errors import InputError
from pipeline.inputs.columns import PROMPTS_IN, VIDEOS_IN
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.naming import InputNaming, Naming
from pipeline.inputs.reading import ReadPolicy
from pipeline.inputs.shards import ParquetShards
from pipeline.storage.retry import Backoff
from tests.support.faulty_store import FaultyStore, Request, faulty_store
from tests.support.s3_server import S3Server

__all__ = ["faulty_store"]

PROMPTS = {"video_id": ["a"], "object_id": [1], "frame_index": [0], "box_xyxy": [[0.0, 0.0, 1.0, 1.0]]}


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def ids(shards: ParquetShards) -> list[str]:
    return [video_id for batch in shards.read(["video_id"]) for video_id in batch.rows.column(0).to_pylist()]


def videos(uri: object, policy: ReadPolicy | None = None) -> ParquetShards:
    return ParquetShards("videos", str(uri), VIDEOS_IN, policy=policy)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards, a nested one, and things that are no shards."""
    folder = tmp_path / "my videos"
    write(folder / "b.parquet", {"video_id": ["b1", "b2"], "uri": ["x", "y"]})
    write(folder / "a.parquet", {"video_id": ["a1"], "uri": ["z"]})
    write(folder / "part=1" / "c.parquet", {"video_id": ["c1"], "uri": ["z"]})
    write(folder / "_log" / "d.parquet", {"video_id": ["d1"], "uri": ["z"]})
    (folder / "_SUCCESS").touch()
    (folder / ".hidden.parquet").touch()
    (folder / "notes.txt").write_text("no table")
    return folder


def test_a_table_is_a_file_a_folder_or_a_glob(shards: Path) -> None:
    assert ids(videos(shards / "b.parquet")) == ["b1", "b2"]
    assert ids(videos(shards)) == ["a1", "b1", "b2", "c1"]
    assert ids(videos(f"{shards}/")) == ["a1", "b1", "b2", "c1"]
    assert ids(videos(shards / "*.parquet")) == ["a1", "b1", "b2"]
    assert ids(videos(shards / "[b]*")) == ["b1", "b2"]
    assert ids(videos(f"file://{shards}")) == ["a1", "b1", "b2", "c1"]


def test_a_file_may_have_the_characters_of_a_glob(tmp_path: Path) -> None:
    path = write(tmp_path / "what? [1].parquet", {"video_id": ["a"], "uri": ["x"]})
    assert ids(videos(path)) == ["a"]


def test_a_relative_path_counts_from_the_working_folder(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shards)
    assert videos("b.parquet").files == (str(shards / "b.parquet"),)
    assert videos("*.parquet").files == (str(shards / "a.parquet"), str(shards / "b.parquet"))


def test_shards_of_another_store_have_absolute_uris() -> None:
    store = fsspec.filesystem("memory")
    for name in ("one", "two"):
        with store.open(f"/tables/{name}.parquet", "wb") as file:
            pq.write_table(pa.table({"video_id": [name], "uri": ["x"]}), file)
    for uri in ("memory://tables", "memory://tables/*.parquet"):
        found = videos(uri)
        assert ids(found) == ["one", "two"]
        assert all(file.startswith("memory://") for file in found.files)
        assert ids(videos(found.files[1])) == ["two"]


def test_rows_are_addressed_by_row_group_and_place(tmp_path: Path) -> None:
    numbers = list(range(17))
    path = write(tmp_path / "v.parquet", {"video_id": [str(n) for n in numbers], "uri": ["x"] * 17}, row_group_size=7)
    found = {}
    for batch in videos(path, ReadPolicy(batch_rows=3)).read(["video_id", "bytes"]):
        assert batch.rows.column("bytes").null_count == batch.rows.num_rows <= 3
        for row, video_id in enumerate(batch.rows.column("video_id").to_pylist()):
            found[video_id] = (batch.row_group, batch.start + row)
    assert found == {str(n): (n // 7, n % 7) for n in numbers}


def test_only_the_columns_asked_for_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "v.parquet", {"video_id": ["a"], "bytes": [b"x" * 100_000]}, compression="none")
    footer_and_ids = 10_000
    data = bytearray(path.read_bytes())
    place = data.index(b"x" * 90_000)
    data[place : place + 90_000] = b"y" * 90_000  # would not pass for a page if it were read
    assert len(data) > 100_000 > footer_and_ids
    path.write_bytes(bytes(data))
    assert ids(videos(path)) == ["a"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"uri": ["x"]}, r"videos: .*v\.parquet has no column video_id \(string\); its columns are uri"),
        ({"video_id": [1], "uri": ["x"]}, r"videos: column video_id of .*v\.parquet is int64; write it as string"),
        ({"video_id": ["a"], "uri": [b"x"]}, "column uri of .* is binary; write it as string"),
        ({"video_id": ["a"], "start_seconds": ["0:10"]}, "column start_seconds of .* is string; write it as float"),
    ],
)
def test_a_column_that_cannot_be_used_is_named(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "v.parquet", columns)
    with pytest.raises(InputError, match=message):
        videos(path)


@pytest.mark.parametrize(
    ("column", "values", "allowed"),
    [
        ("points_xy", ["[[1, 2]]"], "list of"),
        ("points_xy", [[1.0, 2.0]], "list of"),
        ("point_labels", [["1"]], "list of 1 and 0"),
        ("box_xyxy", ["1,2,3,4"], r"\[x0, y0, x1, y1\]"),
        ("mask_rle", [{"counts": "abc"}], "COCO run lengths"),
        ("mask_rle", [[1, 2, 3]], "COCO run lengths"),
        ("mask_rle", [{"size": [1, 2], "counts": [1, 2]}], "COCO run lengths"),
        ("object_id", ["one"], "integer"),
        ("frame_index", ["0"], "integer"),
        ("category", [3], "string"),
    ],
)
def test_prompts_of_wrong_types_are_refused(tmp_path: Path, column: str, values: list[Any], allowed: str) -> None:
    path = write(tmp_path / "p.parquet", PROMPTS | {column: values})
    with pytest.raises(InputError, match=f"prompts: column {column} of .* is .*; write it as .*{allowed}"):
        InputTables(None, str(path))


def test_a_shard_with_other_columns_is_named_when_its_turn_comes(shards: Path) -> None:
    write(shards / "b.parquet", {"id": ["b1"]})
    with pytest.raises(InputError, match=r"b\.parquet has no column video_id"):
        ids(videos(shards))


@pytest.mark.parametrize("content", [b"", b"video_id,uri\na,b\n", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_a_file_that_is_no_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "v.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"videos: .*v\.parquet cannot be read as Parquet \(.*\); write it again"):
        videos(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v.csv", r"v\.csv is CSV, not Parquet; convert it: pandas\.read_csv\(…\)\.to_parquet"),
        ("v.json", r"v\.json is JSON, not Parquet; convert it: pandas\.read_json\(…\)\.to_parquet"),
        ("v.jsonl", r"v\.jsonl is JSON lines, not Parquet; convert it: pandas\.read_json\(…, lines=True\)\.to_parquet"),
    ],
)
def test_a_table_of_another_kind_is_told_with_what_converts_it(tmp_path: Path, name: str, message: str) -> None:
    path = tmp_path / name
    path.write_text("video_id,uri\na,b\n")
    with pytest.raises(InputError, match=message):
        videos(path)
    with pytest.raises(InputError, match=rf"prompts: .*; convert it: python -m pipeline\.prompts from=.*{name}"):
        InputTables(None, str(path))


def test_a_damaged_page_is_the_tables_fault(tmp_path: Path) -> None:
    path = write(tmp_path / "v.parquet", {"video_id": [f"{n:04d}" for n in range(3000)], "uri": ["x"] * 3000})
    data = bytearray(path.read_bytes())
    data[50:5000] = b"\xff" * 4950
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        ids(videos(path))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("{tmp}/missing.parquet", "does not exist; check the path"),
        ("{tmp}/*.parquet", "the glob matches no file"),
        (
            "{tmp}/[a.parquet,b.parquet]",
            r"the path; several places are given as a folder or a glob \(corrections= also",
        ),
        ("{tmp}", r"the folder holds no \*\.parquet file"),
        ("memory://no/such/table.parquet", "does not exist"),
        ("nosuchscheme://bucket/table.parquet?token=abc", "cannot be opened .*: install the fsspec package"),
    ],
)
def test_a_table_that_is_not_there_is_named(tmp_path: Path, uri: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        videos(uri.format(tmp=tmp_path))
    assert "abc" not in str(caught.value)


def test_a_table_that_is_a_link_to_nothing_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "link.parquet").symlink_to("gone.parquet")
    with pytest.raises(InputError, match=r"link\.parquet: is a symbolic link, and its target gone\.parquet is gone"):
        videos(str(tmp_path / "link.parquet"))


def test_a_text_that_is_not_utf8_is_the_tables_fault(tmp_path: Path) -> None:
    latin = pa.array([b"caf\xe9"]).view(pa.string())
    path = write(tmp_path / "videos.parquet", {"video_id": latin, "uri": ["x"]})
    with pytest.raises(InputError, match=r"column video_id of .*videos.parquet is damaged .*write it again, as UTF-8"):
        ids(videos(path))


def test_prompts_need_a_place_and_something_to_say(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", {"video_id": ["a"], "object_id": [1], "frame_index": [0]})
    write(tmp_path / "2.parquet", {"video_id": ["a"], "object_id": [1], "box_xyxy": [[0.0, 0.0, 1.0, 1.0]]})
    write(tmp_path / "3.parquet", PROMPTS)
    for name, message in (
        ("1", "has none of the columns points_xy"),
        ("2", "has neither frame_index nor pts_seconds"),
        ("3", "has neither a column uri nor bytes; give it a column uri, or give videos="),
    ):
        with pytest.raises(InputError, match=message):
            InputTables(None, str(tmp_path / f"{name}.parquet"))


def test_a_table_of_prompts_among_the_tables_of_videos_is_told_with_what_to_name(tmp_path: Path) -> None:
    """Its rows were taken for videos, each of which stood in several rows."""
    prompts = write(tmp_path / "prompts.parquet", PROMPTS)
    write(tmp_path / "in" / "prompts.parquet", PROMPTS)
    write(tmp_path / "in" / "videos.parquet", {"video_id": ["a"], "uri": ["a.mp4"]})
    (tmp_path / "in" / "a.mp4").touch()
    with pytest.raises(InputError) as told:
        InputTables(str(tmp_path / "in"), str(prompts))
    assert f"videos: {tmp_path}/in/prompts.parquet is a table of prompts, as its column object_id" in str(told.value)
    assert "name the table of videos itself, or its files by a glob, as in 'videos=…/*.mp4'" in str(told.value)
    assert InputTables(f"{tmp_path}/in/*.mp4", str(prompts)).videos.key == "videos"
    assert (
        InputTables(str(tmp_path / "in"), f"{tmp_path}/in/prompts.parquet").videos.files[0].endswith("videos.parquet")
    )


SIDES = {name: [1.0] for name in ("x0", "y0", "x1", "y1")}


@pytest.mark.parametrize(
    ("table", "columns", "told"),
    [
        (
            "prompts",
            {"video": ["a"], "object_id": [1]},
            "are video, object_id; columns.video_id=video takes column video",
        ),
        ("prompts", {"video_id": ["a"], "track_id": [1]}, "; columns.object_id=track_id takes column track_id"),
        ("prompts", {**PROMPTS, "frame_index": None, "frame": [0]}, "; columns.frame_index=frame takes column frame"),
        ("prompts", {**PROMPTS, "frame_index": None, "time": [0.0]}, "; columns.pts_seconds=time takes column time"),
        (
            "prompts",
            {**PROMPTS, "box_xyxy": None, **SIDES},
            "; columns.box=x0,y0,x1,y1 box_format=xyxy takes these four",
        ),
        ("prompts", {**PROMPTS, "box_xyxy": None, "point_xy": [[[1.0, 2.0]]]}, "; did you mean points_xy by point_xy?"),
        ("prompts", {**PROMPTS, "box_xyxy": None, "rle": ["abc"]}, "; columns.mask_rle=rle takes column rle"),
        ("videos", {"video_id": ["a"], "path": ["x"]}, "are video_id, path; columns.uri=path takes column path"),
        ("prompts", {**PROMPTS, "video_id": [7]}, "string, or give columns.video_id='{video_id}', which makes texts"),
        (
            "prompts",
            {**PROMPTS, "object_id": ["cup"]},
            "integer; python -m pipeline.prompts numbers objects that have names",
        ),
    ],
)
def test_a_table_with_other_names_is_told_with_the_key_that_takes_them(
    tmp_path: Path, table: str, columns: dict[str, Any], told: str
) -> None:
    write(tmp_path / "p.parquet", PROMPTS)
    write(tmp_path / "v.parquet", {"video_id": ["a"], "uri": ["x"]})
    write(tmp_path / f"{table[0]}.parquet", {name: values for name, values in columns.items() if values is not None})
    with pytest.raises(InputError) as error:
        InputTables(str(tmp_path / "v.parquet"), str(tmp_path / "p.parquet"))
    assert told in str(error.value)


def test_the_keys_that_a_message_names_take_the_columns(tmp_path: Path) -> None:
    """Each is given as the message of the test above says it."""
    columns = {**{name: values for name, values in PROMPTS.items() if name != "box_xyxy"}, "video_id": [7], **SIDES}
    path = write(tmp_path / "p.parquet", {**columns, "uri": ["x"]})
    naming = Naming({"video_id": "{video_id}", "box": "x0,y0,x1,y1"}, "xyxy")
    tables = InputTables(None, str(path), naming=InputNaming(naming, naming))
    (batch,) = tables.read_prompts(["video_id", "box_xyxy"])
    assert batch.rows.to_pylist() == [{"video_id": "7", "box_xyxy": [1.0, 1.0, 1.0, 1.0]}]


def test_a_name_of_a_key_that_no_table_has_is_told_beside_what_is_looked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "p.parquet", {"video": ["a"], "object_id": [1]})
    naming = Naming({"video_id": "videoo"})
    with pytest.raises(InputError, match=r"has no column videoo, as columns\.video_id= says, and no column video_id"):
        InputTables(None, str(path), naming=InputNaming(naming, naming))


def test_a_table_of_a_thousand_columns_is_told_with_a_few(tmp_path: Path) -> None:
    path = write(tmp_path / "v.parquet", {f"c{number}": [1] for number in range(1000)})
    with pytest.raises(InputError, match=r"c28, c29 and 970 more; if one of them is meant"):
        videos(path)


def test_reading_goes_on_where_it_was_when_storage_comes_back(tmp_path: Path, faulty_store: type[FaultyStore]) -> None:
    rng = np.random.default_rng(0)
    names = [rng.bytes(2000).hex() for _ in range(1500)]  # some 6 MB: several requests to the store
    path = write(tmp_path / "v.parquet", {"video_id": names}, row_group_size=500, compression="none")
    faulty_store().pipe_file("/tables/v.parquet", path.read_bytes())
    refused: set[Request] = set()

    def fail_once(request: Request) -> None:
        if request[0] == "cat_file" and request not in refused and len(refused) < 2:
            refused.add(request)
            raise TimeoutError("storage does not answer")

    policy = ReadPolicy(batch_rows=100, backoff=Backoff(patience_seconds=20, first_seconds=0.001))
    stream = videos("faulty://tables/v.parquet", policy).read(["video_id"])
    found = next(stream).rows.column(0).to_pylist()
    faulty_store.before = staticmethod(fail_once)
    found += [video_id for batch in stream for video_id in batch.rows.column(0).to_pylist()]
    assert found == names
    assert len(refused) == 2


@pytest.mark.slow
def test_tables_come_from_s3(s3_server: S3Server) -> None:
    folder, options = s3_server.new_folder(), s3_server.options()
    filesystem, root = fsspec.core.url_to_fs(folder, **options)
    for name in ("one", "two"):
        with filesystem.open(f"{root}/{name}.parquet", "wb") as file:
            pq.write_table(pa.table({"video_id": [name], "uri": ["x"]}), file)
    for uri in (folder, f"{folder}/*.parquet"):
        found = ParquetShards("videos", uri, VIDEOS_IN, options)
        assert found.files == (f"{folder}/one.parquet", f"{folder}/two.parquet")
        assert ids(found) == ["one", "two"]
    with pytest.raises(InputError, match="does not exist"):
        ParquetShards("videos", f"{folder}/missing.parquet", VIDEOS_IN, options)


def test_missing_credentials_are_said(faulty_store: type[FaultyStore]) -> None:
    def refuse(_: Request) -> None:
        raise NoCredentialsError

    faulty_store.before = staticmethod(refuse)
    with pytest.raises(InputError, match=r"videos: .*videos\.parquet: Unable to locate credentials"):
        videos("faulty://tables/videos.parquet")


def test_row_groups_without_the_wanted_videos_are_not_read(tmp_path: Path) -> None:
    rows = [
        {"video_id": f"v{number}", "object_id": 1, "frame_index": 0, "box_xyxy": [1.0, 2.0, 3.0, 4.0]}
        for number in range(8)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet", row_group_size=2)
    shards = ParquetShards("prompts", str(tmp_path / "p.parquet"), PROMPTS_IN)

    def read(*video_ids: str) -> list[str]:
        return [name for batch in shards.read(["video_id"], video_ids) for name in batch.rows.column(0).to_pylist()]

    assert read("v7", "v2") == ["v2", "v3", "v6", "v7"], "whole row groups"
    assert read("v", "w") == []
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet", row_group_size=2, write_statistics=False)
    assert len(read("v7")) == 8, "nothing is known of what is in them"


def test_a_table_with_ids_among_files_beside_their_videos_is_read_of_its_videos(tmp_path: Path) -> None:
    """The objects of a video whose prompts have changed are read again, and none of them must be missing then."""
    beside = {name: column for name, column in PROMPTS.items() if name != "video_id"}
    for name in ("a", "c"):
        write(tmp_path / f"{name}.prompts.parquet", beside)
    write(tmp_path / "more.parquet", PROMPTS | {"video_id": ["b"]})
    prompts = ParquetShards("prompts", str(tmp_path), PROMPTS_IN)
    assert ids(prompts) == ["a", "c", "b"]
    assert [batch.rows.column(0).to_pylist() for batch in prompts.read(["video_id"], ["a", "b"])] == [["a"], ["b"]]

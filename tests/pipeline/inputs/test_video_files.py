"""Videos that `videos=` names without a table."""

from __future__ import annotations

import os
import re
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commits.finished import FinishedVideo
from pipeline.errors import InputError
from pipeline.ids import Texts
from pipeline.inputs.columns import PROMPTS_IN
from pipeline.inputs.file_rules import FileRules
from pipeline.inputs.found_files import FileSorter
from pipeline.inputs.input_tables import InputTables
from pipeline.inputs.kept_listing import KeptListing
from pipeline.inputs.listing_choice import ListingChoice
from pipeline.inputs.plan import Plan, make_plan
from pipeline.inputs.shards import ParquetShards
from pipeline.inputs.video_files import VideoFiles, find_videos
from pipeline.inputs.videos import VideoNumbers
from pipeline.records import Status
from pipeline.storage.file_versions import version_of
from pipeline.storage.listing import ListedFile
from tests.support.s3_server import S3Server


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def found(uri: object, no_tables: tuple[str, ...] = ()) -> dict[str, str]:
    """URIs by video id."""
    videos = find_videos(str(uri), no_tables=no_tables)
    assert videos is not None
    rows = [row for batch in videos.read(["video_id", "uri"]) for row in batch.rows.to_pylist()]
    return {row["video_id"]: row["uri"] for row in rows}


def prompts(path: Path, *video_ids: str) -> Path:
    rows = [
        {"video_id": video_id, "object_id": 1, "frame_index": 0, "box_xyxy": [1.0, 2.0, 30.0, 40.0]}
        for video_id in video_ids
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def plan_of(videos: object, table: Path) -> Plan:
    return make_plan(InputTables(str(videos), str(table)), {})


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return touch(
        tmp_path / "my clips",
        *("cup.mp4", "Pan.MOV", "kitchen/cup.mp4", "kitchen/deep/old.tape.avi", ".hidden.mp4", "kitchen/._cup.mp4"),
        *("notes.txt", ".cache/x.mp4", "_MG_1.mkv"),
    )


def test_a_folder_gives_its_videos_by_their_paths_without_suffix(clips: Path) -> None:
    assert found(clips) == {
        "Pan": f"{clips}/Pan.MOV",
        "_MG_1": f"{clips}/_MG_1.mkv",
        "cup": f"{clips}/cup.mp4",
        "kitchen/cup": f"{clips}/kitchen/cup.mp4",
        "kitchen/deep/old.tape": f"{clips}/kitchen/deep/old.tape.avi",
    }
    assert found(f"{clips}/") == found(f"file://{clips}") == found(clips)


def test_a_glob_names_videos_as_the_folder_does(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(clips / "*.mp4") == {"cup": f"{clips}/cup.mp4"}
    assert found(clips / "**" / "*.mp4").keys() == {"cup", "kitchen/cup"}
    assert found(clips / "kit*").keys() == {"kitchen/cup", "kitchen/deep/old.tape"}
    assert found(clips.parent / "*" / "cup.mp4").keys() == {"my clips/cup"}
    monkeypatch.chdir(clips)
    assert found("*.mp4") == {"cup": f"{clips}/cup.mp4"}
    assert found("kitchen").keys() == {"cup", "deep/old.tape"}


def test_one_video_has_the_name_of_its_file(clips: Path) -> None:
    assert found(clips / "cup.mp4") == {"cup": f"{clips}/cup.mp4"}
    assert found("https://example.org/a/clip.webm?sig=1.2") == {"clip": "https://example.org/a/clip.webm?sig=1.2"}
    assert found("s3://bucket/shard.tar::day/clip.mp4") == {"clip": "s3://bucket/shard.tar::day/clip.mp4"}
    odd = touch(clips, "[1] what?.mp4") / "[1] what?.mp4"
    assert found(odd) == {"[1] what?": str(odd)}


def test_a_folder_of_images_is_one_video(tmp_path: Path) -> None:
    davis = touch(tmp_path / "480p", "bear/00000.jpg", "bear/00001.jpg", "camel.v2/00000.JPG")
    assert found(davis) == {"bear": f"{davis}/bear", "camel.v2": f"{davis}/camel.v2"}
    assert found(davis / "bear") == {"bear": f"{davis}/bear"}
    assert found(davis / "*") == found(davis)
    assert found(davis / "bear" / "*.jpg").keys() == {"00000", "00001"}
    images = find_videos(str(davis / "bear" / "*.jpg"))
    assert images is not None
    assert images.warnings == (
        "videos: 2 images are as many videos of one frame; if they are frames of one video, name the folder",
    )


def test_images_beside_videos_are_left_out_with_a_word(tmp_path: Path) -> None:
    folder = touch(tmp_path / "c", "a.mp4", "a.jpg", "b.jpg", "frames/0.png", "frames/1.png")
    videos = find_videos(str(folder))
    assert videos is not None
    assert found(folder).keys() == {"a", "frames"}
    assert videos.warnings == ("videos: 2 images beside the videos: left out",)


def test_a_parquet_file_in_the_folder_makes_it_a_table_unless_it_is_the_prompts(clips: Path) -> None:
    table = prompts(clips / "prompts.parquet", "cup", "Pan")
    assert find_videos(str(clips)) is None
    assert [item.video_id for item in plan_of(clips, table).items()] == ["Pan", "cup"]
    pq.write_table(pa.table({"video_id": ["cup"], "uri": ["cup.mp4"]}), clips / "videos.parquet")
    assert [item.video_id for item in plan_of(clips, table).items()] == ["cup"]


def test_other_stores_are_listed_too() -> None:
    store = fsspec.filesystem("memory")
    for name in ("day/a.mp4", "day/b.mov", "day/text.txt", "frames/0.jpg", "frames/1.jpg"):
        store.pipe_file(f"/clips-of-a-test/{name}", b"x")
    assert found("memory://clips-of-a-test") == {
        "day/a": "memory:///clips-of-a-test/day/a.mp4",
        "day/b": "memory:///clips-of-a-test/day/b.mov",
        "frames": "memory:///clips-of-a-test/frames",
    }
    assert found("memory://clips-of-a-test/*/*.mp4").keys() == {"day/a"}
    assert found("memory://clips-of-a-test/day/a.mp4").keys() == {"a"}
    for uri in ("memory://clips-of-a-test", "memory://clips-of-a-test/d*/*"):
        videos = find_videos(uri)
        assert videos is not None
        ids, hashes = videos.versions()
        told = dict(zip(ids.to_pylist(), hashes.to_strings().to_pylist(), strict=True))
        version = version_of(store.info("/clips-of-a-test/day/a.mp4"))
        assert version is not None
        assert told["day/a"] == version.digest(), "the listing tells it"
        assert [name for name, value in told.items() if value] == ["day/a", "day/b"], "and nothing of a folder"


def test_a_listing_of_local_files_asks_nothing_of_each_of_them(clips: Path) -> None:
    videos = find_videos(str(clips))
    assert videos is not None
    assert not videos.versions()[1].has_text().any()


@pytest.mark.slow
def test_a_folder_of_videos_may_lie_on_s3(s3_server: S3Server) -> None:
    folder, options = s3_server.new_folder(), s3_server.options()
    filesystem, root = fsspec.core.url_to_fs(folder, **options)
    for name in ("a.mp4", "day/b.mp4", "day/b.json"):
        filesystem.pipe_file(f"{root}/{name}", b"x")
    for uri in (folder, f"{folder}/"):
        videos = find_videos(uri, options)
        assert videos is not None
        rows = [row for batch in videos.read(["video_id", "uri"]) for row in batch.rows.to_pylist()]
        assert rows == [
            {"video_id": "a", "uri": f"{folder}/a.mp4"},
            {"video_id": "day/b", "uri": f"{folder}/day/b.mp4"},
        ]


def test_prompts_name_a_file_with_or_without_its_suffix(clips: Path, tmp_path: Path) -> None:
    table = prompts(tmp_path / "p.parquet", "cup.mp4", "Pan", "kitchen/cup.mp4", "cup")
    plan = plan_of(clips, table)
    assert [item.video_id for item in plan.items()] == ["Pan", "cup", "kitchen/cup"]
    assert plan.num_no_prompts == 2
    assert not plan.warnings


def test_a_suffix_that_no_file_has_names_no_video(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", "a.mp4", "day/b.mov", "c.part1.mkv", ".mp4/d.avi")
    names = ("a.mov", "day/b.mov", "day/b.mp4", "b.mov", "c.part1.mkv", "c.mkv", "c", "a.", "/a.mp4")
    plan = plan_of(folder, prompts(tmp_path / "p.parquet", *names))
    assert [item.video_id for item in plan.items()] == ["c.part1", "day/b"]
    assert "7 of 9 rows of the prompts table are left out" in plan.warnings[0]


def test_names_with_suffixes_are_found_without_a_list_of_all_names() -> None:
    def all_names() -> tuple[pa.Array, pa.Array]:
        raise AssertionError("of ten million videos this takes a gigabyte")

    numbers = VideoNumbers(Texts(pa.array(["a", "b"])), all_names, lambda names, places: places >= 0)
    assert numbers.find(pa.array(["b", "a.mp4", "x.mp4", None, "b.mov"])).tolist() == [1, 0, -1, -1, 1]


def test_two_files_that_differ_in_the_suffix_refuse_that_video_only(clips: Path, tmp_path: Path) -> None:
    touch(clips, "cup.mkv")
    plan = plan_of(clips, prompts(tmp_path / "p.parquet", "cup", "Pan"))
    assert [item.video_id for item in plan.items()] == ["Pan"]
    (refused,) = plan.refused()
    assert (refused.video_id, refused.status) == ("cup", Status.FAILED)
    assert "2 files have this name and differ in their suffixes only; rename them" in refused.message


def test_prompts_that_name_no_video_show_both_sides(clips: Path, tmp_path: Path) -> None:
    table = prompts(tmp_path / "p.parquet", "Cup_001", "CUP", "x", "y")
    with pytest.raises(InputError) as caught:
        plan_of(clips, table)
    assert str(caught.value) == (
        "prompts: no row names a video of videos=: the prompts name 'Cup_001', 'CUP', 'x', the videos are 'Pan', "
        f"'_MG_1', 'cup' … (a video's id is its path below {clips}, without the suffix); did you mean 'cup' by 'CUP'?; "
        "make column video_id of the prompts the same"
    )


def test_a_prompt_that_misses_its_video_is_told_which_was_meant(clips: Path, tmp_path: Path) -> None:
    plan = plan_of(clips, prompts(tmp_path / "p.parquet", "Pan", "D:\\videos\\cup.mp4"))
    assert plan.warnings == (
        "1 of 2 rows of the prompts table is left out, because its video is not in videos=; examples: "
        "'D:\\\\videos\\\\cup.mp4'; did you mean 'cup' by 'D:\\\\videos\\\\cup.mp4'?",
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", r"the folder holds no \*\.parquet file and no video"),
        ("/*.mp4", "the glob matches no file and no video"),
        ("/none.mp4", "does not exist"),
        ("/table.csv", "or give a folder of videos, a glob or one video"),
    ],
)
def test_what_is_no_video_and_no_table_is_told(tmp_path: Path, name: str, message: str) -> None:
    folder = touch(tmp_path / "v", "table.csv")
    table = prompts(tmp_path / "p.parquet", "a")
    with pytest.raises(InputError, match=message):
        InputTables(f"{folder}{name}", str(table))


def with_rules(folder: Path, **rules: object) -> VideoFiles:
    videos = find_videos(str(folder), rules=FileRules(**rules))  # type: ignore[arg-type]
    assert videos is not None
    return videos


def ids_of(videos: VideoFiles) -> list[str]:
    return [name for batch in videos.read(["video_id"]) for name in batch.rows.column(0).to_pylist()]


def test_a_pattern_makes_ids_of_paths_and_leaves_out_what_it_does_not_fit(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", "2026-11-27/cam1/a.mp4", "2026-11-28/cam2/a.mp4", "odd.mp4")
    videos = with_rules(folder, id_pattern=re.compile(r"(cam\d+)/(.+)\.mp4"))
    assert ids_of(videos) == ["cam1/a", "cam2/a"]
    assert videos.warnings == (
        "videos: 1 video left out, because input.video_id_from finds no id in the path; examples: 'odd.mp4'",
    )
    assert ids_of(with_rules(folder, id_pattern=re.compile(r"[^/]+(?=\.mp4$)"))) == ["a", "a", "odd"]


@pytest.mark.parametrize("glob", ["", "/**/*.mp4"])
def test_a_pattern_that_fits_no_path_at_all_is_told_with_the_paths(glob: str, tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", "2026-11-27/a.mp4", "b.mp4")
    with pytest.raises(InputError) as error:
        InputTables(
            f"{folder}{glob}", str(prompts(tmp_path / "p.parquet", "a")), files=FileRules(re.compile("cam[0-9]"))
        )
    assert str(error.value) == (
        "input.video_id_from=cam[0-9] finds no id in any of 2 paths of videos; it is searched for in the path below "
        "the folder, as '2026-11-27/a.mp4', 'b.mp4'; correct the pattern"
    )


def test_prompts_that_name_files_in_folders_by_their_names_hear_of_ids_by_a_rule(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", "2026-11-27/a.mp4", "2026-11-27/b.mp4")
    for name in ("a", "a.mp4"):
        with pytest.raises(InputError, match=r"the same, or leave folders out of the ids by input\.video_id_from="):
            plan_of(folder, prompts(tmp_path / "p.parquet", name))
    table = str(prompts(tmp_path / "p.parquet", "a", "b"))
    tables = InputTables(str(folder), table, files=FileRules(re.compile(r"([^/]+)\.\w+$")))
    assert [item.video_id for item in make_plan(tables, {}).items()] == ["a", "b"]
    with pytest.raises(InputError, match=r"make column video_id of the prompts the same$"):
        plan_of(folder, prompts(tmp_path / "p.parquet", "c"))


def test_two_files_to_which_a_pattern_gives_one_id_are_refused(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", "1/a.mp4", "2/a.mp4", "2/b.mp4")
    rules = FileRules(re.compile(r"[^/]+(?=\.mp4$)"))
    plan = make_plan(InputTables(str(folder), str(prompts(tmp_path / "p.parquet", "a", "b")), files=rules), {})
    assert [item.video_id for item in plan.items()] == ["b"]
    (refused,) = plan.refused()
    assert "input.video_id_from gives this id to 2 files; give a pattern that tells them apart" in refused.message


def test_files_that_are_still_written_are_left_for_the_next_run(tmp_path: Path) -> None:
    names = ("whole.mp4", "aria.mp4", "aria.mp4.aria2", "later.mov.part", "LATER.MKV.crdownload", "text.part")
    folder = touch(tmp_path / "in", *names, "old.mp4", "old.mp4.part")
    os.utime(folder / "old.mp4.part", (0, 0))
    table = prompts(tmp_path / "p.parquet", "whole", "aria", "old")
    for videos in (folder, folder / "*.[mM]*"):
        plan = plan_of(videos, table)
        assert [item.video_id for item in plan.items()] == ["old", "whole"], "nobody has written old.mp4.part for a day"
        assert plan.num_left == 3
        assert plan.num_videos == 2


def test_a_folder_of_which_all_videos_are_still_written_is_no_fault(tmp_path: Path) -> None:
    """Where prompts named videos by other names than there were, the driver ended with an IndexError."""
    folder = touch(tmp_path / "in", "cup.mp4.part")
    for names in (("cup", "tea"), ("cup.mp4",)):
        plan = plan_of(folder, prompts(tmp_path / "p.parquet", *names))
        assert (plan.num_videos, plan.num_left, list(plan.items())) == (0, 1, [])
        assert plan.warnings[0] == "videos has no video yet that is whole and has an id: nothing to label"


def test_a_file_that_changed_a_moment_ago_is_left_and_its_rows_stay(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", "new.mp4", "old.mp4", "done.mp4", "future.mp4", "frames/0.png", "frames/1.png")
    for name, at in (
        ("new.mp4", 990),
        ("old.mp4", 900),
        ("done.mp4", 990),
        ("future.mp4", 2000),
        ("frames/1.png", 999),
    ):
        os.utime(folder / name, (at, at))
    os.utime(folder / "frames/0.png", (0, 0))
    table = prompts(tmp_path / "p.parquet", "new", "old", "done", "future", "frames")
    before = {"done": FinishedVideo(Status.OK, "other prompts", "s")}
    rules = FileRules(settle_seconds=60, now=lambda: 1000)
    plan = make_plan(InputTables(str(folder), str(table), files=rules), before)
    assert [item.video_id for item in plan.items()] == ["future", "old"], "a time to come is of a wrong clock"
    assert (plan.num_left, plan.num_done, plan.num_videos) == (3, 1, 3)
    assert not plan.replaced, "done.mp4 keeps its rows until its file is whole"
    later = make_plan(
        InputTables(str(folder), str(table), files=FileRules(settle_seconds=60, now=lambda: 1061)), before
    )
    assert (later.num_left, later.num_to_label, later.replaced) == (0, 5, {"done"})


def test_a_replaced_file_that_is_still_written_is_left(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", "a.mp4")
    os.utime(folder / "a.mp4", (990, 990))
    table = prompts(tmp_path / "p.parquet", "a")
    hashes = make_plan(InputTables(str(folder), str(table)), {}).prompt_hashes()
    before = {"a": FinishedVideo(Status.OK, hashes[0], "s", source_hash="0" * 16)}
    early, late = (
        make_plan(InputTables(str(folder), str(table), files=FileRules(settle_seconds=60, now=now)), before)
        for now in (lambda: 1000, lambda: 1100)
    )
    found = [plan.with_files_now({"a": "1" * 16}, before, ()) for plan in (early, late)]
    assert [(plan.num_to_label, plan.num_left, plan.num_done) for plan in found] == [(0, 1, 1), (1, 0, 0)]


def start_after(late_seconds: float, **changed_at: float) -> str | None:
    """Where the next listing begins, by when files `name.mp4` below `b/in` changed, in the order of their names."""
    sorter = FileSorter("b/in", FileRules(late_seconds=late_seconds))
    for name, at in sorted(changed_at.items()):
        sorter.add(ListedFile(f"b/in/{name}.mp4", True, None, at))
    sorter.finish()
    return sorter.order.start_after if sorter.order is not None else None


def test_the_next_listing_begins_before_all_names_that_came_last() -> None:
    assert start_after(0, day1=1.0, day2=2.0, day3=3.0) == "b/in/day3.mp", "all names of its day are greater"
    assert start_after(1, day1=1.0, day2=2.0, day3=3.0) == "b/in/day2.mp"
    assert start_after(0, day1=1.0, day2=2.0, day3=3.0, zzz=0.5) == "b/in/day3.mp", "a name that is out of order"
    assert start_after(1, x=1.0, a=3.0, m=2.5, z=2.0) == "b/in/a.mp", "names that say nothing of time"
    assert start_after(1) is None


def test_a_listing_that_begins_in_the_middle_never_goes_back_for_a_video_that_was_open() -> None:
    kept = KeptListing(place="", start_after="b/in/c", open_paths=["/a.mp4"])
    rules = FileRules(late_seconds=5, choice=ListingChoice(True, "", before=kept))
    sorter = FileSorter("b/in", rules)
    for name, at in (("a", 9.0), ("d", 8.0), ("e", 9.0)):
        sorter.add(ListedFile(f"b/in/{name}.mp4", True, None, at))
    assert sorter.finish().ids.to_pylist() == ["a", "d", "e"]
    assert sorter.order is not None
    assert sorter.order.start_after == "b/in/d.mp"


def beside(folder: Path, *names: str) -> None:
    """Prompts without a column of ids, each beside its video."""
    for name in names:
        pq.write_table(
            pa.table({"object_id": [1], "frame_index": [0], "box_xyxy": [[1.0, 2.0, 30.0, 40.0]]}), folder / name
        )


def test_prompts_may_lie_beside_their_videos(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", "day/cup.mp4", "day/old.tape.mov", "day/pan.mp4", "none.mp4")
    beside(folder, "day/cup.prompts.parquet", "day/old.tape.boxes.parquet", "day/pan.parquet")
    for place, rules in (("", FileRules()), ("/**/*.m*", FileRules()), ("", FileRules(re.compile(r"([^/]+)\.\w+$")))):
        tables = InputTables(f"{folder}{place}", f"{folder}/**/*.parquet", files=rules)
        plan = make_plan(tables, {})
        assert [item.video_id.rpartition("/")[2] for item in plan.items()] == ["cup", "old.tape", "pan"]
        assert plan.num_no_prompts == 1
        (spans,) = {item.prompts_at for item in plan.items() if item.video_id.endswith("cup")}
        assert [span.file for span in spans] == [f"{folder}/day/cup.prompts.parquet"]


def test_prompts_beside_videos_that_are_not_wanted_are_not_opened(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", "a.mp4", "b.mp4")
    beside(folder, "a.prompts.parquet", "b.prompts.parquet")
    shards = ParquetShards("prompts", f"{folder}/*.parquet", PROMPTS_IN)
    (folder / "b.prompts.parquet").write_bytes(b"no Parquet")
    assert [batch.rows.column(0).to_pylist() for batch in shards.read(["video_id"], ["a", "c"])] == [["a"]]


def test_one_file_of_prompts_needs_ids(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", "a.mp4")
    beside(folder, "a.prompts.parquet")
    with pytest.raises(InputError, match="has no column video_id"):
        InputTables(str(folder), str(folder / "a.prompts.parquet"))


OLD_LETTERS = os.fsdecode(b"caf\xe9")
"""A name in Latin-1, as of an old disk or archive: no UTF-8."""


def test_files_whose_names_are_no_utf8_are_left_out_with_a_word(tmp_path: Path) -> None:
    """They ended the job by a UnicodeEncodeError, of Arrow."""
    names = (f"{OLD_LETTERS}.mp4", f"{OLD_LETTERS}/a.mp4", f"{OLD_LETTERS}.mp4.part", f"x/{OLD_LETTERS}.jpg", "x/1.jpg")
    touch(tmp_path, "cup.mp4", *names, f"frames {OLD_LETTERS}/1.jpg")
    videos = find_videos(str(tmp_path))
    assert videos is not None
    assert found(tmp_path).keys() == {"cup", "x"}, "frames are not named by tables"
    assert [warning.partition(":")[2] for warning in videos.warnings] == [
        " 3 videos left out: each name has bytes that are no UTF-8, and tables take no others: rename the file or "
        "folder; examples: 'caf\\udce9.mp4', 'caf\\udce9/a.mp4', 'frames caf\\udce9'"
    ]


def test_a_folder_in_which_no_name_is_utf8_says_so(tmp_path: Path) -> None:
    touch(tmp_path, f"{OLD_LETTERS}.mp4")
    with pytest.raises(InputError, match="1 video left out: each name has bytes that are no UTF-8"):
        find_videos(str(tmp_path))

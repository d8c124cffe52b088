"""`detections=` as text becomes Parquet that workers read, and is planned by its rows, scores and categories."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config.compose import job_config
from pipeline.config.job_config import JobConfig
from pipeline.driver.box_texts import BoxText, table_of_texts
from pipeline.driver.detections import as_parquet
from pipeline.driver.job import open_job, plan_job
from pipeline.errors import ConfigError, InputError
from pipeline.inputs.detections import detection_rows, read_detections
from pipeline.inputs.naming import InputNaming
from pipeline.inputs.plan import Plan
from pipeline.storage.job_storage import JobStorage

CSV = "video_id,frame,x,y,w,h,score,category\na,0,1,2,3,4,{score},{category}\nb,5,1,2,3,4,0.5,cup\n"
NAMES = ("columns.frame_index=frame", "columns.box=x,y,w,h", "box_format=xywh")


def config(folder: Path, file: str, *words: str) -> JobConfig:
    (folder / "videos").mkdir(exist_ok=True)
    for name in "ab":
        (folder / "videos" / f"{name}.mp4").touch()
    places = f"videos={folder / 'videos'}", f"detections={folder / file}", f"output={folder / 'out'}"
    return job_config("discover", [*places, *words])


def plan_of(folder: Path, text: str) -> Plan:
    (folder / "boxes.csv").write_text(text)
    job = config(folder, "boxes.csv", *NAMES)
    return plan_job(open_job(job))


def published(job: JobConfig) -> str:
    """The Parquet file that workers read."""
    (item, *_) = plan_job(open_job(job)).items()
    return item.prompts_at[0].file


def hashes(plan: Plan) -> dict[str, str]:
    return {item.video_id: item.prompt_hash for item in plan.items()}


@pytest.mark.slow
def test_text_is_planned_and_read_and_another_score_or_category_labels_its_video_again(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, CSV.format(score=0.9, category="cup"))
    items = {item.video_id: item for item in plan.items()}
    naming = InputNaming.of(config(tmp_path, "boxes.csv", *NAMES)).prompts
    (box,) = read_detections(items["a"], None, detection_rows(naming)).boxes
    assert (box.box.box_xyxy, box.score, box.category) == ((1.0, 2.0, 4.0, 6.0), 0.9, "cup")
    first = hashes(plan)
    for score, category in ((0.8, "cup"), (0.9, "mug")):
        other = hashes(plan_of(tmp_path, CSV.format(score=score, category=category)))
        assert (other["a"] != first["a"], other["b"] == first["b"]) == (True, True)
    assert hashes(plan_of(tmp_path, CSV.format(score=0.9, category="cup"))) == first


@pytest.mark.slow
def test_boxes_with_the_other_columns_of_prompts_are_planned_and_read_as_boxes_alone(tmp_path: Path) -> None:
    boxes = [{"video_id": name, "frame_index": 0, "box_xyxy": [1.0, 2.0, 4.0, 6.0]} for name in "ab"]
    further = {"object_id": 7, "points_xy": [[1.0, 2.0]], "point_labels": [1]}
    found = []
    for name, rows in (("boxes", boxes), ("prompts", [box | further for box in boxes])):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
        for item in plan_job(open_job(config(tmp_path, f"{name}.parquet"))).items():
            (box,) = read_detections(item, None, detection_rows()).boxes
            found.append((item.video_id, item.prompt_hash, box.box.box_xyxy))
    assert (len(found), found[:2]) == (4, found[2:])


@pytest.mark.slow
def test_a_check_writes_nothing_below_the_output_and_lines_of_json_keep_their_lists(tmp_path: Path) -> None:
    (tmp_path / "boxes.jsonl").write_text('{"video_id": "a", "frame_index": 0, "box_xyxy": [1, 2, 3, 4]}\n')
    job = config(tmp_path, "boxes.jsonl")
    written = published(job)
    assert pq.read_table(written).to_pylist() == [{"video_id": "a", "frame_index": 0, "box_xyxy": [1, 2, 3, 4]}]
    at = Path(written).stat().st_mtime_ns
    assert published(job) == written
    assert Path(written).stat().st_mtime_ns == at, "what is there is not written again"
    before = sorted(tmp_path.rglob("*"))
    checked = published(job.model_copy(update={"check": True}))
    assert pq.read_table(checked).equals(pq.read_table(written))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_messages_name_the_table_of_detections_and_not_one_of_prompts(tmp_path: Path) -> None:
    text = CSV.format(score=0.9, category="cup").replace("b,5,1,2,3,4", "cup,5,0.1,0.2,0.3,0.4")
    odd = plan_of(tmp_path, text).warnings
    assert any("1 of 2 rows of the detections table is left out" in told for told in odd)
    (tmp_path / "boxes.csv").write_text(CSV.splitlines()[0] + "\na,0,0.1,0.2,0.3,0.4,0.5,cup\n")
    small = plan_job(open_job(config(tmp_path, "boxes.csv", *NAMES))).warnings
    assert any(told.startswith("no box in the detections table (1 row with one)") for told in small)
    assert not any("prompts" in told for told in (*odd, *small))


@pytest.mark.slow
def test_a_table_without_boxes_and_text_that_is_none_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("video_id,frame_index,x\n007,0,1\n")
    job = config(tmp_path, "boxes.csv")
    table = as_parquet(job, JobStorage(str(tmp_path / "out")))
    assert table is not None
    assert pq.read_table(table.read_from)["video_id"].to_pylist() == ["007"]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"no column of boxes, as box_xyxy: name it by columns.box=") as told:
        plan_job(open_job(job))
    assert f"detections: {tmp_path / 'boxes.csv'} has no column of boxes" in str(told.value)
    assert sorted(tmp_path.rglob("*")) == before, "a run that is refused writes nothing"
    (tmp_path / "boxes.jsonl").write_text("no json\n")
    with pytest.raises(InputError, match="cannot be read as JSON lines"):
        as_parquet(config(tmp_path, "boxes.jsonl"), JobStorage(str(tmp_path / "out")))
    with pytest.raises(ConfigError, match="detections= is for conf=discover"):
        job_config("label", ["videos=v", "prompts=p", "output=o", "detections=d"])


@pytest.mark.slow
def test_text_beside_each_video_is_of_that_video_and_a_file_without_boxes_counts_for_nothing(tmp_path: Path) -> None:
    line = '{{"frame_index": {}, "box_xyxy": [1, 2, 3, {}]}}\n'
    job = config(tmp_path, "videos/*.boxes.jsonl")
    (tmp_path / "videos" / "a.boxes.jsonl").write_text(line.format(0, 4) + line.format(8, 5.5))
    (tmp_path / "videos" / "b.boxes.jsonl").write_text("")
    boxes = [
        {"video_id": "a", "frame_index": 0, "box_xyxy": [1, 2, 3, 4]},
        {"video_id": "a", "frame_index": 8, "box_xyxy": [1, 2, 3, 5.5]},
    ]
    written = published(job)
    assert [dict(sorted(row.items())) for row in pq.read_table(written).to_pylist()] == [
        dict(sorted(row.items())) for row in boxes
    ]
    first = hashes(plan_job(open_job(job)))
    assert published(job) == written
    (tmp_path / "videos" / "b.boxes.jsonl").write_text(line.format(0, 4))
    second = hashes(plan_job(open_job(job)))
    assert (second["a"], first.keys(), second.keys()) == (first["a"], {"a"}, {"a", "b"})


def test_lists_in_json_beside_the_videos_may_lack_columns_that_others_have(tmp_path: Path) -> None:
    job = config(tmp_path, "videos/*.json")
    box = '{"frame_index": 0, "box_xyxy": [1, 2, 3, 4]'
    (tmp_path / "videos" / "a.json").write_text(f'[{box}}}, {box}, "score": 1}}]')
    (tmp_path / "videos" / "b.json").write_text(
        ' [ {"frame_index": 2, "box_xyxy": [1, 2, 3, 4.5], "category": "cup"} ]\n'
    )
    rows = {row["video_id"]: row for row in pq.read_table(published(job)).to_pylist()}
    assert (rows["a"]["score"], rows["a"]["category"]) == (1, None)
    assert (rows["b"]["score"], rows["b"]["category"], rows["b"]["box_xyxy"]) == (None, "cup", [1, 2, 3, 4.5])
    (tmp_path / "videos" / "b.json").write_text("[7]")
    with pytest.raises(InputError, match=r"b\.json cannot be read as JSON lines or as a list in JSON: it is a list of"):
        plan_job(open_job(job))
    (tmp_path / "videos" / "b.json").write_text('[{"frame_index": "two", "box_xyxy": [1, 2, 3, 4]}]')
    with pytest.raises(InputError, match="the files do not have columns of the same types"):
        plan_job(open_job(job))


def test_text_is_read_anew_where_columns_get_other_names_and_a_question_mark_is_a_wildcard(tmp_path: Path) -> None:
    job = config(tmp_path, "videos/?.csv")
    (tmp_path / "videos" / "a.csv").write_text("clip,frame_index,x0,y0,x1,y1\n007,0,1,2,3,4\n")
    boxes = "columns.box=x0,y0,x1,y1", "box_format=xyxy"
    first = as_parquet(job, JobStorage(str(tmp_path / "out")))
    assert first is not None
    other = as_parquet(config(tmp_path, "videos/?.csv", *boxes, "columns.video_id=clip"), JobStorage(str(tmp_path)))
    assert other is not None
    assert pq.read_table(first.read_from).select(["video_id", "clip"]).to_pylist() == [{"video_id": "a", "clip": 7}]
    assert pq.read_table(other.read_from)["clip"].to_pylist() == ["007"]
    assert other.name != first.name


@pytest.mark.parametrize("num_letters", [100, 3_000_000])
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_a_line_may_be_of_any_length_and_stand_anywhere(kind: str, num_letters: int) -> None:
    """Arrow reads a megabyte at a time, and refuses a line that is longer than what it reads."""
    rows = [
        {"video_id": f"v{number}", "score": 0.5, "polygon": "1" * length}
        for number, length in enumerate((5, 5, num_letters, 5, num_letters - 7))
    ]
    if kind == "csv":
        text = "video_id,score,polygon\n" + "".join(f"{','.join(map(str, row.values()))}\n" for row in rows)
    else:
        text = json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows))
    read = table_of_texts([BoxText(f"boxes.{kind}", "", text.encode())], "video_id", ["video_id", "polygon"])
    assert read.select(["video_id", "score", "polygon"]).to_pylist() == rows


def test_a_glob_that_matches_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"detections: .*none.*json: the glob matches no file"):
        plan_job(open_job(config(tmp_path, "none*.json")))


def test_a_video_of_lines_in_json_may_be_called_as_a_date(tmp_path: Path) -> None:
    """Arrow takes such texts for times, and then no row could name the video."""
    job = config(tmp_path, "boxes.jsonl")
    (tmp_path / "videos" / "2026-11-29 08:00:00.mp4").touch()
    box = '{"video_id": "2026-11-29 08:00:00", "category": "2026-11-29", "frame_index": 0, "box_xyxy": [1, 2, 3, 4]}\n'
    (tmp_path / "boxes.jsonl").write_text(box)
    (row,) = pq.read_table(published(job)).to_pylist()
    assert (row["video_id"], row["category"]) == ("2026-11-29 08:00:00", "2026-11-29")


@pytest.mark.parametrize(
    "text", ['[{"video_id": "a", "frame_index": 0, "box_xyxy": [1, 2, 3, 4]}]', "video_id,box\na,1\n"]
)
def test_text_may_begin_with_the_mark_that_windows_programs_write(tmp_path: Path, text: str) -> None:
    kind = "json" if text.startswith("[") else "csv"
    read = table_of_texts([BoxText(f"boxes.{kind}", "", codecs.BOM_UTF8 + text.encode())], "video_id", ["video_id"])
    assert read["video_id"].to_pylist() == ["a"]


@pytest.mark.slow
@pytest.mark.parametrize("score", [87, 1.5])
def test_scores_that_are_not_from_0_to_1_are_refused_with_file_video_and_remedy(tmp_path: Path, score: float) -> None:
    """Every box of percent passed the thresholds."""
    said = rf"boxes\.csv: a box of video 'a' on frame 0 has the score {score}, .*min_score.*percent by 100"
    with pytest.raises(InputError, match=said):
        plan_of(tmp_path, CSV.format(score=score, category="cup"))
    for a_little_above in (1.0000001, 1.05):
        plan_of(tmp_path, CSV.format(score=a_little_above, category="cup"))
    plan_of(tmp_path, CSV.format(score="", category="cup"))

"""`check=true` says before a job what the job says afterwards. The judge is the job itself, on the same inputs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model import MediaError
from model.media.film_files import MAX_PIXELS
from pipeline.check.look import look
from pipeline.demo.inputs import FRAMES_PER_SECOND
from pipeline.driver.job import open_job, plan_job
from pipeline.inputs.write import prompts_table, videos_table, write_table
from pipeline.records import Status, WorkItem
from pipeline.run import main
from pipeline.video.frames import DecodeOptions, VideoFrames
from pipeline.video.media import open_media
from pipeline.video.selection import FrameSelection
from tests.support.faulty_store import FaultyStore, Request, faulty_store
from tests.support.jobs import JobFolder
from tests.support.media_files import encode, encode_image, pictures

__all__ = ["faulty_store"]


def check(job: JobFolder, capsys: pytest.CaptureFixture[str], *overrides: str) -> tuple[int, str]:
    """Exit code and page of a check."""
    capsys.readouterr()
    code = main(job.arguments("model=mini", "cluster=serial", "check=true", *overrides))
    return code, capsys.readouterr().out


def change(job: JobFolder, video_id: str, object_id: int, **values: Any) -> None:
    """Changes the prompt of one object."""
    rows = job.rows("prompts")
    for row in rows:
        if (row["video_id"], row["object_id"]) == (video_id, object_id):
            row |= values
    write_table(str(job.folder / "in" / "prompts.parquet"), prompts_table(rows))


def numbers(pattern: str, text: str) -> tuple[int, ...]:
    """The numbers of a line of the page."""
    found = re.search(pattern, text)
    assert found is not None, text
    return tuple(int(group.replace(",", "")) for group in found.groups())


@pytest.mark.slow
def test_a_check_writes_nothing_and_finds_nothing_wrong_with_good_inputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobFolder(tmp_path).write(["a", "b"], num_objects=2)
    before = sorted(tmp_path.rglob("*"))
    code, page = check(job, capsys)
    assert code == 0
    assert sorted(tmp_path.rglob("*")) == before
    assert numbers(r"videos   (\d+): (\d+) to label", page) == (2, 2)
    assert "opened   2 of 2, all can be read" in page
    assert "time     not known" in page
    assert page.rstrip().endswith("result   no faults")
    assert len(page.splitlines()) < 20


def test_a_check_counts_videos_that_are_still_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / "cup.mp4.part").touch()
    prompts = str(tmp_path / "prompts.parquet")
    box = {"object_id": 1, "frame_index": 0, "box_xyxy": [1.0, 2.0, 3.0, 4.0]}
    write_table(prompts, prompts_table([{"video_id": name, **box} for name in ("cup", "tea")]))
    words = [f"videos={tmp_path / 'incoming'}", f"prompts={prompts}", f"output={tmp_path / 'out'}"]
    assert main([*words, "model=mini", "cluster=serial", "check=true"]) == 0
    assert "left     1 video is still being written; the next run takes it" in capsys.readouterr().out
    assert main([*words, "model=mini", "cluster=serial"]) == 0
    assert "videos   0 (none)\nleft     1 video" in capsys.readouterr().out


@pytest.mark.slow
def test_a_check_writes_a_log_where_one_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = JobFolder(tmp_path).write(["a", "b"])
    log = tmp_path / "logs" / "job.jsonl"

    def checked(*words: str) -> list[dict[str, Any]]:
        log.unlink(missing_ok=True)
        code, _ = check(job, capsys, f"log_file={log}", *words)
        found = [json.loads(line) for line in log.read_text().splitlines()]
        assert [line["event"] for line in found if "event" in line][0::2] == ["run_started", "run_ended"]
        assert (found[0]["check"], found[-1]["exit_code"]) == (True, code)
        assert not job.output.exists()
        return found

    *_, planned, last = checked()
    assert (planned["event"], planned["num_planned"], planned["num_to_label"]) == ("run_planned", 2, 2)
    assert (last["exit_code"], last["num_planned"], last["message"]) == (0, 2, "check: no faults")
    change(job, "a", 1, frame_index=700)
    last = checked()[-1]
    assert (last["exit_code"], last["message"], last["level"]) == (4, "check: 1 fault", "error")
    (tmp_path / "in" / "prompts.parquet").write_bytes(b"no table")
    log.unlink()
    check(job, capsys, f"log_file={log}")
    first, last = (json.loads(line) for line in log.read_text().splitlines())
    assert (first["event"], last["event"], last["exit_code"]) == ("run_started", "run_ended", 2)


@pytest.mark.slow
def test_a_limit_of_pixels_is_that_of_the_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = JobFolder(tmp_path).write(["a"])
    assert check(job, capsys, f"decode.max_pixels={96 * 128}")[0] == 0
    code, page = check(job, capsys, f"decode.max_pixels={96 * 128 - 1}")
    assert (code, "128 × 96 pixels are larger than the limit of 12287 pixels (max_pixels)" in page) == (4, True)
    media = open_media(next(iter(plan_job(open_job(job.config())).items())))
    options = DecodeOptions.of(job.config(f"decode.max_pixels={96 * 128 - 1}"), tmp_path)
    with media as opened, pytest.raises(MediaError, match="limit of 12287 pixels"):
        VideoFrames(opened, options=options)
    assert job.config().decode.max_pixels == MAX_PIXELS


@pytest.mark.slow
def test_the_result_counts_what_is_odd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = JobFolder(tmp_path).write(["a", "b"], num_objects=2)
    change(job, "a", 1, box_xyxy=[10.0, 10.0, 10.5, 10.5])
    rows = job.rows("prompts")
    rows[-1]["video_id"] = "nobody"
    write_table(str(job.folder / "in" / "prompts.parquet"), prompts_table(rows))
    code, page = check(job, capsys)
    assert code == 0
    assert page.rstrip().endswith("result   no faults, 2 warnings")
    change(job, "a", 2, frame_index=700)
    code, page = check(job, capsys)
    assert code == 4
    assert "\nresult   1 fault, 2 warnings: mend" in page


@pytest.mark.slow
def test_a_box_that_is_clamped_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    job = JobFolder(tmp_path).write(["a"])
    change(job, "a", 1, box_xyxy=[-2.0, 10.0, 40.0, 50.0])
    code, page = check(job, capsys)
    assert (code, page.count("(-2.0, 10.0, 40.0, 50.0)")) == (0, 1)
    assert "'a', object 1, frame 0: box (-2.0, 10.0, 40.0, 50.0) was clamped to the frame" in page
    assert "-2.0" not in caplog.text


@pytest.mark.slow
def test_what_a_check_finds_is_what_the_job_fails_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = JobFolder(tmp_path).write(["a", "b", "c", "d", "e"], num_objects=2)
    change(job, "a", 1, frame_index=3)  # the clips have 3 frames
    change(job, "a", 2, frame_index=2)
    change(job, "b", 1, box_xyxy=[900.0, 900.0, 950.0, 950.0])
    change(job, "b", 2, frame_index=None, pts_seconds=0.2)
    change(job, "c", 1, box_xyxy=[30.0, 10.0, 20.0, 40.0])
    change(job, "c", 2, frame_index=None, pts_seconds=7.0)
    (tmp_path / "in" / "d.mp4").unlink()
    (tmp_path / "in" / "e.mp4").write_bytes(b"no video" * 100)
    code, page = check(job, capsys)
    assert code == 4
    predicted = {(video_id, int(number)) for video_id, number in re.findall(r"'(\w)', object (\d+)", page)}
    unreadable = set(re.findall(r"^         '(\w)': ", page, re.MULTILINE))
    assert job.run("model=mini", "max_failed_fraction=1") == 0
    found = job.tables()
    assert (
        unreadable
        == {"d", "e"}
        == {video_id for video_id, row in found.videos.items() if row["status"] == Status.FAILED and not row["height"]}
    )
    failed = {
        (row["video_id"], row["object_id"])
        for row in found.tracks.to_pylist()
        if row["status"] == Status.FAILED and row["video_id"] not in unreadable
    }
    assert predicted == failed == {("a", 1), ("b", 1), ("c", 1), ("c", 2)}
    assert "6 faults" in page


@pytest.mark.slow
def test_the_counts_are_those_of_the_job_and_the_time_is_that_of_its_finished_videos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobFolder(tmp_path).write(["a", "b", "c"], num_frames=5, num_objects=2)
    change(job, "b", 1, frame_index=3)
    videos = job.rows("videos")
    job.rewrite("videos", videos[:1])
    assert job.run("model=mini") == 0
    num_before = job.tables().masks.num_rows
    job.rewrite("videos", videos)
    code, page = check(job, capsys)
    assert code == 0
    assert numbers(r"videos   (\d+): (\d+) to label, (\d+) finished before", page) == (3, 2, 1)
    assert re.search(
        r"time     about \d.* with 1 worker, at the [\d.]+ frames/s .* in 1 finished video of this job", page
    )
    assert "size     less than 1 MB\n" in page
    assert sum(path.stat().st_size for path in job.output.rglob("*.parquet")) > 10 * 1000, "what 10 masks take at most"
    num_frames, num_masks = numbers(r"frames   about ([\d,]+) to label, ([\d,]+) masks", page)
    assert job.run("model=mini") == 0
    assert (num_frames, num_masks) == (10, job.tables().masks.num_rows - num_before)


@pytest.mark.slow
@pytest.mark.parametrize("keys", [("frames.stride=2",), ("frames.fps=6",), ("propagate.direction=backward",)])
def test_masks_are_counted_as_the_keys_say(
    keys: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobFolder(tmp_path).write(["a"], num_frames=6)
    _, page = check(job, capsys, *keys)
    assert job.run("model=mini", *keys) == 0
    found = job.tables()
    assert numbers(r"frames   about ([\d,]+) to label, ([\d,]+) masks", page) == (
        sum(row["num_frames"] for row in found.videos.values()) if keys[0] != "propagate.direction=backward" else 6,
        found.masks.num_rows,
    )


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_masks_of_an_object_are_counted_up_to_the_cuts_of_its_shots(
    direction: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of six frames, two are of the first shot. One object has prompts on frames 0 and 4, another one on frame 3."""
    job = JobFolder(tmp_path).write(["a"], num_frames=6, num_objects=2)
    change(job, "a", 2, frame_index=3)
    (first, *_) = (row for row in job.rows("prompts") if row["object_id"] == 1)
    rows = [*job.rows("prompts"), first | {"frame_index": 4}]
    write_table(str(tmp_path / "in" / "prompts.parquet"), prompts_table(rows))
    rows = [job.rows("videos")[0] | {"cuts_seconds": [2 / FRAMES_PER_SECOND]}]
    write_table(str(tmp_path / "in" / "videos.parquet"), videos_table(rows))
    _, page = check(job, capsys, f"propagate.direction={direction}")
    (num_masks,) = numbers(r"frames   about [\d,]+ to label, ([\d,]+) masks", page)
    assert job.run("model=mini", f"propagate.direction={direction}") == 0
    assert num_masks == job.tables().masks.num_rows


@pytest.mark.slow
def test_a_sample_is_opened_and_all_prompts_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = JobFolder(tmp_path).write(["a", "b", "c", "d"])
    change(job, "d", 1, box_xyxy=[30.0, 10.0, 20.0, 40.0])
    code, page = check(job, capsys, "check_videos=2")
    assert code == 4
    assert "opened   2 of 4, all can be read; check_videos=4 opens all" in page
    assert "'d', object 1, frame 0: box: expected x0 < x1" in page
    assert numbers(r"frames   about ([\d,]+) to label", page) == (9,)  # of 4 clips with 3 frames, one will fail
    code, page = check(job, capsys, "check_videos=0")
    assert (code, "frames " in page) == (4, False)
    code, page = check(job, capsys, "check_videos=4")
    assert "opened   4 of 4" in page
    assert numbers(r"frames   about ([\d,]+) to label", page) == (9,)
    (tmp_path / "in" / "a.mp4").unlink()
    code, page = check(job, capsys, "check_videos=4")
    assert numbers(r"frames   about ([\d,]+) to label, ([\d,]+) masks", page) == (6, 6)


@pytest.mark.slow
def test_a_wrong_row_and_a_warning_of_the_tables_are_on_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobFolder(tmp_path).write(["a", "b"])
    job.rewrite("videos", [*job.rows("videos"), job.rows("videos")[0]])
    change(job, "b", 1, box_xyxy=[0.25, 0.25, 0.5, 0.5])
    job.rewrite("prompts", [row for row in job.rows("prompts") if row["video_id"] == "b"])
    code, page = check(job, capsys)
    assert code == 4
    assert page.count("its video_id stands in 2 rows of the videos table") == 1, "as a fault, and not as a warning too"
    assert "warning  no box in the prompts table (1 row with one) has a coordinate above 1" in page
    assert "'b', object 1, frame 0: box (0.25, 0.25, 0.5, 0.5) is less than a pixel wide" in page


def test_a_store_that_does_not_answer_for_a_video_is_a_fault_of_that_video(
    tmp_path: Path, faulty_store: type[FaultyStore]
) -> None:
    job = JobFolder(tmp_path).write(["a", "b"])
    faulty_store().pipe_file("/clips/b.mp4", (tmp_path / "in" / "b.mp4").read_bytes())
    rows = {row["video_id"]: row for row in job.rows("videos")}
    job.rewrite("videos", [rows["a"], rows["b"] | {"uri": "faulty://clips/b.mp4"}])

    def refuse(_: Request) -> None:
        raise TimeoutError("nobody is at home")

    faulty_store.before = staticmethod(refuse)
    config = job.config("model=mini")
    items = list(plan_job(open_job(config)).items())
    found = {one.item.video_id: one for one in look(items, config, 10, patience_seconds=0.1, num_items=2)}
    assert found["a"].opened is not None
    assert found["b"].opened is None
    assert "nobody is at home" in found["b"].error


@pytest.mark.slow
@pytest.mark.parametrize(("frame_index", "fails"), [(7, False), (20, True)])
def test_a_prompt_in_a_part_with_more_frames_than_the_rate_of_the_file_says_is_no_fault(
    tmp_path: Path, frame_index: int, fails: bool
) -> None:
    """Of 20 frames, 12 come in the first 3.3 s and the other 8 in the quarter of a second after that."""
    times = [*range(11), *range(100, 109)]
    job = JobFolder(tmp_path).write(["a"])
    (tmp_path / "in" / "a.mp4").write_bytes(encode(pictures(20, (96, 128)), rate=30, times=times))
    rows = [job.rows("videos")[0] | {"start_seconds": 3.34, "end_seconds": 3.62}]
    write_table(str(tmp_path / "in" / "videos.parquet"), videos_table(rows))
    change(job, "a", 1, frame_index=frame_index, box_xyxy=[10.0, 10.0, 30.0, 30.0])
    config = job.config("model=mini")
    (item,) = plan_job(open_job(config)).items()
    (found,) = look([item], config, 1, num_items=1)
    assert (1 in found.problems) is fails
    selection = FrameSelection(start_seconds=3.34, end_seconds=3.62)
    with open_media(item) as media, VideoFrames(media, selection) as frames:
        assert (frames.length_up_to(frame_index + 1) <= frame_index) is fails


@pytest.mark.slow
def test_videos_are_taken_as_they_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of ten million videos takes 8 GB."""
    job = JobFolder(tmp_path).write(["a", "b", "c", "d", "e"])
    config = job.config("model=mini")
    plan = plan_job(open_job(config))
    taken: list[str] = []

    def items() -> Iterator[WorkItem]:
        for item in plan.items():
            taken.append(item.video_id)
            yield item

    monkeypatch.setattr("pipeline.check.look._ITEMS_AHEAD", 2)
    found = look(items(), config, 2, num_items=plan.num_to_label)
    names = [next(found).item.video_id]
    assert len(taken) == 2
    rest = list(found)
    assert [*names, *(one.item.video_id for one in rest)] == taken == ["a", "b", "c", "d", "e"]
    assert [one.item.video_id for one in rest if one.opened is not None] == ["c"]


@pytest.mark.slow
def test_an_image_that_cannot_be_read_is_no_fault_of_its_folder(tmp_path: Path) -> None:
    """The job labels the other images of the folder, and says so in the message of the video."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encode_image(pictures(3)[number]))
    (folder / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    job = JobFolder(tmp_path).write(["a"])
    job.rewrite("videos", [job.rows("videos")[0] | {"uri": str(folder)}])
    config = job.config("model=mini")
    (found,) = look(plan_job(open_job(config)).items(), config, 10, num_items=1)
    assert found.error == ""
    assert found.opened is not None
    assert (found.opened.num_frames, found.opened.decoded[0]) == (3, 2)


@pytest.mark.slow
def test_a_check_refuses_an_output_to_which_this_user_may_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobFolder(tmp_path).write(["a"])
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert job.run("model=mini", "check=true") == 2
    assert f"output={job.output}: this user may not write to {tmp_path}; name another place" in capsys.readouterr().err


@pytest.mark.slow
def test_a_check_refuses_what_the_job_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = JobFolder(tmp_path).write(["a"])
    assert job.run("model=mini") == 0
    capsys.readouterr()
    assert main(job.arguments("model=mini", "check=true", "frames.stride=2")) == 2
    assert "holds masks of another model or of other options" in capsys.readouterr().err
    assert main(["conf=demo", "check=true", f"output={tmp_path / 'demo'}"]) == 2
    assert "check=true is for jobs with videos and prompts of your own" in capsys.readouterr().err


@pytest.mark.slow
def test_a_check_counts_former_videos_and_names_those_that_would_be_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobFolder(tmp_path).write(["a", "b"])
    assert job.run() == 0
    for table in ("videos", "prompts"):
        job.rewrite(table, job.rows(table)[:1])
    files = job.files()
    code, page = check(job, capsys)
    assert code == 0
    assert "\nformer   1 more is finished and in no table any more; its rows stay until a run with prune=true\n" in page
    code, page = check(job, capsys, "prune=true")
    assert code == 0
    assert "\nprune    a run removes 1 video that no table has: 'b'\n" in page
    assert job.files() == files
    for table in ("videos", "prompts"):
        job.rewrite(table, [])
    assert check(job, capsys, "prune=true")[0] == 2, "as the run itself"
    assert job.run("prune=true") == 2

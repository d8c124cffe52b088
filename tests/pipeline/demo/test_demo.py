"""The demo in process; `tests/test_wheel.py` runs it on Ray."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline import evaluate, tables
from pipeline.data_engine.queue import values
from pipeline.demo.clips import draw
from pipeline.demo.demo import what_to_review
from pipeline.demo.scenes import demo_scenes
from pipeline.quality.doubt import Ranking, signals
from pipeline.quality.signals import COLUMNS
from pipeline.quality.track_rows import whole_tracks
from pipeline.run import main
from tests.support.clips import iou
from tests.support.drawn_job import DrawnVideo, write_job

NUM_OBJECTS_AT_START = 12


@pytest.mark.slow
def test_the_track_to_look_at_first_is_that_of_a_review_and_not_called_the_most_doubtful(tmp_path: Path) -> None:
    videos = DrawnVideo("a", {7: "cat", 3: "dog"}), DrawnVideo("b", {0: "cat"}, num_frames=4)
    job = tables.open(write_job(tmp_path, (*videos, DrawnVideo("c", {1: "cat", 2: None}, num_frames=9)), broken=())[0])
    rows = job.tracks(where="num_masks > 0")
    worths = values(rows), rows["doubt"].fill_null(0).to_numpy()
    by_value, by_doubt = (rows.slice(int(np.argmax(worth)), 1).to_pylist()[0] for worth in worths)
    assert by_value["doubt"] < by_doubt["doubt"]
    told = what_to_review(job, "out")
    assert told.startswith("look first      {video_id}, object {object_id}: doubt ".format(**by_value))
    assert "most doubtful" not in told


@pytest.mark.slow
def test_a_review_that_lacks_its_packages_comes_with_the_command_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tables.open(write_job(tmp_path)[0])
    assert "pip install" not in what_to_review(job, "out")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    *_, packages, review = what_to_review(job, "out").splitlines()
    assert packages == 'packages        pip install "maskmill[review]", for the server of a review'
    assert review == "review          python -m pipeline.review output=out"


@pytest.mark.slow
def test_the_demo_labels_its_clips_well_and_shows_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "demo"
    assert main(["conf=demo", "cluster=serial", f"output={output}"]) == 0
    printed = capsys.readouterr().out
    (line,) = (line for line in printed.splitlines() if line.startswith("mean IoU"))
    assert float(line.split()[-1]) > 0.8
    doubt, review = printed.splitlines()[-2:]
    assert review.split(maxsplit=1) == ["review", f"python -m pipeline.review output={output}"]

    assert tables.open(str(output)).videos()["status"].to_pylist() == ["ok"] * 6
    masks = pq.read_table(output / "masks")
    late = masks.filter(np.asarray(masks["video_id"]) == "entering").to_pylist()
    late_frames = [row["frame_index"] for row in late if row["object_id"] == 2]
    assert masks.num_rows == NUM_OBJECTS_AT_START * 24 + len(late_frames)
    assert late_frames == list(range(late_frames[0], 24))
    assert late_frames[0] > 0

    assert evaluate.door([f"output={output}", f"truth={output / 'truth.parquet'}"]) == 0
    scores = re.search(r"all objects +13 +\d+ +([\d.]+)", capsys.readouterr().out)
    assert scores is not None
    assert float(scores[1]) > 75

    sheet = Image.open(io.BytesIO((output / "contact_sheet.png").read_bytes()))
    assert sheet.width > 1500
    videos = sorted((output / "overlays").glob("*.mp4"))
    assert [video.stem for video in videos] == sorted(set(masks["video_id"].to_pylist()))
    for video in videos:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.height, stream.width) == ("h264", 240, 320)
            assert sum(1 for _ in container.decode(stream)) == 24

    doubtful = most_doubtful(tables.open(str(output)))
    truly_worst = sorted((ious := true_ious(tables.open(str(output)))), key=ious.__getitem__)
    assert doubtful[0] == truly_worst[0]
    assert doubt.startswith("look first      {}, object {}: doubt 0.".format(*truly_worst[0]))
    assert set(doubtful[:3]) < set(truly_worst[:5])


def most_doubtful(job: tables.JobTables) -> list[tuple[str, int]]:
    """Tracks in the order in which a person should look at them."""
    ranking = Ranking(most=20)
    for rows in whole_tracks(job.masks(columns=COLUMNS).to_batches()):
        ranking.add(signals(rows, lambda video_id: (240, 320)))
    return [(doubt.video_id, doubt.object_id) for doubt in ranking.worst()]


def true_ious(job: tables.JobTables) -> dict[tuple[str, int], float]:
    """The mean IoU of each track with the masks that were drawn."""
    found: dict[tuple[str, int], list[float]] = {}
    for scene in demo_scenes(num_frames=24):
        drawn_TBHW = draw(scene).masks_TBHW
        for mask in job.video_masks(scene.name):
            true_HW = drawn_TBHW[mask.frame_index, mask.object_id - 1]
            key = (scene.name, mask.object_id)
            found.setdefault(key, []).append(iou(true_HW, mask.pixels_HW))
    return {key: float(np.mean(ious)) for key, ious in found.items()}


@pytest.mark.slow
def test_a_second_run_of_the_demo_labels_nothing_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["conf=demo", "cluster=serial", f"output={tmp_path / 'demo'}", "demo.num_frames=3"]
    assert main(command) == 0
    segments = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo" / "masks").iterdir()}
    first = capsys.readouterr().out.splitlines()[-10:]
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "demo" / "masks").iterdir()} == segments
    assert capsys.readouterr().out.splitlines()[-10:] == first


@pytest.mark.parametrize("key", ["videos", "prompts", "corrections", "detections"])
def test_the_demo_refuses_an_input_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str) -> None:
    assert main(["conf=demo", f"{key}=mine.parquet", f"output={tmp_path}"]) == 2
    assert f"leave out {key}=" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_demo_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty `output=` is a variable that is not set."""
    assert main(["conf=demo", "output="]) == 2
    assert "the demo needs output=" in capsys.readouterr().err


def test_a_demo_where_this_user_may_not_write_is_told_before_it_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make demo` in a clone of another user, or on a disk that is mounted to be read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert main(["conf=demo"]) == 2
    assert f"output=maskmill-demo: this user may not write to {tmp_path}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

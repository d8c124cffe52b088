"""Verdicts are in the tables as soon as they are said, and what is rejected leaves them and all that reads them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.errors import NotInJob
from pipeline.formats.label import ReadOptions
from pipeline.formats.label_files import LabelFiles
from pipeline.formats.planning import make_plan
from pipeline.formats.readers import maskmill
from pipeline.formats.selection import Selection
from pipeline.output.schema import TRACKS, VIDEOS
from pipeline.quality.sources import OutputMasks
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo, drawn_video, write_job
from tests.support.labeled import driver, publish
from tests.support.reviewed import LABELED, say_of, verdict

TWO = {1: "cat", 2: "dog"}
CLIPS = (DrawnVideo("a", TWO), DrawnVideo("b", TWO), DrawnVideo("c", {5: None}))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_job(tmp_path_factory.mktemp("drawn"), CLIPS)[0]


@pytest.fixture
def uri(drawn: str, tmp_path: Path) -> str:
    """A job of which nobody has said anything."""
    return str(shutil.copytree(drawn, tmp_path / "job"))


@pytest.fixture(scope="module")
def reviewed(drawn: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job with a rejected object, and one that was accepted and got another category."""
    uri = str(shutil.copytree(drawn, tmp_path_factory.mktemp("reviewed") / "job"))
    say_of(uri, verdict("a", 1, "reject"), verdict("b", 2, "accept", category="lynx"))
    return uri


def keys(rows: Any) -> list[tuple[str, int]]:
    return sorted(set(zip(rows["video_id"].to_pylist(), rows["object_id"].to_pylist(), strict=True)))


@pytest.mark.slow
def test_tracks_have_the_newest_verdict_of_each_and_the_category_that_a_reviewer_gave(uri: str) -> None:
    say_of(uri, verdict("a", 1, "fix"), verdict("a", 2, "skip"), verdict("b", 1, "accept", category="lynx"))
    say_of(uri, verdict("a", 1, "accept", 2, reviewer="bob"))
    tracks = tables.open(uri).tracks()
    assert tracks.schema.equals(TRACKS)
    found = {(row["video_id"], row["object_id"]): row for row in tracks.to_pylist()}
    said = found["a", 1]
    assert (said["verdict"], said["reviewer"], said["reviewed_at"]) == ("accept", "bob", LABELED + timedelta(minutes=2))
    assert [found[key]["verdict"] for key in (("a", 2), ("b", 2), ("c", 5))] == [None, None, None]
    assert [found[key]["category"] for key in (("a", 1), ("b", 1), ("b", 2))] == ["cat", "lynx", "dog"]


def test_a_verdict_on_earlier_labels_is_none_on_those_of_now(uri: str) -> None:
    before = LABELED - timedelta(hours=1)
    say_of(uri, verdict("a", 1, "reject", labeled_at=before), verdict("a", 2, "accept", -5, labeled_at=None))
    job = tables.open(uri)
    assert job.tracks(["a"])["verdict"].to_pylist() == [None, None]
    assert job.masks(["a"]).count_rows() == 11


def test_a_skip_holds_until_it_is_taken_back_or_the_object_is_labeled_again(uri: str) -> None:
    before = LABELED - timedelta(hours=1)
    say_of(uri, verdict("a", 1, "skip"), verdict("a", 2, "skip", labeled_at=before), verdict("b", 1, "skip"))
    say_of(uri, verdict("b", 2, "accept"), verdict("nowhere", 1, "skip"))
    assert tables.open(uri).skipped() == {("a", 1), ("b", 1)}
    say_of(uri, verdict("b", 1, "withdraw", 2))
    assert tables.open(uri).skipped() == {("a", 1)}
    assert tables.open(uri, reviews=False).skipped() == set()


def test_a_category_is_of_the_object_and_stays_when_that_is_labeled_again_until_it_is_taken_back(uri: str) -> None:
    before = LABELED - timedelta(hours=1)
    say_of(uri, verdict("a", 1, "fix", category="lynx", labeled_at=before), verdict("a", 1, "accept", 2))
    job = tables.open(uri)
    assert [(row["category"], row["verdict"]) for row in job.tracks(["a"]).to_pylist()] == [
        ("lynx", "accept"),
        ("dog", None),
    ]
    assert [rows["category"].to_pylist() for rows in job.track_batches(["a"], where='category = "lynx"')] == [["lynx"]]
    assert OutputMasks("output", uri).read(["a"])["a"].tracks["1"].category == "lynx"
    labels = maskmill.read(LabelFiles(uri), ReadOptions())
    assert {(label.video, label.category) for label in labels if label.object_key == 1} == {("a", "lynx"), ("b", "cat")}
    say_of(uri, verdict("a", 1, "withdraw", 3))
    job.refresh()
    assert job.tracks(["a"])["category"].to_pylist() == ["cat", "dog"]


@pytest.mark.slow
def test_rejected_tracks_leave_the_tables_and_come_back_where_they_are_asked_for(uri: str) -> None:
    every = keys(tables.open(uri).tracks())
    say_of(uri, verdict("a", 1, "reject"), verdict("b", 2, "accept"))
    job = tables.open(uri)
    shown = [key for key in every if key != ("a", 1)]
    for rows in (
        job.tracks(),
        job.masks().to_table(),
        job.masks(where="area > 0").to_table(),
        job.sql("select video_id, object_id from masks").to_arrow_table(),
        next(iter(job.track_batches(["a", "b", "c"]))),
    ):
        assert ("a", 1) not in keys(rows)
        assert set(keys(rows)) <= set(shown)
    assert keys(job.tracks(rejected=True)) == keys(job.masks(rejected=True).to_table()) == every
    assert keys(job.tracks(where='verdict = "reject"')) == [("a", 1)]
    assert keys(job.tracks(where='verdict != "reject"')) == [("b", 2)]
    assert keys(tables.open(uri, reviews=False).tracks()) == every
    assert job.rejected() == {("a", 1)}


def test_pictures_and_masks_of_a_video_are_without_rejected_objects(reviewed: str) -> None:
    job = tables.open(reviewed)
    clip = job.video("a")
    assert clip.object_ids == [2]
    assert set(clip.masks(2)) == {2} == {mask.object_id for mask in job.video_masks("a")}
    assert clip.labels(2).max() == 2
    assert 1 not in np.unique(clip.labels(2))
    with pytest.raises(NotInJob, match=r"object 1 of video 'a' was rejected by a reviewer.*rejected=True"):
        clip.track(1)
    assert set(job.video("a", rejected=True).masks(2)) == {1, 2}


def test_a_word_that_is_taken_back_and_one_that_comes_later_are_seen_after_a_refresh(uri: str) -> None:
    say_of(uri, verdict("a", 1, "reject"))
    job = tables.open(uri)
    assert keys(job.tracks(["a"])) == [("a", 2)]
    lazy = job.masks(["a"])
    say_of(uri, verdict("a", 1, "withdraw", 2), verdict("a", 2, "reject", 2))
    assert keys(lazy.to_table()) == [("a", 2)]
    job.refresh()
    assert keys(job.tracks(["a"])) == keys(lazy.to_table()) == [("a", 1)]


def test_a_verdict_stays_on_objects_that_a_round_did_not_label_again(tmp_path: Path) -> None:
    storage = JobStorage(str(tmp_path / "job"))
    _, keeper = driver(storage, tmp_path)
    again = LABELED + timedelta(days=1)
    video = drawn_video(DrawnVideo("a", {1: "cat", 2: "dog", 3: "cow", 4: None}))
    row = video.video.to_pylist()[0] | {"finished_at": again, "kept_since": LABELED}
    made_at = [None, again, LABELED - timedelta(hours=2), LABELED]
    tracks = [one | {"labeled_at": at} for one, at in zip(video.tracks.to_pylist(), made_at, strict=True)]
    tables_of_now = {"video": pa.Table.from_pylist([row], VIDEOS), "tracks": pa.Table.from_pylist(tracks, TRACKS)}
    keeper.commit([publish(storage, tmp_path, replace(video, **tables_of_now))])
    say_of(storage.uri, *(verdict("a", number, "reject") for number in (1, 2, 3)))
    job = tables.open(storage.uri)
    assert keys(job.tracks()) == keys(job.masks().to_table()) == [("a", 2), ("a", 4)]
    say_of(storage.uri, verdict("a", 1, "withdraw", 5), verdict("a", 2, "reject", 2000, labeled_at=again))
    job.refresh()
    assert keys(job.tracks()) == keys(job.masks().to_table()) == [("a", 1), ("a", 4)]


def test_without_reviews_one_listing_is_made_and_none_where_nobody_asks(drawn: str) -> None:
    storage = CountingStorage(drawn)
    job = tables.JobTables(storage, tables.open(drawn).state, reviews=True)
    job.masks(rejected=True).to_table()
    job.videos()
    list(job.video_masks("a", rejected=True))
    assert storage.listed == []
    job.tracks()
    job.masks().to_table()
    job.video("a")
    assert storage.listed == ["reviews"]
    plain = tables.JobTables(storage, job.state)
    plain.tracks()
    plain.masks().to_table()
    assert storage.listed == ["reviews"]


def test_a_condition_still_rules_out_files_beside_rejected_tracks(reviewed: str) -> None:
    rows = tables.open(reviewed).masks(where='video_id = "b"', columns=["area"])
    assert rows.plan().num_files == 1
    everything = tables.open(reviewed, reviews=False).masks().plan()
    assert everything.num_files == 3


@pytest.mark.slow
def test_several_outputs_are_read_without_what_is_rejected_in_each(tmp_path: Path) -> None:
    uris = [write_job(tmp_path / name, (DrawnVideo(name, TWO),), broken=())[0] for name in ("one", "two")]
    say_of(uris[0], verdict("one", 1, "reject"))
    say_of(uris[1], verdict("one", 2, "reject"), verdict("two", 2, "accept"))
    jobs = tables.open(uris)
    assert keys(jobs.tracks()) == keys(jobs.masks().to_table()) == [("one", 2), ("two", 1), ("two", 2)]
    assert keys(jobs.tracks(where='verdict = "reject"')) == [("one", 1)]
    assert keys(jobs.tracks(rejected=True)) == keys(jobs.masks(rejected=True).to_table())
    assert jobs.video("one").object_ids == [2]


@pytest.mark.parametrize(
    ("selection", "expected", "told"),
    [
        ({}, [("a", 2), ("b", 1), ("b", 2), ("c", 5)], "tracks that a reviewer rejected: 1 (object 1 of video 'a')"),
        ({"where": 'verdict = "accept"'}, [("b", 2)], "tracks that where= leaves out: 4"),
        ({"where": 'verdict = "reject"'}, [("a", 1)], "tracks that where= leaves out: 4"),
        ({"whole_videos": True}, [("b", 1), ("b", 2), ("c", 5)], "tracks of videos with a track that failed, was"),
        ({"categories": ("lynx",)}, [("b", 2)], "tracks of other categories"),
    ],
)
def test_an_export_takes_what_is_not_rejected_or_what_its_condition_names(
    selection: dict[str, Any], expected: list[tuple[str, int]], told: str, reviewed: str
) -> None:
    with make_plan(tables.open(reviewed), Selection(**selection)) as plan:
        found = [
            (video.video_id, track.object_id)
            for task in plan.tasks(100, 100)
            for video in task.videos
            for track in video.tracks
        ]
        assert sorted(found) == expected
        assert any(line.startswith(told) for line in plan.left_out.lines())


def test_an_evaluation_sees_the_frames_of_a_rejected_track_and_not_its_masks(uri: str) -> None:
    say_of(uri, verdict("a", 1, "reject"), verdict("c", 5, "reject"))
    found = OutputMasks("output", uri).read(["a", "c"])
    assert (list(found["a"].tracks), found["a"].frames_T.tolist()) == (["2"], list(range(6)))
    assert (list(found["c"].tracks), found["c"].frames_T.tolist()) == ([], list(range(6)))


def test_verdicts_on_videos_that_the_job_does_not_have_are_none(uri: str) -> None:
    say_of(uri, *(verdict(f"v{n // 10}", n % 10, "reject") for n in range(200)), verdict("b", 1, "reject"))
    assert tables.open(uri).rejected() == {("b", 1)}


class CountingStorage(JobStorage):
    """Notes which folders are listed."""

    listed: list[str]

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        object.__setattr__(self, "listed", [])

    def listing(self, folder: str, *more: Any) -> Any:
        self.listed.append(folder)
        return super().listing(folder, *more)

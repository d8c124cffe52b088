"""Verdicts: each is written once, at once, with what the page knows; an undo takes back that one alone."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.commits.committer import SegmentKeeper
from pipeline.errors import StorageError
from pipeline.reviews.verdicts import read_verdict_files, read_verdicts
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo, drawn_video
from tests.support.labeled import driver, publish
from tests.support.reviewing import VIDEOS, Client, reviewing

ODD = VIDEOS[1].video_id


def written(output: str) -> list[dict[str, Any]]:
    return [row for _, rows in read_verdict_files(JobStorage(output)) for row in rows]


@pytest.mark.slow
def test_a_verdict_is_a_file_when_the_page_hears_of_it(client: Client, output: str) -> None:
    row = client.get("api/track", video=ODD, object=0)
    told = client.say(
        ODD, 0, "fix", labeled_at=row["labeled_at"], seconds=12.5, frame_index=8, comment="  läßt los", category="tiger"
    )
    assert (Path(output) / told["path"]).is_file()
    (found,) = written(output)
    assert (found["video_id"], found["object_id"], found["verdict"], found["reviewer"]) == (ODD, 0, "fix", "ann")
    assert (found["seconds"], found["frame_index"], found["comment"]) == (12.5, 8, "  läßt los")
    assert (found["category"], found["is_audit"]) == ("tiger", False)
    assert found["labeled_at"] == tables.open(output).videos([ODD])["finished_at"][0].as_py()
    assert tables.open(output).tracks([ODD])["verdict"].to_pylist() == ["fix"]


def test_what_is_sent_again_is_written_once(client: Client, output: str) -> None:
    first = client.say("clip-1", 3, "accept", id="x-1")
    assert client.say("clip-1", 3, "accept", id="x-1") == first
    assert len(written(output)) == 1
    assert client.say("clip-1", 3, "accept", id="x-2") != first


def test_what_a_killed_server_has_written_and_not_answered_is_not_written_again(output: str) -> None:
    """The page sends it again to the server that takes its place. It was written twice, and took two undos."""
    with reviewing(output) as killed:
        killed.say("clip-1", 3, "reject", reviewer="bob")
        lost = killed.say("clip-1", 3, "accept", id="x-1")
    with reviewing(output) as client:
        assert client.say("clip-1", 3, "accept", id="x-1") == lost
        assert lost["replaced"]["verdict"] == "reject"
        assert len(written(output)) == 2
        track = {"video_id": "clip-1", "object_id": 3, "path": lost["path"]}
        assert client.post("api/undo", track)["current"]["verdict"] == "reject"


def test_a_verdict_that_counts_again_after_an_undo_is_not_what_was_sent(output: str) -> None:
    with reviewing(output) as killed:
        first = killed.say("clip-1", 3, "accept", id="x-1")
        second = killed.say("clip-1", 3, "reject", id="x-2")
        killed.post("api/undo", {"video_id": "clip-1", "object_id": 3, "path": second["path"]})
    with reviewing(output) as client:
        assert client.say("clip-1", 3, "accept", id="x-1")["path"] == first["path"]
        assert client.say("clip-1", 3, "reject", id="x-2")["path"] == second["path"], "an undo does not say it anew"
        assert client.said() == {("clip-1", 3): "accept"}


def test_a_verdict_that_a_store_has_taken_without_an_answer_is_not_written_again(output: str) -> None:
    with reviewing(output) as client:
        replace = client.state.storage.replace

        def in_vain(path: str, data: bytes) -> None:
            replace(path, data)
            raise StorageError("no answer within 60 s")

        client.state.storage.replace = in_vain  # type: ignore[method-assign]
        assert "no answer" in client.say("clip-1", 3, "accept", 503, id="x-1")["error"]
        client.state.storage.replace = replace  # type: ignore[method-assign]
        told = client.say("clip-1", 3, "accept", id="x-1")
        assert [path for path, _ in read_verdict_files(JobStorage(output))] == [told["path"]]
        assert client.said() == {("clip-1", 3): "accept"}


@pytest.mark.slow
def test_what_two_pages_of_a_browser_send_in_one_moment_is_written_once(client: Client, output: str) -> None:
    write, told = client.state.book.write, []
    other = threading.Thread(target=lambda: told.append(client.say("clip-1", 3, "accept", id="x-1")))

    def slowly(row: Mapping[str, Any]) -> Any:
        if not other.ident:
            other.start()
            other.join(0.3)  # it must wait for this one
        return write(row)

    client.state.book.write = slowly  # type: ignore[method-assign]
    first = client.say("clip-1", 3, "accept", id="x-1")
    other.join()
    assert told == [first]
    assert len(written(output)) == 1


@pytest.mark.slow
def test_a_verdict_on_a_track_that_was_drawn_by_lot_stays_one_when_the_track_has_left_the_queue(output: str) -> None:
    """Whoever starts the server again makes another queue. Second thoughts on bad tracks left the sample."""
    with reviewing(output, queue={("clip-1", 3): True, ("clip-1", 7): False}) as client:
        client.say("clip-1", 3, "accept")
        client.say("clip-1", 7, "accept")
    with reviewing(output, reviewer="bob") as client:
        for object_id in (3, 7):
            client.say("clip-1", object_id, "reject")
    said = read_verdicts(JobStorage(output))
    assert {key: (one.verdict, one.is_audit) for key, one in said.items()} == {
        ("clip-1", 3): ("reject", True),
        ("clip-1", 7): ("reject", False),
    }


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"verdict": "good"}, "there are accept, reject, fix, skip"),
        ({"verdict": "withdraw"}, "there are accept"),
        ({"video_id": 3}, "video_id needs a text"),
        ({"object_id": "3"}, "object_id a whole number"),
        ({"object_id": True}, "object_id a whole number"),
        ({"object_id": 2**64}, "too large"),
        ({"seconds": -1}, "seconds"),
        ({"seconds": "long"}, "seconds"),
        ({"frame_index": 1.5}, "frame_index"),
        ({"frame_index": 2**40}, "frame_index"),
        ({"comment": "x" * 4001}, "4001 letters"),
        ({"comment": "\ud800"}, "half of a letter"),
        ({"comment": ["x"]}, "comment needs a text"),
        ({"labeled_at": "yesterday"}, "labeled_at"),
        ({"reviewer": "x" * 101}, "reviewer has 101"),
    ],
)
def test_nonsense_is_refused_and_nothing_is_written(watched: Client, filmed: str, body: dict, said: str) -> None:
    good = {"video_id": "clip-1", "object_id": 3, "verdict": "accept"}
    assert said in watched.post("api/verdicts", good | body, 400)["error"]
    assert written(filmed) == []


def test_a_body_that_is_no_object_is_refused(client: Client) -> None:
    assert "no JSON object" in client.post("api/verdicts", [1], 400)["error"]
    assert "said" not in client.post("api/verdicts", "x", 400)


def test_a_track_that_is_gone_is_told_and_not_written(client: Client, output: str) -> None:
    assert "no track of object 99" in client.say("clip-1", 99, "accept", 404)["error"]
    assert written(output) == []


def test_without_a_name_nothing_is_said(output: str) -> None:
    with reviewing(output, reviewer="") as client:
        assert "who are you?" in client.say("clip-1", 3, "accept", 400)["error"]
        client.say("clip-1", 3, "accept", reviewer=" bob ")
    assert [row["reviewer"] for row in written(output)] == ["bob"]


class FullStorage(JobStorage):
    """Takes nothing while it is full."""

    is_full = True

    def replace(self, path: str, data: bytes) -> None:
        if self.is_full:
            raise StorageError("the disk is full")
        super().replace(path, data)


def test_what_the_store_does_not_take_is_not_called_saved(output: str) -> None:
    storage = FullStorage(output)
    with reviewing(storage) as client:
        assert "not saved: the disk is full" in client.say("clip-1", 3, "accept", 503, id="1")["error"]
        assert client.said() == {}
        storage.is_full = False
        client.say("clip-1", 3, "accept", id="1")
        assert client.said() == {("clip-1", 3): "accept"}
    assert len(written(output)) == 1


def test_an_undo_takes_back_what_was_said(client: Client, output: str) -> None:
    path = client.say("clip-1", 3, "reject")["path"]
    assert tables.open(output).rejected() == {("clip-1", 3)}
    assert client.post("api/undo", {"video_id": "clip-1", "object_id": 3, "path": path})["current"] is None
    assert client.said() == {}
    assert read_verdicts(JobStorage(output)) == {}
    assert [row["verdict"] for row in written(output)] == ["reject", "withdraw"]


def test_after_an_undo_the_verdict_of_before_counts_again_in_the_name_of_who_said_it(
    client: Client, output: str
) -> None:
    client.say("clip-1", 3, "reject", reviewer="bob", comment="lost", category="wolf")
    told = client.say("clip-1", 3, "accept")
    assert (told["replaced"]["reviewer"], told["replaced"]["verdict"]) == ("bob", "reject")
    back = client.post("api/undo", {"video_id": "clip-1", "object_id": 3, "path": told["path"]})["current"]
    assert (back["reviewer"], back["verdict"], back["comment"]) == ("bob", "reject", "lost")
    (opinion,) = read_verdicts(JobStorage(output)).values()
    assert (opinion.reviewer, opinion.verdict, opinion.category) == ("bob", "reject", "wolf")


def test_an_undo_of_a_skip_leaves_what_was_said_before(client: Client, output: str) -> None:
    client.say("clip-1", 3, "accept", reviewer="bob")
    path = client.say("clip-1", 3, "skip")["path"]
    client.post("api/undo", {"video_id": "clip-1", "object_id": 3, "path": path})
    (opinion,) = read_verdicts(JobStorage(output)).values()
    assert (opinion.reviewer, opinion.verdict) == ("bob", "accept")


@pytest.mark.slow
def test_an_undo_never_takes_back_what_others_have_said_since(client: Client, output: str) -> None:
    mine = client.say("clip-1", 3, "accept")["path"]
    with reviewing(output, reviewer="bob") as other:
        other.say("clip-1", 3, "reject")
    error = client.post("api/undo", {"video_id": "clip-1", "object_id": 3, "path": mine}, 409)["error"]
    assert "bob said reject since" in error
    assert [opinion.verdict for opinion in read_verdicts(JobStorage(output)).values()] == ["reject"]
    assert client.said() == {("clip-1", 3): "reject"}


def label_again(storage: JobStorage, keeper: SegmentKeeper, spool: Path, year: int) -> None:
    """Commit the drawn video `a` once more, with labels of this year."""
    later = drawn_video(DrawnVideo("a", {1: "cat"}))
    place = later.video.schema.get_field_index("finished_at")
    finished = pa.array([datetime(year, 1, 1, tzinfo=UTC)], later.video.schema.field(place).type)
    again = replace(later, video=later.video.set_column(place, later.video.schema.field(place), finished))
    keeper.forget(["a"])
    keeper.commit([publish(storage, spool, again)])


@pytest.mark.slow
def test_an_idle_server_begins_a_page_with_the_labels_of_now_and_tells_a_verdict_on_earlier_ones(
    tmp_path: Path,
) -> None:
    storage, clock = JobStorage(str(tmp_path / "out")), [0.0]
    _, keeper = driver(storage, tmp_path)
    keeper.commit([publish(storage, tmp_path, drawn_video(DrawnVideo("a", {1: "cat"})))])
    with reviewing(storage, clock=lambda: clock[0]) as client:
        seen = client.get("api/track", video="a", object=1)["labeled_at"]
        label_again(storage, keeper, tmp_path, 2030)
        clock[0] += 2
        assert client.say("a", 1, "accept", labeled_at=seen, id="1")["is_stale"] is True
        assert client.get("api/tracks")["rows"][0]["labeled_at"].startswith("2030")
        for year, path in ((2031, "api/session"), (2032, "api/tracks")):
            label_again(storage, keeper, tmp_path, year)
            clock[0] += 3600
            client.get(path)
            assert client.get("api/track", video="a", object=1)["labeled_at"].startswith(str(year)), path


@pytest.mark.slow
def test_a_verdict_on_masks_that_were_made_again_meanwhile_says_so_and_does_not_count(tmp_path: Path) -> None:
    storage, clock = JobStorage(str(tmp_path / "out")), [0.0]
    _, keeper = driver(storage, tmp_path)
    keeper.commit([publish(storage, tmp_path, drawn_video(DrawnVideo("a", {1: "cat"})))])
    with reviewing(storage, clock=lambda: clock[0]) as client:
        seen = client.get("api/track", video="a", object=1)["labeled_at"]
        label_again(storage, keeper, tmp_path, 2030)
        assert client.say("a", 1, "accept", labeled_at=seen, id="1")["is_stale"] is False, "not heard of yet"
        clock[0] += 60
        client.get("api/news", since=1, reading=1)
        (row,) = client.get("api/tracks")["rows"]
        assert row["said"]["is_stale"] is True
        assert client.get("api/tracks", verdict="open")["total"] == 1
        assert client.say("a", 1, "accept", labeled_at=seen, id="2")["is_stale"] is True
        assert client.say("a", 1, "accept", labeled_at=row["labeled_at"], id="3")["is_stale"] is False
        assert client.get("api/tracks", verdict="accept")["total"] == 1

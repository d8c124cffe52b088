"""The list: which tracks, in which order, what comes next, and what others have said meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline import tables
from pipeline.data_engine.queue import values
from pipeline.review_server.track_list import TrackList
from pipeline.reviews.cycles import write_cycles
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import DrawnVideo, drawn_video
from tests.support.labeled import driver, publish
from tests.support.reviewed import say_of, verdict
from tests.support.reviewing import HOSTILE, Client, reviewing


def keys(told: dict) -> list[tuple[str, int]]:
    return [(row["video_id"], row["object_id"]) for row in told["rows"]]


@pytest.mark.slow
@pytest.mark.parametrize("sort", ["", "value", "doubt"])
def test_tracks_come_by_value_or_by_doubt_as_the_tables_have_them(watched: Client, filmed: str, sort: str) -> None:
    told = watched.get("api/tracks", **({"sort": sort} if sort else {}))
    found = tables.open(filmed).tracks(where="num_masks > 0")
    rows = found.to_pylist()
    assert told["total"] == len(rows) == 7
    worth = found["doubt"].to_pylist() if sort == "doubt" else values(found).tolist()
    expected = {(row["video_id"], row["object_id"]): row for row in rows}
    by_worth = sorted((-one, key) for one, key in zip(worth, expected, strict=True))
    assert keys(told) == [key for _, key in by_worth]
    for row in told["rows"]:
        stored = expected[row["video_id"], row["object_id"]]
        assert [one["code"] for one in row["reasons"]] == stored["doubt_reasons"]
        assert row["category"] == stored["category"]
        assert row["doubt"] == pytest.approx(stored["doubt"], abs=1e-3)


@pytest.mark.parametrize("path", ["api/tracks", "api/next", "api/rank", "api/track", "api/filmstrip"])
def test_a_list_that_is_read_again_while_it_is_asked_for_is_not_mixed_with_the_one_before(
    client: Client, path: str
) -> None:
    """A running job gives other lists, in which a place is that of another track, or of none."""
    state, query = client.state, {"video": "one-frame", "object": 1, "sort": "video"}
    snapshot = state.snapshot
    before = client.raw(path, **query).content
    fewer = replace(snapshot, tracks=TrackList(snapshot.tracks.rows.slice(3, 2)))
    place_of, places = snapshot.tracks.place_of, snapshot.tracks.places

    def then_another(find: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def found(what: Any) -> Any:
            state.snapshot = fewer
            return find(what)

        return found

    snapshot.tracks.place_of = then_another(place_of)  # type: ignore[method-assign]
    snapshot.tracks.places = then_another(places)  # type: ignore[method-assign]
    found = client.raw(path, **query)
    assert found.status_code == 200
    if path == "api/filmstrip":
        assert found.content == before
    elif path == "api/track":
        assert (found.json()["video_id"], found.json()["object_id"]) == ("one-frame", 1)
    elif path == "api/rank":
        assert found.content == before
    else:
        assert keys(found.json()) == keys(json.loads(before))


def test_pages_add_up_to_the_list(watched: Client) -> None:
    whole = keys(watched.get("api/tracks", sort="video"))
    assert whole == sorted(whole)
    assert [
        key for offset in (0, 3, 6) for key in keys(watched.get("api/tracks", sort="video", offset=offset, limit=3))
    ] == whole
    assert watched.get("api/tracks", offset=100)["rows"] == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"text": "CLIP"}, {("clip-1", 3), ("clip-1", 7)}),
        ({"text": "ünï .mp4"}, {("b/ünï cødé?&#%.mp4", 0)}),
        ({"text": "%"}, {("b/ünï cødé?&#%.mp4", 0)}),
        ({"category": "dog"}, {("clip-1", 3), ("one-frame", 1)}),
        ({"category": ""}, {(HOSTILE, 2)}),
        ({"text": "<script>", "category": ""}, {(HOSTILE, 2)}),
        ({"verdict": "accept"}, set()),
        ({"reason": "lost"}, set()),
    ],
)
def test_filters_choose_tracks(watched: Client, query: dict, expected: set) -> None:
    assert set(keys(watched.get("api/tracks", **query))) == expected


def test_a_reason_chooses_the_tracks_that_have_it(watched: Client) -> None:
    rows = watched.get("api/tracks")["rows"]
    for code, number in watched.get("api/session")["reasons"].items():
        found = keys(watched.get("api/tracks", reason=code))
        assert len(found) == number > 0
        assert set(found) == {
            (row["video_id"], row["object_id"]) for row in rows if code in [one["code"] for one in row["reasons"]]
        }


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"sort": "size"}, "doubt"),
        ({"verdict": "good"}, "accept"),
        ({"reason": "x"}, "low_iou"),
        ({"offset": "x"}, "offset="),
    ],
)
def test_names_that_there_are_not_are_refused_with_those_that_there_are(
    watched: Client, query: dict, said: str
) -> None:
    assert said in watched.get("api/tracks", 400, **query)["error"]


def test_the_next_track_is_one_of_which_nobody_has_said_anything(client: Client) -> None:
    order = keys(client.get("api/tracks"))
    video_id, object_id = order[0]
    client.say(*order[1], "accept")
    assert keys(client.get("api/next", video=video_id, object=object_id)) == order[2:4]
    client.say(*order[0], "reject")
    assert keys(client.get("api/next", count=1)) == [order[2]]
    # What a verdict has taken out of a filtered list still says where to go on.
    assert keys(client.get("api/next", verdict="open", video=order[1][0], object=order[1][1], count=1)) == [order[2]]
    last = {"video": order[-1][0], "object": order[-1][1]}
    assert keys(client.get("api/next", **last, count=1)) == [order[2]], "from the begin again"
    for key in order[2:]:
        client.say(*key, "accept")
    assert client.get("api/next", **last)["rows"] == []


def test_what_was_skipped_comes_again_behind_the_last_open_track(client: Client) -> None:
    order = keys(client.get("api/tracks"))
    client.say(*order[0], "skip")
    client.say(*order[2], "skip")
    client.say(*order[3], "accept")
    after = {"video": order[2][0], "object": order[2][1]}
    rest = [*order[4:], order[1], order[0]]
    assert keys(client.get("api/next", **after, count=20)) == rest, "the track that is shown is none of them"
    assert keys(client.get("api/next", **after, count=2)) == rest[:2]
    for key in (order[1], *order[4:]):
        client.say(*key, "accept")
    assert keys(client.get("api/next", **after)) == [order[0]]
    client.say(*order[0], "accept")
    assert client.get("api/next", **after)["rows"] == []


def test_a_queue_gives_the_order_and_says_what_was_drawn_by_lot(output: str) -> None:
    queue = {("gone", 1): False, ("nowhere", 9): True, ("clip-1", 3): True}
    with reviewing(output, queue=queue) as client:
        told = client.get("api/tracks", sort="queue")
        assert keys(told) == [("gone", 1), ("clip-1", 3)]
        assert [row["is_audit"] for row in told["rows"]] == [False, True]
        told = client.get("api/session")
        assert (told["num_queued"], told["num_queued_said"]) == (2, 0)
        client.say("clip-1", 3, "reject")
        client.say("clip-1", 7, "reject")
        assert client.get("api/session")["num_queued_said"] == 1, "the other one is in no queue"
    said = tables.open(output).opinions()
    assert said["clip-1", 3].is_audit
    assert not said["clip-1", 7].is_audit


def test_the_queue_that_is_made_leaves_out_what_was_reviewed(client: Client, output: str) -> None:
    before = keys(client.get("api/tracks", sort="queue"))
    assert len(before) == 7
    client.say(*before[0], "accept")
    client.say(*before[1], "skip")
    with reviewing(output) as later:
        queued = keys(later.get("api/tracks", sort="queue"))
        assert set(queued) == set(before[1:])
        assert queued[-1] == before[1], "skipped ones come last"


def test_the_queue_that_is_made_has_tracks_again_whose_verdict_is_on_earlier_labels(output: str) -> None:
    with reviewing(output) as client:
        before = keys(client.get("api/tracks", sort="queue"))
    (first, one), (second, two) = before[:2]
    say_of(
        output, verdict(first, one, "accept", -5, labeled_at=None), verdict(second, two, "skip", -5, labeled_at=None)
    )
    with reviewing(output) as later:
        assert keys(later.get("api/tracks", sort="queue")) == before


def test_a_condition_leaves_out_the_others(filmed: str) -> None:
    with reviewing(filmed, where='category = "cat"') as client:
        assert client.get("api/tracks")["total"] == 3


@pytest.mark.slow
def test_walks_back_to_the_prompt_add_doubt_as_in_the_queue(output: str) -> None:
    with reviewing(output) as client:
        order = keys(client.get("api/tracks"))
    last = {"video_id": order[-1][0], "object_id": order[-1][1], "cycle_iou": 0.02, "from_frame": 0, "to_frame": 0}
    at = datetime(2026, 1, 2, tzinfo=UTC)
    write_cycles(JobStorage(output), [last | {"labeled_at": at, "checked_at": at}])
    with reviewing(output) as client:
        told = client.get("api/tracks")
        assert keys(told).index(order[-1]) < len(order) - 1
        (row,) = client.get("api/tracks", reason="cycle")["rows"]
        assert (row["video_id"], row["object_id"]) == order[-1]
        assert "0.02" in row["reasons"][0]["sentence"]


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.slow
def test_news_tell_what_others_have_said(client: Client, output: str) -> None:
    clock = Clock()
    with reviewing(output, reviewer="bob", clock=clock) as other:
        begin = other.get("api/session")
        client.say("clip-1", 3, "reject", comment="lost")
        asked = {"since": begin["version"], "reading": begin["reading"]}
        assert other.get("api/news", **asked)["rows"] == [], "the last look was a moment ago"
        clock.seconds += 10
        told = other.get("api/news", **asked)
        assert keys(told) == [("clip-1", 3)]
        assert told["rows"][0]["said"] == {
            "verdict": "reject",
            "reviewer": "ann",
            "is_stale": False,
            "comment": "lost",
            "category": None,
        }
        assert told["counts"]["reject"] == 1
        assert other.get("api/news", since=told["version"], reading=told["reading"])["rows"] == []
        assert keys(other.get("api/tracks", verdict="reject")) == [("clip-1", 3)]


def test_a_broken_file_of_verdicts_is_told_and_stops_nothing(output: str) -> None:
    clock = Clock()
    with reviewing(output, clock=clock) as client:
        JobStorage(output).create("reviews/verdicts-20990101T000000000000Z-0.parquet", b"no table")
        clock.seconds += 10
        assert "is no table of verdicts" in client.get("api/news", since=1, reading=1)["trouble"]
        client.say("clip-1", 3, "accept")
        assert client.said() == {("clip-1", 3): "accept"}


def test_videos_that_a_running_job_finishes_come_into_the_list(tmp_path: Path) -> None:
    storage, clock = JobStorage(str(tmp_path / "out")), Clock()
    _, keeper = driver(storage, tmp_path)
    with reviewing(storage, clock=clock) as client:
        begin = client.get("api/session")
        assert begin["num_tracks"] == 0
        assert client.get("api/tracks")["rows"] == client.get("api/next")["rows"] == []
        keeper.commit([publish(storage, tmp_path, drawn_video(DrawnVideo("new", {1: "cat"})))])
        clock.seconds += 60
        told = client.get("api/news", since=begin["version"], reading=begin["reading"])
        assert told["rows"] is None, "everything is to be read again"
        assert told["reading"] > begin["reading"]
        assert keys(client.get("api/tracks")) == [("new", 1)]
        client.say("new", 1, "accept")


def test_no_answer_holds_what_json_has_not(watched: Client) -> None:
    text = watched.raw("api/track", video="clip-1", object=7).text
    json.loads(text, parse_constant=lambda name: pytest.fail(name))

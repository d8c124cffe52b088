"""What fix mode saves by its endpoint, of masks that are there already: no network is needed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from pipeline.errors import CannotMend, StorageError
from pipeline.mending.correction import Correction
from pipeline.review_server.answers import ReviewError
from pipeline.review_server.fixing import Fixing
from pipeline.reviews.corrections import read_correction_files, read_corrections
from pipeline.reviews.verdicts import read_verdict_files
from tests.support.reviewing import Client, reviewing
from tests.support.unseen_correction import unseen_correction

KEY = ("clip-1", 3)


def fixing(client: Client, correction: Correction) -> Fixing:
    return Fixing(client.state, cast("Any", SimpleNamespace(correction=lambda correction_id: correction)))


def verdicts(client: Client) -> list[dict[str, Any]]:
    return [row for _, rows in read_verdict_files(client.state.storage) for row in rows]


@pytest.mark.slow
def test_a_fix_of_a_track_that_was_drawn_by_lot_says_so_as_other_verdicts_do(output: str) -> None:
    with reviewing(output, queue={KEY: True, ("clip-1", 7): False}) as client:
        for object_id in (3, 7):
            key = "clip-1", object_id
            fixing(client, unseen_correction(object_id, key=key)).save({"id": "one"})
        assert {row["object_id"]: row["is_audit"] for row in verdicts(client)} == {3: True, 7: False}


def test_comment_and_category_are_saved_with_the_verdict(client: Client) -> None:
    body = {"id": "one", "comment": "the left wheel", "category": "cart"}
    fixing(client, unseen_correction(KEY[1], key=KEY)).save(body)
    (row,) = verdicts(client)
    assert (row["verdict"], row["comment"], row["category"]) == ("fix", "the left wheel", "cart")
    with pytest.raises(ReviewError, match="comment needs a text"):
        fixing(client, unseen_correction(KEY[1], key=KEY)).save({"id": "one", "comment": 3})


def test_a_fix_is_answered_by_what_counted_of_its_track_before(client: Client) -> None:
    answers = []
    for name in ("ann", "bob"):
        server = fixing(client, unseen_correction(KEY[1], key=KEY))
        answers.append(server.save({"id": "one", "once": f"{name} saves", "reviewer": name}))
        again = fixing(client, unseen_correction(KEY[1], key=KEY))
        assert again.save({"id": "one", "once": f"{name} saves", "reviewer": name}) == answers[-1], "sent once more"
    assert answers[0]["replaced"] is None
    assert [answers[1]["replaced"][name] for name in ("reviewer", "verdict")] == ["ann", "fix"]


def test_a_split_that_is_taken_back_can_be_made_again(client: Client) -> None:
    server = fixing(client, unseen_correction(KEY[1], key=KEY))
    told = server.save({"id": "one", "is_split": True})
    server.withdraw({"id": "one", "video_id": KEY[0], "object_id": KEY[1], **told})
    assert read_corrections(client.state.storage) == {}
    server.save({"id": "one", "is_split": True})
    assert len(read_corrections(client.state.storage)[KEY[0]]) == 2


def test_a_split_whose_answer_was_not_heard_is_saved_once(client: Client) -> None:
    server = fixing(client, unseen_correction(KEY[1], key=KEY))
    body = {"id": "one", "is_split": True, "once": "a-1"}
    with ThreadPoolExecutor(2) as pool:  # the second comes while the first is written
        first, again = pool.map(server.save, [body, body])
    assert first == again
    assert len(read_corrections(client.state.storage)[KEY[0]]) == 2
    assert len(verdicts(client)) == 1
    with pytest.raises(CannotMend, match="the track is split on this frame"):
        server.save(body | {"once": "a-2"})


@pytest.mark.slow
@pytest.mark.parametrize("is_split", [False, True])
def test_what_a_killed_server_has_saved_and_not_answered_is_not_saved_again(output: str, is_split: bool) -> None:
    """The page opens the frame anew on the server that takes its place. A track was split twice."""
    body = {"id": "one", "is_split": is_split, "once": "a-1"}
    with reviewing(output) as killed:
        lost = fixing(killed, unseen_correction(KEY[1], key=KEY)).save(body)
    with reviewing(output) as client:
        server = fixing(client, unseen_correction(KEY[1], key=KEY))
        assert server.save(body) == lost
        assert len(read_corrections(client.state.storage)[KEY[0]]) == 1 + is_split
        assert len(verdicts(client)) == 1
        server.withdraw({"id": "one", "video_id": KEY[0], "object_id": KEY[1], **lost})
        assert read_corrections(client.state.storage) == {}
        assert client.said() == {}


@pytest.mark.slow
def test_a_fix_whose_verdict_a_killed_server_has_not_written_gets_it(
    output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"id": "one", "is_split": True, "once": "a-1"}
    with reviewing(output) as killed:
        monkeypatch.setattr(killed.state.book, "write", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fixing(killed, unseen_correction(KEY[1], key=KEY)).save(body)
    with reviewing(output) as client:
        told = fixing(client, unseen_correction(KEY[1], key=KEY)).save(body)
        assert [one.object_id for one in read_corrections(client.state.storage)[KEY[0]]] == [3, told["split_into"]]
        assert [row["verdict"] for row in verdicts(client)] == ["fix"]


def test_a_fix_that_a_store_has_taken_without_an_answer_is_not_saved_again(client: Client) -> None:
    server, replace = fixing(client, unseen_correction(KEY[1], key=KEY)), client.state.storage.replace

    def in_vain(path: str, data: bytes) -> None:
        replace(path, data)
        raise StorageError("no answer within 60 s")

    client.state.storage.replace = in_vain  # type: ignore[method-assign]
    with pytest.raises(StorageError, match="no answer"):
        server.save({"id": "one", "once": "a-1"})
    client.state.storage.replace = replace  # type: ignore[method-assign]
    told = server.save({"id": "one", "once": "a-1"})
    assert [path for path, _ in read_correction_files(client.state.storage)] == [told["path"]]
    assert len(verdicts(client)) == 1


def test_a_split_of_which_the_store_has_taken_a_part_gets_no_second_id(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = fixing(client, unseen_correction(KEY[1], key=KEY))
    body = {"id": "one", "is_split": True, "once": "a-1"}
    write = client.state.book.write
    monkeypatch.setattr(client.state.book, "write", Mock(side_effect=StorageError("away", transient=True)))
    with pytest.raises(StorageError, match="away"):
        server.save(body)
    monkeypatch.setattr(client.state.book, "write", write)
    server.save(body)
    assert len(read_corrections(client.state.storage)[KEY[0]]) == 2
    assert len(verdicts(client)) == 1

"""What the page shows of verdicts is what readers of the tables count."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.review_server.verdict_book import ChangedMeanwhile, VerdictBook
from pipeline.reviews.history import Said
from pipeline.reviews.verdicts import Verdict, read_verdicts
from pipeline.storage.job_storage import JobStorage

KEYS = [("a", 1), ("a", 2), ("b/ü", 1)]


def verdict(key: tuple[str, int], what: str, reviewer: str, at: datetime, category: str | None = None) -> dict:
    names = {"video_id": key[0], "object_id": key[1]}
    return {**names, "verdict": what, "reviewer": reviewer, "reviewed_at": at, "category": category}


def counting(book: VerdictBook) -> dict[tuple[str, int], tuple[str, str, str | None]]:
    found = {key: book.current(key) for key in book.keys()}  # noqa: SIM118
    return {
        key: (said.verdict.value, said.row["reviewer"], said.row["category"])
        for key, said in found.items()
        if said is not None and said.verdict is not Verdict.SKIP
    }


@pytest.mark.fast_core(2)
@pytest.mark.parametrize("seed", range(8))
def test_two_books_and_the_readers_of_the_tables_agree_whatever_is_said_and_undone(seed: int, tmp_path: Path) -> None:
    # All is said within one millisecond of a clock that stands still, by two who may not know of each other.
    at = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    chance, storage = random.Random(seed), JobStorage(str(tmp_path))
    books = [VerdictBook(storage), VerdictBook(storage)]
    said: list[tuple[int, Said]] = []
    for _ in range(25):
        number = chance.randrange(2)
        book, reviewer = books[number], ("ann", "bob")[number]
        if said and chance.random() < 0.3:
            number, last = said.pop()
            books[number].look()
            key = last.row["video_id"], last.row["object_id"]
            try:
                books[number].undo(last.path, key, last.row["reviewer"])
            except ChangedMeanwhile:
                assert books[number].history(key)[-1].path != last.path
            continue
        what = chance.choice(["accept", "reject", "fix", "skip"])
        category = chance.choice([None, None, "cat"])
        moment = at + timedelta(microseconds=chance.randrange(1000))
        row = verdict(chance.choice(KEYS), what, reviewer, moment, category)
        said.append((number, book.write(row)[0]))
    for book in books:
        book.look()
    expected = {
        key: (opinion.verdict.value, opinion.reviewer, opinion.category)
        for key, opinion in read_verdicts(storage).items()
    }
    assert counting(books[0]) == counting(books[1]) == expected


def test_a_look_reads_files_that_are_new_and_names_their_tracks(tmp_path: Path) -> None:
    storage = JobStorage(str(tmp_path))
    mine, other = VerdictBook(storage), VerdictBook(storage)
    now = datetime.now(UTC)
    mine.write(verdict(KEYS[0], "accept", "ann", now))
    assert mine.look() == set()
    other.write(verdict(KEYS[1], "reject", "bob", now))
    other.write(verdict(KEYS[0], "reject", "bob", now - timedelta(seconds=9)))
    assert mine.look() == {KEYS[0], KEYS[1]}
    assert mine.look() == set()
    current = mine.current(KEYS[0])
    assert current is not None
    assert current.verdict is Verdict.ACCEPT, "said later, though its file was read before"


def test_a_skip_shows_where_nothing_else_is_said(tmp_path: Path) -> None:
    book, now = VerdictBook(JobStorage(str(tmp_path))), datetime.now(UTC)
    book.write(verdict(KEYS[0], "skip", "ann", now, "cat"))
    said = book.current(KEYS[0])
    assert said is not None
    assert said.verdict is Verdict.SKIP
    book.write(verdict(KEYS[0], "fix", "ann", now + timedelta(seconds=1)))
    book.write(verdict(KEYS[0], "skip", "bob", now + timedelta(seconds=2)))
    said = book.current(KEYS[0])
    assert said is not None
    assert said.verdict is Verdict.FIX


def test_what_is_said_where_something_is_known_is_said_after_it_whatever_the_clocks_say(tmp_path: Path) -> None:
    storage, now = JobStorage(str(tmp_path)), datetime.now(UTC)
    mine, other = VerdictBook(storage), VerdictBook(storage)
    other.write(verdict(KEYS[0], "reject", "bob", now + timedelta(hours=1)))
    mine.look()
    mine.write(verdict(KEYS[0], "accept", "ann", now))
    assert read_verdicts(storage)[KEYS[0]].verdict is Verdict.ACCEPT
    said, _ = mine.write(verdict(KEYS[0], "fix", "ann", now))
    back = mine.undo(said.path, KEYS[0], "ann")
    assert back is not None
    assert back.verdict is read_verdicts(storage)[KEYS[0]].verdict is Verdict.ACCEPT


def test_a_book_holds_what_it_wrote_as_others_read_it(tmp_path: Path) -> None:
    storage = JobStorage(str(tmp_path))
    mine, other = VerdictBook(storage), VerdictBook(storage)
    at = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    said, _ = mine.write({**verdict(KEYS[0], "accept", "ann", at), "seconds": 0.1})
    other.look()
    assert other.history(KEYS[0]) == mine.history(KEYS[0]) == [said]


def test_what_others_have_said_since_is_not_undone_and_what_is_undone_is_not_undone_twice(tmp_path: Path) -> None:
    storage = JobStorage(str(tmp_path))
    mine, other = VerdictBook(storage), VerdictBook(storage)
    now = datetime.now(UTC)
    first, _ = mine.write(verdict(KEYS[0], "accept", "ann", now))
    other.look()
    second, _ = other.write(verdict(KEYS[0], "reject", "bob", now))
    mine.look()
    with pytest.raises(ChangedMeanwhile, match="nothing is undone: bob said reject since"):
        mine.undo(first.path, KEYS[0], "ann")
    assert mine.current(KEYS[0]) == other.current(KEYS[0]) == second
    other.undo(second.path, KEYS[0], "bob")
    mine.look()
    mine.undo(first.path, KEYS[0], "ann")
    with pytest.raises(ChangedMeanwhile, match=r"^nothing is undone$"):
        mine.undo(first.path, KEYS[0], "ann")
    assert mine.current(KEYS[0]) is None

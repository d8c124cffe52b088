"""Publishing and saving beside the launching thread: in order, bounded, and nothing that is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.worker_config import CheckpointConfig
from pipeline.errors import StorageError
from pipeline.output.saved_sessions import SessionStore, num_saved, session_identity
from pipeline.output.segment_files import SegmentOrigin
from pipeline.output.segment_writer import FlushPolicy, LabeledVideo, SegmentWriter
from pipeline.records import Status
from pipeline.storage.job_storage import JobStorage
from pipeline.worker.publisher import Finished, Publisher
from pipeline.worker.saving import SavingBeside
from tests.support.fake_workers import item
from tests.support.labeled import labeled

PATIENCE_SECONDS = 200.0


@dataclass(repr=False)
class Slow(JobStorage):
    """A store whose writes wait until it is told; `errors` are raised by the next ones."""

    may_write: threading.Event = field(default_factory=threading.Event)
    is_writing: threading.Event = field(default_factory=threading.Event)
    errors: list[Exception] = field(default_factory=list)

    def put_file(self, local: Path, path: str) -> int:
        self._wait()
        return super().put_file(local, path)

    def replace(self, path: str, data: bytes) -> None:
        self._wait()
        super().replace(path, data)

    def _wait(self) -> None:
        self.is_writing.set()
        assert self.may_write.wait(PATIENCE_SECONDS)
        if self.errors:
            raise self.errors.pop()


@pytest.fixture
def storage(tmp_path: Path) -> Slow:
    return Slow(str(tmp_path / "job"))


@pytest.fixture
def publisher(storage: Slow, tmp_path: Path) -> Iterator[Publisher]:
    """Publishes each video at once, and lets a thousand bytes wait."""
    writer = SegmentWriter(storage, tmp_path / "spool", SegmentOrigin(1, "w0", "f"), FlushPolicy(max_seconds=0.0))
    made = Publisher(writer, max_queued_bytes=1000)
    yield made
    storage.may_write.set()
    made.close()
    assert not list((tmp_path / "spool").rglob("*.*"))


def finished(video: LabeledVideo, saved: SessionStore | None = None) -> Finished:
    def refused(error: ValueError) -> LabeledVideo:
        return labeled(video.outcome.video_id, status=Status.FAILED)

    return Finished(item(video.outcome.video_id), video, refused, saved)


def ids(segments: list[Any]) -> list[str]:
    return [outcome.video_id for segment in segments for outcome in segment.outcomes]


def test_nobody_waits_for_storage_and_a_video_is_told_when_it_is_published(storage: Slow, publisher: Publisher) -> None:
    publisher.add(finished(labeled("a")))
    assert storage.is_writing.wait(PATIENCE_SECONDS)
    publisher.add(finished(labeled("b", num_frames=1)))
    assert publisher.unflushed == ("a", "b")
    assert publisher.take().segments == []
    storage.may_write.set()
    publisher.wait()
    assert publisher.unflushed == ("a", "b"), "published, and not yet told"
    assert ids(publisher.take().segments) == ["a", "b"]
    assert publisher.unflushed == ()


def test_while_a_segment_is_under_way_rows_for_one_more_may_wait(storage: Slow, publisher: Publisher) -> None:
    publisher.add(finished(labeled("a")))
    assert storage.is_writing.wait(PATIENCE_SECONDS)
    assert not publisher.is_behind
    for name in "bcdef":
        publisher.add(finished(labeled(name, num_frames=20)))
    assert publisher.is_behind
    publisher.wait(0.01)
    assert publisher.is_behind
    storage.may_write.set()
    publisher.wait()
    assert not publisher.is_behind
    assert sorted(ids(publisher.take().segments)) == list("abcdef")


def test_what_storage_refuses_is_told_and_sent_again(storage: Slow, publisher: Publisher) -> None:
    storage.errors.append(StorageError("the store is away"))
    storage.may_write.set()
    publisher.add(finished(labeled("a")))
    publisher.wait()
    news = publisher.take()
    assert (news.segments, publisher.unflushed) == ([], ("a",))
    assert "the store is away" in news.storage_errors[0]
    publisher.flush_if_due()
    publisher.wait()
    assert ids(publisher.take().segments) == ["a"]


def test_rows_that_are_refused_become_those_of_a_failed_video(storage: Slow, publisher: Publisher) -> None:
    storage.may_write.set()
    whole = labeled("a")
    publisher.add(finished(LabeledVideo(whole.masks.slice(1), whole.tracks, whole.video, whole.outcome, 12)))
    publisher.wait()
    (segment,) = publisher.take().segments
    assert [outcome.status for outcome in segment.outcomes] == [Status.FAILED]


def test_an_error_that_is_no_videos_is_told_and_what_comes_later_is_published(
    storage: Slow, publisher: Publisher
) -> None:
    storage.errors.append(MemoryError("no memory"))
    storage.may_write.set()
    publisher.add(finished(labeled("a")))
    publisher.wait()
    assert isinstance(publisher.take().error, MemoryError)
    publisher.flush()
    publisher.wait()
    news = publisher.take()
    assert (ids(news.segments), news.error) == (["a"], None)


@pytest.fixture
def saving(storage: Slow, publisher: Publisher) -> SavingBeside:
    identity = session_identity(item("a"), "f", "content")
    return SavingBeside(SessionStore(storage, identity, CheckpointConfig(every_frames=1)), publisher.submit)


def test_a_session_is_saved_beside_one_save_at_a_time_and_read_whole(
    storage: Slow, publisher: Publisher, saving: SavingBeside
) -> None:
    saving.read_ahead()
    assert saving.load() is None
    assert saving.is_due(1)
    saving.save(b"first", [], 1)
    assert storage.is_writing.wait(PATIENCE_SECONDS)
    assert not saving.is_due(100)
    assert saving.num_saved == 0, "storage does not have it yet"
    storage.may_write.set()
    found = saving.load()
    assert found is not None
    assert (found.state, found.num_frames, saving.num_saved) == (b"first", 1, 1)
    assert saving.is_due(2)


def test_a_session_that_is_being_saved_when_its_video_ends_is_deleted_afterwards(
    storage: Slow, publisher: Publisher, saving: SavingBeside
) -> None:
    saving.save(b"state", [], 5)
    assert storage.is_writing.wait(PATIENCE_SECONDS)
    publisher.add(finished(labeled("a"), saving.store))
    storage.may_write.set()
    publisher.wait()
    assert ids(publisher.take().segments) == ["a"]
    assert num_saved(storage) == 0

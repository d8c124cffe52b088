"""Finished videos become segments: complete, sorted, checked, and published when it is time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config.cluster_config import ClusterConfig
from pipeline.config.worker_config import FlushConfig
from pipeline.errors import StorageError
from pipeline.output.schema import MASKS, TRACKS, VIDEOS
from pipeline.output.segment_files import SegmentOrigin
from pipeline.output.segment_writer import FlushPolicy, LabeledVideo, SegmentWriter
from pipeline.records import Status
from pipeline.storage.job_storage import JobStorage
from tests.support.full_disk import FULL, full_disk
from tests.support.labeled import labeled

ORIGIN = SegmentOrigin(3, "node-1/gpu 0", "fingerprint")
MASK_KEYS = [("video_id", "ascending"), ("object_id", "ascending"), ("frame_index", "ascending")]


class Clock:
    """A clock that stands still until told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def writer(
    storage: JobStorage, tmp_path: Path, policy: FlushPolicy | None = None, clock: Clock | None = None
) -> SegmentWriter:
    return SegmentWriter(storage, tmp_path / "spool", ORIGIN, policy, clock or Clock())


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def read(storage: JobStorage, table: str, name: str) -> pa.Table:
    with storage.open_input(f"{table}/{name}.parquet") as file:
        return pq.read_table(file)


def test_a_segment_holds_what_was_added_sorted(storage: JobStorage, tmp_path: Path) -> None:
    out = writer(storage, tmp_path)
    videos = [labeled("b", 7), labeled("a", 5, (3,)), labeled("c", status=Status.FAILED)]
    for video in videos:
        out.add(video)
    assert out.unflushed == ("b", "a", "c")
    segment = out.flush()
    assert segment is not None
    assert out.unflushed == ()
    assert segment.num_rows == {"masks": 19, "tracks": 3, "videos": 3}
    assert [outcome.video_id for outcome in segment.outcomes] == ["a", "b", "c"]
    assert segment.name.startswith("e000003-node-1-gpu-0-")
    sizes = [storage.num_bytes(f"{table}/{segment.name}.parquet") for table in segment.num_rows]
    assert segment.num_bytes == sum(sizes)
    for table, schema, parts in (
        ("masks", MASKS, [video.masks for video in videos]),
        ("tracks", TRACKS, [video.tracks for video in videos]),
    ):
        rows = read(storage, table, segment.name)
        keys = MASK_KEYS[:3] if table == "masks" else MASK_KEYS[:2]
        assert rows.schema.equals(schema)
        assert rows.replace_schema_metadata().equals(pa.concat_tables(parts).sort_by(keys).combine_chunks()), table
    rows = read(storage, "videos", segment.name)
    assert rows.schema.equals(VIDEOS)
    assert rows["segment"].to_pylist() == [segment.name] * 3
    assert list((tmp_path / "spool").rglob("*.*")) == [], "the spool is empty again"


def test_a_table_without_rows_has_no_object(disk_storage: JobStorage, tmp_path: Path) -> None:
    out = writer(disk_storage, tmp_path)
    out.add(labeled("v", status=Status.NO_PROMPTS))
    segment = out.flush()
    assert segment is not None
    assert segment.num_rows == {"masks": 0, "tracks": 0, "videos": 1}
    assert disk_storage.listing("masks") == disk_storage.listing("tracks") == []


def test_nothing_waiting_publishes_nothing(disk_storage: JobStorage, tmp_path: Path) -> None:
    out = writer(disk_storage, tmp_path)
    assert out.flush() is None
    assert not out.should_flush()


def replaced(good: LabeledVideo, **changes: object) -> LabeledVideo:
    return dataclasses.replace(good, **changes)  # type: ignore[arg-type]


GOOD = labeled("v", 6)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (replaced(GOOD, masks=GOOD.masks.slice(1)), "'v': 11 masks were labeled, 12 were expected"),
        (replaced(GOOD, expected_masks=13), "'v': 12 masks were labeled, 13 were expected"),
        (replaced(GOOD, masks=pa.concat_tables([GOOD.masks.slice(1), GOOD.masks.slice(1, 1)])), "two rows of masks"),
        (replaced(GOOD, masks=labeled("other", 6).masks), "rows of masks carry other ids: .'other'"),
        (replaced(GOOD, masks=GOOD.masks.drop_columns("area")), "'v': rows of masks do not fit the schema.*area"),
        (replaced(GOOD, tracks=pa.concat_tables([GOOD.tracks, GOOD.tracks])), "two rows of tracks"),
        (replaced(GOOD, video=GOOD.video.slice(1)), "needs one row in `videos`"),
        (replaced(GOOD, video=labeled("v", status=Status.FAILED).video), "needs one row in `videos`, with status ok"),
    ],
)
def test_rows_that_are_not_whole_are_refused_and_leave_nothing(
    disk_storage: JobStorage, tmp_path: Path, video: LabeledVideo, message: str
) -> None:
    out = writer(disk_storage, tmp_path)
    with pytest.raises(ValueError, match=message):
        out.add(video)
    assert out.flush() is None


def test_a_video_is_added_once(disk_storage: JobStorage, tmp_path: Path) -> None:
    out = writer(disk_storage, tmp_path)
    out.add(labeled("v"))
    with pytest.raises(ValueError, match="'v' was added before"):
        out.add(labeled("v"))


def test_the_first_video_is_published_at_once_and_later_ones_within_their_share_of_time(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    clock = Clock()
    out = writer(disk_storage, tmp_path, clock=clock)
    out.add(labeled("a"))
    assert out.should_flush(), "the first video"
    out.flush()
    clock.now += 1000
    out.add(labeled("b"))
    assert not out.should_flush()
    clock.now += 49
    assert not out.should_flush()
    clock.now += 4
    assert out.should_flush(), "5 % of the time elapsed"
    out.flush()
    clock.now += 100_000
    out.add(labeled("c"))
    clock.now += 299
    assert not out.should_flush()
    clock.now += 1
    assert out.should_flush(), "5 minutes"


@pytest.mark.parametrize(
    ("cluster", "seconds"),
    [
        (ClusterConfig(kind="local"), 50),
        (ClusterConfig(kind="local", actors=4), 200),
        (ClusterConfig(kind="existing", min_actors=1000), 300),
        (ClusterConfig(kind="existing"), 300),
    ],
    ids=["one worker", "four", "a thousand", "nobody knows"],
)
def test_the_more_workers_a_job_has_the_longer_a_video_may_wait(
    cluster: ClusterConfig, seconds: int, disk_storage: JobStorage, tmp_path: Path
) -> None:
    """5 % of 1,000 s, times the workers: one of them loses so much by a crash. No video waits for over 5 minutes."""
    clock = Clock()
    out = writer(disk_storage, tmp_path, FlushPolicy.of(FlushConfig(), cluster), clock)
    out.add(labeled("a"))
    out.flush()
    clock.now += 1000 - seconds
    out.add(labeled("b"))
    clock.now += seconds - 2
    assert not out.should_flush()
    clock.now += 2
    assert out.should_flush()


def test_many_bytes_or_videos_are_published_without_waiting(disk_storage: JobStorage, tmp_path: Path) -> None:
    for policy, count in ((FlushPolicy(max_bytes=12_500), 3), (FlushPolicy(max_videos=3), 3)):
        clock = Clock()
        out = writer(disk_storage, tmp_path, policy, clock)
        out.add(labeled("first"))
        out.flush()
        clock.now += 10_000
        due = []
        for number in range(count):
            out.add(labeled(f"v{number}"))
            due.append(out.should_flush())
        assert due == [False, False, True], policy


class Unreachable(JobStorage):
    """Refuses the uploads of one table until told otherwise."""

    broken_table = "videos"

    def put_file(self, local: Path, path: str) -> int:
        if self.broken_table and path.startswith(self.broken_table):
            raise StorageError("no answer")
        return super().put_file(local, path)


def test_a_publication_that_failed_is_sent_again_as_the_same_segment(tmp_path: Path) -> None:
    storage = Unreachable(str(tmp_path / "job"))
    out = writer(storage, tmp_path)
    out.add(labeled("a"))
    for _ in range(2):
        with pytest.raises(StorageError):
            out.flush()
    assert storage.listing("videos") == [], "the masks alone do not make a segment"
    out.add(labeled("b"))
    assert out.unflushed == ("a", "b")
    assert out.should_flush()
    with pytest.raises(ValueError, match="'a' was added before"):
        out.add(labeled("a"))
    storage.broken_table = ""
    first, second = out.flush(), out.flush()
    assert first is not None
    assert second is not None
    assert [o.video_id for o in (*first.outcomes, *second.outcomes)] == ["a", "b"]
    assert len(storage.listing("masks")) == 2


def test_a_full_spool_is_a_storage_error_that_names_the_disk(disk_storage: JobStorage, tmp_path: Path) -> None:
    out = writer(disk_storage, tmp_path)
    with full_disk(), pytest.raises(StorageError, match=rf"the spool .*spool.*{FULL}") as caught:
        out.add(labeled("a"))
    assert not caught.value.transient
    assert out.unflushed == ()
    out.add(labeled("a"))
    assert out.flush() is not None


def test_a_full_spool_keeps_nothing_of_the_attempts_that_failed(disk_storage: JobStorage, tmp_path: Path) -> None:
    out = writer(disk_storage, tmp_path)
    out.add(labeled("a"))
    before = files(tmp_path / "spool")
    with full_disk(room_bytes=100):  # a part of each file is written
        with pytest.raises(StorageError):
            out.add(labeled("b"))
        with pytest.raises(StorageError):
            out.flush()
        failed = labeled("c", status=Status.FAILED)
        with pytest.raises(StorageError):
            out.publish_rows([failed.outcome], failed.video)
    assert files(tmp_path / "spool") == before
    assert out.flush() is not None


def test_rows_that_cannot_be_published_are_not_kept(tmp_path: Path) -> None:
    out = writer(Unreachable(str(tmp_path / "job")), tmp_path)
    failed = labeled("a", status=Status.FAILED)
    with pytest.raises(StorageError):
        out.publish_rows([failed.outcome], failed.video)
    assert files(tmp_path / "spool") == []


def test_a_video_whose_rows_cannot_be_written_fails_and_the_others_are_published(
    disk_storage: JobStorage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    out = writer(disk_storage, tmp_path, FlushPolicy(max_bytes=1 << 30), clock)
    for video in (labeled("a"), labeled("b", wrong={7: "frame 9: no such frame"}), labeled("c")):
        before = set(files(tmp_path / "spool"))
        out.add(video)
        if video.outcome.video_id == "b":
            (masks,) = set(files(tmp_path / "spool")) - before
            masks.write_bytes(b"no rows")
    segments = []
    while (segment := out.flush()) is not None:
        segments.append(segment)
    found = {outcome.video_id: outcome for segment in segments for outcome in segment.outcomes}
    assert {name: (one.status, one.num_masks) for name, one in found.items()} == {
        "a": ("ok", 12),
        "b": ("failed", 0),
        "c": ("ok", 12),
    }
    assert found["b"].error_class == "internal"
    assert found["b"].is_bad
    assert "its masks cannot be written (ArrowInvalid" in found["b"].message
    assert "'b': its rows cannot be written: Traceback" in caplog.text
    name = next(segment.name for segment in segments if segment.outcomes[0].video_id == "b")
    (row,) = read(disk_storage, "videos", name).to_pylist()
    assert (row["status"], row["error_class"], row["message"]) == ("failed", "internal", found["b"].message)
    assert (row["num_masks"], row["num_frames"], row["num_tracks"], row["num_tracks_failed"]) == (0, 0, 3, 3)
    tracks = read(disk_storage, "tracks", name).to_pylist()
    assert [(one["object_id"], one["message"]) for one in tracks] == [
        (1, row["message"]),
        (2, row["message"]),
        (7, "frame 9: no such frame"),
    ]
    assert {(one["status"], one["num_masks"], one["num_prompts"]) for one in tracks} == {("failed", 0, 1)}
    assert out.unflushed == ()
    assert not out.should_flush()
    assert files(tmp_path / "spool") == []


def test_two_writers_share_a_spool_folder_and_close_only_their_own(disk_storage: JobStorage, tmp_path: Path) -> None:
    one, two = writer(disk_storage, tmp_path), writer(disk_storage, tmp_path)
    one.add(labeled("a"))
    two.add(labeled("b"))
    one.close()
    segment = two.flush()
    assert segment is not None
    assert [outcome.video_id for outcome in segment.outcomes] == ["b"]

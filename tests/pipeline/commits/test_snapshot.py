"""What the log adds up to, and that a million finished videos fit beside a driver."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commits.entry import Entry, EntryKind
from pipeline.commits.finished import FinishedVideo, FinishedVideos, Tally
from pipeline.commits.snapshot import JobState, SegmentSize
from pipeline.errors import NewerVersion
from pipeline.records import Outcome, OutcomeDetails, Reason, Segment, Status


def segment(name: str, *video_ids: str, status: Status = Status.OK, prompt_hash: str = "p") -> Segment:
    outcomes = tuple(Outcome(video_id, status, prompt_hash, 4, 2) for video_id in video_ids)
    return Segment(name, {"masks": 4 * len(outcomes), "tracks": 2, "videos": len(outcomes)}, 100, outcomes)


def state_of(*entries: Entry) -> JobState:
    state = JobState()
    for entry in entries:
        state.check(entry)
        state.apply(entry)
    return state


def test_entries_add_up() -> None:
    state = state_of(
        Entry("w", 1),
        Entry("w", 1, add=(segment("a", "v1", "v2"),), strikes={"v3": 2, "v4": 1}),
        Entry("w", 2, add=(segment("b", "v3", status=Status.FAILED),), strikes={"v4": 0, "v3": 3}),
    )
    assert dict(state.finished) == {
        "v1": FinishedVideo(Status.OK, "p", "a"),
        "v2": FinishedVideo(Status.OK, "p", "a"),
        "v3": FinishedVideo(Status.FAILED, "p", "b", Tally(num_failures=1)),
    }
    assert state.finished.num_by_status == {Status.OK: 2, Status.FAILED: 1}
    assert state.segments["a"] == SegmentSize(num_masks=8, num_tracks=2, num_videos=2, num_bytes=100)
    assert state.strikes == {}, "progress that is saved clears strikes, so does 0, and what has ended has none"
    assert (state.epoch, state.next_entry) == (2, 3)


def test_a_forgotten_video_is_unfinished_and_its_neighbors_move() -> None:
    state = state_of(
        Entry("w", 1, add=(segment("a", "v1", "v2"),)),
        Entry("w", 1, add=(segment("a2", "v2"),), remove=("a",), forget=("v1",)),
    )
    assert dict(state.finished) == {"v2": FinishedVideo(Status.OK, "p", "a2")}
    assert set(state.segments) == {"a2"}
    assert state.removed == {"a"}
    assert state.finished.num_by_status[Status.OK] == 1


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry("w", 1, add=(segment("b", "v1"),)), "'v1' of segment b is committed in a"),
        (Entry("w", 1, add=(segment("b", "v9"), segment("c", "v9"))), "'v9' is in two added segments: b, c"),
        (Entry("w", 1, add=(segment("a", "v9"),)), "segment a is in the log already"),
        (Entry("w", 1, add=(segment("gone", "v9"),)), "segment gone is in the log already"),
        (Entry("w", 1, remove=("a",)), "segment a holds 2 videos, but only 0"),
        (Entry("w", 1, add=(segment("b", "v1"),), remove=("a",)), "segment a holds 2 videos, but only 1"),
        (
            Entry("w", 1, add=(segment("b", "v2", "v9"),), remove=("a",), forget=("v1",)),
            "new video 'v9' is in an entry",
        ),
    ],
)
def test_entries_that_would_double_or_lose_a_video_are_refused(entry: Entry, message: str) -> None:
    state = state_of(Entry("w", 1, add=(segment("a", "v1", "v2"),)), Entry("w", 1, remove=("gone",)))
    with pytest.raises(ValueError, match=message):
        state.check(entry)


class CountingVideos(FinishedVideos):
    """Notes which videos are looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_up: list[str] = []

    def __getitem__(self, video_id: str) -> FinishedVideo:
        self.looked_up.append(video_id)
        return super().__getitem__(video_id)


def test_a_check_looks_a_video_up_a_few_times_however_many_segments_are_merged() -> None:
    names = [f"v{number}" for number in range(200)]
    videos = CountingVideos()
    state = JobState(finished=videos)
    state.apply(Entry("w", 1, add=tuple(segment(f"of {name}", name) for name in names)))
    videos.looked_up.clear()
    merging = Entry("c", 1, add=(segment("all", *names),), remove=tuple(state.segments), kind=EntryKind.COMPACTION)
    state.check(merging)
    assert len(names) <= len(videos.looked_up) <= 3 * len(names)


def test_a_roll_up_is_the_same_state() -> None:
    state = state_of(
        Entry("w", 1, add=(segment("a", "v1", "v2", prompt_hash="x:y"), segment("b", "é/ü <b>"))),
        Entry("w", 1, add=(segment("c", "q", status=Status.QUARANTINED), segment("d", "n", status=Status.NO_PROMPTS))),
        Entry("w", 3, add=(segment("e", "v1", prompt_hash=""),), remove=("a",), forget=("v1", "v2"), strikes={"s": 2}),
    )
    again = JobState.from_parquet(state.to_parquet())
    assert again == state
    assert again.finished.num_by_status == +state.finished.num_by_status
    again.finished.put("new", FinishedVideo(Status.OK, "p", "c"))
    assert again.finished["new"].segment == "c"
    assert again.finished["v1"] == FinishedVideo(Status.OK, "", "e")


def ended(name: str, video_id: str, status: Status, num_failed: int, attempts: int, prompt_hash: str = "p") -> Segment:
    """A segment with one video that was tried so often and has so many failed objects."""
    details = OutcomeDetails(2, num_failed, 1, attempts)
    outcome = Outcome(video_id, status, prompt_hash, 0, 0, details=details)
    return Segment(name, {"masks": 0, "tracks": 2, "videos": 1}, 100, (outcome,))


def test_failures_in_a_row_add_up_until_the_prompts_change() -> None:
    state = state_of(
        Entry("w", 1, add=(ended("a", "v", Status.FAILED, 2, attempts=2), ended("b", "w", Status.OK, 1, attempts=1))),
        Entry("w", 1, remove=("a", "b"), forget=("v", "w")),
    )
    attempts_before = state.attempts_before()
    assert (attempts_before("v", "p"), attempts_before("v", "other"), attempts_before("x", "p")) == (2, 0, 0)
    state.apply(Entry("w", 1, add=(ended("c", "v", Status.FAILED, 2, attempts=3),)))
    state.apply(Entry("w", 1, add=(ended("d", "w", Status.OK, 0, attempts=2, prompt_hash="changed"),)))
    assert state.finished["v"].tally == Tally(2, 1, attempts=3, num_failures=2)
    assert state.finished["w"].tally == Tally(0, 1, attempts=2, num_failures=0)
    assert state.tried == {}
    moved = Entry(
        "c", 1, add=(ended("e", "v", Status.FAILED, 9, attempts=9),), remove=("c",), kind=EntryKind.COMPACTION
    )
    state.check(moved)
    state.apply(moved)
    assert state.finished["v"] == FinishedVideo(Status.FAILED, "p", "e", Tally(2, 1, 3, 2)), "moved, not tried again"


def test_attempts_at_a_video_that_ended_well_do_not_count_when_it_is_labeled_again() -> None:
    state = state_of(
        Entry("w", 1, add=(ended("a", "v", Status.OK, 0, attempts=2),)),
        Entry("w", 1, remove=("a",), forget=("v",), why={"v": Reason.RELABEL}),
    )
    assert state.attempts_before()("v", "p") == 0
    assert state.failed_before() == {}
    state.apply(Entry("w", 1, add=(ended("b", "v", Status.FAILED, 2, attempts=1),)))
    assert state.finished["v"].num_failures == 1


def test_failures_in_a_row_begin_anew_with_another_file() -> None:
    def failed(name: str, source_hash: str) -> Segment:
        details = OutcomeDetails(1, 1, source_hash=source_hash)
        return Segment(
            name,
            {"masks": 0, "tracks": 1, "videos": 1},
            9,
            (Outcome("v", Status.FAILED, "p", 0, 0, "input", "", details),),
        )

    state = state_of(Entry("w", 1, add=(failed("a", "1"),)))
    found = []
    for before, name, source_hash in (("a", "b", "1"), ("b", "c", "2"), ("c", "d", "2")):
        state.apply(Entry("w", 1, remove=(before,), forget=("v",)))
        state = JobState.from_parquet(state.to_parquet())
        state.apply(Entry("w", 1, add=(failed(name, source_hash),)))
        found.append(state.finished["v"].tally.num_failures)
    assert found == [2, 1, 2]


def test_a_roll_up_keeps_what_was_tried_and_what_is_not_plain() -> None:
    state = state_of(
        Entry("w", 1, add=(segment("a", "v1", "v2"), ended("b", "bad", Status.OK, 3, attempts=4))),
        Entry("w", 1, add=(ended("c", "again", Status.FAILED, 1, attempts=2),)),
        Entry("w", 1, remove=("c",), forget=("again",)),
    )
    again = JobState.from_parquet(state.to_parquet())
    assert again == state
    assert again.finished["bad"].tally == Tally(3, 1, 4, 1)
    assert again.finished["v1"].tally == Tally(0, 0, 1, 0)
    assert again.attempts_before()("again", "p") == 2


def test_a_roll_up_of_a_version_that_did_not_count_objects_says_so_of_each_video() -> None:
    state = state_of(Entry("w", 1, add=(segment("a", "v1"), segment("b", "v2", status=Status.FAILED))))
    rows = pq.read_table(pa.BufferReader(state.to_parquet()))
    earlier = rows.drop_columns(["num_tracks_failed", "num_tracks_warned", "attempts", "num_failures"])
    metadata = {key: value for key, value in rows.schema.metadata.items() if key != b"has_tallies"}
    found = JobState.from_parquet(rolled_up(earlier.replace_schema_metadata(metadata)))
    assert dict(found.finished) == {
        "v1": FinishedVideo(Status.OK, "p", "a", Tally(None, None)),
        "v2": FinishedVideo(Status.FAILED, "p", "b", Tally(None, None)),
    }
    assert [video.is_bad for video in found.finished.values()] == [False, True]
    assert JobState.from_parquet(found.to_parquet()) == found


def labeled_from(name: str, video_id: str, source_hash: str) -> Segment:
    """A segment with one video, made of a file of this version."""
    outcome = Outcome(video_id, Status.OK, "p:q", 0, 0, details=OutcomeDetails(source_hash=source_hash))
    return Segment(name, {"masks": 0, "tracks": 0, "videos": 1}, 100, (outcome,))


def test_the_version_of_a_file_is_kept_also_where_an_earlier_program_moves_its_video() -> None:
    state = state_of(Entry("w", 1, add=(labeled_from("a", "v", "0123"), labeled_from("b", "unknown", ""))))
    moved = Entry("c", 1, add=(labeled_from("c", "v", ""),), remove=("a",), kind=EntryKind.COMPACTION)
    state.check(moved)
    state.apply(moved)
    assert state.finished["v"] == FinishedVideo(Status.OK, "p:q", "c", source_hash="0123")
    again = JobState.from_parquet(state.to_parquet())
    assert again == state
    assert {video_id: video.source_hash for video_id, video in again.finished.items()} == {"v": "0123", "unknown": ""}
    rows = pq.read_table(pa.BufferReader(state.to_parquet()))
    earlier = JobState.from_parquet(rolled_up(rows.drop_columns(["source_hash"])))
    assert {video.source_hash for video in earlier.finished.values()} == {""}
    again.apply(Entry("w", 1, add=(labeled_from("d", "v", "4567"),), remove=("c",), forget=("v",)))
    assert again.finished["v"].source_hash == "4567"


def rolled_up(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    return bytes(sink.getvalue().to_pybytes())


def test_a_roll_up_of_a_newer_version_is_refused() -> None:
    rows = pq.read_table(pa.BufferReader(JobState().to_parquet()))
    newer = rows.replace_schema_metadata({**rows.schema.metadata, b"schema_version": b"99"})
    with pytest.raises(NewerVersion, match=r"roll-7\.parquet was written by a newer maskmill, in version 99"):
        JobState.from_parquet(rolled_up(newer), "roll-7.parquet")


def test_rows_and_columns_that_a_later_program_adds_to_a_roll_up_are_ignored() -> None:
    state = state_of(Entry("w", 1, add=(segment("a", "v1"),), strikes={"s": 2}))
    rows = pq.read_table(pa.BufferReader(state.to_parquet()))
    assert set(rows.column_names) == {
        *("kind", "name", "status", "segment", "prompt_hash", "source_hash", "strikes"),
        *("num_masks", "num_tracks", "num_videos", "num_bytes"),
        *(
            "num_tracks_failed",
            "num_tracks_warned",
            "attempts",
            "num_failures",
            "why",
            "review_hash",
            "former",
            "round",
            *("setback_status", "error_class", "message"),
        ),
    }
    other = rows.slice(0, 1).set_column(rows.column_names.index("kind"), "kind", pa.array(["found later"]))
    more = pa.concat_tables([rows, other])
    more = more.append_column("found_later", pa.array(range(more.num_rows)))
    assert JobState.from_parquet(rolled_up(more)) == state


def test_an_empty_state_rolls_up() -> None:
    assert JobState.from_parquet(JobState().to_parquet()) == JobState()


def test_putting_a_video_again_counts_it_once() -> None:
    videos = FinishedVideos()
    videos.put("v", FinishedVideo(Status.FAILED, "p", "a"))
    videos.put("v", FinishedVideo(Status.OK, "q", "b"))
    assert (len(videos), videos["v"], videos.num_by_status[Status.FAILED]) == (1, FinishedVideo(Status.OK, "q", "b"), 0)
    videos.discard("v")
    videos.discard("v")
    assert "v" not in videos
    assert videos.num_by_status[Status.OK] == 0


MILLION = """
import resource, sys, time
import pyarrow as pa
from pipeline.commits.finished import FinishedVideo, FinishedVideos
from pipeline.commits.snapshot import JobState, SegmentSize
from pipeline.records import Status
import hashlib
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
def highest():  # getrusage would also count the process that started this one
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 2**10
if sys.argv[2] == "write":
    state = JobState()
    for s in range(10_000):
        state.segments[f"e000001-worker-{s:012x}"] = SegmentSize(1000, 10, 100, 1 << 20)
    names = list(state.segments)
    for n in range(1_000_000):
        finished = FinishedVideo(Status.OK, hashlib.sha256(b"%d" % n).hexdigest(), names[n // 100])
        state.finished.put(f"videos/shard-{n % 997:05d}/clip-{n:09d}", finished)
    started = time.process_time()
    data = state.to_parquet()
    print(time.process_time() - started)
    open(sys.argv[1], "wb").write(data)
else:
    data = open(sys.argv[1], "rb").read()
    before = resident()
    started = time.process_time()
    state = JobState.from_parquet(data)
    seconds = time.process_time() - started
    assert len(state.finished) == 1_000_000 and len(state.segments) == 10_000
    assert state.finished["videos/shard-00000/clip-000000000"].status is Status.OK
    pa.default_memory_pool().release_unused()  # what Arrow keeps for its next table is not held by the state
    print(seconds, highest() - before, resident() - before, len(data) / 2**20)
"""


@pytest.mark.slow
def test_a_million_finished_videos_take_less_than_a_gibibyte_and_load_in_seconds(tmp_path: object) -> None:
    path = f"{tmp_path}/roll.parquet"

    def run(mode: str) -> list[float]:
        command = [sys.executable, "-c", MILLION, path, mode]
        return [float(x) for x in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]

    (write_seconds,) = run("write")
    load_seconds, peak_mib, resident_mib, file_mib = run("load")
    print(
        f"write {write_seconds:.1f} s, load {load_seconds:.1f} s, peak {peak_mib:.0f} MiB, then {resident_mib:.0f} MiB"
    )
    print(f"file {file_mib:.0f} MiB")
    assert peak_mib < 1024
    assert resident_mib < 400
    assert load_seconds < 20
    assert write_seconds < 20

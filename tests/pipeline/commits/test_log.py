"""The commit log: one writer, nothing lost, quick to read again."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pipeline.commits.entry import Entry, EntryKind, EntryNotes, decode_entry, encode_entry
from pipeline.commits.log import CommitLog, RollUpPolicy
from pipeline.errors import LostOwnership, NewerVersion, StorageError
from pipeline.output.layout import log_entry
from pipeline.records import ObjectNote, Outcome, OutcomeDetails, Reason, Status
from pipeline.storage.job_storage import JobStorage
from tests.pipeline.commits.test_snapshot import segment

FEW = RollUpPolicy(entries=10)


def claimed(storage: JobStorage, writer_id: str, roll_ups: RollUpPolicy | None = None) -> CommitLog:
    log = CommitLog(storage, writer_id, roll_ups)
    log.load()
    log.claim()
    return log


def test_what_is_appended_is_loaded_again(storage: JobStorage) -> None:
    log = claimed(storage, "w1")
    log.append(add=[segment("a", "v1", "v2")], strikes={"v3": 1})
    log.append(add=[segment("a2", "v2")], remove=["a"], forget=["v1"])
    again = CommitLog(storage, "w2").load()
    assert again == log.state
    assert set(again.finished) == {"v2"}
    assert again.strikes == {"v3": 1}
    assert again.epoch == 1


def test_an_empty_job_loads_as_nothing_and_writes_nothing(storage: JobStorage) -> None:
    state = CommitLog(storage, "w").load()
    assert (len(state.finished), state.next_entry) == (0, 0)
    assert storage.listing("_log") == []


def test_each_claim_opens_a_new_epoch(storage: JobStorage) -> None:
    assert [claimed(storage, f"w{n}").state.epoch for n in range(3)] == [1, 2, 3]


def test_a_driver_that_lost_the_job_cannot_commit(storage: JobStorage) -> None:
    first = claimed(storage, "w1")
    first.append(add=[segment("a", "v1")])
    second = claimed(storage, "w2")
    with pytest.raises(LostOwnership, match="driver w2 has taken this job over"):
        first.append(add=[segment("b", "v2")])
    second.append(add=[segment("c", "v2")])
    assert set(CommitLog(storage, "r").load().segments) == {"a", "c"}


def test_a_claim_is_refused_when_another_driver_is_writing(storage: JobStorage) -> None:
    late = CommitLog(storage, "w2")
    late.load()
    claimed(storage, "w1")
    with pytest.raises(LostOwnership):
        late.claim()


def test_an_entry_that_would_double_a_video_is_not_written(disk_storage: JobStorage) -> None:
    log = claimed(disk_storage, "w")
    log.append(add=[segment("a", "v1")])
    with pytest.raises(ValueError, match="'v1'"):
        log.append(add=[segment("b", "v1")])
    assert CommitLog(disk_storage, "r").load().next_entry == 2


def test_nothing_to_say_writes_no_entry(disk_storage: JobStorage) -> None:
    log = claimed(disk_storage, "w")
    log.append(strikes={"v": 1})
    log.append()
    log.append(strikes={"v": 1, "other": 0})
    log.append(forget=["never seen"])
    assert log.state.next_entry == 2


class LosesAnswers(JobStorage):
    """Writes, and then says that it could not: what a connection cut at the wrong moment looks like."""

    is_losing = False

    def create(self, path: str, data: bytes) -> None:
        super().create(path, data)
        if self.is_losing:
            self.is_losing = False
            raise StorageError("the connection broke")


def test_appending_again_after_a_lost_answer_commits_once(disk_storage: JobStorage) -> None:
    storage = LosesAnswers(disk_storage.uri)
    log = claimed(storage, "w")
    storage.is_losing = True
    with pytest.raises(StorageError):
        log.append(add=[segment("a", "v1")], strikes={"s": 1})
    log.append(add=[segment("a", "v1"), segment("b", "v2")], strikes={"s": 1})
    assert log.state == CommitLog(disk_storage, "r").load()
    assert set(log.state.segments) == {"a", "b"}
    assert log.state.next_entry == 3


def test_settling_finds_out_whether_a_write_got_through(disk_storage: JobStorage) -> None:
    storage = LosesAnswers(disk_storage.uri)
    log = claimed(storage, "w")
    log.settle()
    storage.is_losing = True
    with pytest.raises(StorageError):
        log.append(add=[segment("a", "v1")])
    assert "a" not in log.state.segments
    log.settle()
    assert "a" in log.state.segments


def test_a_lost_answer_does_not_hide_a_rival(disk_storage: JobStorage) -> None:
    class NeverWrites(JobStorage):
        def create(self, path: str, data: bytes) -> None:
            raise StorageError("no answer")

    log = claimed(disk_storage, "w1")
    log._storage = NeverWrites(disk_storage.uri)
    with pytest.raises(StorageError):
        log.append(add=[segment("a", "v1")])
    claimed(disk_storage, "w2")
    with pytest.raises(LostOwnership):
        log.settle()


def test_roll_ups_shorten_loading_and_old_ones_go(storage: JobStorage) -> None:
    log = claimed(storage, "w", FEW)
    for number in range(2 * FEW.entries + 15):
        log.append(add=[segment(f"s{number}", f"v{number}")])
    rolls = [int(stored.path[len("_log/roll-") : -len(".parquet")]) for stored in storage.listing("_log", "roll-")]
    assert rolls == [2 * FEW.entries, 3 * FEW.entries]
    entries = [stored for stored in storage.listing("_log") if stored.path.endswith(".json")]
    assert len(entries) == 2 * FEW.entries + 16, "entries stay: they are the fence"
    read: list[str] = []
    watched = JobStorage(storage.uri, storage.storage_options)
    original = watched.read
    watched.read = lambda path: (read.append(path), original(path))[1]  # type: ignore[method-assign]
    assert CommitLog(watched, "r").load() == log.state
    assert len(read) < 20


def test_a_roll_up_that_fails_does_not_fail_the_commit(disk_storage: JobStorage) -> None:
    class NoRollUps(JobStorage):
        def replace(self, path: str, data: bytes) -> None:
            raise StorageError("disk full")

    log = claimed(NoRollUps(disk_storage.uri), "w", FEW)
    for number in range(FEW.entries + 5):
        log.append(add=[segment(f"s{number}", f"v{number}")])
    assert CommitLog(disk_storage, "r").load() == log.state
    log._storage = disk_storage
    log.append(add=[segment("last", "last")])
    assert len(disk_storage.listing("_log", "roll-")) == 1


def test_refresh_reads_what_another_driver_has_written_since(storage: JobStorage) -> None:
    writer, reader = claimed(storage, "w"), CommitLog(storage, "r")
    reader.refresh()
    writer.append(add=[segment("a", "v1")])
    assert reader.refresh() == writer.state


def test_an_entry_keeps_every_field_and_any_text() -> None:
    outcome = Outcome("a/b\n<é\\\"'>", Status.FAILED, "p", 0, 3, error_class="MediaError", message="no\u2028frames")
    entry = Entry("w", 7, (dataclasses.replace(segment("s"), outcomes=(outcome,)),), ("r",), ("f",), {"x": 2})
    assert decode_entry(encode_entry(entry)) == entry


def rewrite(storage: JobStorage, path: str, **changes: object) -> None:
    """Change fields of a document, as another version of this program would write them."""
    storage.replace(path, json.dumps(json.loads(storage.read(path)) | changes).encode())


def test_a_log_of_a_newer_version_is_refused_by_name(disk_storage: JobStorage) -> None:
    claimed(disk_storage, "w")
    rewrite(disk_storage, log_entry(0), schema_version=99)
    with pytest.raises(NewerVersion, match=r"0000\.json was written by a newer maskmill, in version 99; .* up to 1\."):
        CommitLog(disk_storage, "r").load()


def test_fields_that_a_later_program_adds_to_an_entry_are_ignored(disk_storage: JobStorage) -> None:
    log = claimed(disk_storage, "w")
    log.append(add=[segment("a", "v1")])
    (added,) = json.loads(disk_storage.read(log_entry(1)))["add"]
    outcomes = [[*outcome, "a value of later"] for outcome in added["outcomes"]]
    rewrite(disk_storage, log_entry(1), found_later=1, add=[added | {"outcomes": outcomes, "found_later": 2}])
    assert CommitLog(disk_storage, "r").load() == log.state


def test_an_entry_has_the_names_that_earlier_programs_read() -> None:
    """Code may be renamed at will; what is on disk may not."""
    noted = (ObjectNote(3, Status.FAILED, "kept in tracks"),)
    details = OutcomeDetails(5, 2, 1, attempts=4, source_hash="0123", review_hash="89ab", notes=noted)
    outcome = Outcome("v", Status.OK, "p", 12, 6, "", "m", details)
    added = dataclasses.replace(segment("s"), outcomes=(outcome,), num_rows={"masks": 12}, num_bytes=7)
    entry = Entry(
        "w",
        3,
        (added,),
        ("r",),
        ("f",),
        {"x": 2},
        {"f": "file"},
        EntryKind.COMPACTION,
        setbacks=(outcome,),
        round=4,
        former={"f": "r"},
        put_back=("b",),
    )
    document = json.loads(encode_entry(entry, EntryNotes({"v": "retry"}, {"masks": 9})))
    written = ["v", "ok", "p", 12, 6, "", "m", 5, 2, 1, 4, "0123", "89ab"]
    assert document.pop("written_at")
    assert document == {
        "schema_version": 1,
        "writer_id": "w",
        "epoch": 3,
        "add": [{"name": "s", "rows": {"masks": 12}, "bytes": 7, "outcomes": [written]}],
        "remove": ["r"],
        "forget": ["f"],
        "strikes": {"x": 2},
        "compaction": True,
        "is_erased": False,
        "why": {"file": ["f"], "retry": ["v"]},
        "removed_rows": {"masks": 9},
        "changes": None,
        "round": 4,
        "oldest_round": 1,
        "former": {"f": "r"},
        "setbacks": [written],
        "put_back": ["b"],
    }


def entries(storage: JobStorage) -> bytes:
    return b"".join(storage.read(stored.path) for stored in storage.listing("_log") if stored.path.endswith(".json"))


def test_an_erased_log_has_the_same_state_and_still_keeps_other_drivers_out(storage: JobStorage) -> None:
    lost, log = claimed(storage, "w1"), claimed(storage, "w2")
    log.append(add=[segment("a", "v1", "v2")], strikes={"v3": 1})
    log.append(add=[segment("a2", "v2")], remove=["a"], forget=["v1", "v3"], why={"v1": Reason.PRUNE})
    assert b"v1" in entries(storage)
    log.erase_history()
    assert CommitLog(storage, "r").load() == log.state
    assert (set(log.state.finished), log.state.strikes) == ({"v2"}, {})
    assert not any(name in entries(storage) for name in (b"v1", b"v3"))
    with pytest.raises(LostOwnership, match="driver w2 has taken this job over"):
        lost.append(add=[segment("b", "v4")])
    log.append(add=[segment("b", "v4")])
    log.roll_up()
    assert CommitLog(storage, "r").load().erased_before == log.state.next_entry - 1


class ErasedMeanwhile(JobStorage):
    """Another process calls `meanwhile` right after the first read of a roll-up."""

    def read(self, path: str) -> bytes:
        data = super().read(path)
        if "roll-" in path and (meanwhile := self.__dict__.pop("meanwhile", None)):
            meanwhile()
        return data


def test_a_reader_whose_entries_are_erased_under_it_reads_the_newer_roll_up(disk_storage: JobStorage) -> None:
    log = claimed(disk_storage, "w")
    log.append(add=[segment("a", "v1")])
    log.roll_up()
    log.append(add=[segment("b", "v2")])
    log.append(add=[segment("a2")], remove=["a"], forget=["v1"])
    storage = ErasedMeanwhile(disk_storage.uri)
    storage.meanwhile = log.erase_history  # type: ignore[attr-defined]
    assert CommitLog(storage, "r").load() == log.state
    early = CommitLog(disk_storage, "r2")
    early.load()
    log.append(add=[segment("c", "v3")])
    log.erase_history()
    assert early.refresh() == log.state


def test_a_compaction_that_finds_its_number_erased_reads_the_log_again(disk_storage: JobStorage) -> None:
    log = claimed(disk_storage, "w")
    log.append(add=[segment("a", "v1"), segment("b", "v2")])
    compaction = CommitLog(disk_storage, "compactor")
    compaction.load()
    log.append(add=[segment("c", "v3")])
    log.erase_history()
    compaction.compact([segment("ab", "v1", "v2")], ["a", "b"])
    assert log.catch_up() == CommitLog(disk_storage, "r").load() == compaction.state
    assert set(log.state.segments) == {"ab", "c"}


def test_an_outcome_of_a_version_that_did_not_count_objects_is_read() -> None:
    document = json.loads(encode_entry(Entry("w", 1, (segment("s"),))))
    document["add"][0]["outcomes"] = [["v", "ok", "p", 12, 6, "", "m"]]
    (added,) = decode_entry(json.dumps(document).encode()).add
    assert added.outcomes == (Outcome("v", Status.OK, "p", 12, 6, "", "m", OutcomeDetails(None, None, None, 1)),)


def test_a_compaction_rolls_up_a_long_log(disk_storage: JobStorage) -> None:
    """Of a job that has ended no driver does, and its readers would fetch each entry for good."""
    log = claimed(disk_storage, "w")
    log.append(add=[segment("a", "v1"), segment("b", "v2")])
    compaction = CommitLog(disk_storage, "compactor", RollUpPolicy(entries=3))
    compaction.load()
    assert disk_storage.listing("_log", "roll-") == []
    compaction.compact([segment("ab", "v1", "v2")], ["a", "b"])
    assert len(disk_storage.listing("_log", "roll-")) == 1
    assert CommitLog(disk_storage, "r").load() == compaction.state

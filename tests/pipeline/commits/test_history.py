"""What changed, from the log alone: each change once, and reading costs what is new."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.commits.committer import SegmentKeeper
from pipeline.commits.compaction import compact
from pipeline.commits.history import CHANGES, History, Kind
from pipeline.commits.log import CommitLog, RollUpPolicy
from pipeline.commits.read_history import first_true, read_history
from pipeline.commits.since import parse_since
from pipeline.errors import NoHistory
from pipeline.output.layout import log_entry
from pipeline.records import Reason, Segment, Status
from pipeline.storage.job_storage import JobStorage
from pipeline.tables import JobTables
from tests.pipeline.commits.test_snapshot import segment
from tests.support.dying_storage import Died, DyingStorage, deaths
from tests.support.labeled import driver, labeled, publish
from tests.support.quick_storage import QuickStorage
from tests.support.s3_server import S3Server
from tests.support.traces import traces
from tests.support.waiting import clock_moves_on

Job = tuple[CommitLog, SegmentKeeper, Callable[..., None]]
START = datetime(2026, 11, 28, 2, tzinfo=UTC)


class CountingStorage(QuickStorage):
    """Counts the objects that are read, and the listings."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.paths: list[str] = []

    def read(self, path: str) -> bytes:
        self.paths.append(path)
        return super().read(path)


@pytest.fixture
def storage(tmp_path: Path) -> CountingStorage:
    return CountingStorage(str(tmp_path / "job"))


@pytest.fixture
def job(storage: CountingStorage, tmp_path: Path) -> Job:
    """A driver at work, and what commits videos, each of 12 masks in 2 tracks, as one segment."""
    log, keeper = driver(storage, tmp_path / "spool")

    def commit(*names: str, status: Status = Status.OK) -> None:
        videos = [labeled(name, status=status) for name in names]
        keeper.commit([publish(storage, tmp_path / "spool", *videos, epoch=log.state.epoch)])

    return log, keeper, commit


def told(history: History) -> dict[str, tuple[str, str, str | None]]:
    """By video: what became of it, why, and its status."""
    return {
        change.video_id: (change.kind.value, str(change.why), change.outcome and change.outcome.status.value)
        for change in history.changes
    }


def written_at(storage: JobStorage, *times: datetime) -> None:
    """Give the entries from 0 on these times."""
    for number, time in enumerate(times):
        path = log_entry(number)
        storage.replace(path, json.dumps(json.loads(storage.read(path)) | {"written_at": time.isoformat()}).encode())


@pytest.mark.slow
def test_videos_come_are_labeled_again_and_leave_each_for_its_reason(job: Job, storage: CountingStorage) -> None:
    log, keeper, commit = job
    commit("a", "b", "c", "d")
    commit("bad", status=Status.FAILED)
    cursor = log.state.next_entry
    why = {"a": Reason.PROMPTS, "b": Reason.FILE, "bad": Reason.RETRY, "c": Reason.PRUNE}
    keeper.forget(why, why)
    commit("a", "b", "bad", "new")
    history = read_history(storage, cursor)
    assert told(history) == {
        "a": ("again", "prompts", "ok"),
        "b": ("again", "file", "ok"),
        "bad": ("again", "retry", "ok"),
        "c": ("removed", "prune", None),
        "new": ("added", "", "ok"),
    }
    assert history.sums.rows_in == {"masks": 48, "tracks": 8, "videos": 4}
    assert history.sums.rows_out == {"masks": 36, "tracks": 6, "videos": 4}
    assert history.entry == log.state.next_entry
    assert told(read_history(storage)) == dict.fromkeys(("a", "b", "bad", "d", "new"), ("added", "", "ok"))


@pytest.mark.slow
def test_rows_in_less_rows_out_are_the_rows_of_the_tables(job: Job, storage: CountingStorage) -> None:
    log, keeper, commit = job
    commit("a", "b")
    commit("c", "x")
    keeper.forget(["a", "x"], {"a": Reason.PROMPTS, "x": Reason.PRUNE})
    commit("a")
    compact(storage, Path(storage.uri) / "spool")
    history, tables = read_history(storage), JobTables(storage, log.catch_up())
    num = {"masks": tables.masks().count_rows(), "tracks": tables.tracks().num_rows, "videos": tables.videos().num_rows}
    assert history.sums.rows_out is not None
    assert {name: history.sums.rows_in[name] - history.sums.rows_out[name] for name in num} == num
    assert (history.sums.num_compactions, history.entry) == (1, log.state.next_entry)


@pytest.mark.parametrize("rolls_up", [False, True])
def test_a_reader_that_keeps_the_entry_sees_each_change_once(
    job: Job, storage: CountingStorage, tmp_path: Path, rolls_up: bool
) -> None:
    """Also where a driver dies between taking rows away and labeling anew, and another one goes on."""
    log, keeper, commit = job
    commit("a", "b")
    readings = [read_history(storage)]
    keeper.forget(["a"], {"a": Reason.PROMPTS})
    readings.append(read_history(storage, readings[-1].entry))
    if rolls_up:
        log.roll_up()
    later, keeper = driver(storage, tmp_path / "spool", "driver-2")
    readings.append(read_history(storage, readings[-1].entry))
    keeper.commit([publish(storage, tmp_path / "spool", labeled("a", prompt_hash="p2"), epoch=2)])
    readings.append(read_history(storage, readings[-1].entry))
    readings.append(read_history(storage, readings[-1].entry))
    assert [told(reading) for reading in readings] == [
        {"a": ("added", "", "ok"), "b": ("added", "", "ok")},
        {"a": ("removed", "prompts", None)},
        {},
        {"a": ("again", "prompts", "ok")},
        {},
    ]
    assert readings[-1].entry == later.state.next_entry


class Reader:
    """Remembers the entry, and the segment of each video that it has: all that a copy of a job needs to be exact."""

    def __init__(self) -> None:
        self.entry = 0
        self.masks: dict[str, int] = {}

    def read(self, storage: JobStorage) -> None:
        history = read_history(storage, self.entry)
        finished = CommitLog(storage, "reader").load().finished
        for name in (*history.gone_ids, *(name for name in self.masks if name not in finished)):
            self.masks.pop(name, None)
        self.masks |= {one.video_id: one.outcome.num_masks for one in history.changes if one.outcome is not None}
        self.entry = history.entry


def nights(storage: JobStorage) -> None:
    """What a driver does in two nights. A second driver that does it again finds some of it done."""
    log = CommitLog(storage, "driver", RollUpPolicy(entries=3))
    log.load()
    log.claim()
    for night in range(2):
        new = [segment(f"{log.state.epoch} {night} {name}", f"{name} of {night}") for name in ("a", "b", "c")]
        log.append(add=[one for one in new if one.outcomes[0].video_id not in (*log.state.finished, *log.state.tried)])
        for name, why in ((f"a of {night}", Reason.PROMPTS), (f"b of {night}", Reason.PRUNE)):
            if name in log.state.finished and "again" not in log.state.finished[name].segment:
                log.append(remove=[log.state.finished[name].segment], forget=[name], why={name: why})
        waiting = [name for name in log.state.tried if name.startswith("a ")]
        log.append(add=[more_masks(segment(f"again {name} {log.state.epoch}", name)) for name in waiting])
        log.erase_history()


def more_masks(one: Segment) -> Segment:
    (outcome,) = one.outcomes
    return replace(one, outcomes=(replace(outcome, num_masks=7),))


@pytest.mark.slow
def test_a_reader_is_exact_wherever_a_driver_dies(tmp_path: Path) -> None:
    """It reads after the death, and when another driver has gone on; the judge is the state of the log."""
    undisturbed = DyingStorage(str(tmp_path / "undisturbed"))
    nights(undisturbed)
    assert undisturbed.num_writes > 20
    for dies_at, dies_after in deaths(undisturbed.num_writes, every_nth=3):
        storage, reader = QuickStorage(str(tmp_path / f"{dies_at} {dies_after}")), Reader()
        with pytest.raises(Died):
            nights(DyingStorage(storage.uri, dies_at=dies_at, dies_after=dies_after))
        for go_on in (lambda storage: None, nights):
            go_on(storage)
            if CommitLog(storage, "r").load().next_entry == 0:
                continue  # it died before its first write
            reader.read(storage)
            state = CommitLog(storage, "r").load()
            wanted = {name: 7 if "again" in video.segment else 4 for name, video in state.finished.items()}
            assert reader.masks == wanted, (dies_at, dies_after)


def test_what_came_and_went_between_two_readings_is_no_change(job: Job, storage: CountingStorage) -> None:
    log, keeper, commit = job
    commit("a")
    cursor = log.state.next_entry
    commit("b")
    keeper.forget(["b", "a"], {"b": Reason.PRUNE, "a": Reason.RETRY})
    commit("a")
    keeper.forget(["a"], {"a": Reason.PRUNE})
    assert told(read_history(storage, cursor)) == {"a": ("removed", "prune", None)}
    commit("a")
    assert told(read_history(storage, cursor + 4)) == {"a": ("added", "", "ok")}, "pruned: nothing of it was kept"


def test_unfinished_videos_of_which_nothing_is_kept_any_more_are_no_change(job: Job, storage: CountingStorage) -> None:
    log, keeper, commit = job
    commit("a")
    keeper.forget(["a"], {"a": Reason.RETRY})
    log.append(strikes={"suspect": 1})
    cursor = log.state.next_entry
    log.append(forget=["a", "suspect"], why={"a": Reason.RELABEL})
    assert (log.state.next_entry, told(read_history(storage, cursor))) == (cursor + 1, {})
    commit("a")
    assert told(read_history(storage, cursor)) == {"a": ("again", "relabel", "ok")}


def test_reading_costs_what_is_new_and_not_what_is_known(job: Job, storage: CountingStorage) -> None:
    log, _, _ = job
    for number in range(40):
        log.append(add=[segment(f"s{number}", f"v{number}")])
    cursor = log.state.next_entry
    log.roll_up()
    log.append(add=[segment("s", "new")])
    storage.paths.clear()
    assert set(told(read_history(storage, cursor))) == {"new"}
    numbers = sorted(int(Path(path).stem) for path in storage.paths)
    assert numbers[0] == cursor - 1, "the entry before tells the time"
    assert len(numbers) <= 6
    assert not any("roll" in path for path in storage.paths)


def test_a_time_is_found_in_few_reads(job: Job, storage: CountingStorage) -> None:
    log, _, _ = job
    for number in range(62):
        log.append(add=[segment(f"s{number}", f"v{number}")])
        if number in (20, 40):
            log.roll_up()
    hours = [START + timedelta(hours=number) for number in range(log.state.next_entry)]
    written_at(storage, *hours)
    for asked in (0, 1, 20, 41, 42, 43, 61, 62):
        storage.paths.clear()
        history = read_history(storage, hours[asked])
        assert (history.first_entry, history.entry) == (asked, 63)
        assert len(history.changes) == 63 - max(asked, 1)
        num_searching = len(storage.paths) - 2 * (63 - asked) - 4
        assert num_searching <= 12, asked
    assert read_history(storage, hours[-1] + timedelta(seconds=1)).changes == ()
    assert read_history(storage, START - timedelta(days=1)).first_entry == 0


@pytest.mark.slow
def test_changes_are_told_of_a_job_in_a_store(s3_server: S3Server) -> None:
    """By entry and by time, past a roll-up, whose number is found by listing."""
    storage = JobStorage(f"{s3_server.new_folder()}/job", s3_server.options())
    log = CommitLog(storage, "w")
    log.load()
    log.claim()
    for name in ("a", "b"):
        log.append(add=[segment(f"of {name}", name)])
    log.roll_up()
    log.append(remove=["of a"], forget=["a"])
    log.append(add=[segment("of c", "c"), segment("of a again", "a")])
    history = read_history(storage, 3)
    assert told(history) == {"a": ("again", "unknown", "ok"), "c": ("added", "", "ok")}
    written_at(storage, *(START + timedelta(hours=number) for number in range(history.entry)))
    assert told(read_history(storage, START + timedelta(hours=1, minutes=30))).keys() == {"a", "b", "c"}


@pytest.mark.parametrize("guess", [0, 1, 7, 100])
@pytest.mark.parametrize("first", [0, 1, 2, 6, 7, 8, 99, 100, 101, 1000])
def test_the_first_number_that_is_true_is_found_from_any_guess(first: int, guess: int) -> None:
    calls: list[int] = []

    def is_true(number: int) -> bool:
        calls.append(number)
        assert number >= 0
        return number >= first

    assert first_true(is_true, guess) == first
    assert len(calls) <= 4 + 2 * abs(first - guess).bit_length()


@pytest.mark.slow
def test_an_erased_log_still_tells_changes_of_the_videos_that_are_there(job: Job, storage: CountingStorage) -> None:
    """At each erasure with prune=true the names of removed videos leave it, also those that it told until then."""
    log, keeper, commit = job
    commit("a-gone", "b-gone-later", "c")
    cursor = log.state.next_entry
    keeper.forget(["a-gone", "c"], {"a-gone": Reason.PRUNE, "c": Reason.FILE})
    commit("c", "d")
    log.erase_history()
    history = read_history(storage, cursor)
    assert told(history) == {"c": ("again", "file", "ok"), "d": ("added", "", "ok")}
    assert history.sums.num_unnamed == 1
    assert history.sums.rows_out == {"masks": 24, "tracks": 4, "videos": 2}, "rows of erased videos count"
    assert traces(Path(storage.uri) / "_log", "a-gone") == []
    assert set(told(read_history(storage))) == {"b-gone-later", "c", "d"}
    before = {path: storage.read(path) for path in map(log_entry, range(log.state.next_entry))}

    keeper.forget(["b-gone-later"], {"b-gone-later": Reason.PRUNE})
    log.erase_history()
    log.erase_history()
    assert traces(Path(storage.uri) / "_log", "b-gone-later") == []
    history = read_history(storage)
    assert (set(told(history)), history.sums.num_unnamed) == ({"c", "d"}, 2)
    rewritten = [path for path, data in before.items() if storage.read(path) != data]
    assert rewritten == [log_entry(1)], "an entry that names none of them stays as it is"


def test_a_log_that_was_erased_too_far_says_from_when_on_it_can_tell(storage: CountingStorage) -> None:
    log = CommitLog(storage, "w", RollUpPolicy(told=2))
    log.load()
    log.claim()
    for name in ("a", "b", "c"):
        log.append(add=[segment(f"of {name}", name)])
    clock_moves_on()  # an entry that is erased has the time of its erasure, which is later than that of the others
    log.erase_history()
    with pytest.raises(NoHistory, match=r"entry=2 on, or since=20.* Compare what you have") as told_by:
        read_history(storage, 1)
    assert told_by.value.first_entry == 2
    assert set(told(read_history(storage, 2))) == {"b", "c"}
    with pytest.raises(NoHistory, match="entry=2 on"):
        read_history(storage, datetime.now(UTC) - timedelta(days=1))
    erased_at = read_history(storage, 2).since
    assert erased_at is not None
    log.append(add=[segment("of d", "d")])
    assert set(told(read_history(storage, erased_at))) == {"d"}


def test_an_entry_that_the_log_does_not_reach_to_is_refused(job: Job, storage: CountingStorage, tmp_path: Path) -> None:
    log, _, commit = job
    commit("a")
    assert read_history(storage, log.state.next_entry).changes == ()
    with pytest.raises(NoHistory, match=r"the log ends before entry 9.* begun anew"):
        read_history(storage, 9)
    with pytest.raises(FileNotFoundError, match="holds no job"):
        read_history(JobStorage(str(tmp_path / "empty")))


def test_entries_of_an_earlier_version_say_unknown(job: Job, storage: CountingStorage) -> None:
    log, keeper, commit = job
    commit("a", "b")
    cursor = log.state.next_entry
    keeper.forget(["a"], {"a": Reason.FILE})
    commit("a", "new")
    for number in (cursor, cursor + 1):
        document = json.loads(storage.read(log_entry(number)))
        storage.replace(
            log_entry(number),
            json.dumps({key: value for key, value in document.items() if key not in ("why", "removed_rows")}).encode(),
        )
    history = read_history(storage, cursor)
    assert told(history) == {"a": ("again", "unknown", "ok"), "new": ("added", "unknown", "ok")}
    assert history.sums.rows_out is None
    assert told(read_history(storage, cursor + 1))["a"] == ("added", "unknown", "ok")
    assert CommitLog(storage, "r").load().tried == {}


def test_changes_are_a_table_of_one_row_per_video(job: Job, storage: CountingStorage) -> None:
    log, keeper, commit = job
    commit("a", "b")
    cursor = log.state.next_entry
    keeper.forget(["a"], {"a": Reason.PRUNE})
    commit("bad", status=Status.FAILED)
    table = read_history(storage, cursor).to_table()
    assert table.schema == CHANGES
    assert table.select(["video_id", "change", "why", "status", "num_masks", "entry"]).to_pylist() == [
        {"video_id": "a", "change": "removed", "why": "prune", "status": None, "num_masks": None, "entry": cursor},
        {"video_id": "bad", "change": "added", "why": "", "status": "failed", "num_masks": 0, "entry": cursor + 1},
    ]
    assert {kind.value for kind in Kind} >= set(table["change"].to_pylist())


NOW = datetime(2026, 11, 29, 15, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("yesterday", datetime(2026, 11, 28, tzinfo=UTC)),
        ("today", datetime(2026, 11, 29, tzinfo=UTC)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-28T02:00:00+02:00", datetime(2026, 11, 28, tzinfo=UTC)),
        ("5m", datetime(2026, 11, 29, 14, 59, tzinfo=UTC)),
        ("36h", datetime(2026, 11, 28, 3, 4, tzinfo=UTC)),
        ("7d", datetime(2026, 11, 22, 15, 4, tzinfo=UTC)),
    ],
)
def test_times_are_understood_as_people_type_them(text: str, meant: datetime) -> None:
    assert parse_since(text, NOW) == meant


def test_what_is_no_time_is_refused_with_the_forms() -> None:
    with pytest.raises(ValueError, match=r"'last week' is no time: give yesterday, today, a date"):
        parse_since("last week", NOW)

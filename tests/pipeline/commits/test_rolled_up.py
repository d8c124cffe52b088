"""Finished videos of a roll-up that are decoded when they are looked for, held against those that are all in memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipeline.commits import rolled_up
from pipeline.commits.finished import FinishedVideo, FinishedVideos, Tally
from pipeline.commits.snapshot import JobState
from pipeline.records import Status

NUM = 4_000


def video(number: int) -> FinishedVideo:
    """A video of 4,000: every seventh failed, every fifth has a file of a known version."""
    status = Status.FAILED if number % 7 == 0 else Status.OK
    source = f"{number:016x}" if number % 5 == 0 else ""
    tally = Tally(attempts=2, num_failures=1) if status is Status.FAILED else Tally()
    return FinishedVideo(status, f"{number:032x}" if number % 11 else "odd", f"s{number // 100}", tally, source)


EXPECTED = {f"v{number:04d}": video(number) for number in range(NUM)}


def state_of(videos: FinishedVideos) -> bytes:
    return JobState(videos, next_entry=1).to_parquet(rows_of_a_group=100)


@pytest.fixture(scope="module")
def rolled() -> bytes:
    """A roll-up of 4,000 videos in 40 row groups, from videos in no order."""
    videos = FinishedVideos()
    for number in np.random.default_rng(0).permutation(NUM).tolist():
        videos.put(f"v{number:04d}", video(number))
    return state_of(videos)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The row groups that are decoded, in their order."""
    found: list[int] = []
    read = rolled_up.RolledUp.read

    def noted(self: rolled_up.RolledUp, groups: list[int]) -> object:
        found.extend(groups)
        return read(self, groups)

    monkeypatch.setattr(rolled_up.RolledUp, "read", noted)
    return found


@pytest.mark.slow
def test_new_videos_are_looked_up_and_put_without_decoding_anything(rolled: bytes, decoded: list[int]) -> None:
    videos = JobState.from_parquet(rolled).finished
    assert len(videos) == NUM
    assert videos.num_by_status == {Status.OK: NUM - 572, Status.FAILED: 572}
    assert videos.has_sources
    new = [f"w{number}" for number in range(3_000)]
    assert not videos.look_up(pa.array(new)).is_known.any()
    assert not videos.have_sources(pa.array(new)).any()
    for name in new:
        videos.put(name, FinishedVideo(Status.OK, "", "new"))
    assert len(videos) == NUM + 3_000
    assert videos["w7"].segment == "new"
    assert videos.look_up(pa.array(["w7", "x"])).is_ok.tolist() == [True, False]
    assert decoded == []


def test_a_few_known_videos_decode_the_groups_in_which_they_are(rolled: bytes, decoded: list[int]) -> None:
    videos = JobState.from_parquet(rolled).finished
    asked = pa.array(["v0107", "w", "v0105", "v3999", None])
    known = videos.look_up(asked)
    assert known.is_known.tolist() == [True, False, True, True, False]
    assert known.is_ok.tolist() == [True, False, False, True, False]
    assert known.prompt_hashes.to_strings().to_pylist() == [f"{107:032x}", "", f"{105:032x}", f"{3999:032x}", ""]
    assert videos.source_hashes(asked).to_strings().to_pylist() == ["", "", f"{105:016x}", "", ""]
    assert videos["v0105"] == EXPECTED["v0105"]._replace(tally=videos.tally("v0105"))
    assert "v0199" in videos
    assert "v01995" not in videos
    assert decoded == [1, 39]


@pytest.mark.slow
def test_all_of_them_are_what_they_were(rolled: bytes) -> None:
    videos = JobState.from_parquet(rolled).finished
    assert dict(videos.items()) == EXPECTED
    again = JobState.from_parquet(state_of(videos)).finished
    assert dict(again.items()) == EXPECTED
    assert again.ids().to_pylist() == sorted(EXPECTED)


@pytest.mark.parametrize("are_decoded", [False, True])
def test_videos_that_leave_or_change_before_or_after_all_are_decoded_stay_so(rolled: bytes, are_decoded: bool) -> None:
    videos = JobState.from_parquet(rolled).finished
    if are_decoded:
        assert len(videos.ids()) == NUM
    videos.discard("v0001")
    videos.discard("v0001")
    videos.put("v0007", FinishedVideo(Status.OK, "changed", "s0"))
    videos.put("w", FinishedVideo(Status.OK, "new", "s-new"))

    def check() -> None:
        assert len(videos) == NUM
        assert "v0001" not in videos
        assert videos["v0007"].prompt_hash == "changed"
        assert videos.look_up(pa.array(["v0001", "v0007", "w", "v0002"])).is_ok.tolist() == [False, True, True, True]
        assert videos.num_by_status == {Status.OK: NUM - 572 + 1, Status.FAILED: 571}

    check()
    everything = dict(videos.items())
    assert everything.keys() == EXPECTED.keys() - {"v0001"} | {"w"}
    assert everything["v0300"] == EXPECTED["v0300"]
    assert everything["w"].segment == "s-new"
    check()


def test_asking_for_many_decodes_all_once(rolled: bytes, decoded: list[int]) -> None:
    videos = JobState.from_parquet(rolled).finished
    for first in range(0, NUM, 500):
        names = list(EXPECTED)[first : first + 500]
        assert videos.look_up(pa.array(names)).is_known.all()
    assert decoded[-40:] == list(range(40))
    assert len(decoded) <= 45


def test_videos_that_ended_badly_are_found_by_their_tallies_or_among_all(decoded: list[int]) -> None:
    videos = FinishedVideos()
    for number in range(NUM):
        videos.put(f"v{number:04d}", FinishedVideo(Status.OK, "", "s"))
    videos.put("v0150", FinishedVideo(Status.FAILED, "", "s", Tally(num_failures=1)))
    videos.put("v0250", FinishedVideo(Status.OK, "", "s", Tally(num_tracks_failed=1)))
    again = JobState.from_parquet(state_of(videos)).finished
    assert [(name, one.status) for name, one in again.noted()] == [("v0150", Status.FAILED), ("v0250", Status.OK)]
    assert decoded == [1, 2]
    videos.put("v0350", FinishedVideo(Status.QUARANTINED, "", "s"))  # as an earlier version wrote it
    assert {name for name, one in videos.noted() if one.is_bad} == {"v0150", "v0250", "v0350"}

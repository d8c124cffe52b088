"""A worker that cannot publish what it has labeled, while others can."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.driver.limits import ShutOut
from pipeline.records import Ending, Outcome, Report, Status
from tests.pipeline.driver.test_loop import loop_over
from tests.support.fake_workers import Clock, FakeExecutor, item
from tests.support.fake_workers import published as segment_of


@dataclass
class OneIsRefused(FakeExecutor):
    """The first worker may read the output's store and not write there."""

    refused: tuple[str, ...] = ("w0",)

    def _report(self, worker_id: str, flush: bool, **fields: object) -> Report:
        if worker_id in self.refused and self.finished[worker_id]:
            fields["storage_errors"] = ("upload masks/a.parquet was refused",)
            return super()._report(worker_id, False, **fields)
        return super()._report(worker_id, flush, **fields)


def test_what_a_worker_cannot_publish_is_labeled_by_others(tmp_path: Path) -> None:
    """It would go on for days, and all of that would be lost when it ends."""
    executor = OneIsRefused(2)
    video_ids = [f"v{number}" for number in range(400)]
    loop = loop_over(executor, video_ids, tmp_path, clock_step=0.2)
    assert loop.run() is Ending.DONE
    assert Counter(loop.statuses.values()) == {"ok": 400}
    assert executor.killed == ["w0"]
    assert sum(worker_id == "w0" for worker_id, _ in executor.offered) < 80
    assert all(not strikes for _, strikes in loop.ledger.commits), "no video is to blame"
    assert loop.loop.last_failure == (
        "worker w0: the store of the output refused the worker: it cannot publish its videos, and others can: upload "
        "masks/a.parquet was refused"
    )


def test_a_store_that_nobody_can_write_to_ends_the_job_and_no_worker(tmp_path: Path) -> None:
    executor = OneIsRefused(2, refused=("w0", "w1"))
    loop = loop_over(executor, [f"v{number}" for number in range(400)], tmp_path, clock_step=0.2)
    assert loop.run() is Ending.STORAGE
    assert executor.killed == []


def reported(worker_id: str, *, published: bool = False, errors: int = 0, returned: int = 0) -> Report:
    segments = (segment_of("s", [Outcome("a", Status.OK, "hash", 1, 1)]),) if published else ()
    given_back = tuple(item(f"r{number}") for number in range(returned))
    return Report(worker_id, segments, (), ("waiting",), given_back, ("no route",) * errors)


def test_a_worker_whose_videos_cannot_be_read_is_not_shut_out() -> None:
    clock = Clock()
    shut_out = ShutOut(clock, patience_seconds=100.0)
    found = []
    for _ in range(5):
        clock.sleep(60.0)
        found += [
            shut_out.is_to_go(reported("w0", errors=2, returned=2)),
            shut_out.is_to_go(reported("w1", published=True)),
        ]
    assert not any(found)
    for _ in range(3):
        clock.sleep(60.0)
        found += [shut_out.is_to_go(reported("w1", published=True)), shut_out.is_to_go(reported("w0", errors=1))]
    assert found[-1]


def test_a_worker_is_shut_out_after_its_own_patience_and_only_if_others_published_since() -> None:
    clock = Clock()
    shut_out = ShutOut(clock, patience_seconds=100.0)

    def goes(seconds: float, *, others_publish: bool = True) -> bool:
        clock.sleep(seconds)
        if others_publish:
            assert not shut_out.is_to_go(reported("w1", published=True))
        return shut_out.is_to_go(reported("w0", errors=1))

    assert not goes(0.0)
    assert not goes(60.0), "others could publish, but it was not refused for long"
    assert not shut_out.is_to_go(reported("w0", published=True))
    assert not goes(60.0), "its patience begins anew, because it could publish meanwhile"
    assert not goes(60.0)
    assert goes(60.0)
    shut_out.forget("w0")
    assert not goes(0.0, others_publish=False)
    assert not goes(160.0, others_publish=False), "nobody could publish"
    idle = replace(reported("w0", errors=1), unflushed=())
    assert not shut_out.is_to_go(reported("w1", published=True))
    assert not shut_out.is_to_go(idle), "it has nothing to publish"

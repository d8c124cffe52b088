"""A driver that is killed at each step of a commit, one after the other, in one job; the command is repeated."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import tables
from pipeline.commits.log import CommitLog, RollUpPolicy
from pipeline.storage.job_storage import JobStorage
from tests.faults.conftest import Inputs, s3_arguments
from tests.support.fault_jobs import RunningJob, descendants, kill, read_tables, run
from tests.support.proxy import Proxy, Rule, proxy_to
from tests.support.record import Record
from tests.support.s3_server import S3Server

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(900)]

ENTRY = r"/_log/\d+\.json"
SEGMENT = r"/{}/[^?]*-w\d+"
SOME_DELETION = r"/(masks|tracks|videos)/"

# At which request the driver dies, how many like it come before, and whether this one still takes effect. In the order
# in which they happen: the job is claimed and described, a segment is published, committed, rolled up; at the end what
# nobody names is deleted, and the job is released.
STARTING = [
    ("PUT", ENTRY, 0, False),
    ("PUT", ENTRY, 0, True),
    ("PUT", "/_owner.json", 0, False),
    ("PUT", "/_owner.json", 0, True),
    ("PUT", "/job.json", 0, False),
    ("PUT", "/job.json", 0, True),
]
WORKING = [
    ("PUT", SEGMENT.format("masks"), 0, False),
    ("PUT", SEGMENT.format("masks"), 0, True),
    ("PUT", SEGMENT.format("tracks"), 0, True),
    ("PUT", SEGMENT.format("videos"), 0, False),
    ("PUT", SEGMENT.format("videos"), 0, True),
    ("PUT", ENTRY, 1, False),
    ("PUT", ENTRY, 1, True),
]
MIDDLE = WORKING[:4]
ROLLING_UP = [
    ("PUT", r"/_log/roll-", 0, False),
    ("PUT", r"/_log/roll-", 0, True),
]
# After the first deletions nothing is left to do, and no later run would meet the next step: `test_reconcile` has a
# driver die before and after each of them.
ENDING = [
    ("DELETE", SOME_DELETION, 0, False),
    ("DELETE", "/_owner.json", 0, False),
]


def lengthen_log(storage: JobStorage) -> None:
    """Entries that say little, until a few more make a roll-up due."""
    log = CommitLog(storage, "somebody-before")
    log.load()
    log.claim()
    for number in range(log.state.next_entry, RollUpPolicy().entries - 3):
        log.append(strikes={"nobody": number})
    log.append(strikes={"nobody": 0})


def test_a_driver_killed_at_every_step_of_a_commit(
    few: Inputs, tmp_path: Path, s3_server: S3Server, record: Record
) -> None:
    output, options = f"{s3_server.new_folder()}/job", s3_server.options()
    kept: dict[str, object] = {}
    with proxy_to(s3_server.port) as proxy:
        arguments = few.arguments(
            output, "cluster.actors=1", "worker.beat_seconds=1", "flush.seconds=1", *s3_arguments(proxy)
        )
        for steps in (STARTING, WORKING, ROLLING_UP, ENDING):
            if steps is ROLLING_UP:
                lengthen_log(JobStorage(output, options))
            for step in steps:
                die_at(step, proxy, lambda: RunningJob(tmp_path, *arguments))
                kept = check_kept(kept, output, options, few)
        last = run(tmp_path, *arguments)
    record.times = sum(map(len, (STARTING, WORKING, ROLLING_UP, ENDING)))
    assert last.process.returncode == 0, last.log
    record.compare(read_tables(output, options), few.expected)
    assert check_kept(kept, output, options, few).keys() == set(few.expected.tracks["video_id"].to_pylist())
    record.redone = f"0 of {few.num_videos} committed videos"


def die_at(step: tuple[str, str, int, bool], proxy: Proxy, start: Callable[[], RunningJob]) -> None:
    """One run of the command whose driver is killed around a request.

    In the middle of a segment the whole machine goes with it: a worker would bring it to its end before it dies.
    """
    method, path, skip, takes_effect = step
    below: list[int] = []
    with start() as job:

        def kill_driver() -> None:
            if job.process.poll() is not None:
                return  # whoever sent the request has tried again
            below.extend(descendants(job.process.pid))
            proxy.is_cut = step in MIDDLE
            job.signal(signal.SIGKILL)
            job.process.wait()

        # One that is to have no effect is not passed on, nor is it when whoever sent it tries again.
        rule = Rule(None, method, path, times=1 if takes_effect else 99, skip=skip, is_dropped=not takes_effect)
        setattr(rule, "after" if takes_effect else "before", kill_driver)
        proxy.rules[:] = [rule]
        assert job.wait() == -signal.SIGKILL, f"{step}: not met\n{job.log}"
    assert rule.num_hits >= 1, step
    for pid in below if proxy.is_cut else ():
        kill(pid, signal.SIGKILL)
    proxy.rules.clear()
    proxy.is_cut = False


def check_kept(kept: dict[str, object], output: str, options: dict[str, object], inputs: Inputs) -> dict[str, object]:
    """What is committed is whole, and what was committed before is still there and was not labelled again."""
    if JobStorage(output, options).read_existing([f"_log/{0:020d}.json"]) == [None]:
        return {}
    job = tables.open(output, options)
    now = {row["video_id"]: row["finished_at"] for row in job.videos().to_pylist()}
    assert {name: now.get(name) for name in kept} == kept, "a committed video was lost or labelled again"
    num_wanted = sum(video_id in now for video_id in inputs.expected.masks["video_id"].to_pylist())
    assert job.masks().count_rows() == num_wanted, "committed videos are not whole"
    return now

"""Nights over a bucket whose files came on other days: which of them list all, and what each says of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import changes
from pipeline.commits.job_record import write_record
from pipeline.commits.log import CommitLog
from pipeline.config.compose import job_config
from pipeline.config.job_config import JobConfig
from pipeline.driver import driver
from pipeline.driver.job import open_job, plan_job
from pipeline.driver.watching import Watch
from pipeline.inputs.kept_listing import KeptListing, read_kept, write_kept
from pipeline.inputs.plan import Plan
from pipeline.inputs.write import prompts_table, write_table
from pipeline.records import Outcome, OutcomeDetails, Segment, Status
from pipeline.schedule.schedule import run as scheduled
from pipeline.storage.job_storage import JobStorage
from tests.support.listed_bucket import BUCKET, ListedBucket
from tests.support.rounds import correct

pytestmark = pytest.mark.slow

DAY = 24 * 3600
TODAY = int(time.time()) - 3600


@dataclass
class Nights:
    """A watched bucket of some hundred days, and the job over it; a night labels all that its plan has."""

    folder: Path
    bucket: ListedBucket
    tags: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, days_ago: int, tag: str = "0") -> None:
        self.bucket.put(f"in/{name}.mp4", TODAY - days_ago * DAY, tag)

    def config(self, *words: str) -> JobConfig:
        ids = sorted(key.removeprefix("in/").removesuffix(".mp4") for key in self.bucket.files)
        rows = [
            {"video_id": name, "object_id": 1, "frame_index": 0, "box_xyxy": [1.0, 2.0, 300.0, 200.0]} for name in ids
        ]
        if rows:
            write_table(str(self.folder / "prompts.parquet"), prompts_table(rows), {})
        places = [f"videos=s3://{BUCKET}/in/**/*.mp4", f"prompts={self.folder}/prompts.parquet"]
        own = [f"output={self.folder}/out", "model=mini", "input.full_listing_below=20", *self.bucket.options()]
        return job_config("label", [*places, *own, *words])

    def night(self, *words: str) -> Plan:
        """Plan, keep, label, keep: what a run does, with labels that cost nothing. Videos that are replaced stay."""
        self.bucket.after.clear()
        job = open_job(self.config(*words))
        if job.record_before is None:
            write_record(job.storage, job.record)
        plan = plan_job(job)
        watch = Watch.of(job, plan)
        watch.keep(plan)
        versions = plan.listed_versions()
        assert versions is not None
        sources = dict(zip(versions[0].to_pylist(), versions[1].to_strings().to_pylist(), strict=True))
        outcomes = tuple(
            Outcome(
                item.video_id,
                Status.OK,
                item.prompt_hash,
                1,
                1,
                details=OutcomeDetails(1, source_hash=sources[item.video_id]),
            )
            for item in plan.items()
            if item.video_id not in plan.replaced
        )
        if outcomes:
            name = f"0001-w{job.num_entries:06d}-night"
            job.log.append(add=[Segment(name, {"masks": 1, "tracks": 1, "videos": len(outcomes)}, 100, outcomes)])
        watch.keep(plan.again(job.log.state.finished))
        return plan

    def kept(self) -> KeptListing:
        found = read_kept(self.output)
        assert found is not None
        return found

    @property
    def output(self) -> JobStorage:
        return JobStorage(str(self.folder / "out"))

    def labeled(self) -> set[str]:
        return set(CommitLog(self.output, "reader").load().finished)


@pytest.fixture
def nights(tmp_path: Path) -> Iterator[Nights]:
    with ListedBucket() as bucket:
        yield Nights(tmp_path, bucket)


def test_auto_trusts_names_after_two_nights_in_order_and_looks_at_all_each_week(
    nights: Nights, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for day in range(40):
        nights.put(f"{day:03d}/a", 60 - day)
    kinds = [nights.night().kind_of_listing]
    for day in (40, 41):
        nights.put(f"{day:03d}/a", 60 - day)
        kinds.append(nights.night().kind_of_listing)
    assert kinds == ["full", "full", "full"], "nothing was known, and then order was seen once"
    assert nights.kept().runs_in_order == 2

    nights.put("042/a", 18)
    nights.put("003/a", 18, tag="replaced")
    nights.put("002/late", 18)
    plan = nights.night("changed=relabel")
    assert (plan.kind_of_listing, plan.num_to_label, plan.is_partial) == ("from_last", 1, True)
    assert nights.bucket.after == ["in/034/a.mp"]
    assert nights.labeled() == {f"{day:03d}/a" for day in range(43)}

    week_ago = nights.kept().model_copy(update={"full_at": time.time() - 8 * DAY})
    write_kept(nights.output, week_ago)
    caplog.clear()
    plan = nights.night("changed=relabel")
    assert (plan.kind_of_listing, plan.num_to_label) == ("full", 2), "the late one and the replaced one"
    assert "1 new video has a name before those that came last, as 002/late.mp4" in caplog.text
    assert nights.kept().runs_in_order == 0, "what was replaced is no sign, what came late is one"
    assert nights.night().kind_of_listing == "full"


def test_a_night_with_nothing_to_do_says_how_it_listed_and_remembers_that_it_saw_all(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in range(40):
        nights.put(f"{day:03d}/a", 60 - day)
    nights.night()
    kept = nights.kept()
    trusted = kept.model_copy(update={"runs_in_order": 2})
    write_kept(nights.output, trusted)
    capsys.readouterr()
    words = (f"notify=cat > {nights.folder}/told.json",)
    assert scheduled(nights.config(*words)) == 0
    printed = capsys.readouterr().out
    assert "listing  from the last names on: 40 videos are known, and names came in order. Replaced and" in printed
    assert "this run nothing was left to do" in printed
    told: dict[str, Any] = json.loads((nights.folder / "told.json").read_text())
    assert told["listing"] == "from_last"
    assert "were not looked for" in told["listing_why"]
    assert nights.kept() == trusted, "it saw a part, and wrote nothing"

    write_kept(nights.output, trusted.model_copy(update={"full_at": time.time() - 8 * DAY}))
    before = time.time()
    assert driver.run(nights.config()) == 0
    assert "listing  full: the last full listing is long ago" in capsys.readouterr().out
    assert (nights.kept().full_at or 0) >= before, "it has seen all"
    assert changes.door([f"output={nights.folder}/out"]) == 0
    assert "listing  replaced and deleted files were looked for last at 20" in capsys.readouterr().out


@pytest.mark.parametrize("listing", ["auto", "from_last"])
def test_corrections_of_a_video_that_left_the_bucket_are_told_once_and_cost_one_full_listing(
    nights: Nights, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], listing: str
) -> None:
    def run(*words: str) -> tuple[str, bool]:
        """A run with nothing to label: how it listed, and whether it told of corrections that wait."""
        caplog.clear()
        capsys.readouterr()
        assert driver.run(nights.config(f"input.listing={listing}", *words)) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("listing")]
        return line.partition(":")[0].removeprefix("listing  "), "wait until one has them: '003/a'" in caplog.text

    for day in range(40):
        nights.put(f"{day:03d}/a", 60 - day)
    nights.night()
    write_kept(nights.output, nights.kept().model_copy(update={"runs_in_order": 2}))
    assert run() == ("from the last names on", False)
    correct(nights.folder / "out", "003/a", 1, 0)
    del nights.bucket.files["in/003/a.mp4"]
    assert run() == ("full", True), "it might be anywhere"
    nights.bucket.requests.clear()
    assert run() == ("from the last names on", False)
    assert nights.bucket.requests["LIST"] <= 2
    correct(nights.folder / "out", "003/a", 2, 0)
    assert run() == ("from the last names on", False), "more corrections do not bring it back"
    assert run("input.listing=full") == ("full", False)
    assert nights.kept().missing == ("003/a",)

    nights.put("003/a", 57)  # the same file is back
    correct(nights.folder / "out", "005/a", 1, 0)
    plan = nights.night(f"input.listing={listing}")
    assert (plan.kind_of_listing, plan.reviewed) == ("full", {"003/a", "005/a"})
    assert nights.kept().missing == ()


def test_names_that_say_nothing_of_time_are_listed_in_full_and_the_remedy_is_told_once(
    nights: Nights, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(40):
        nights.put(f"{number * 7919 % 1000:03d}", 60 - number)
    for _ in range(2):
        assert nights.night().kind_of_listing == "full"
        nights.put(f"{len(nights.bucket.files) * 7919 % 1000:03d}", 19)
    assert caplog.text.count("do not grow with time") == 1
    assert "So each run lists all, with 1 request (0.000 dollars in S3)" in caplog.text
    assert "incoming/2026-11-28/cup.mp4" in caplog.text
    assert nights.labeled() >= {f"{number * 7919 % 1000:03d}" for number in range(40)}


def test_a_bucket_that_was_filled_in_one_week_is_no_place_with_bad_names(
    nights: Nights, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(40):
        nights.put(f"{number:03d}", 20)
    nights.night()
    assert "do not grow with time" not in caplog.text
    assert (nights.kept().num_after, nights.kept().num_files) == (40, 40)


def test_a_small_bucket_is_listed_in_full_and_nothing_is_kept_of_it(nights: Nights) -> None:
    for day in range(19):
        nights.put(f"{day:03d}/a", 60 - day)
    plan = nights.night()
    assert plan.kind_of_listing == "full"
    assert read_kept(nights.output) is None
    no_log = plan.again({})
    assert no_log.open_paths(lambda ids: np.zeros(len(ids), bool), 18) is None, "very many are not named one by one"
    assert no_log.open_paths(lambda ids: np.zeros(len(ids), bool), 19) == [f"/{day:03d}/a.mp4" for day in range(19)]

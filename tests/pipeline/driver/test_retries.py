"""Which finished videos `retry=` labels again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.commits.log import CommitLog
from pipeline.commits.snapshot import JobState
from pipeline.config.compose import job_config
from pipeline.driver.retries import to_try_again
from pipeline.records import Status
from pipeline.reviews.reviewed import ReviewedVideo
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import corrected, driver, labeled, publish


@pytest.fixture
def state(disk_storage: JobStorage, tmp_path: Path) -> JobState:
    """One video of each kind."""
    log, keeper = driver(disk_storage, tmp_path / "spool")
    videos = [labeled("whole"), labeled("partly", wrong={7: "box: x0 < x1"})]
    videos += [labeled(kind, status=Status(kind)) for kind in ("failed", "quarantined", "no_prompts")]
    videos.append(labeled("deadly", status=Status.QUARANTINED, wrong={1: "it kills its worker"}))
    keeper.commit([publish(disk_storage, tmp_path / "spool", *videos)])
    return log.state


@pytest.mark.parametrize(
    ("retry", "chosen"),
    [
        ("[]", set()),
        ("failed", {"failed", "partly"}),
        ("quarantined", {"quarantined", "deadly"}),
        ("[failed,quarantined]", {"failed", "partly", "quarantined", "deadly"}),
    ],
)
def test_retry_names_videos_by_how_they_ended_and_failed_also_means_objects(
    state: JobState, disk_storage: JobStorage, retry: str, chosen: set[str]
) -> None:
    config = job_config("label", ["prompts=p", "output=o", "model=mini", f"retry={retry}"])
    assert to_try_again(config, state, disk_storage) == chosen


def test_objects_that_an_earlier_version_did_not_count_are_found_in_the_tables(
    state: JobState, disk_storage: JobStorage
) -> None:
    """The log of that version has seven values an outcome."""
    for path in disk_storage.tree("_log"):
        document = json.loads(disk_storage.read(path))
        for segment in document["add"]:
            segment["outcomes"] = [values[:7] for values in segment["outcomes"]]
        disk_storage.replace(path, json.dumps(document).encode())
    earlier = CommitLog(disk_storage, "reader").load()
    assert earlier.finished["partly"].tally.num_tracks_failed is None
    config = job_config("label", ["prompts=p", "output=o", "model=mini", "retry=failed"])
    assert to_try_again(config, earlier, disk_storage) == {"failed", "partly"}


def test_what_is_set_aside_is_to_do_and_what_failed_at_that_is_tried_again_when_asked_but_not_forever(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    log, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, labeled("a"), labeled("b"), labeled("c"))])
    keeper.set_aside(["a", "b"])

    def chosen(*words: str) -> set[str]:
        config = job_config("label", ["prompts=p", "output=o", "model=mini", "max_attempts=2", *words])
        return set(to_try_again(config, log.state, disk_storage))

    assert chosen("retry=[]") == {"a", "b"}
    crashed = publish(disk_storage, tmp_path, labeled("a", status=Status.QUARANTINED))
    keeper.commit([crashed])
    assert chosen("retry=[failed]") == {"b"}
    assert chosen("retry=[quarantined]") == {"a", "b"}
    keeper.set_aside(["a"])
    keeper.commit([publish(disk_storage, tmp_path, labeled("a", status=Status.QUARANTINED))])
    assert chosen("retry=[quarantined]") == {"b"}
    assert chosen("retry=[quarantined]", "max_attempts=3") == {"a", "b"}


def test_what_failed_with_corrections_that_were_withdrawn_is_tried_again_only_for_objects_that_failed(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    log, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, labeled("a"), labeled("b", wrong={7: "box: x0 < x1"}))])
    keeper.set_aside(["a", "b"])
    keeper.commit([publish(disk_storage, tmp_path, *(corrected(name, "h2", Status.FAILED) for name in "ab"))])
    config = job_config("label", ["prompts=p", "output=o", "model=mini", "retry=failed"])
    assert to_try_again(config, log.state, disk_storage) == {"a", "b"}
    withdrawn = dict.fromkeys("ab", ReviewedVideo())
    assert to_try_again(config, log.state, disk_storage, withdrawn) == {"b"}
    assert to_try_again(config, log.state, disk_storage, {"a": ReviewedVideo({1: "other"})}) == {"a", "b"}
    keeper.set_aside(["a"])
    assert to_try_again(config, log.state, disk_storage, withdrawn) == {"a", "b"}, "it is in the middle of a round"


def test_a_video_whose_file_was_away_when_it_was_labeled_again_is_never_given_up(
    disk_storage: JobStorage, tmp_path: Path
) -> None:
    log, keeper = driver(disk_storage, tmp_path)
    keeper.commit([publish(disk_storage, tmp_path, labeled("a"))])
    config = job_config("label", ["prompts=p", "output=o", "model=mini", "max_attempts=1", "retry=failed"])
    for source_hash, chosen in (("", {"a"}), ("bad", set())):
        failed = labeled("a", status=Status.FAILED)
        details = replace(failed.outcome.details, source_hash=source_hash)
        keeper.set_aside(["a"])
        again = replace(failed, outcome=replace(failed.outcome, details=details))
        keeper.commit([publish(disk_storage, tmp_path, again)])
        assert to_try_again(config, log.state, disk_storage) == chosen

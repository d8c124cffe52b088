"""Which bad videos of a job have used up their attempts, in all and by what a kind of cause has hit."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commits.given_up import retries_of
from pipeline.records import Retries, Status
from pipeline.storage.job_storage import JobStorage
from pipeline.text import OBJECT
from tests.support.labeled import corrected, driver, labeled, publish


@pytest.mark.parametrize("withdrawn", [frozenset(), frozenset("b")])
def test_a_failure_with_corrections_that_were_withdrawn_counts_for_no_kind(
    disk_storage: JobStorage, tmp_path: Path, withdrawn: frozenset[str]
) -> None:
    """`b` has an object that failed once, and two tries with corrections ended badly since."""
    log, keeper = driver(disk_storage, tmp_path)
    videos = labeled("a"), labeled("b", wrong={7: "nan"}), labeled("c", status=Status.QUARANTINED)
    keeper.commit([publish(disk_storage, tmp_path, *videos)])
    for _ in range(2):
        keeper.set_aside(["b"])
        keeper.commit([publish(disk_storage, tmp_path, corrected("b", "h2", Status.QUARANTINED))])
    finished, counts = log.state.finished, not withdrawn
    of_kind = {
        kind: retries_of((), 2, finished, withdrawn, kind).num_given_up
        for kind in (Status.FAILED, Status.QUARANTINED, OBJECT)
    }
    assert of_kind == {Status.FAILED: 0, Status.QUARANTINED: int(counts), OBJECT: int(counts)}
    found = retries_of(("failed",), 2, finished, withdrawn)
    assert found == Retries(("failed",), 2, int(counts), 3 if counts else 0, int(counts))

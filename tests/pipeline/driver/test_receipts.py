"""What waits for the next commit is lost by no refusal of storage, and committed once."""

from __future__ import annotations

import pytest

from pipeline.driver.receipts import Receipts
from pipeline.errors import StorageError
from pipeline.records import Outcome, Status
from tests.support.fake_workers import FakeLedger, at_once, item, published


def test_everything_that_came_in_is_one_commit_and_is_committed_once() -> None:
    ledger = FakeLedger()
    receipts = Receipts(ledger, at_once)
    receipts.add([published("s", [Outcome("a", Status.OK, "hash", 1, 1)])], {"b": 2})
    receipts.add([], {"b": 3})
    receipts.quarantine(item("b"), "in flight at 3 deaths")
    assert [(one.video_id, one.status.value) for one in receipts.finish() or ()] == [("a", "ok"), ("b", "quarantined")]
    assert ledger.commits == [(["s"], {"b": 3})]
    assert receipts.finish() is None
    assert len(ledger.commits) == 1


def test_a_commit_that_storage_refused_is_repeated_whole() -> None:
    ledger = FakeLedger(num_away=1)
    receipts = Receipts(ledger, at_once)
    receipts.add([published("s", [Outcome("a", Status.OK, "hash", 1, 1)])], {})
    receipts.quarantine(item("b"), "in flight at 3 deaths")
    with pytest.raises(StorageError):
        receipts.finish()
    receipts.add([published("t", [Outcome("c", Status.OK, "hash", 1, 1)])], {})
    assert {one.video_id for one in receipts.finish() or ()} == {"a", "b", "c"}
    assert ledger.commits == [(["s", "t"], {})]


@pytest.mark.parametrize("num_away", [0, 1])
@pytest.mark.parametrize("kind", ["quarantined", "unreachable"])
def test_a_row_of_the_driver_is_committed_although_nothing_else_came_in(kind: str, num_away: int) -> None:
    ledger = FakeLedger(num_away=num_away)
    receipts = Receipts(ledger, at_once)
    (receipts.quarantine if kind == "quarantined" else receipts.unreachable)(item("b"), "why")
    for _ in range(num_away):
        with pytest.raises(StorageError):
            receipts.finish()
    assert [one.video_id for one in receipts.finish() or ()] == ["b"]
    assert receipts.finish() is None

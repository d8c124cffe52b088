"""What walks back to the prompt add to the doubt of tracks."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from pipeline.data_engine.walked import TERM, with_walks
from pipeline.output.schema import TRACKS
from pipeline.quality.blend import DEFAULT
from pipeline.reviews.cycles import Cycle

NOW = datetime(2026, 11, 29, tzinfo=UTC)
COLUMNS = ("video_id", "object_id", "doubt", "doubt_reasons", "doubt_frame")


def tracks(*doubts: float | None) -> pa.Table:
    rows = [
        {
            "video_id": "a",
            "object_id": number,
            "doubt": doubt,
            "doubt_reasons": None if doubt is None else ["leap"] if doubt else [],
            "doubt_frame": 4 if doubt else None,
        }
        for number, doubt in enumerate(doubts)
    ]
    return pa.Table.from_pylist(rows, pa.schema([TRACKS.field(name) for name in COLUMNS]))


def walks(*ious: float | None) -> dict[tuple[str, int], Cycle]:
    return {("a", number): Cycle(iou, 9, 0, NOW, NOW) for number, iou in enumerate(ious)}


def test_a_track_that_does_not_get_back_is_doubtful_and_says_why_and_where() -> None:
    found = with_walks(tracks(0.0, 0.1, 0.99), walks(0.0, 0.0, 0.0), DEFAULT).to_pylist()
    assert found[0]["doubt"] > 0.1
    assert (found[0]["doubt_reasons"], found[0]["doubt_frame"]) == (["cycle"], 9)
    assert found[1]["doubt"] > 0.2
    assert (found[1]["doubt_reasons"], found[1]["doubt_frame"]) == (["cycle", "leap"], 4)
    assert found[2]["doubt_reasons"] == ["leap", "cycle"], "the heavier reason comes first"
    assert found[0]["doubt"] < found[1]["doubt"] < found[2]["doubt"] <= 1


def test_a_walk_that_gets_back_or_fails_changes_nothing_and_what_was_not_measured_stays_null() -> None:
    given = tracks(0.4, 0.4, 0.4, None)
    assert with_walks(given, walks(1.0, None), DEFAULT).equals(given)
    assert with_walks(given, walks(1 - TERM.low, None, 0.0, 0.0), DEFAULT).slice(3).equals(given.slice(3))


@pytest.mark.parametrize("doubt", [0.0, 0.2, 0.7])
def test_no_evidence_leaves_doubt_as_it_was(doubt: float) -> None:
    found = with_walks(tracks(doubt, doubt), walks(1.0, 0.0), DEFAULT)["doubt"].to_pylist()
    assert found[0] == pytest.approx(doubt, abs=1e-6)
    assert found[1] > doubt

"""`python -m pipeline.queue`: the command on a drawn job."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.data_engine.queue import QUEUE
from pipeline.quality.reasons import SENTENCES, Reason
from pipeline.quality.track_columns import FRAMES, VALUES
from pipeline.queue import QueueArguments, door
from tests.support.drawn_job import write_job


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_job(tmp_path_factory.mktemp("queue"))[0]


def test_a_queue_is_shown_and_written(job: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door([f"output={job}", f"to={tmp_path}/queue.parquet", "audit=0"]) == 0
    told = capsys.readouterr()
    assert "5 tracks of 5" in told.out, "one of the six never shows"
    found = pq.read_table(tmp_path / "queue.parquet")
    assert found.schema.equals(QUEUE)
    doubts = found["doubt"].to_pylist()
    assert doubts == sorted(doubts, reverse=True)
    assert doubts[0] > 0.1


def test_a_condition_chooses_tracks(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert door([f"output={job}", 'where=category = "cat"']) == 0
    assert "2 tracks of 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["top=null"], "give one of them"),
        (["audit=1.5"], "audit"),
        (["order=size"], "order"),
        (["where=colour = 1"], "colour"),
        (["to=/"], "is a folder"),
    ],
)
def test_mistakes_are_refused(job: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert door([f"output={job}", *words]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.out == ""


def test_the_page_of_the_docs_names_every_key_every_reason_and_every_column() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "doubt.md").read_text()
    for name in (*QueueArguments.model_fields, *QUEUE.names):
        assert re.search(rf"^\| .*`{name}`", docs, re.MULTILINE), name
    assert set(SENTENCES) == set(Reason)
    for reason in Reason:
        assert f"| `{reason}` |" in docs, reason
    for name in (*VALUES, *FRAMES):
        assert re.search(rf"^\| .*`{name}`", docs, re.MULTILINE), name

"""Texts of tables on a terminal: whatever they hold, they move no cursor and look like no line of the program."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import status
from pipeline.command import TerminalLines, explain, main
from pipeline.driver.log_file import json_log, log_video
from pipeline.errors import ConfigError
from pipeline.records import Outcome, Status
from pipeline.run import main as run
from pipeline.text import escaped, set_in
from tests.support.jobs import JobFolder

FORGED = "maskmill: a line of somebody else"
NASTY = f"a\n{FORGED}\r\x1b[2J\x1b]0;title\x07\x9b31m\u202e\u2028b"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The log of the terminal, as the commands set it up."""
    shown = io.StringIO()
    handler = logging.StreamHandler(shown)
    handler.setFormatter(TerminalLines("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.INFO)
    yield shown
    logging.getLogger().removeHandler(handler)
    logging.getLogger().setLevel(level)


def check(text: str) -> str:
    """What must hold for everything that is shown; the text again."""
    for line in text.split("\n"):
        assert line.isprintable(), repr(line)
        assert not line.startswith((FORGED, "b")), line
    return text


def test_control_characters_are_written_out() -> None:
    shown = f"a\\n{FORGED}\\r\\x1b[2J\\x1b]0;title\\x07\\x9b31m\\u202e\\u2028b"
    assert escaped(NASTY) == shown
    assert escaped("film 3 – täglich ✓ 影片") == "film 3 – täglich ✓ 影片"
    assert set_in("first\nsecond\x1b[2J") == "first\n  second\\x1b[2J"


def test_errors_and_records_show_no_control_characters(
    log: io.StringIO, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    explain(ConfigError(f"prompts={NASTY}"))
    assert "\\x1b[2J" in check(capsys.readouterr().err)
    try:
        raise ValueError(NASTY)
    except ValueError:
        logging.getLogger("pipeline.worker").exception("%s", NASTY)
    assert "ValueError: a\n" in check(log.getvalue()), "a trace keeps its lines"
    with json_log(str(tmp_path / "job.jsonl")):
        log_video(Outcome(NASTY, Status.FAILED, "p", 0, 0, "input", NASTY), 1)
    (line,) = check((tmp_path / "job.jsonl").read_text()).splitlines()
    assert (json.loads(line)["video_id"], json.loads(line)["message"]) == (NASTY, NASTY)


def status_of(job: JobFolder, *words: str) -> int:
    return main("", status.StatusArguments, status.run, [f"output={job.output}", *words])


@pytest.mark.slow
def test_ids_and_addresses_with_control_characters_go_through_all_doors(
    tmp_path: Path, log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    job = JobFolder(tmp_path).write(["good", "old"], num_frames=2, num_objects=2)
    videos, prompts = job.rows("videos"), job.rows("prompts")
    sample = next(row for row in prompts if row["object_id"] == 1)

    def write(*ids_and_uris: tuple[str, str], without: str = "") -> None:
        kept = [row for row in videos if row["video_id"] != without]
        job.rewrite("videos", kept + [{**videos[0], "video_id": name, "uri": uri} for name, uri in ids_and_uris])
        rows = [row for row in prompts if row["video_id"] != without]
        rows += [{**sample, "video_id": name} for name, _ in ids_and_uris]
        bad_box = {**sample, "video_id": f"box {NASTY}", "box_xyxy": [900.0, 900.0, 950.0, 950.0]}
        job.rewrite("prompts", [*rows, bad_box, {**sample, "video_id": f"nobody {NASTY}"}])

    def shown(code: int, *words: str) -> str:
        assert run(job.arguments("cluster=serial", "max_failed_fraction=1", *words)) == code
        printed = capsys.readouterr()
        return check(printed.out) + check(printed.err)

    good = next(row["uri"] for row in videos if row["video_id"] == "good")
    twice = (f"twice {NASTY}", good)
    write((f"missing {NASTY}", f"gone {NASTY}.mp4"), (f"tar {NASTY}", f"{NASTY}.tar::{NASTY}"), twice, twice)
    assert "\\x1b[2J" in shown(4, "check=true")
    assert "\\x1b[2J" in shown(0)
    for words, there in (((), "\\x1b[2J"), (("json=true",), "\\u001b[2J")):
        assert status_of(job, *words) == 0
        assert there in check(capsys.readouterr().out)
    shown(0, "retry=failed")
    write(without="old")
    shown(0, "prune=true", "changed=relabel")
    assert shown(2, f"columns.video_id={json.dumps(NASTY)}")
    assert "\\x1b[2J" in check(log.getvalue())

"""`python -m pipeline.review`: what it refuses, and how it begins and ends."""

from __future__ import annotations

import builtins
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import queue
from pipeline.review import door, how_it_ended, how_to_open
from pipeline.review_server.guard import own_names
from pipeline.review_server.serving import link_of, listening
from pipeline.storage.job_storage import JobStorage
from tests.support.drawn_job import write_job


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_job(tmp_path_factory.mktemp("review"))[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["port=70000"], "port"),
        (["port=no"], "port"),
        (["token=short"], "token= has 5 letters: it needs 16 to 100 of a-z, A-Z, 0-9, - and _"),
        (["token=with/slash-and-more-letters"], "token"),
        (["host=nowhere.invalid", "port=0"], "host=nowhere.invalid: no address of this machine"),
        (["port=0", "queue=missing.parquet"], "there is no such file; python -m pipeline.queue … to= writes one"),
        (["port=0", "where=colour = 1"], "colour"),
        (["port=0", "videos_root=/nowhere"], "videos_root: /nowhere: there is no folder /nowhere; check the path"),
        (["prot=1"], "prot"),
        (["port=0", f"reviewer={'x' * 101}"], "reviewer"),
    ],
)
def test_mistakes_are_refused(job: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert door([f"output={job}", *words]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.out == ""


def test_a_place_without_a_job_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert door([f"output={tmp_path}/none", "port=0"]) == 2
    assert "holds no job" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ({"a": [1]}, "it has no column video_id or object_id or is_audit"),
        ({"video_id": ["v"], "object_id": [1]}, "it has no column is_audit"),
        (
            {"video_id": [1], "object_id": [1], "is_audit": [True]},
            "column video_id is int64, and of a queue it is string",
        ),
        (
            {"video_id": ["v"], "object_id": [1.5], "is_audit": [True]},
            "column object_id is double, and of a queue it is int64",
        ),
        (
            {"video_id": ["v"], "object_id": [None], "is_audit": [True]},
            "column object_id has no value in 1 row",
        ),
    ],
)
def test_a_file_that_is_no_queue_is_refused(
    job: str, rows: dict[str, Any], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.table(rows), tmp_path / "queue.parquet")
    assert door([f"output={job}", "port=0", f"queue={tmp_path}/queue.parquet"]) == 2
    assert f"is no queue as python -m pipeline.queue … to= writes it: {why}" in capsys.readouterr().err


def test_a_queue_of_another_output_is_refused(job: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {"video_id": ["elsewhere"], "object_id": [4], "is_audit": [False]}
    pq.write_table(pa.table(rows), tmp_path / "queue.parquet")
    assert door([f"output={job}", "port=0", f"queue={tmp_path}/queue.parquet"]) == 2
    told = capsys.readouterr()
    assert f"none of its 1 track is in output={job}: the first is object 4 of 'elsewhere'" in told.err
    assert told.out == ""


def test_a_port_that_is_taken_is_told_with_the_way_out(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert door([f"output={job}", f"port={port}"]) == 2
    said = capsys.readouterr().err
    assert f"port={port} is taken on 127.0.0.1" in said
    assert "port=0" in said


def test_a_missing_extra_is_one_sentence(
    job: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "uvicorn":
            raise ModuleNotFoundError("No module named 'uvicorn'", name=name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert door([f"output={job}"]) == 2
    said = capsys.readouterr().err
    assert 'pip install "maskmill[review]"' in said
    assert len(said.splitlines()) == 1


def test_links_of_both_kinds_of_addresses_can_be_opened() -> None:
    with listening("127.0.0.1", 0) as listener:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/tok/", link_of(listener, "tok"))
    with listening("0.0.0.0", 0) as listener:
        name = link_of(listener, "tok").split("/")[2].partition(":")[0]
        assert name == socket.gethostname()
        assert name in own_names("0.0.0.0"), "the guard knows it"
    try:
        listener = listening("::1", 0)
    except Exception:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert re.fullmatch(r"http://\[::1\]:\d+/tok/", link_of(listener, "tok"))


def test_the_link_comes_with_the_places_where_it_works_and_with_what_ends_it() -> None:
    here = f"ssh -L 8765:127.0.0.1:8765 {socket.gethostname()}; Ctrl-C here ends the review"
    assert how_to_open("http://127.0.0.1:8765/token/").endswith(here)
    assert "ssh -L 80:[::1]:80 " in how_to_open("http://[::1]:80/token/")
    assert "ssh" not in how_to_open("http://box:8765/token/"), "its address is that of the machine"


def test_at_its_end_a_review_says_what_was_said_and_what_becomes_of_it() -> None:
    storage = JobStorage("my labels")
    counts = {"open": 3, "accept": 0, "reject": 0, "fix": 0, "skip": 0}
    assert how_it_ended(storage, counts) == "review   ended: nobody has said anything of 3 tracks"
    said = how_it_ended(storage, counts | {"reject": 1}).splitlines()
    assert said[0] == "review   ended: 1 of 4 tracks has a verdict (1 reject), below reviews/ of the output"
    assert said[1:] == [
        "reject   what is rejected has left the tables already",
        "rounds   python -m pipeline.rounds output='my labels'",
    ]
    said = how_it_ended(storage, counts | {"accept": 2, "fix": 1}).splitlines()
    assert "3 of 6 tracks have a verdict (2 accept, 1 fix)" in said[0]
    assert said[1] == "fix      the command that labels the job, once more, labels anew what was corrected"


@pytest.mark.slow
def test_a_review_serves_a_queue_until_ctrl_c_ends_it(job: str, tmp_path: Path) -> None:
    assert queue.door([f"output={job}", f"to={tmp_path}/queue.parquet", "top=2", "audit=0"]) == 0
    command = [sys.executable, "-m", "pipeline.review", f"output={job}", "port=0", f"queue={tmp_path}/queue.parquet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "6 tracks, 2 of them in the queue" in process.stdout.readline()
        link = process.stdout.readline().split()[-1]
        with urllib.request.urlopen(f"{link}api/tracks?sort=queue", timeout=60) as answer:
            assert b'"total":2' in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(link.rsplit("/", 2)[0] + "/", timeout=60)
        assert "Ctrl-C here ends the review" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
    assert process.returncode == 0
    assert "review   ended: nobody has said anything of 6 tracks\n" in out
    assert err == ""

"""Text on the standard output."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.records import ObjectCounts, Retries, Status
from pipeline.text import (
    Causes,
    bytes_in_words,
    describe_causes,
    how_again,
    mention,
    objects_line,
    printable,
    say,
)
from tests.support.jobs import JobFolder

_CODE = """
import os
from pipeline.text import say
reader, writer = os.pipe()
os.dup2(writer, 1)
os.close(reader)
say("nobody reads this")
say("nor this")
"""


def test_a_reader_that_has_gone_is_no_error() -> None:
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


class FullStream(io.StringIO):
    """A standard stream that goes to a file on a full disk."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fileno(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT)


def test_a_full_disk_of_the_standard_output_is_no_error_where_files_tell_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", FullStream(tmp_path / "stdout.txt"))
    with pytest.raises(OSError, match="No space left"):
        say("the only answer")
    mention("a summary")
    assert capsys.readouterr().err == "maskmill: the standard output takes no more: No space left on device\n"
    monkeypatch.setattr(sys, "stderr", FullStream(tmp_path / "stderr.txt"))
    mention("a summary")


@pytest.mark.slow
def test_a_night_whose_log_fills_the_disk_is_done_all_the_same(
    tmp_path: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = JobFolder(tmp_path, small_checkpoint).write(["one"])
    monkeypatch.setattr(sys, "stdout", FullStream(tmp_path / "stdout.txt"))
    assert job.run() == 0
    assert json.loads((job.output / "last_run.json").read_text())["state"] == "done"


@pytest.mark.slow
def test_a_stream_that_is_not_utf_8_gets_plain_signs_and_escapes_and_breaks_nothing() -> None:
    code = "from pipeline.text import say; say('2 × clip ☃ …')"
    for encoding, shown in (("ascii", b"2 x clip \\u2603 ...\n"), ("utf-8", "2 × clip ☃ …\n".encode())):
        environment = os.environ | {"PYTHONIOENCODING": encoding}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, shown, b"")
    latin = io.TextIOWrapper(io.BytesIO(), "latin-1")
    assert printable("é × 1", latin) == "é × 1", "what the stream can show stays"


def test_causes_differ_by_kind_class_and_words_not_by_names_and_numbers() -> None:
    causes = Causes()
    for number in range(5):
        causes.add("failed", "input", f"s3://b/{number}.mp4: 404", f"v{number}")
    causes.add("failed", "input", "frame -3 is negative", "w")
    causes.add("failed", "input", "frame 12 is negative", "x")
    causes.add("failed", "memory", "frame 12 is negative", "y")
    causes.add("object", "", "frame 1 is negative", "z object 2")
    found = causes.most_frequent()
    assert [(cause.count, cause.kind, cause.error_class) for cause in found] == [
        (5, "failed", "input"),
        (2, "failed", "input"),
        (1, "failed", "memory"),
        (1, "object", ""),
    ]
    assert found[0].named == ("v0", "v1", "v2")
    assert found[0].message == "s3://b/0.mp4: 404"
    assert causes.num_by_class() == {"input": 7, "memory": 1}
    assert causes.most_frequent("object") == found[3:]


def test_a_group_of_messages_shows_one_and_says_where_it_is_not_that_of_all() -> None:
    causes = Causes()
    for object_id, frame_index in ((3, 6), (77, 12)):
        causes.add("object", "", f"object {object_id}, frame {frame_index}: no mask", f"v object {object_id}")
        causes.add("failed", "input", "no such file", f"v{object_id}")
    assert describe_causes(causes.most_frequent()) == [
        "failed      2 × input: no such file",
        "            v3, v77",
        "object      2, such as object 3, frame 6: no mask",
        "            v object 3, v object 77",
    ]


def test_many_causes_and_strange_ids_stay_readable() -> None:
    causes = Causes()
    for letter in "abcdefghijklmnop":
        causes.add("failed", "input", letter, f"{letter}\n\x1b[2J" + "x" * 500)
    lines = describe_causes(causes.most_frequent())
    assert all(len(line) < 400 and line.isprintable() for line in lines)
    assert any("4 more of other causes" in line for line in lines)


@pytest.mark.slow
def test_a_job_with_a_million_causes_needs_no_memory_for_each() -> None:
    causes = Causes()
    for number in range(5000):
        causes.add("failed", "input", "a" * number, "v")
    found = causes.most_frequent()
    assert len(found) == 1001
    assert (found[0].count, found[0].message) == (4000, "other causes")


@pytest.mark.parametrize(
    ("bad", "num_partly", "says"),
    [
        ({Status.FAILED: 1}, 0, "retry=failed to label the 1 failed video again"),
        ({Status.FAILED: 1}, 2, "retry=failed to label the 1 failed and 2 partly labeled videos again"),
        ({}, 1, "retry=failed to label the 1 partly labeled video again"),
        ({Status.QUARANTINED: 2}, 1, "'retry=[failed,quarantined]' to label the 2 quarantined and 1 partly labeled"),
    ],
)
def test_the_command_that_labels_again_names_each_kind(bad: dict[Status, int], num_partly: int, says: str) -> None:
    assert says in how_again(bad, num_partly)


@pytest.mark.parametrize(
    ("retries", "says"),
    [
        (Retries(), "fix the cause, then run the same command with retry=failed to label the 2 failed videos again"),
        (
            Retries(("failed",)),
            "fix the cause, then run the same command, which has retry= already, to label the 2 failed videos again",
        ),
        (
            Retries(("failed", "quarantined"), 4, 1),
            "fix the cause, then run the same command, which has retry= already, to label the 2 failed videos again; "
            "1 of them needs also a max_attempts= above 4, another file or other prompts",
        ),
        (
            Retries(("quarantined",), 3, 2),
            "fix the cause, then run the same command with retry=failed to label the 2 failed videos again; "
            "2 of them need also a max_attempts= above 3, another file or other prompts",
        ),
        (
            Retries(("failed",), 3, 2, 5),
            "give a max_attempts= above 5, another file or other prompts to label the 2 failed videos again: "
            "retry= is set, and they were tried as often as max_attempts= allows",
        ),
    ],
)
def test_the_command_that_labels_again_says_what_helps_with_the_keys_of_the_last_run(
    retries: Retries, says: str
) -> None:
    assert how_again({Status.FAILED: 2}, retries=retries) == f"again    {says}"


def test_objects_in_one_line() -> None:
    assert (
        objects_line(ObjectCounts(7, 6, 1, 1)) == "objects  1 of 7 labeled, 6 failed, 1 with a warning (in ok videos)"
    )
    uncounted = objects_line(ObjectCounts(7, 2, 0, 1, num_videos_uncounted=3))
    assert uncounted == "objects  2 failed, not counted in 3 videos of an earlier version (in ok videos)"


def test_sizes_are_told_in_the_unit_that_fits() -> None:
    words = [bytes_in_words(size) for size in (0, 1_499, 999_000, 8_120_000, 2_400_000_000)]
    assert words == ["0 B", "1 kB", "999 kB", "8.1 MB", "2.4 GB"]

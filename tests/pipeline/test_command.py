"""What all commands share: exit codes and the log on the terminal."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline import compact, plan, run, status
from pipeline.command import OWN_LOGGERS, ExitCode, JobArguments, main, parse, set_up_logging
from pipeline.compact import CompactArguments
from pipeline.config.compose import job_config
from pipeline.errors import ConfigError
from pipeline.formats.selection import Selection
from pipeline.prompts import PromptsArguments
from pipeline.storage.job_storage import JobStorage
from tests.support.labeled import driver, labeled, publish


def status_main(words: list[str]) -> int:
    return main(status.HELP, status.StatusArguments, status.run, words)


def compact_main(words: list[str]) -> int:
    return main(compact.HELP, CompactArguments, compact.run, words)


README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_readme_lists_every_exit_code_with_its_sentence() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", README, flags=re.MULTILINE)
    assert rows == [(str(int(code)), code.meaning) for code in ExitCode]


def test_an_exit_code_is_the_number_that_the_shell_sees() -> None:
    assert [code.value for code in ExitCode] == [0, 1, 2, 3, 4, 5, 143]
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(ExitCode.STOPPED)
    assert ended.value.code == 143


def test_only_one_place_sets_up_the_log_of_the_terminal() -> None:
    sources = (Path(__file__).parents[2] / "pipeline").rglob("*.py")
    assert [path.name for path in sources if "basicConfig" in path.read_text(encoding="utf-8")] == ["command.py"]


def test_a_command_whose_arguments_are_wrong_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("help", JobArguments, lambda _: ExitCode.DONE, ["--force"]) is ExitCode.REFUSED
    assert "'--force' is not key=value" in capsys.readouterr().err


class Ascii(io.TextIOWrapper):
    """A stream that takes ASCII only, as Python opens it under `PYTHONIOENCODING=ascii`."""

    def __init__(self) -> None:
        self.written = io.BytesIO()
        super().__init__(self.written, "ascii", errors="strict", write_through=True)


def ascii_terminal(monkeypatch: pytest.MonkeyPatch) -> tuple[Ascii, Ascii]:
    """Standard output and standard error. It is called in a test, because pytest puts its own there before each one."""
    streams = Ascii(), Ascii()
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    return streams


@pytest.mark.parametrize("command", [run.main, status_main, compact_main])
def test_help_is_shown_on_a_terminal_that_is_not_utf_8(
    command: Callable[[list[str]], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = ascii_terminal(monkeypatch)
    assert command(["--help"]) == 0
    shown = out.written.getvalue()
    assert b"output=..." in shown
    assert b"\\u" not in shown, "our own signs have plain forms"


def test_names_in_any_alphabet_break_no_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out, err = ascii_terminal(monkeypatch)
    storage, spool = JobStorage(str(tmp_path / "job")), tmp_path / "spool"
    _, keeper = driver(storage, spool)
    keeper.commit([publish(storage, spool, labeled("☃ ok", wrong={7: "object 7: ☃ × 2"}))])
    assert status_main([f"output={storage.uri}"]) == 0
    assert b"\\u2603 ok object 7" in out.written.getvalue()
    assert status_main([f"output={storage.uri}", "--json"]) == 0
    assert compact_main([f"output={tmp_path / '☃'}"]) == 2
    assert b"\\u2603 holds no job" in err.written.getvalue()
    assert run.main(["prompts=☃.parquet", "output=☃", "☃=1"]) == 2
    logging.getLogger("pipeline.tests").warning("video %r", "☃")


@contextlib.contextmanager
def no_log_yet() -> Iterator[None]:
    """The log as a command finds it at its start: nobody has set it up. pytest has, anew for each phase of a test."""
    loggers = [logging.root, *map(logging.getLogger, (*OWN_LOGGERS, "torch"))]
    before, handlers = [logger.level for logger in loggers], logging.root.handlers
    logging.root.handlers = []
    for logger in loggers:
        logger.setLevel(logging.NOTSET if logger is not logging.root else logging.WARNING)
    try:
        yield
    finally:
        logging.root.handlers = handlers
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def test_what_libraries_say_of_themselves_is_not_in_the_log_of_a_command() -> None:
    libraries = ("aiobotocore.credentials", "botocore.configprovider", "httpx", "azure.core", "torch")
    with no_log_yet():
        set_up_logging()
        assert [name for name in libraries if logging.getLogger(name).isEnabledFor(logging.INFO)] == []
        assert all(logging.getLogger(name).isEnabledFor(logging.WARNING) for name in libraries)
        assert logging.getLogger("pipeline.driver.driver").isEnabledFor(logging.INFO)
        assert logging.getLogger("model.prompts").isEnabledFor(logging.INFO)


def test_a_program_that_has_set_up_its_log_keeps_its_levels() -> None:
    with no_log_yet():
        logging.basicConfig(level=logging.ERROR)
        set_up_logging()
        assert not logging.getLogger("pipeline.driver.driver").isEnabledFor(logging.WARNING)


def test_a_uri_is_no_local_place() -> None:
    assert compact_main(["output=x", "spool_dir=s3://bucket/spool"]) == ExitCode.REFUSED
    with pytest.raises(ConfigError, match=r"s3://bucket/spool is no path on local disk: give one without s3://"):
        parse(CompactArguments, ["output=x", "spool_dir=s3://bucket/spool"])


@pytest.mark.parametrize("name", ["0043", "7", "true", "[a]", "a: b", "${x}", "it's", "1e3"])
def test_names_and_places_are_taken_letter_by_letter(name: str) -> None:
    words = [f"from={name}", f"to={name}", f"video={name}", f"columns.video_id={name}", "videos=null"]
    read = parse(PromptsArguments, words)
    assert (read.source, read.to, read.video, read.columns.video_id, read.videos) == (name, name, name, name, None)


@pytest.mark.parametrize("secret", ["0123", "1e5", "1:30", "@x", "*x", "%x", "a: b", "# x", "yes", "3"])
def test_options_of_stores_are_texts_as_in_a_run(secret: str) -> None:
    words = ["output=o", f"storage_options.secret={secret}", "storage_options.anon=true"]
    options = parse(JobArguments, words).storage_options
    assert options == {"secret": secret, "anon": True}
    assert options == job_config("label", ["prompts=p", *words]).storage_options


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("storage_options={hush", "storage_options=… cannot be read: is a quote or a bracket open"),
        ("storage_options.secret=[hush", "storage_options.secret=… cannot be read: is a quote or a bracket open"),
        ("json=@hush", "json=… cannot be read"),
        ("storage_options.secret.part=hush", "storage_options.secret.part= is given, and secret= too: give one"),
    ],
)
def test_an_argument_that_cannot_be_read_is_one_line_without_its_value(
    word: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_main(["output=o", "storage_options.secret=x", word]) == ExitCode.REFUSED
    said = capsys.readouterr().err
    assert told in said
    assert "hush" not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_with_its_code_and_one_sentence(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    def stopped(arguments: JobArguments) -> ExitCode:
        os.kill(os.getpid(), number)
        return ExitCode.DONE

    before = signal.getsignal(number)
    assert main("", JobArguments, stopped, ["output=here"]) == 143
    assert capfd.readouterr().err == "maskmill: stopped by a signal; run the same command again at any time\n"
    assert signal.getsignal(number) == before


@pytest.fixture
def stopping() -> str:
    """The scheme of a store at whose first request SIGTERM comes."""

    class Stopping(MemoryFileSystem):  # type: ignore[misc]  # fsspec ships no types
        protocol = "stopping"

        def info(self, path: str, **_: object) -> dict[str, object]:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
            raise FileNotFoundError(path)

        find = glob = ls = info

    fsspec.register_implementation("stopping", Stopping, clobber=True)
    return "stopping"


@pytest.mark.parametrize("words", [["conf=label"], ["conf=label", "check=true"]])
def test_a_signal_before_anything_is_labeled_ends_a_job_so_too(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], stopping: str
) -> None:
    log = tmp_path / "job.jsonl"
    places = [f"output={tmp_path / 'out'}", f"prompts={stopping}://table.parquet", f"log_file={log}"]
    assert run.main([*words, *places]) == 143
    assert capfd.readouterr().err == "maskmill: stopped by a signal; run the same command again at any time\n"
    first, last = (json.loads(line) for line in log.read_text().splitlines())
    assert (first["event"], last["event"], last["exit_code"], last["level"]) == (
        "run_started",
        "run_ended",
        143,
        "info",
    )


def test_keys_with_numbers_that_are_no_options_of_a_store_stay_numbers() -> None:
    assert parse(Selection, ["splits.train=0.9", "splits.val=0.1"]).splits == {"train": 0.9, "val": 0.1}


@pytest.mark.parametrize("command", [run.main, plan.door, status_main])
def test_a_place_that_is_no_utf8_is_refused_in_one_line(
    command: Callable[[list[str]], int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ended each command that writes JSON or Arrow by a UnicodeEncodeError."""
    monkeypatch.chdir(tmp_path)
    word = os.fsdecode(b"output=caf\xe9")
    assert command(["videos=a", word] if command is not status_main else [word]) == 2
    assert "output=… has bytes that are no UTF-8, and tables take no others: rename" in capsys.readouterr().err
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    assert command(["videos=a", word] if command is not status_main else [word]) == 2
    assert "output=… is read as ascii here, and has letters beyond it: set PYTHONUTF8=1" in capsys.readouterr().err


_CLOSED = """
import sys
from pipeline.command import set_up_logging
from pipeline.text import ProgressLine, complain, say
set_up_logging()
with open(sys.argv[1], "w") as table:
    say("a line")
    complain("a word")
    ProgressLine(2, "video").close()
    table.write(f"{table.fileno() > 2} {sys.stdin.read()!r}")
"""


@pytest.mark.slow
def test_a_command_whose_standard_streams_are_closed_runs(tmp_path: Path) -> None:
    """It ended without a word, by an AttributeError of None, or wrote its messages into its own files."""
    shell = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", _CLOSED, str(tmp_path / "table")]
    assert subprocess.run(shell, check=False).returncode == 0
    assert (tmp_path / "table").read_text() == "True ''"


@pytest.mark.parametrize("command", [run.main, plan.door, status_main])
def test_a_current_folder_that_no_job_can_name_is_told(
    command: Callable[[list[str]], int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both ended a run by a traceback: by a UnicodeEncodeError of `job.json` or Ray, and by a FileNotFoundError."""
    words = ["output=labels"] if command is status_main else ["videos=clips", "output=labels"]
    here = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    here.mkdir()
    monkeypatch.chdir(here)
    assert command(words) == 2
    assert "caf\\udce9' has bytes that are no UTF-8, and" in capsys.readouterr().err
    here.rmdir()
    assert command(words) == 2
    assert "the current folder was deleted: change to another one" in capsys.readouterr().err


@pytest.mark.slow
def test_a_command_starts_in_a_folder_that_was_deleted_and_says_so(tmp_path: Path) -> None:
    """`python -m` takes the current folder off `sys.path`, before anything else."""
    code = "import os, runpy; os.rmdir(os.getcwd()); runpy.run_module('pipeline.status', run_name='__main__')"
    here = tmp_path / "here"
    here.mkdir()
    packages = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, "output=labels"]
    done = subprocess.run(command, cwd=here, env=packages, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "the current folder was deleted" in done.stderr

"""The steps after a run: which there are, which are due, and what their processes are given."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.command import JobArguments, parse
from pipeline.commits.run_document import RunDocument, StepDone
from pipeline.commits.snapshot import JobState, SegmentSize
from pipeline.compact import CompactArguments
from pipeline.config.compose import job_config
from pipeline.config.fields import keys
from pipeline.config.job_config import JobConfig
from pipeline.errors import ConfigError
from pipeline.export import ExportArguments
from pipeline.formats.handing_out import ReviewKeys
from pipeline.formats.selection import Content, Selection
from pipeline.report import ReportArguments
from pipeline.schedule import after
from pipeline.schedule.processes import Command, run

NOW = datetime(2026, 11, 2, 23, 59, tzinfo=UTC)
OPTIONS = {"secret": "T0P-secret", "client_kwargs": {"endpoint_url": "http://127.0.0.1:1"}, "anon": False, "retries": 3}


def config(folder: Path, after_: str, **others: Any) -> JobConfig:
    path = folder / "night.yaml"
    keys = {"prompts": "p.parquet", "output": "s3://bucket/labels", "storage_options": OPTIONS, **others}
    lines = "".join(f"{key}: {value!r}\n" for key, value in keys.items())
    path.write_text(f"{lines}after: {after_}\n")
    return job_config(str(path), [])


def state(num_small: int, num_large: int = 0) -> JobState:
    sizes = [1 << 20] * num_small + [300 << 20] * num_large
    return JobState(segments={f"s{n}": SegmentSize(1, 1, 1, size) for n, size in enumerate(sizes)})


def names(found: list[after.Step]) -> list[str]:
    return [step.name for step in found]


def test_steps_come_in_their_order_and_a_compaction_only_when_small_files_pile_up(tmp_path: Path) -> None:
    night = config(
        tmp_path,
        "{compact_above: 10, report: 's3://bucket/{date}.html', hooks: [first, second], "
        "export: [{format: coco, to: 's3://bucket/coco/{date}'}]}",
    )
    others = ["report s3://bucket/{date}.html", "export coco s3://bucket/coco/{date}", "hook 1", "hook 2"]
    assert names(after.steps(night, state(10, 50), NOW)) == others
    found = after.steps(night, state(11), NOW)
    assert names(found) == ["compact", *others]
    assert "to=s3://bucket/2026-11-02.html" in found[1].command.arguments
    assert "to=s3://bucket/coco/2026-11-02" in found[2].command.arguments
    places = ["", "s3://bucket/2026-11-02.html", "s3://bucket/coco/2026-11-02", "", ""]
    assert [step.place for step in found] == places


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"time_zone": "Pacific/Kiritimati"}, "2026-11-03"),  # 14 hours before UTC
        ({"time_zone": "UTC", "date": "yesterday"}, "2026-11-01"),
        ({"date": "2026-10-30"}, "2026-10-30"),
    ],
)
def test_the_date_in_a_step_is_that_of_the_output(tmp_path: Path, said: dict[str, str], expected: str) -> None:
    night = config(
        tmp_path, "{report: 's3://bucket/{date}.html', export: [{format: coco, to: 's3://b/{date}'}]}", **said
    )
    late = NOW.replace(hour=20)
    assert [step.place for step in after.steps(night, state(0), late)] == [
        f"s3://bucket/{expected}.html",
        f"s3://b/{expected}",
    ]


def test_secrets_are_no_arguments_of_a_process_and_reach_it_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = config(
        tmp_path,
        "{export: [{format: coco, to: x, to_storage_options: {token: S3COND}, "
        "where: 'area > 100', splits.train: 0.9}]}",
    )
    (step,) = after.steps(night, state(1), NOW)
    assert "T0P-secret" not in str(step.command.arguments)
    assert "S3COND" not in str(step.command.arguments)
    for name, value in step.command.environment.items():
        monkeypatch.setenv(name, value)
    words = [word for word in step.command.arguments if "=" in word and not word.startswith("import")]
    given = parse(ExportArguments, [word for word in words if not word.startswith(("where", "splits"))])
    assert given.storage_options == OPTIONS
    assert given.to_storage_options == {"token": "S3COND"}
    assert given.overwrite
    assert "where=area > 100" in words
    assert "splits.train=0.9" in words


def test_texts_that_look_like_something_else_stay_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"a": "007", "b": "null", "c": "x: y", "d": "${oc.env:HOME}", "e": "", "f": 0, "g": [1, "7"], "h": True}
    command = Command.of_maskmill("status", {"output": "o"}, options)
    for name, value in command.environment.items():
        monkeypatch.setenv(name, value)
    words = list(command.arguments[command.arguments.index("status") + 1 :])
    assert parse(JobArguments, words).storage_options == options


@pytest.mark.parametrize("text", ["2026-11-02", "007", "a: b", "it's #1", "[a, b]", '"a"', "yes"])
def test_places_and_conditions_reach_a_step_letter_by_letter(tmp_path: Path, text: str) -> None:
    export = {"format": "coco", "to": text, "where": text, "spool_dir": text}
    night = config(
        tmp_path, f"{{compact_above: 1, report: {text!r}, export: [{export!r}]}}", output=text, storage_options={}
    )
    compact, report, coco = (words_of(step.command) for step in after.steps(night, state(2), NOW))
    assert parse(CompactArguments, compact).output == text
    told = parse(ReportArguments, report)
    assert (told.output, told.to) == (text, text)
    given = parse(ExportArguments, coco)
    assert (given.output, given.to, given.where, given.spool_dir) == (text, text, text, text)


def test_the_keys_that_an_export_gets_letter_by_letter_are_those_that_its_command_takes_so(tmp_path: Path) -> None:
    taken_so = [key.path for key in keys(ExportArguments) if key.is_as_typed and key.path != "output"]
    export = {"format": "coco"} | dict.fromkeys(taken_so, "a: b")
    (step,) = after.steps(config(tmp_path, f"{{export: [{export!r}]}}"), state(1), NOW)
    assert {f"{key}=a: b" for key in taken_so} <= set(words_of(step.command))


def words_of(command: Command) -> list[str]:
    """The words behind the name of maskmill's command."""
    return list(command.arguments[5:])


def document(*done: StepDone) -> RunDocument:
    facts = {"started_at": "", "ended_at": "", "seconds": 1.0, "state": "done", "exit_code": 0, "message": ""}
    return RunDocument(output="o", after=list(done), **facts)


def test_a_step_is_due_until_it_has_succeeded_with_the_log_of_now(tmp_path: Path) -> None:
    night = config(tmp_path, "{report: r.html}")
    found = after.steps(night, state(1), NOW)
    assert after.are_due(found, night, None, 7), "no run before"
    seen = StepDone(step="report r.html", exit_code=0, log_entry=7)
    assert not after.are_due(found, night, document(seen), 7)
    assert after.are_due(found, night, document(seen), 8), "there is something new"
    assert after.are_due(found, night, document(StepDone(step="report r.html", exit_code=1)), 7), "it failed"
    assert after.are_due(found, night, document(StepDone(step="report other.html", exit_code=0, log_entry=7)), 7)
    assert not after.are_due(found, night, document(*after.left_out(found, 7)), 7), "left out for the same reason"
    assert after.are_due(found, config(tmp_path, "{report: r.html, always: true}"), document(seen), 7)


def test_a_hook_gets_the_document_with_the_steps_before_it_and_the_last_word_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hooks = [f"cat > {tmp_path}/given", "echo no >&2; echo such place >&2; exit 7", "touch never"]
    night = config(tmp_path, f"{{hooks: {hooks}}}")
    done = after.take(after.steps(night, state(1), NOW), document(), 60.0)
    assert [(one.step, one.exit_code) for one in done] == [("hook 1", 0), ("hook 2", 7), ("hook 3", None)]
    assert done[1].message == "such place"
    assert "no\nsuch place\n" in capfd.readouterr().err
    given = RunDocument.from_json((tmp_path / "given").read_bytes(), "given")
    assert given.after == []
    assert after.failed(done) == "1 step after the run failed: hook 2 (7)"
    assert [one.log_entry for one in after.seen_up_to(done, 5)] == [5, None, None]


def test_a_step_that_takes_too_long_is_ended_with_its_children() -> None:
    ended = run(Command.of_a_user("sleep 1000 & wait"), b"", 0.2)
    assert ended.code != 0
    assert ended.last_word == "it took longer than 0.2 s"


def test_a_step_that_says_much_before_it_reads_a_long_document_is_not_waited_for_forever() -> None:
    line = "head -c 300000 /dev/zero | tr '\\0' e >&2; cat > /dev/null; echo >&2; echo read >&2; exit 4"
    ended = run(Command.of_a_user(line), bytes(300_000), 5.0)
    assert (ended.code, ended.last_word) == (4, "read")


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ("{export: [{format: cocoo, to: x}]}", "format=cocoo: there are .*did you mean coco"),
        ("{export: [{format: coco, to: x, wehre: a > 1}]}", "unknown key wehre of format=coco: did you mean where"),
        (
            "{export: [{format: coco, to: 'x/{dat}'}]}",
            r"to=x/\{dat\}: \{dat\} stands for nothing; \{date\} is the date",
        ),
        ("{report: '{day}.html'}", r"after.report=\{day\}.html: \{day\} stands for nothing"),
        ("{export: [{format: coco, to: nothing://x}]}", "to=nothing://x"),
        ("{report: /}", "to=/ is a folder: name the file in it"),
        ("{export: [{format: coco, to: 's3://bucket/labels/'}]}", "to=s3://bucket/labels/ holds output=s3://bucket/la"),
        ("{export: [{format: coco, to: x}, {format: davis, to: x/}]}", "to=x/ and to=x are one folder"),
        ("{export: [{format: coco, to: x/y}, {format: davis, to: x}]}", "to=x and to=x/y are one folder, or one lies"),
        ("{report: 'x/{date}/r.html', export: [{format: coco, to: 'x/{date}'}]}", "lies in the folder of the export"),
    ],
)
def test_a_step_that_is_sure_to_fail_is_refused_before_the_night(tmp_path: Path, steps: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        after.check_steps(config(tmp_path, steps))


def test_exports_in_folders_beside_each_other_are_taken(tmp_path: Path) -> None:
    exports = [{"format": "coco", "to": f"{tmp_path}/{name}/{{date}}"} for name in ("coco", "coco2", "co?1", "co?2")]
    after.check_steps(config(tmp_path, f"{{report: '{tmp_path}/{{date}}.html', export: {exports!r}}}"))


def test_the_keys_of_exports_are_those_of_the_command() -> None:
    every = {*after.KEYS_OF_EXPORTS, *Selection.model_fields, *Content.model_fields, *ReviewKeys.model_fields}
    assert every == ExportArguments.model_fields.keys() - {"output", "storage_options"}


def test_a_server_that_a_hook_leaves_running_keeps_nobody_waiting(tmp_path: Path) -> None:
    line = f"sleep 1000 & echo $! > {tmp_path}/pid; echo started >&2"
    ended = run(Command.of_a_user(line), b"", 1000.0, linger_seconds=0.1)
    server = int((tmp_path / "pid").read_text())
    os.kill(server, signal.SIGKILL)  # it lives: otherwise this raises
    assert ended.code == 0

"""A week of nights on a real S3 server, with a clock of its own and faults: rows are those that must be there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline import changes, tables
from pipeline.commits.history import Kind
from pipeline.commits.read_history import read_history
from pipeline.config.compose import job_config
from pipeline.demo.inputs import clip_mp4, seed_prompts
from pipeline.driver import driver
from pipeline.driver.executors import open_executor
from pipeline.inputs.write import prompts_table, write_table
from pipeline.output.schema import SORT_KEYS
from pipeline.records import Report, WorkItem
from pipeline.schedule import schedule
from pipeline.storage.job_storage import JobStorage
from pipeline.storage.uris import open_filesystem
from pipeline.text import say
from pipeline.worker.worker import Worker
from tests.support.clips import moving_clip
from tests.support.proxy import Rule, proxy_to
from tests.support.s3_server import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

MONDAY = datetime(2026, 11, 2, 2, 0, tzinfo=UTC)
HOUR = 3600.0
NUM_BAD = 104


@dataclass
class Hours:
    """A clock on which each video takes an hour, and nothing else any time."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Week:
    """A bucket of incoming videos, its job, and what must be in the tables.

    `files` are the contents of the bucket by video, `rows` those of the reference: a job that has labeled each content
    once. `due` is what was to be labeled so far: the content by video.
    """

    server: S3Server
    folder: Path
    checkpoint: Path
    root: str = ""
    entry: int = 0
    files: dict[str, str] = field(default_factory=dict)
    due: dict[str, str] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    rows: dict[str, pa.Table] = field(default_factory=dict)
    prompt: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.server.new_folder()
        # Contents of one length: what waits equally long keeps the order of its names.
        for seed, (name, num_frames) in enumerate({"first": 2, "second": 2, "third": 2, "short": 1}.items()):
            clip = moving_clip(name, num_frames=num_frames, num_objects=1, size_hw=(64, 96), seed=seed)
            self.contents[name] = clip_mp4(clip)
            (self.prompt[name],) = seed_prompts(clip, ["box"])
        self._label_reference()

    def _label_reference(self) -> None:
        """Label each content once, on local disk, in one plain run."""
        folder = self.folder / "reference"
        (folder / "in").mkdir(parents=True)
        for name, content in self.contents.items():
            (folder / "in" / f"{name}.mp4").write_bytes(content)
        write_table(str(folder / "prompts.parquet"), prompts_table(list(self.prompt.values())))
        places = [f"videos={folder / 'in'}", f"prompts={folder / 'prompts.parquet'}", f"output={folder / 'out'}"]
        words = [*places, f"model.checkpoint={self.checkpoint}", "cluster=serial"]
        assert driver.run(job_config("label", words)) == 0
        masks = tables.open(str(folder / "out")).masks().to_table()
        self.rows = {name: masks.filter(pc.equal(masks["video_id"], name)) for name in self.contents}

    # What happens in the bucket

    def put(self, content: str, *names: str) -> None:
        """New or replaced videos."""
        for name in names:
            filesystem, path = open_filesystem(f"{self.root}/incoming/{name}.mp4", self.server.options())
            filesystem.pipe_file(path, self.contents[content])
            self.files[name] = content

    def delete(self, name: str) -> None:
        filesystem, path = open_filesystem(f"{self.root}/incoming/{name}.mp4", self.server.options())
        filesystem.rm_file(path)
        del self.files[name]

    def night(self, day: int, *overrides: str, parts: driver.Parts | None = None) -> int:
        """One run of conf=nightly, as a schedule starts it on a day of the week. `overrides` come last."""
        rows = [self.prompt[content] | {"video_id": name} for name, content in self.files.items()]
        write_table(f"{self.root}/prompts.parquet", prompts_table(rows), self.server.options())
        options = self.server.options()
        words = [
            f"videos={self.root}/incoming/**/*.mp4",
            f"prompts={self.root}/prompts.parquet",
            f"output={self.output}",
            f"model.checkpoint={self.checkpoint}",
            "cluster=serial",
            f"storage_options.key={options['key']}",
            f"storage_options.secret={options['secret']}",
            f"storage_options.client_kwargs.endpoint_url={options['client_kwargs']['endpoint_url']}",
            f"notify=cat >> {self.told_file}",
            *overrides,
        ]
        now = MONDAY + timedelta(days=day)
        self.told_file.write_bytes(b"")
        return schedule.run(
            job_config("nightly", words), schedule.Parts(parts or driver.DEFAULT_PARTS, now=lambda: now)
        )

    # What must be there

    def check(self, *, but: Sequence[str] = ()) -> None:
        """The rows of all videos that were to be labeled are there, each once and equal to the reference's."""
        self.due |= {name: content for name, content in self.files.items() if name not in but}
        found = tables.open(self.output, self.server.options()).masks().to_table()
        wanted = pa.concat_tables(
            self.rows[content].set_column(0, "video_id", pa.array([name] * self.rows[content].num_rows))
            for name, content in self.due.items()
        ).cast(found.schema)
        order = [(key, "ascending") for key in SORT_KEYS["masks"]]
        assert found.sort_by(order).equals(wanted.sort_by(order))

    @property
    def output(self) -> str:
        return f"{self.root}/labels"

    @property
    def told_file(self) -> Path:
        return self.folder / "told.json"

    @property
    def told(self) -> dict[str, Any] | None:
        """What somebody was told of the last night."""
        told = self.told_file.read_bytes()
        return json.loads(told) if told else None

    def num_segments(self) -> int:
        return len(tables.open(self.output, self.server.options()).state.segments)

    def changes(self) -> tuple[list[str], list[str], list[str]]:
        """Videos that came, were labeled again or left since this was asked last. Prints it as the command does."""
        storage = JobStorage(self.output, self.server.options())
        history = read_history(storage, self.entry)
        say(changes.as_text(history, str(storage)))
        self.entry = history.entry
        added, again, removed = (
            sorted(one.video_id for one in history.of_kind(kind)) for kind in (Kind.ADDED, Kind.AGAIN, Kind.REMOVED)
        )
        return added, again, removed

    def document(self) -> dict[str, Any]:
        filesystem, path = open_filesystem(f"{self.output}/last_run.json", self.server.options())
        found: dict[str, Any] = json.loads(filesystem.cat_file(path))
        return found


class OneAtATime(Worker):
    """The real worker, which begins with one video at each call. `seen` are the videos in their order."""

    seen: list[str]
    before: Callable[[str], object]
    hours: Hours

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._queue: list[WorkItem] = []

    def work(self, offers: Sequence[WorkItem]) -> Report:
        self._queue += offers
        begun = [self._queue.pop(0)] if self._queue else []
        for item in begun:
            self.seen.append(item.video_id)
            self.before(item.video_id)
            self.hours.now += HOUR
        return super().work(begun)


def watched(before: Callable[[str], object] = lambda video_id: None) -> tuple[driver.Parts, list[str]]:
    """Parts of a driver for whose worker each video takes an hour, and the videos that it has begun with."""
    hours, seen = Hours(), []

    class Watched(OneAtATime):
        pass

    Watched.seen, Watched.before, Watched.hours = seen, staticmethod(before), hours
    return driver.Parts(partial(open_executor, make_worker=Watched), clock=hours), seen


def end_at(name: str) -> Callable[[str], None]:
    """What a second signal does while a worker begins with this video."""

    def end(video_id: str) -> None:
        if video_id == name:
            raise KeyboardInterrupt

    return end


def test_a_week(
    s3_server: S3Server, tmp_path: Path, small_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    week = Week(s3_server, tmp_path, small_checkpoint)

    # Monday: five videos come, and the budget is enough for three.
    week.put("first", "d", "e", "f", "g", "h")
    parts, seen = watched()
    assert week.night(0, "flush.megabytes=0", "stop_after=2h", "price_per_hour=2", parts=parts) == 0
    assert seen == ["d", "e", "f"]
    week.check(but=["g", "h"])
    night = week.document()
    assert (night["state"], night["num_ended"]["ok"], night["num_waiting"], night["cost"]) == ("budget", 3, 2, 6.0)
    assert (
        "the budget of this run is used up (stop_after=2:00:00): 2 videos wait for the next run"
        in capsys.readouterr().out
    )
    assert night["doubt"]["num_videos"] == 3
    assert week.changes() == (["d", "e", "f"], [], [])

    # Tuesday: what waits comes before what is new. Meanwhile somebody starts the job a second time.
    week.put("second", "a", "b")
    codes = []
    parts, seen = watched(lambda video_id: codes.append(week.night(1)) if video_id == "a" else None)
    assert week.night(1, "flush.megabytes=0", "stop_after=9h", "after.compact_above=3", parts=parts) == 0
    assert seen == ["g", "h", "a", "b"]
    assert codes == [3]
    assert "is at work on this output" in capsys.readouterr().err
    week.check()
    assert [step["exit_code"] for step in week.document()["after"]] == [0]
    assert week.num_segments() == 1
    assert week.changes() == (["a", "b", "g", "h"], [], [])

    # Wednesday: one video is replaced, one is gone, and one is new. Rows of what is gone stay. The driver is ended at
    # once in the middle, and the scheduler starts it again.
    week.put("third", "a", "c")
    week.delete("d")
    parts, seen = watched(end_at("c"))
    assert week.night(2, parts=parts) == 143
    assert week.document()["state"] == "stopped"
    assert week.night(2) == 0
    week.check()
    assert week.document()["num_former"] == 1
    assert week.changes() == (["c"], ["a"], [])

    # Thursday falls out. On Friday a bad deployment fails everything, and stops when that is clear.
    names = [f"x{number:03}" for number in range(NUM_BAD)]
    week.put("short", *names)
    assert week.night(4, "decode.max_pixels=16") == 4
    week.check(but=names)
    night = week.document()
    assert night["state"] == "failures"
    assert week.told == night
    assert night["worse"] == ["100.0% of its videos failed, 0.0% in the week before"]

    # Saturday: the deployment is mended, and all are tried again, through an outage of the store. Nobody is called.
    with proxy_to(s3_server.port) as proxy:
        outage = Rule(None, times=5, is_dropped=True)
        parts, seen = watched(lambda video_id: proxy.rules.append(outage) if video_id == "x010" else None)
        through = f"storage_options.client_kwargs.endpoint_url=http://127.0.0.1:{proxy.port}"
        assert week.night(5, through, "flush.megabytes=0", parts=parts) == 0
        assert outage.num_hits == 5
    assert sorted(seen) == names
    week.check()
    assert week.told is None
    added, again, _ = week.changes()
    assert sorted([*added, *again]) == names

    # Sunday, late, and once more for the night that fell out: nothing is left to do.
    for _ in range(2):
        assert week.night(6) == 0
        assert "nothing was left to do" in capsys.readouterr().out
    week.check()
    assert week.document()["state"] == "done"

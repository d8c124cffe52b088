"""`python -m pipeline.plan` says before a run what the run does afterwards. The judge is the run on the same inputs."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest

from pipeline import tables
from pipeline.plan import door
from pipeline.storage.job_storage import JobStorage
from tests.support.faulty_store import FaultyStore
from tests.support.jobs import JobFolder


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan asks nothing of the cluster: importing Ray is an error here."""
    monkeypatch.setitem(sys.modules, "ray", None)


def planned(job: JobFolder, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The document of a plan."""
    capsys.readouterr()
    assert door(job.arguments(*words, "format=json")) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def shown(job: JobFolder, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The text of a plan."""
    capsys.readouterr()
    assert door(job.arguments(*words)) == 0
    return capsys.readouterr().out


@pytest.fixture
def job(tmp_path: Path, small_checkpoint: Path) -> JobFolder:
    return JobFolder(tmp_path, small_checkpoint)


@pytest.mark.slow
def test_a_plan_counts_what_is_to_label_and_writes_nothing(job: JobFolder, capsys: pytest.CaptureFixture[str]) -> None:
    job.write(["a", "b", "c"], num_frames=4, num_objects=2)
    before = sorted(job.folder.rglob("*"))
    found = planned(job, capsys, "cluster.actors=2")
    counts = {name: found[name] for name in ("num_videos", "num_to_label", "num_objects", "num_frames", "num_masks")}
    assert counts == {"num_videos": 3, "num_to_label": 3, "num_objects": 6, "num_frames": 12, "num_masks": 24}
    assert found["video_hours"] == pytest.approx(12 / 12 / 3600)
    page = (Path(__file__).parents[2] / "docs" / "plan.md").read_text(encoding="utf-8").split("## For programs")[1]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)))) == found.keys()
    assert (found["num_workers"], found["seconds"], found["dollars"]["workers"]) == (2, None, None)
    assert found["budget"] == {}
    assert planned(job, capsys, "stop_after=4h")["budget"] == {"stop_after": {"most": 14400, "share": None}}
    text = shown(job, capsys)
    assert "time     not known: nothing was measured. probe=3 labels three videos here" in text
    assert "storage  less than 1 MB\n" in text
    assert sorted(job.folder.rglob("*")) == before


@pytest.mark.slow
def test_a_plan_without_prompts_counts_videos_and_says_that_the_run_finds_the_objects(
    job: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    job.write(["a", "b", "c"], num_frames=4)
    words = ("conf=discover", "prompts=null", "price_per_hour=2")
    found = planned(job, capsys, *words)
    assert {name: found[name] for name in ("num_videos", "num_to_label", "num_failing", "num_frames")} == {
        "num_videos": 3,
        "num_to_label": 3,
        "num_failing": 0,
        "num_frames": 12,
    }
    assert found["video_hours"] == pytest.approx(12 / 12 / 3600)
    for unknown in ("num_objects", "num_masks", "seconds", "num_bytes"):
        assert found[unknown] is None, unknown
    assert set(found["dollars"].values()) == {None}
    text = shown(job, capsys, *words)
    assert "objects  not known: the run finds them (conf=discover)" in text
    assert not re.search(r"^(time|storage|cost|faults) ", text, re.MULTILINE)


@pytest.mark.slow
def test_a_plan_of_a_run_that_finds_objects_expects_as_many_as_were_found_before(
    job: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    job.write(["a", "b", "c", "d"], num_frames=3)
    words = ("conf=discover", "prompts=null", "discover.points_per_side=2", "discover.min_area=1")
    words += ("discover.min_predicted_iou=0", "discover.min_stability=0", "discover.max_objects=2")
    probed = planned(job, capsys, *words, "probe=2", "price_per_hour=3600")
    assert (probed["num_frames"], probed["measured"]["num_videos"]) == (12, 2)
    assert probed["num_masks"] == probed["num_frames"] * probed["num_objects"] / probed["num_videos"] > 0
    assert probed["worker_seconds"] > 0
    assert probed["dollars"]["workers"] == pytest.approx(probed["worker_seconds"])
    assert re.search(r"^time     about ", shown(job, capsys, *words, "probe=1"), re.MULTILINE)


@pytest.mark.slow
def test_a_plan_from_a_probe_and_from_earlier_videos_is_what_the_run_then_does(
    job: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counts exactly; bytes within a factor of 2, segments of 1.5."""
    job.write(["a", "b", "c", "d"], num_frames=3, num_objects=2)
    videos = job.rows("videos")
    job.rewrite("videos", videos[:2])
    before = sorted(job.folder.rglob("*"))
    probed = planned(job, capsys, "probe=2", "price_per_hour=3600", "workers=2")
    assert sorted(job.folder.rglob("*")) == before, "a probe writes nothing beside the job"
    assert probed["measured"]["source"] == "2 videos labeled here as a probe"
    assert probed["measured"]["device"].startswith("CPU")
    assert probed["gpu_hours"] == 0
    assert (
        probed["dollars"]["workers"] == pytest.approx(probed["worker_seconds"]) == pytest.approx(2 * probed["seconds"])
    )
    assert job.run() == 0
    output, storage = tables.open(str(job.output)), JobStorage(str(job.output))
    assert (probed["num_frames"], probed["num_masks"]) == (6, output.masks().count_rows())
    num_bytes = sum(one.num_bytes for table in ("masks", "tracks", "videos") for one in storage.listing(table))
    assert num_bytes / 2 < probed["num_bytes"][0] < num_bytes * 2
    num_segments = len(storage.listing("videos"))

    job.rewrite("videos", videos)
    known = planned(job, capsys)
    assert known["measured"]["source"] == "2 finished videos of this job"
    assert (known["num_to_label"], known["num_done"], known["num_frames"]) == (2, 2, 6)
    wall = sum(row["wall_seconds"] for row in output.videos().to_pylist())
    assert known["worker_seconds"] == pytest.approx(wall, rel=0.5), "two videos like the two that took so long"
    assert known["num_segments"] / 1.5 <= num_segments <= known["num_segments"] * 1.5
    other = JobFolder(job.folder / "other", job.checkpoint).write(["a"], num_frames=4)
    assert planned(other, capsys, f"measured={job.output}")["measured"]["num_videos"] == 2
    text = shown(job, capsys, "stop_after=0.001s", "max_cost=0.000001", "price_per_hour=1")
    assert re.search(r"budget   stop_after=0:00 is enough for about \d %; the rest waits for later runs", text)
    assert "budget   max_cost=1e-06 is enough for about" in text
    _check_what_would_be_labeled_again(job, capsys)


def _check_what_would_be_labeled_again(job: JobFolder, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = job.rows("prompts")
    for row in prompts:
        if row["video_id"] == "b":
            row["box_xyxy"] = [value + 1.0 for value in row["box_xyxy"]]
    job.rewrite("prompts", prompts)
    assert planned(job, capsys)["again"] == {"prompts": 1}
    assert "again    1 finished video would be labeled again: 1 prompts changed" in shown(job, capsys)
    entry = job.next_entry()
    found = planned(job, capsys, "frames.stride=2")
    assert (found["again"], found["needs_relabel"]) == ({"relabel": 2}, True)
    assert (found["difference"], found["num_to_label"]) == (["frames.stride: 1 in the output, 2 now"], 4)
    assert (found["num_frames"], found["measured"]["num_videos"]) == (8, 2), "two frames of three, by the same weights"
    assert "a run refuses that without relabel=true" in shown(job, capsys, "frames.stride=2")
    assert not planned(job, capsys, "frames.stride=2", "relabel=true")["needs_relabel"]
    words = (f"measured={job.output}", "model.checkpoint=mini", "relabel=true")
    assert door(job.arguments(*words)) == 2
    assert "none of its newest videos was labeled with mini@" in capsys.readouterr().err
    assert job.next_entry() == entry


class CountedStore(FaultyStore):
    """Counts writes too."""

    protocol = "counted"
    writes: ClassVar[Counter[str]] = Counter()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("counted://", "memory://"))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        self.writes["small"] += 1
        super().pipe_file(path, value, mode=mode, **options)

    def put_file(self, lpath: str, rpath: str, *args: Any, **options: Any) -> None:
        self.writes["segment"] += 1
        super().put_file(lpath, rpath, *args, **options)


fsspec.register_implementation("counted", CountedStore, clobber=True)


@pytest.mark.slow
def test_requests_are_about_those_that_a_run_makes(job: JobFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Objects of segments within a factor of 1.5, all writes and reads within a factor of 2."""
    job.write(["a", "b", "c", "d"], num_frames=3)
    for name in ("a", "b", "c", "d"):
        CountedStore.store[f"/clips/{name}.mp4"] = None
        with fsspec.open(f"counted://clips/{name}.mp4", "wb") as file:
            file.write((job.folder / "in" / f"{name}.mp4").read_bytes())
    job.rewrite("videos", [row | {"uri": f"counted://clips/{row['video_id']}.mp4"} for row in job.rows("videos")])
    words = ("output=counted://job", "single_driver=true")
    found = planned(job, capsys, *words, "probe=1")
    CountedStore.writes.clear()
    CountedStore.requests.clear()
    assert job.run(*words) == 0
    num_writes, num_reads = CountedStore.writes.total(), len(CountedStore.requests)
    assert found["num_segments"] / 1.5 <= CountedStore.writes["segment"] / 3 <= found["num_segments"] * 1.5
    assert found["num_writes"] / 2 <= num_writes <= found["num_writes"] * 2
    assert found["num_reads"] / 2 <= num_reads <= found["num_reads"] * 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("probe=-1",), "probe"),
        (("conf=demo",), "the demo draws its own videos"),
        (("conf=verify", "videos=null", "prompts=null"), "conf=verify walks back tracks of a finished job"),
        (("probe=1", "measured=elsewhere"), "give one of them"),
        (("price_per_gpu_hour=cheap",), "price_per_gpu_hour"),
        (("probes=3",), "unknown key probes=: did you mean probe=?"),
        (("measured=elsewhere",), "elsewhere holds no job"),
    ],
)
def test_a_mistake_is_told_with_its_key(
    words: tuple[str, ...], told: str, job: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    job.write(["a"])
    assert door(job.arguments(*words)) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert said.out == ""

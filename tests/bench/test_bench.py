"""The bench itself, at sizes that take seconds: equal work for all three, honest formulas, a report that grows."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.bench.codecs import decoding, rle_per_mask
from tests.bench.frames import (
    FULL,
    clip_seconds,
    compare_runners,
    frame_setting,
    full_memory_tokens,
    further_object_seconds,
)
from tests.bench.implementations import NAMES, Setting
from tests.bench.measure import held_bytes, peak_mib, reset_peak
from tests.bench.picture import draw
from tests.bench.report import Goal, Report, goals
from tests.bench.runners import Runner
from tests.reference.cases import FramesSpec
from tests.reference.flops import NUM_MEMORIES

SIZE = 64


_MINI = Setting(None, FramesSpec(4, SIZE, 1), 1, "float32", 1, {})


SETTING = ("tiny", SIZE, "float32", 2, 1, 2)  # two objects, one thread, two timed frames


@pytest.fixture(scope="module")
def runners() -> Iterator[dict[str, Runner]]:
    """All three implementations, each in a process that serves all tests."""
    setting, _ = frame_setting(*SETTING)
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(Runner(name, setting)) for name in NAMES}


@pytest.fixture(scope="module")
def row(runners: dict[str, Runner]) -> dict[str, object]:
    setting, _ = frame_setting(*SETTING)
    return compare_runners(setting, runners, 2)


@pytest.mark.slow
def test_all_three_segment_the_same_objects_and_look_at_a_full_memory(row: dict[str, object]) -> None:
    ours = row["ours"]
    for name in NAMES:
        assert row[name]["memory_tokens"] == [full_memory_tokens(SIZE)]
        assert row[name]["coverage"] == pytest.approx(ours["coverage"], abs=2e-3)
    assert all(0 < share < 1 for share in ours["coverage"])


@pytest.mark.slow
def test_a_row_has_times_memory_parts_and_ratios(row: dict[str, object]) -> None:
    for name in NAMES:
        found = row[name]
        assert found["seconds"] > 0
        assert found["cpu_seconds"] > 0
        assert sum(found["parts"].values()) == pytest.approx(found["seconds"])
        assert min(seconds for part, seconds in found["parts"].items() if part != "rest") > 0
        assert found["clips"].keys() == {"20", "200"}
    assert row["ours"]["kept_mib_per_frame"] == 0
    for name in ("transformers", "sam2"):
        assert row[name]["clips"]["200"]["peak_mib"] > row[name]["clips"]["20"]["peak_mib"]
    best = min(row[name]["seconds"] for name in ("transformers", "sam2"))
    assert row["ratio"]["seconds"] == pytest.approx(best / row["ours"]["seconds"])
    alone = row["products"]
    assert 0 < alone["seconds"] == pytest.approx(alone["gflop"] / alone["gflop_per_second"])
    assert alone["seconds"] < 10 * row["ours"]["seconds"], "both in seconds; they are measured one after the other"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("row")  # it takes the first steps of the processes
def test_a_frame_after_filling_does_the_work_of_one_after_sixteen_real_frames(
    name: str, runners: dict[str, Runner]
) -> None:
    runner = runners[name]
    runner.restart()
    frames = [runner.step() for _ in range(FULL + 1)]
    runner.restart()
    runner.step()
    runner.step()
    runner.fill(FULL)
    quick = runner.step()
    assert runner.next_index == FULL + 1
    assert frames[1].memory_tokens != quick.memory_tokens
    assert (frames[-1].memory_tokens, frames[-1].num_attended) == (quick.memory_tokens, quick.num_attended)
    assert quick.memory_tokens == (full_memory_tokens(SIZE),)
    assert quick.kept_mib == pytest.approx(frames[-1].kept_mib)


@pytest.mark.slow
def test_an_error_of_an_implementation_is_told() -> None:
    setting, _ = frame_setting("tiny", SIZE, "float32", 1, 1, 1)
    with (
        Runner("sam2", replace(setting, model=None, shapes={})) as runner,
        pytest.raises(RuntimeError, match="cannot run mini"),
    ):
        runner.step()


@pytest.mark.slow
def test_a_process_that_died_before_it_was_asked_is_told_like_any_error() -> None:
    with Runner("ours", _MINI) as runner:
        runner._process.kill()
        runner._process.join()
        with pytest.raises(RuntimeError, match="the process of ours is gone"):
            runner.step()


@pytest.mark.slow
def test_a_process_that_is_busy_is_not_waited_for_after_an_error() -> None:
    runner = Runner("ours", _MINI)
    os.kill(runner._process.pid or 0, signal.SIGSTOP)
    started = time.perf_counter()
    runner.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert time.perf_counter() - started < 20
    assert not runner._process.is_alive()


def test_the_rate_of_a_clip_counts_the_memories_that_each_frame_sees() -> None:
    # Two seconds without memory, one more for each memory.
    real = 2.0 + sum(2.0 + min(index, NUM_MEMORIES) for index in range(1, 20))
    assert clip_seconds(20, 2.0, 3.0, 9.0) == pytest.approx(real)
    assert clip_seconds(1, 2.0, 3.0, 9.0) == 2.0


def test_a_further_object_costs_the_slope_between_few_and_many() -> None:
    def measured(dtype: str, objects: int, seconds: float) -> dict[str, object]:
        return {"dtype": dtype, "objects": objects, "ours": {"seconds": seconds}}

    rows = [measured("bfloat16", 16, 17.0), measured("bfloat16", 1, 2.0), measured("float32", 1, 3.0)]
    assert further_object_seconds(rows, NAMES) == {"bfloat16": {"ours": 1.0}}


def test_held_bytes_count_each_storage_once_and_views_whole() -> None:
    @dataclass
    class Holder:
        tensors: dict[str, torch.Tensor]
        picture: np.ndarray

    whole = torch.zeros(10, 100)
    holder = Holder({"view": whole[0], "again": whole[1:3], "other": torch.zeros(7)}, np.zeros(5, np.uint8))
    assert held_bytes([holder, (holder,)]) == 4 * 1000 + 4 * 7 + 5


def test_the_peak_is_that_since_it_was_reset() -> None:
    before = np.ones(64 << 20, np.uint8)
    del before
    reset_peak()
    low = peak_mib()
    grown = np.ones(48 << 20, np.uint8)
    assert 24 < peak_mib() - low < 72  # others in this process may take and free some meanwhile
    del grown


def test_rle_and_decoding_are_measured_on_equal_results() -> None:
    entry = rle_per_mask((300, 400), num_objects=2, rounds=1)
    assert entry["bytes_equal"]
    assert entry["ratio"] > 0
    found = decoding((64, 96), 20, image_size=64, rounds=1)
    assert {"plain PyAV", "ours", "ours, resized", "ours, resized, 2 threads", "ratio"} == found.keys()
    assert found["ours"]["frames_per_second"] > 0


def test_parts_are_merged_into_a_report_that_is_there(tmp_path: Path) -> None:
    first = Report(tmp_path)
    first.add("frames", "one", {"seconds": 1.0})
    first.add("rle", "1080p", {"ratio": 5.43217})
    second = Report(tmp_path)
    second.add("frames", "one", {"seconds": 2.0})
    second.add("frames", "two", {"seconds": 3.0})
    found = json.loads((tmp_path / "bench.json").read_text())
    assert [found["frames"][name]["seconds"] for name in ("one", "two")] == [2.0, 3.0]
    assert found["rle"]["1080p"]["ratio"] == 5.432
    assert found["rle"]["1080p"]["load_average"] >= 0
    assert found["machine"]["torch"] == torch.__version__


def test_figures_of_another_machine_are_not_mixed_in(tmp_path: Path) -> None:
    Report(tmp_path).add("rle", "1080p", {"ratio": 5.0})
    saved = tmp_path / "bench.json"
    saved.write_text(json.dumps(json.loads(saved.read_text()) | {"machine": {"processor": "another"}}))
    with pytest.raises(SystemExit, match="another machine"):
        Report(tmp_path)


@pytest.mark.parametrize(
    ("value", "is_limit", "verdict"),
    [(3.6, False, "aim"), (3.0, False, "reached"), (2.0, False, "MISSED"), (2.0, True, "aim"), (4.0, True, "MISSED")],
)
def test_a_goal_is_judged_by_both_bounds(value: float, is_limit: bool, verdict: str) -> None:
    must, aim = (3.5, 2.8) if is_limit else (2.8, 3.5)
    assert Goal("speed", value, must, aim, "x", is_limit).verdict == verdict


@pytest.mark.slow
def test_a_partial_report_is_drawn(row: dict[str, object], tmp_path: Path) -> None:
    report = Report(tmp_path)
    draw(report.document, tmp_path / "empty.png")
    report.add("frames", "tiny 1024 bfloat16 1", row)
    assert [goal.name for goal in goals(report.document)] == ["1 object, bf16, full memory"]
    draw(report.document, tmp_path / "bench.png")
    small, large = Image.open(tmp_path / "empty.png"), Image.open(tmp_path / "bench.png")
    assert large.height > small.height + 300
    assert len(large.getcolors(1 << 20)) > 20

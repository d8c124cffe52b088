"""The check of a GPU, on the CPU with mini: parts run and are saved, and its verdicts are true."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from torch.autograd import DeviceType

from model.network.compiled import compile_model
from model.network.regions import Outputs
from tests.bench.efficiency import ROOT
from tests.bench.gpu import compiled as compiled_module
from tests.bench.gpu import parts as parts_module
from tests.bench.gpu.bundle import LIMIT_MIB, check_wheels
from tests.bench.gpu.goals import goals, musts
from tests.bench.gpu.jobs import watched
from tests.bench.gpu.launches import on_the_card
from tests.bench.gpu.parts import PARTS, Part, run_part
from tests.bench.gpu.report import check
from tests.bench.gpu.subjects import Options
from tests.bench.gpu.suite import FILES, TOO_LONG, outcome


def _options(folder: Path) -> Options:
    return Options("cpu", quick=True, folder=folder)


@pytest.mark.slow
def test_the_check_runs_in_small_on_a_cpu_and_saves_each_part(tmp_path: Path) -> None:
    names = ["environment", "parity", "waits", "rates", "suite", "faults"]
    check(_options(tmp_path), names)
    document = json.loads((tmp_path / "check.json").read_text())
    parts = document["parts"]
    assert list(parts) == names
    assert all("error" not in part for part in parts.values())
    assert parts["environment"]["found"]["device"] == "cpu"
    exact = parts["parity"]["found"][0]
    assert (exact["kind"], exact["iou"], exact["gap"]) == ("float32", 1.0, 0.0)
    assert {row["kind"]: row["iou"] for row in parts["parity"]["found"]}["bfloat16"] < 1.0
    assert parts["waits"]["found"]["frames_without_a_wait"] == 2
    assert [row["frames_per_second"] > 0 for row in parts["rates"]["found"]] == [True]
    assert parts["suite"]["found"] == parts["faults"]["found"] == {"left_out": "needs a GPU"}
    assert sum("holds" in line for line in document["verdicts"]) == 2
    picture = Image.open(tmp_path / "check.png")
    assert picture.height > 250
    assert len(picture.getcolors(1 << 20)) > 10


def test_a_part_that_takes_too_long_or_fails_says_so_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(_: Options) -> None:
        time.sleep(30)

    def broken(_: Options) -> None:
        raise ValueError("no such card")

    monkeypatch.setattr(
        parts_module,
        "PARTS",
        {"endless": Part(endless, 1), "broken": Part(broken, 300), "environment": PARTS["environment"]},
    )
    document = check(replace(_options(tmp_path), quick=False), ["endless", "broken", "environment"])
    assert document["parts"]["endless"]["error"] == "ended after its limit of 1 s"
    assert document["parts"]["broken"]["error"].endswith("ValueError: no such card\n")
    assert "found" in document["parts"]["environment"]
    assert [line.split()[0] for line in document["verdicts"]] == ["endless", "broken"]
    assert all("FAILS" in line for line in document["verdicts"])


@pytest.mark.slow
def test_what_a_part_had_found_before_it_was_too_late_or_failed_is_saved_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[dict[str, Any]] = []

    def endless(_: Options) -> Iterator[dict[str, Any]]:
        yield _parity_row()
        saved.append(json.loads((tmp_path / "check.json").read_text())["parts"]["parity"])
        time.sleep(30)

    def broken(_: Options) -> Iterator[dict[str, Any]]:
        yield {"size": "tiny", "objects": 1, "in_flight": 1, "frames_per_second": 140.0}
        raise ValueError("no such card")

    monkeypatch.setattr(parts_module, "PARTS", {"parity": Part(endless, 1), "rates": Part(broken, 300)})
    document = check(replace(_options(tmp_path), quick=False), ["parity", "rates"])
    parts = document["parts"]
    assert saved == [{"found": [_parity_row()], "error": "cut short"}]
    assert (parts["parity"]["found"], parts["parity"]["error"]) == ([_parity_row()], "ended after its limit of 1 s")
    assert parts["rates"]["found"][0]["frames_per_second"] == 140.0
    verdicts = "\n".join(document["verdicts"])
    assert [verdicts.count(word) for word in ("FAILS", "holds", "reached")] == [2, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "limit", "code"), [("time.sleep(60)", 1, None), ("sys.stderr.write(200_000 * 'x')", 45, 0)]
)
def test_a_job_that_hangs_is_ended_with_its_part_and_one_that_says_much_is_not_held_up(
    does: str, limit: int, code: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", f"import sys, time; {does}"]
    monkeypatch.setattr(parts_module, "PARTS", {"jobs": Part(lambda options: watched(options, command)[:2], limit)})
    part = run_part("jobs", replace(_options(tmp_path), quick=False))
    assert part.get("found") == (None if code is None else (code, 200_000 * "x"))
    assert part["seconds"] < 45


def _part(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"found": list(rows), "seconds": 1.0}


def _parity_row(**other: Any) -> dict[str, Any]:
    right = {"size": "tiny", "kind": "float32", "least_iou": 0.999, "iou": 0.9999, "gap": 0.1}
    return right | {"finite": True, "same_bits_twice": True} | other


@pytest.mark.parametrize("wrong", [{"iou": 0.99}, {"finite": False}, {"same_bits_twice": False}])
def test_masks_that_differ_from_a_cpu_fail_the_check(wrong: dict[str, Any]) -> None:
    found = list(musts({"parity": _part(_parity_row(), _parity_row(**wrong))}))
    assert [one.holds for one in found] == [True, False]


def test_a_job_with_a_failed_video_and_a_recompile_fail_the_check() -> None:
    job = {"objects": 1, "in_flight": 4, "exit_code": 0, "statuses": {"ok": 7, "failed": 1}}
    network = {"mode": "compiled", "recompiles": 1}
    assert [one.holds for one in musts({"jobs": _part(job), "compiled": _part(network)})] == [False, False]


class StaleGraphs:
    """Records graphs that are never replayed."""

    def __call__(self, run: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
        return lambda: None, run()


@pytest.mark.slow
def test_graphs_that_give_old_masks_fail_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {"graphs": lambda model: compile_model(model, backend=None, capture=StaleGraphs())}
    monkeypatch.setattr(compiled_module, "_ON_A_CPU", ways)
    part = run_part("compiled", _options(tmp_path))
    assert "error" not in part
    found = {must.name: must.holds for must in musts({"compiled": part})}
    assert found == {
        "compiled, graphs: no recompiles in steady state": True,
        "compiled, graphs: masks as uncompiled": False,
    }


def test_out_of_memory_and_a_broken_card_must_be_told_apart() -> None:
    memory = {"is_out_of_memory": True, "is_poisoned": False}
    for fault, holds in (({"is_out_of_memory": False, "is_poisoned": True}, True), (memory, False)):
        found = list(musts({"faults": {"found": {"memory": memory, "assert": fault}, "seconds": 1.0}}))
        assert [one.holds for one in found] == [True, holds]


def test_goals_compare_with_the_references_and_with_what_was_expected() -> None:
    parts = {
        "references": _part({"size": "tiny", "objects": 1, "frames_per_second": {"ours": 100.0, "sam2": 50.0}}),
        "rates": _part({"size": "tiny", "objects": 1, "in_flight": 1, "frames_per_second": 140.0}),
        "jobs": _part({"objects": 1, "frames_per_second": 200.0}, {"objects": 1, "frames_per_second": 400.0}),
    }
    found = {goal.name: (goal.value, goal.verdict) for goal in goals(parts)}
    assert found["tiny, 1 objects, against sam2"] == (2.0, "reached")
    assert found["a job of 1080p clips, 6 cores, 1 object"] == (400.0, "aim")
    assert found["tiny, 1 objects, 1 in flight"][1] == "reached"  # 133 of the expected 190 are enough


def test_the_time_of_a_kernel_counts_once_though_its_call_tells_it_too() -> None:
    def event(name: str, device: DeviceType, device_us: float, *, marked: bool = False) -> SimpleNamespace:
        return SimpleNamespace(
            key=name, device_type=device, self_device_time_total=device_us, is_user_annotation=marked
        )

    found = on_the_card(
        [
            event("aten::mm", DeviceType.CPU, 7.0),
            event("Memcpy HtoD", DeviceType.CUDA, 1.0),
            event("sm90_gemm", DeviceType.CUDA, 7.0),
            event("a span of the program", DeviceType.CUDA, 8.0, marked=True),
        ]
    )
    assert [one.key for one in found] == ["sm90_gemm", "Memcpy HtoD"]


@pytest.mark.slow
def test_a_suite_that_is_ended_tells_of_the_tests_that_came_to_their_end(tmp_path: Path) -> None:
    file = tmp_path / "test_card.py"
    file.write_text("import time\ndef test_a(): pass\ndef test_b(): assert 0\ndef test_c(): time.sleep(600)\n")
    found = outcome([str(file), "-p", "no:cacheprovider"], 10)
    assert (found["passed"], found["failed"], found["ended_after_seconds"]) == (1, 1, 10)
    assert [name.rpartition("::")[2] for name in found["failed_tests"]] == ["test_b"]
    (must,) = musts({"suite": {"found": found, "seconds": 10.0}})
    assert not must.holds
    assert must.detail.startswith("1 passed, ended before its end, ")


def test_the_suite_of_a_real_gpu_names_tests_that_are_there() -> None:
    for name in (*FILES, *TOO_LONG):
        file, _, test = name.partition("::")
        assert test.partition("[")[0] in (ROOT / file).read_text()


def test_wheels_that_cannot_travel_or_do_not_fit_are_named() -> None:
    right = {"av-18.1.0-cp312-cp312-manylinux_2_28_x86_64.whl": 36 << 20, "tqdm-4.67-py3-none-any.whl": 1 << 20}
    abi3 = {"psutil-7.0.0-cp36-abi3-manylinux_2_12_x86_64.whl": 1 << 18}
    check_wheels(right | abi3, "3.12")
    with pytest.raises(SystemExit, match=r"not for Python 3\.13: av-18"):
        check_wheels(right, "3.13")
    with pytest.raises(SystemExit, match=rf"of {LIMIT_MIB}; the largest: .*ray-2\.60"):
        check_wheels(right | {"ray-2.60-cp312-cp312-manylinux2014_x86_64.whl": 79 << 20}, "3.12")
